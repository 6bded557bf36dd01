"""Replies that outlive their server: whole or not there, bounded, and given again by the next one."""

from __future__ import annotations

from pathlib import Path

import pytest
from control_rig import ask
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.control.messages import Effect, Problem, Reply, Request
from orchestrator.control.reply_file import MAX_RECORD_BYTES, Record, ReplyFile


def record(n: int, size: int = 0) -> Record:
    return Record(f"id{n}", bytes([n % 256]) * 32, Reply(id=f"id{n}", ok=True, effects=[Effect(0, n, 1)], data={"pad": "x" * size}))


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=12), cut=st.integers(0, 2000), garbage=st.binary(max_size=40))
def test_a_file_cut_anywhere_holds_every_whole_record_before_the_cut_and_takes_more(tmp_path_factory, sizes, cut, garbage):
    path = tmp_path_factory.mktemp("r") / "replies"
    file, ends = ReplyFile(path), [0]
    for n, size in enumerate(sizes):
        file.append(record(n, size))
        ends.append(path.stat().st_size)
    keep = max(0, ends[-1] - cut)
    path.write_bytes(path.read_bytes()[:keep] + (garbage if cut else b""))
    whole = sum(1 for end in ends[1:] if end <= keep)
    assert [r.id for r in ReplyFile(path).read()[:whole]] == [f"id{n}" for n in range(whole)]
    after = ReplyFile(path)
    known = len(after.read())
    after.append(record(99))
    assert [r.id for r in after.read()][known:] == ["id99"] and after.lost == 0


def test_a_flipped_bit_ends_what_is_believed(tmp_path):
    file = ReplyFile(tmp_path / "replies")
    for n in range(3):
        file.append(record(n))
    data = bytearray(file.path.read_bytes())
    data[len(data) // 2] ^= 1
    file.path.write_bytes(data)
    assert [r.id for r in file.read()] == ["id0"]


def test_it_stays_small_keeps_the_newest_and_is_nobody_elses(tmp_path):
    file = ReplyFile(tmp_path / "replies", max_bytes=4000)
    for n in range(200):
        file.append(record(n, 40))
        assert file.path.stat().st_size <= 4000 and file.path.stat().st_mode & 0o777 == 0o600
    kept = [r.id for r in file.read()]
    assert kept == [f"id{n}" for n in range(200 - len(kept), 200)] and len(kept) >= 10
    file = ReplyFile(tmp_path / "big")
    file.append(record(1, MAX_RECORD_BYTES))
    (slim,) = file.read()
    assert slim.reply.effects == [Effect(0, 1, 1)] and slim.reply.data is None


def test_a_disk_that_takes_nothing_is_counted(tmp_path):
    file = ReplyFile(tmp_path / "not there" / "replies")
    file.append(record(1))
    assert file.lost == 1 and file.read() == [] and ReplyFile(None).read() == []
    if Path("/dev/full").exists():
        (tmp_path / "full").symlink_to("/dev/full")
        full = ReplyFile(tmp_path / "full")
        full.append(record(1))
        assert full.lost == 1


def change(cmd: str = "note", request_id: str = "", **args) -> Request:
    request = Request(cmd=cmd, args=args or {"text": "lunch"}, why="because", who="anna")
    request.id = request_id or request.id
    return request


def test_the_next_server_answers_an_old_id_with_the_old_reply_and_does_nothing(make_rig, recorder):
    first = make_rig(recorder)
    request, kill = change(), change("kill", level="cancel")
    replies = [ask(first.dealer(), r) for r in (request, kill)]
    assert all(r.ok and not r.duplicate for r in replies)
    first.server.stop()
    second = make_rig(recorder)
    for r, reply in zip((request, kill), replies, strict=True):
        again = ask(second.dealer(), r)
        assert again.duplicate and (again.ok, again.effects, again.data) == (reply.ok, reply.effects, reply.data)
    assert recorder.commands() == ["note", "kill"] and second.killed == []
    request.args["text"] = "dinner"
    assert ask(second.dealer(), request).error.code == "conflict", "and the same id for something else is refused still"
    assert (second.folder / "control.replies").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("code", ["busy", "unavailable", "timeout"])
def test_what_is_to_be_asked_again_is_asked_again_of_the_next_server_too(make_rig, recorder, code, monkeypatch):
    monkeypatch.setattr(type(recorder), "handle", lambda self, request, caller: self.seen.append((request, caller)) or Reply(
        id=request.id, ok=False, error=Problem(code, "on purpose")))
    first, request = make_rig(recorder), change()
    ask(first.dealer(), request)
    first.server.stop()
    assert not ask(make_rig(recorder).dealer(), request).duplicate and len(recorder.seen) == 2


def test_what_dies_with_its_supervisor_is_not_remembered(make_rig, recorder):
    """A token and a loaded policy: an old reply would promise what is not there."""
    first = make_rig(recorder)
    gone, stays = [change("revive"), change("policy.load", slot=0, path="x")], change("revive", token="t")
    gone[0].args = {}
    for r in (*gone, stays):
        ask(first.dealer(), r)
    assert b'"token"' not in (first.folder / "control.replies").read_bytes()
    first.server.stop()
    second = make_rig(recorder)
    assert [ask(second.dealer(), r).duplicate for r in (*gone, stays)] == [False, False, True]
