"""The header record: everything a replay needs besides the inputs, in the journal itself.

Payload of a `kHeader` record::

    u32 json_bytes, little-endian | json_bytes of UTF-8 JSON | artifact bytes, one after the other

The JSON object has exactly the keys of :class:`JournalHeader` (artifacts as name, offset, size, sha256; offsets count
from the first artifact byte). Nothing outside the journal is referred to, so a journal can be replayed on another
machine, years later, with the same semantics version.
"""

from __future__ import annotations

import calendar
import hashlib
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hotpath._core import journal as _journal

_KEYS = {
    "format_version": int,
    "semantics_version": int,
    "session_date": str,
    "session_zone": str,
    "config": dict,
    "instruments": list,
    "machine": dict,
    "artifacts": list,
}
_ARTIFACT_KEYS = {"name": str, "offset": int, "size": int, "sha256": str}


class HeaderError(ValueError):
    """A header payload that is not what :func:`build_header` writes; the text names the field."""


@dataclass(frozen=True)
class JournalHeader:
    """What stands in a header record.

    session_date is "YYYY-MM-DD" in session_zone (an IANA name: ITCH time counts from midnight there and has no
    date). instruments is a list of JSON objects in index order. artifacts maps a name to its bytes.
    """

    session_date: str
    session_zone: str
    config: dict[str, Any]
    instruments: list[dict[str, Any]]
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    format_version: int = _journal.FORMAT_VERSION
    semantics_version: int = _journal.SEMANTICS_VERSION


def build_header(header: JournalHeader) -> bytes:
    """The payload of a header record. The same header gives the same bytes (sorted keys, artifacts by name)."""
    listed, blob = [], b""
    for name in sorted(header.artifacts):
        data = bytes(header.artifacts[name])
        listed.append({"name": name, "offset": len(blob), "size": len(data),
                       "sha256": hashlib.sha256(data).hexdigest()})
        blob += data
    document = {
        "format_version": header.format_version,
        "semantics_version": header.semantics_version,
        "session_date": header.session_date,
        "session_zone": header.session_zone,
        "config": header.config,
        "instruments": header.instruments,
        "machine": header.machine,
        "artifacts": listed,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    return struct.pack("<I", len(text)) + text + blob


def parse_header(payload: bytes) -> JournalHeader:
    """Read a header payload; raises :class:`HeaderError` on anything unexpected, wrong artifact bytes included."""
    if len(payload) < 4:
        raise HeaderError(f"header: expected at least 4 bytes, found {len(payload)}")
    (size,) = struct.unpack_from("<I", payload)
    if size > len(payload) - 4:
        raise HeaderError(f"header: json_bytes is {size}, but only {len(payload) - 4} bytes follow")
    try:
        document = json.loads(payload[4:4 + size].decode("utf-8"), object_pairs_hook=_no_duplicates)
    except HeaderError:
        raise
    except (ValueError, RecursionError) as e:  # no JSON, or thousands of digits or brackets
        raise HeaderError(f"header: not UTF-8 JSON: {e}") from None
    _check_keys("header", document, _KEYS)
    fmt = document["format_version"]
    if not _journal.OLDEST_READABLE_FORMAT <= fmt <= _journal.FORMAT_VERSION:
        raise HeaderError(f"header.format_version: this release reads {_journal.OLDEST_READABLE_FORMAT} to "
                          f"{_journal.FORMAT_VERSION}, found {fmt}")
    if not all(isinstance(i, dict) for i in document["instruments"]):
        raise HeaderError("header.instruments: expected a list of objects")
    return JournalHeader(
        session_date=_date(document["session_date"]),
        session_zone=document["session_zone"],
        config=document["config"],
        instruments=document["instruments"],
        machine=document["machine"],
        artifacts=_artifacts(document["artifacts"], payload[4 + size:]),
        format_version=fmt,
        semantics_version=document["semantics_version"],
    )


def _artifacts(listed: list[Any], blob: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    end = 0
    for i, entry in enumerate(listed):
        where = f"header.artifacts[{i}]"
        _check_keys(where, entry, _ARTIFACT_KEYS)
        name, offset, size = entry["name"], entry["offset"], entry["size"]
        if name in found:
            raise HeaderError(f"{where}.name: {name!r} occurs twice")
        if offset != end or size < 0 or size > len(blob) - offset:
            raise HeaderError(f"{where}: offset {offset} and size {size} do not fit: expected offset {end}, "
                              f"{len(blob)} artifact bytes in all")
        data = blob[offset:offset + size]
        digest = hashlib.sha256(data).hexdigest()
        if digest != entry["sha256"]:
            raise HeaderError(f"{where}.sha256: bytes of {name!r} hash to {digest}, header says {entry['sha256']}")
        found[name] = data
        end += size
    if end != len(blob):
        raise HeaderError(f"header: {len(blob) - end} bytes after the last artifact")
    return found


def _check_keys(where: str, value: Any, keys: Mapping[str, type]) -> None:
    if not isinstance(value, dict):
        raise HeaderError(f"{where}: expected an object, found {type(value).__name__}")
    if missing := keys.keys() - value.keys():
        raise HeaderError(f"{where}: missing {', '.join(sorted(missing))}")
    if unknown := value.keys() - keys.keys():
        raise HeaderError(f"{where}: unknown {', '.join(sorted(unknown))}")
    for key, kind in keys.items():
        if not isinstance(value[key], kind) or isinstance(value[key], bool):
            raise HeaderError(f"{where}.{key}: expected {kind.__name__}, found {type(value[key]).__name__}")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise HeaderError("header: a key occurs twice in one object")
    return found


def _date(text: str) -> str:
    match = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", text, re.ASCII)
    year, month, day = map(int, match.groups()) if match else (0, 0, 0)
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= calendar.monthrange(year, month)[1]:
        raise HeaderError(f"header.session_date: expected YYYY-MM-DD, found {text!r}")
    return text
