"""The command line with a Python that stands still on demand: a byte into the pipe named first hangs it.

While it hangs one thread holds the interpreter's lock inside a C call, so no Python code of the process runs at all: it writes
more into the pipe named second than a pipe can hold. So who reads the first byte there knows that it hangs, and who reads all
of them, `HELD_BYTES`, lets it go on. What another thread saw of it (each time it could not run for a while, when that began and
ended) is written to the file named third, a JSON list a line.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

HELD_BYTES = 4 << 20  # more than a pipe's buffer can be made


def hang(pipe: int, held: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # a handler on this thread would end the write before its end
    os.read(pipe, 1)
    data = ctypes.create_string_buffer(HELD_BYTES)
    write = ctypes.PyDLL(None).write  # PyDLL keeps the lock
    write.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
    write(held, data, HELD_BYTES)


NOTED_NS = 100_000_000


def watch(told: Path) -> None:
    last = time.time_ns()
    while True:
        time.sleep(0.005)
        now = time.time_ns()
        if now - last > NOTED_NS:
            with told.open("a") as out:
                out.write(json.dumps([last, now]) + "\n")
        last = now


if __name__ == "__main__":
    fifo, held, told, *args = sys.argv[1:]
    pipes = os.open(fifo, os.O_RDWR), os.open(held, os.O_WRONLY)
    threading.Thread(target=hang, args=pipes, daemon=True).start()
    threading.Thread(target=watch, args=(Path(told),), daemon=True).start()
    from orchestrator.cli.main import main

    sys.argv = ["peregrine", *args]
    sys.exit(main())
