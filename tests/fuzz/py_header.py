"""The journal's header record of any bytes: HeaderError with a reason, or a header that is written again to the same
meaning. The first byte says what the rest is: a payload, its JSON text alone, or edits of a good one (fuzz_edits.py)."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import fuzz_edits as edits  # noqa: E402

GOOD = {
    "format_version": 1, "semantics_version": 1, "session_date": "2019-12-30", "session_zone": "America/New_York",
    "config": {"a": {"b": [1, 2]}}, "instruments": [{"symbol": "PRGN"}], "machine": {"cpu": "x"},
    "artifacts": [{"name": "p", "offset": 0, "size": 4,
                   "sha256": "03ac674216f3e15c761ee1af2e555067953623c8b388b4459e13f978d7c846f4"}],
}  # fmt: skip


def one_input(data: bytes) -> None:
    """Raises on a finding."""
    from hotpath.journal.header import HeaderError, build_header, parse_header

    kind, payload = data[0] % 3 if data else 0, data[1:]
    if kind == 1:
        payload = struct.pack("<I", len(payload)) + payload
    elif kind == 2:
        text = json.dumps(edits.edited(GOOD, payload)).encode()
        payload = struct.pack("<I", len(text)) + text + b"1234"
    try:
        header = parse_header(payload)
    except HeaderError as err:
        assert str(err)
        return
    assert parse_header(build_header(header)) == header


def seeds() -> list[bytes]:
    """Where to begin."""
    from hotpath.journal.header import JournalHeader, build_header

    good = build_header(JournalHeader(session_date="2019-12-30", session_zone="America/New_York", config={"a": 1},
                                      instruments=[{"symbol": "PRGN"}], machine={}, artifacts={"p": b"1234"}))
    (size,) = struct.unpack_from("<I", good)
    bare = build_header(JournalHeader(session_date="2019-12-30", session_zone="America/New_York", config={}, instruments=[],
                                      machine={}, artifacts={}))
    return [b"\x02\x00\x05\x00", b"\x00" + good, b"\x01" + bare[4:], b"\x01" + good[4 : 4 + size]]


if __name__ == "__main__":
    import fuzz_driver

    def load():
        """Imported anew, so that what it imports is instrumented."""
        import py_header

        import hotpath.journal.header  # noqa: F401

        return py_header

    sys.exit(fuzz_driver.main(load))
