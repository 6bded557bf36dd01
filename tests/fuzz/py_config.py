"""Configuration files of any bytes: a list of problems with path and reason, or a configuration that survives the journal
header. Nothing but ConfigError may come out. An input that begins with a zero byte edits the laptop profile (fuzz_edits.py)."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
import fuzz_edits as edits  # noqa: E402

_SEEDS = [
    b"extends: laptop\n",
    b"extends: replay\nname: a\nrisk: {max_order_lots: 5, max_loss_units: 100}\n",
    b"extends: laptop\nvenue:\n  kind: external\n  ouch: 127.0.0.1:26400\n  itch_a: 127.0.0.1:26401\n  cancel_on_disconnect: true\n"
    b"  account: {username: ABC, password_env: P}\n",
    b"extends: laptop\ninstruments:\n  - {symbol: PRGN}\n  - {symbol: FLCN}\nengine: {idle: spin}\n",
    b"a: &a [1, 2]\nb: *a\nc: !!python/name:os.system 1\n? [x]\n: y\n",
    b"\x00\x00\x05\x00",
    b"\x00\x10\x03\x90\x20\x05\x07",
    b"extends: laptop\nrisk: {max_order_lots: 0x10, max_loss_units: 1_000, max_orders: 1e3}\nname: ~\n",
]
_FILE = Path(tempfile.gettempdir() if not Path("/dev/shm").is_dir() else "/dev/shm") / f"prg-fuzz-{os.getpid()}.yaml"


def seeds() -> list[bytes]:
    """Where to begin."""
    return _SEEDS


def one_input(data: bytes) -> None:
    """Raises on a finding."""
    from orchestrator.config import ConfigError, check_file, effective, from_effective, load_file

    if data[:1] == b"\x00":
        from orchestrator.config import load_profile

        data = yaml.safe_dump(edits.edited(effective(load_profile("laptop")), data[1:])).encode("utf-8", "surrogatepass")
    _FILE.write_bytes(data)
    try:
        problems = check_file(_FILE)
    except ConfigError as err:
        problems = err.problems
        assert problems
    _FILE.unlink()
    for problem in problems:
        assert problem.found and problem.expected and problem.text(), problem
    if problems:
        return
    _FILE.write_bytes(data)
    config = load_file(_FILE)
    _FILE.unlink()
    assert from_effective(effective(config)) == config


if __name__ == "__main__":
    import fuzz_driver

    def load():
        """Imported anew, so that what it imports is instrumented."""
        import py_config

        import orchestrator.config  # noqa: F401

        return py_config

    sys.exit(fuzz_driver.main(load))
