"""`peregrine decode` and `peregrine book` as a person runs them."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import pytest
import zstandard
from oracles.market_book import OracleMarket
from oracles.market_streams import stream
from recordings import data_root, recording

from hotpath._core import market as mk
from orchestrator.cli.main import main


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the command."""
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in args])
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def itch_bytes(messages: list[bytes]) -> bytes:
    return b"".join(len(m).to_bytes(2, "big") + m for m in messages)


@pytest.fixture
def itch(tmp_path: Path) -> tuple[Path, list[bytes]]:
    messages = [m for m in stream(3, 800, nasty=0.1) if m]
    path = tmp_path / "day.itch"
    path.write_bytes(itch_bytes(messages))
    return path, messages


def test_decode_prints_every_message_once_and_encodes_back(
        capsys: pytest.CaptureFixture[str], itch: tuple[Path, list[bytes]]) -> None:
    path, messages = itch
    code, out, _ = run(capsys, "decode", path, "--json")
    lines = [json.loads(x) for x in out.splitlines()]
    assert code == 0 and [x["n"] for x in lines] == list(range(1, len(messages) + 1))
    for line, raw in zip(lines, messages, strict=True):
        assert (bytes.fromhex(line["hex"]) if "error" in line else mk.encode(line)) == raw
        assert path.read_bytes()[line["offset"] + 2:][:len(raw)] == raw
    assert any("error" in x for x in lines)


def test_compressed_files_give_the_same_lines(
        capsys: pytest.CaptureFixture[str], itch: tuple[Path, list[bytes]]) -> None:
    path, _ = itch
    plain = run(capsys, "decode", path)
    for name, pack in (("a.gz", gzip.compress), ("b.zst", zstandard.compress)):
        packed = path.with_name(name)
        packed.write_bytes(pack(path.read_bytes()))
        assert run(capsys, "decode", packed) == plain


def test_a_limit_and_a_choice_of_types_are_kept(
        capsys: pytest.CaptureFixture[str], itch: tuple[Path, list[bytes]]) -> None:
    _, out, err = run(capsys, "decode", itch[0], "--type", "DU", "--limit", 5, "--json")
    lines = [json.loads(x) for x in out.splitlines()]
    assert len(lines) == 5 and {x["type"] for x in lines} <= {"D", "U"} and err == ""


@pytest.mark.parametrize("cut", [1, 7])
def test_a_truncated_file_shows_what_is_whole_and_warns_with_the_offset(
        capsys: pytest.CaptureFixture[str], itch: tuple[Path, list[bytes]], cut: int) -> None:
    path, messages = itch
    data = path.read_bytes()[:-cut]
    path.write_bytes(data)
    code, out, err = run(capsys, "decode", path)
    offset = len(data) + cut - 2 - len(messages[-1])
    assert code == 0 and len(out.splitlines()) == len(messages) - 1
    assert f"truncated at byte {offset} after {len(messages) - 1} messages" in err
    code, _, err = run(capsys, "book", path, "--json")
    assert code == 0 and f"truncated at byte {offset} after {len(messages) - 1} messages" in err


@pytest.mark.parametrize("command", ["decode", "book"])
def test_a_gz_cut_in_the_middle_warns_instead_of_failing(
        capsys: pytest.CaptureFixture[str], itch: tuple[Path, list[bytes]], command: str) -> None:
    packed = itch[0].with_name("cut.gz")
    whole = gzip.compress(itch[0].read_bytes())
    packed.write_bytes(whole[: len(whole) // 2])
    code, _, err = run(capsys, command, packed)
    assert code == 0 and "truncated at byte" in err


@pytest.mark.parametrize(("content", "word"), [(None, "no such file"), (b"", "empty"), (b"hello world\n", "neither"),
                                               (b"\x0a\x0d\x0d\x0a" + bytes(20), "pcapng")])
@pytest.mark.parametrize("command", ["decode", "book"])
def test_what_cannot_be_read_is_an_error_with_a_hint(
        capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, content: bytes | None, word: str) -> None:
    path = tmp_path / "f"
    if content is not None:
        path.write_bytes(content)
    code, out, err = run(capsys, command, path)
    assert code == 64 and out == "" and word in err and "hint: " in err and "Traceback" not in err


@pytest.mark.parametrize("at", [0, 3, 50, 799])
def test_book_shows_the_oracles_levels_after_the_nth_message(
        capsys: pytest.CaptureFixture[str], itch: tuple[Path, list[bytes]], at: int) -> None:
    path, messages = itch
    oracle = OracleMarket()
    for m in messages[:at]:
        oracle.on_message(m)
    code, out, _ = run(capsys, "book", path, "--at", at, "--levels", 4, "--json")
    books = json.loads(out)
    assert code == 0 and set(books) == set(oracle.stocks)
    for symbol in oracle.stocks:
        for key, side in (("bids", "B"), ("asks", "S")):
            assert [(x["price_ticks"], x["qty_lots"], x["orders"]) for x in books[symbol][key]] == oracle.levels(symbol, side, 4)


def test_book_refuses_a_message_number_the_file_does_not_reach(
        capsys: pytest.CaptureFixture[str], itch: tuple[Path, list[bytes]]) -> None:
    path, messages = itch
    code, _, err = run(capsys, "book", path, "--at", len(messages) + 1)
    assert code == 64 and f"only {len(messages)} messages" in err
    assert run(capsys, "book", path, "--symbol", "NOPE")[0] == 64
    code, out, err = run(capsys, "book", path, "--symbol", "AAA")
    assert code == 0 and "AAA after message" in out and "unknown_ref" in err


def test_book_meets_a_checkpoint_of_the_recording(capsys: pytest.CaptureFixture[str]) -> None:
    expected = json.loads(recording("itch/aapl_20200130_first6000.expected.json").read_text())["checkpoints"][2]
    _, out, _ = run(capsys, "book", recording("itch/aapl_20200130_first6000.itch"), "--at", 3000, "--json")
    book = json.loads(out)["AAPL"]
    for key in ("bids", "asks"):
        assert book[key] == [{"price_ticks": x["px"], "qty_lots": x["qty"], "orders": x["orders"]} for x in expected[key]]


def test_every_capture_decodes_without_a_malformed_line(capsys: pytest.CaptureFixture[str]) -> None:
    if data_root() is None:
        pytest.skip("no recordings here")
    for path in sorted((data_root() / "wire").glob("*.pcap")):
        code, out, err = run(capsys, "decode", path, "--json")
        lines = [json.loads(x) for x in out.splitlines()]
        assert code == 0 and lines and err == "" and not any("error" in x for x in lines), path
        assert run(capsys, "decode", path)[1].count("\n") == len(lines)
    code, out, _ = run(capsys, "decode", recording("wire/jnx_ouch1.11_LoginRequestPacket.L.pcap"))
    assert "password=***" in out
    books = json.loads(run(capsys, "book", recording("wire/nasdaq_itch50_Multiple.Packets.pcap"), "--json")[1])
    assert sum(x["orders"] for x in books["META"]["bids"] + books["META"]["asks"]) > 10


def record(kind: int, seq: int, payload: bytes) -> bytes:
    pad = -len(payload) % 8
    return struct.pack("<IHHQqII", 32 + len(payload) + pad, kind, pad, seq, 1_000, 1, 0) + payload + bytes(pad)


def test_a_journal_shows_records_by_type_with_the_message_inside(
        capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    itch_msg = mk.encode({"type": "A", "locate": 1, "ref": 7, "side": "S", "shares": 5, "stock": "AAA", "price_ticks": 9})
    feed = struct.pack("<QB7x", 12, 1) + itch_msg
    header = json.dumps({"a": 1}).encode()
    enter = bytes.fromhex("58000000050000000a")
    intent = struct.pack("<4B3I2q2Q", 3, 0, 255, 48, 5, 4, 2, 10, 20, 30, 40) + enter
    segment = b"PGJSEG01" + bytes(120) + b"".join([
        record(1, 1, struct.pack("<I", len(header)) + header), record(16, 2, feed),
        record(18, 3, struct.pack("<BB6xQQ", 4, 1, 5, 9)), record(19, 4, b"S" + b"S" + bytes(8) + b"S"),
        record(64, 5, intent), record(66, 6, struct.pack("<QQQ", 5, 1, 2)), record(99, 7, b"??"), record(20, 8, b"\x01")])
    (tmp_path / "journal-000001.pgj").write_bytes(segment + bytes(4096))
    for target in (tmp_path, tmp_path / "journal-000001.pgj"):
        code, out, err = run(capsys, "decode", target, "--json")
        lines = [json.loads(x) for x in out.splitlines()]
        assert code == 0 and err == "" or "malformed" in err
        assert [x["record"] for x in lines] == ["header", "feed", "feed_state", "session", "intent", "state_hash",
                                                "type_99", "session_state"]
        assert lines[1] | {"feed_seq": 12, "line": "B", "ref": 7, "stock": "AAA", "side": "S"} == lines[1]
        assert lines[2]["state"] == "stale" and lines[2]["to_seq"] == 9
        assert lines[3]["packet_type"] == "S" and lines[3]["name"] == "system_event"
        assert lines[4]["intent"] == "cancel" and lines[4]["message"]["quantity"] == 10
        assert lines[6]["hex"] == b"??".hex() and "malformed" in lines[7]["error"]
    (tmp_path / "journal-000001.pgj").write_bytes(segment[:-5])
    code, out, err = run(capsys, "decode", tmp_path)
    assert code == 0 and "truncated at byte" in err and len(out.splitlines()) == 7
