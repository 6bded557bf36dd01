"""Policy artifacts of any bytes: ArtifactError with a reason, or an artifact whose network the engine loads too.

The first byte says what the rest is: a whole file, a JSON header put before the reference policy's tensors, the inner
metadata in place of the reference policy's, changes to single bytes of it, or edits of header or metadata (fuzz_edits.py).
"""

from __future__ import annotations

import json
import struct
import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import fuzz_edits as edits  # noqa: E402


@cache
def reference() -> bytes:
    """A good artifact."""
    from hotpath.policy import artifact

    return artifact.dump(artifact.make_reference())


def _parts(data: bytes) -> tuple[dict, bytes]:
    (size,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def _file(header: bytes, tensors: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + tensors


def build(data: bytes) -> bytes:
    """The file that an input stands for."""
    kind, rest = data[0] % 6 if data else 0, data[1:]
    if kind == 0:
        return rest
    header, tensors = _parts(reference())
    if kind == 1:
        return _file(rest, tensors)
    if kind == 2:
        header["__metadata__"] = {"peregrine": rest.decode("utf-8", "replace")}
        return _file(json.dumps(header).encode(), tensors)
    if kind == 4:
        return _file(json.dumps(edits.edited(header, rest)).encode(), tensors)
    if kind == 5:
        meta = edits.edited(json.loads(header["__metadata__"]["peregrine"]), rest)
        header["__metadata__"] = {"peregrine": json.dumps(meta)}
        return _file(json.dumps(header).encode(), tensors)
    whole = bytearray(reference())
    for i in range(0, len(rest) - 2, 3):
        whole[int.from_bytes(rest[i : i + 2], "big") % len(whole)] = rest[i + 2]
    return bytes(whole)


def one_input(data: bytes) -> None:
    """Raises on a finding."""
    from hotpath.policy import artifact

    file = build(data)
    try:
        found = artifact.parse(file)
    except artifact.ArtifactError as err:
        assert str(err)
        return
    found.to_core("scalar")


def seeds() -> list[bytes]:
    """Where to begin."""
    header, _ = _parts(reference())
    inner = header["__metadata__"]["peregrine"].encode()
    small = json.dumps({"feature_index": {"dtype": "U16", "shape": [], "data_offsets": [0, 2]}}).encode()
    deep = b"[" * 20_000 + b"]" * 20_000
    return [b"\x02" + deep, b"\x01" + deep, b"\x02" + inner.replace(b'"version":1', b'"version":' + b"1" * 5000),
            b"\x04\x00\x05\x00", b"\x05\x00\x05\x00", b"\x00" + reference()[:2000], b"\x01" + json.dumps(header).encode(), b"\x02" + inner, b"\x03\x00\x10\x00", b"\x01" + small]


if __name__ == "__main__":
    import fuzz_driver

    def load():
        """Imported anew, so that what it imports is instrumented."""
        import py_artifact

        import hotpath.policy.artifact  # noqa: F401

        return py_artifact

    sys.exit(fuzz_driver.main(load))
