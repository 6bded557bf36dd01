"""The command line with a Python that stands still on demand: a byte into the pipe named first hangs it, another frees it.

While it hangs one thread holds the interpreter's lock inside a C call, so no Python code of the process runs at all. What a
second thread saw of it (each time it could not run for a while, when that began and ended) is written to the file named
second, a JSON list a line.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
import time
from pathlib import Path


def hang(pipe: int) -> None:
    os.read(pipe, 1)
    ctypes.PyDLL(None).read(pipe, ctypes.create_string_buffer(1), ctypes.c_size_t(1))  # PyDLL keeps the lock


def watch(told: Path) -> None:
    last = time.time_ns()
    while True:
        time.sleep(0.005)
        now = time.time_ns()
        if now - last > 100_000_000:
            with told.open("a") as out:
                out.write(json.dumps([last, now]) + "\n")
        last = now


if __name__ == "__main__":
    fifo, told, *args = sys.argv[1:]
    pipe = os.open(fifo, os.O_RDWR)
    threading.Thread(target=hang, args=(pipe,), daemon=True).start()
    threading.Thread(target=watch, args=(Path(told),), daemon=True).start()
    from orchestrator.cli.main import main

    sys.argv = ["peregrine", *args]
    sys.exit(main())
