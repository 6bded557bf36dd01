"""The header record holds everything by itself, and nothing that is not as written gets through."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath import journal
from hotpath.journal.header import HeaderError, JournalHeader, build_header, parse_header

HEADER = JournalHeader(
    session_date="2019-12-30", session_zone="America/New_York", config={"risk": {"max_order_lots": 100}},
    instruments=[{"symbol": "PRGN", "tick": 100}], artifacts={"b.safetensors": b"\x01\x02", "a": b"", "c": b"xyz"},
    machine={"cpu": "some"})
JSON_TYPES = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
                          lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@given(st.dictionaries(st.text(), JSON_TYPES, max_size=4), st.dictionaries(st.text(), st.binary(max_size=50), max_size=4))
def test_a_header_comes_back_as_it_was(config, artifacts):
    header = JournalHeader("2020-02-29", "UTC", config, [], artifacts)
    assert parse_header(build_header(header)) == header


def test_the_same_header_gives_the_same_bytes():
    turned = JournalHeader(**{**HEADER.__dict__, "artifacts": dict(reversed(HEADER.artifacts.items()))})
    assert build_header(HEADER) == build_header(turned)


def with_json(**changes):
    payload = build_header(HEADER)
    (n,) = struct.unpack_from("<I", payload)
    document = json.loads(payload[4:4 + n]) | changes
    text = json.dumps({k: v for k, v in document.items() if v is not ...}, default=str).encode()
    return struct.pack("<I", len(text)) + text + payload[4 + n:]


ARTIFACT = {"name": "x", "offset": 0, "size": 5, "sha256": "0" * 64}


@pytest.mark.parametrize(("payload", "says"), [
    (b"", "at least 4 bytes"),
    (struct.pack("<I", 10) + b"{}", "json_bytes is 10"),
    (struct.pack("<I", 2) + b"{]", "not UTF-8 JSON"),
    (struct.pack("<I", 1) + b"\xff", "not UTF-8 JSON"),
    (struct.pack("<I", 2) + b"[]", "expected an object"),
    (struct.pack("<I", 14) + b'{"a":1, "a":2}', "occurs twice"),
    (with_json(session_zone=...), "missing session_zone"),
    (with_json(colour="red"), "unknown colour"),
    (with_json(session_date="2019-02-29"), "session_date"),
    (with_json(session_date="20191230"), "session_date"),
    (with_json(config=[]), "header.config: expected dict"),
    (with_json(format_version=True), "format_version: expected int"),
    (with_json(format_version=99), "format_version"),
    (with_json(instruments=[1]), "instruments"),
    (with_json(artifacts=[ARTIFACT]), "hash to"),
    (with_json(artifacts=[ARTIFACT | {"size": 6}]), "do not fit"),
    (with_json(artifacts=[ARTIFACT | {"offset": 1}]), "do not fit"),
    (with_json(artifacts=[ARTIFACT | {"size": -1}]), "do not fit"),
    (with_json(artifacts=[]), "5 bytes after the last artifact"),
    (build_header(HEADER) + b"x", "1 bytes after the last artifact"),
])
def test_a_wrong_header_is_refused_by_field(payload, says):
    with pytest.raises(HeaderError) as e:
        parse_header(payload)
    assert says in str(e.value)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_as_a_header(payload):
    with pytest.raises(HeaderError):
        parse_header(payload)


def test_a_header_goes_through_a_journal(bench):
    found = bench.recover(header=build_header(HEADER))
    assert found["header_seq"] == 1 and found["next_seq"] == 2
    (kind, seq, _, _, payload), = bench.read()
    assert (kind, seq) == (journal.RecordType.HEADER, 1)
    assert parse_header(payload) == HEADER
