"""The server: who is answered, what is done once, what waits for what."""

from __future__ import annotations

import json
import stat
import threading
import time

import msgspec
import pytest
import zmq
from control_rig import ask, at_once, reply_of, until

from orchestrator.control import server as servers
from orchestrator.control.errors import ControlError
from orchestrator.control.messages import Request


def note(text="hello", **more):
    return Request(cmd="note", why="test", args={"text": text}, **more)


def test_a_request_by_the_socket_file_is_done_and_answered_with_where_it_took_effect(make_rig, recorder):
    rig = make_rig(recorder)
    request = note()
    reply = ask(rig.dealer(), request)
    assert reply.ok and reply.id == request.id and reply.effects[0].seq == 1 and not reply.duplicate
    seen, caller = recorder.seen[0]
    assert seen.args == {"text": "hello"} and caller.via == "ipc" and caller.role == "admin"
    assert seen.who == caller.name  # nobody named: the user of the socket


def test_the_socket_file_is_closed_to_others_and_gone_at_the_end(make_rig, recorder, folder):
    rig = make_rig(recorder)
    mode = (folder / "control.sock").stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    rig.server.stop()
    assert not (folder / "control.sock").exists()
    rig.server.stop = lambda: None


def test_a_req_client_with_an_empty_frame_is_answered_in_its_form(make_rig, recorder):
    rig = make_rig(recorder)
    s = rig.context.socket(zmq.REQ)
    s.linger = 0
    s.connect(rig.server.addresses()["control"])
    assert ask(s, note()).ok


def test_over_tcp_the_name_of_the_key_stands_for_who_and_its_role_counts(make_rig, recorder):
    rig = make_rig(recorder, tcp=True)
    assert ask(rig.dealer("operator"), note(who="the queen")).ok
    request, caller = recorder.seen[0]
    assert (request.who, caller.name, caller.role, caller.via) == ("a-operator", "a-operator", "operator", "tcp")
    denied = ask(rig.dealer("viewer"), note())
    assert denied.error.code == "denied" and "needs operator or risk" in denied.error.message
    assert rig.refused() == {"role": 1} and len(recorder.seen) == 1


def test_the_same_id_again_is_not_done_again_and_gets_the_first_reply(make_rig, recorder):
    rig = make_rig(recorder)
    request, s = note(), rig.dealer()
    first, again = ask(s, request), ask(s, request)
    assert again.duplicate and again.effects == first.effects and again.data == first.data
    assert len(recorder.seen) == 1
    other = ask(s, Request(cmd="note", why="test", args={"text": "something else"}, id=request.id))
    assert other.error.code == "conflict" and len(recorder.seen) == 1


def test_the_same_id_while_it_is_being_done_waits_for_the_same_reply(make_rig, recorder):
    rig = make_rig(recorder)
    recorder.hang.add("note")
    recorder.gate.clear()
    request, one, two = note(), rig.dealer(), rig.dealer()
    one.send(msgspec.msgpack.encode(request))
    until(lambda: recorder.seen)
    two.send(msgspec.msgpack.encode(request))
    until(lambda: rig.server.counts["duplicates"] == 1)
    recorder.gate.set()
    assert not reply_of(one).duplicate and reply_of(two).duplicate and len(recorder.seen) == 1


def test_questions_are_answered_while_a_change_hangs_and_a_kill_waits_for_neither(make_rig, recorder):
    rig = make_rig(recorder)
    recorder.hang |= {"note", "limits.get"}
    recorder.gate.clear()
    s = rig.dealer()
    s.send(msgspec.msgpack.encode(note()))
    s.send(msgspec.msgpack.encode(Request(cmd="limits.get")))
    until(lambda: len(recorder.seen) == 2)
    reply = ask(rig.dealer(), Request(cmd="kill"))
    assert reply.ok and reply.data["kill_word"] and rig.killed == ["cancel"]
    recorder.gate.set()


def test_a_kill_is_answered_although_everything_behind_the_receiving_thread_hangs(make_rig, recorder, monkeypatch):
    monkeypatch.setattr(servers, "KILL_REPLY_S", 0.2)
    rig = make_rig(recorder)
    recorder.hang.add("kill")
    recorder.gate.clear()
    reply = ask(rig.dealer(), Request(cmd="kill", args={"level": "flatten"}, why="fire"))
    assert reply.ok and reply.data["kill_word"] and "timeout" in reply.data["not_journaled"] and rig.killed == ["flatten"]
    recorder.gate.set()


def test_a_kill_is_taken_without_a_reason_and_however_often_its_sender_asks(make_rig, recorder):
    rig = make_rig(recorder, max_requests_per_s=3)
    s = rig.dealer()
    codes = [reply.error and reply.error.code for reply in at_once(s, [Request(cmd="status") for _ in range(60)])]
    assert "busy" in codes and rig.refused()["rate"] > 0
    for _ in range(5):
        assert ask(s, Request(cmd="kill", who="x" * 500, why="\x1b[2J", when_ns=2**63)).ok
    assert len(rig.killed) == 5
    assert all(r.why.isprintable() and len(r.who) <= 64 for r, _ in recorder.seen if r.cmd == "kill")


STOPS = {"pause": {"all": True}, "drain": {"all": True}, "flatten": {}, "reduce_only": {"on": True}, "limits.set": {"limits": {"max_order_lots": 0}}, "stop": {}}


def test_what_stops_is_not_told_busy_because_another_program_of_this_machine_floods(make_rig, recorder):
    rig = make_rig(recorder, max_requests_per_s=3)
    flood, person = rig.dealer(), rig.dealer()
    assert any(reply.error for reply in at_once(flood, [Request(cmd="status") for _ in range(60)]))
    for cmd, args in STOPS.items():
        assert ask(person, Request(cmd=cmd, args=args, why="now")).ok, cmd
    refused = at_once(flood, [Request(cmd="pause", args={"all": True}, why="x") for _ in range(60)])
    assert any(reply.error for reply in refused), "each has a budget all the same"


def test_what_stops_finds_room_where_other_changes_are_refused_and_keeps_its_turn(make_rig, recorder):
    rig = make_rig(recorder, max_requests_per_s=1_000_000)
    recorder.hang.add("note")
    recorder.gate.clear()
    flood, person = rig.dealer(), rig.dealer()
    for _ in range(300):
        flood.send(msgspec.msgpack.encode(note()))
    assert reply_of(flood).error.code == "busy"
    person.send(msgspec.msgpack.encode(Request(cmd="pause", args={"all": True}, why="now")))
    assert not person.poll(200), "nothing is refused, and nothing overtakes"
    recorder.gate.set()
    assert reply_of(person).ok and recorder.commands()[-1] == "pause"


def test_a_kill_with_a_known_id_acts_once_and_one_with_other_content_acts_too(make_rig, recorder):
    rig = make_rig(recorder)
    s, request = rig.dealer(), Request(cmd="kill", why="a")
    assert not ask(s, request).duplicate and ask(s, request).duplicate and rig.killed == ["cancel"]
    assert ask(s, Request(cmd="kill", why="b", id=request.id)).ok and rig.killed == ["cancel", "cancel"]


def test_what_a_handler_raises_is_told_and_the_next_request_is_served(make_rig, recorder):
    rig = make_rig(recorder)
    s = rig.dealer()
    failed = ask(s, note("raise"))
    assert failed.error.code == "internal" and "on purpose" in failed.error.message
    assert ask(s, note()).ok


def test_a_reply_that_says_try_again_is_not_kept(make_rig):
    class Busy:
        calls = 0

        def handle(self, request, caller):
            self.calls += 1
            if self.calls == 1:
                raise ControlError("timeout", "not yet")
            return msgspec.structs.replace(ok, id=request.id)

    from orchestrator.control.messages import Reply

    ok = Reply(id="", ok=True)
    rig = make_rig(handler := Busy())
    s, request = rig.dealer(), note()
    assert ask(s, request).error.code == "timeout"
    again = ask(s, request)
    assert again.ok and not again.duplicate and handler.calls == 2


def test_a_stale_request_is_refused_over_tcp_but_a_stale_kill_is_not(make_rig, recorder):
    rig = make_rig(recorder, tcp=True)
    s = rig.dealer("risk")
    for shift_s in (-301, 301):
        reply = ask(s, note(when_ns=time.time_ns() + shift_s * 10**9))
        assert reply.error.code == "denied" and "when_ns" in reply.error.message
    assert ask(s, note(when_ns=time.time_ns() - 290 * 10**9)).ok
    assert ask(s, Request(cmd="kill", when_ns=1)).ok
    assert ask(rig.dealer(), note(when_ns=1)).ok  # this machine's own clock needs no check


def test_a_name_taken_from_the_list_is_refused_on_the_connection_it_has(make_rig, recorder):
    rig = make_rig(recorder, tcp=True)
    s = rig.dealer("admin")
    assert ask(s, note()).ok
    rig.clients.write_text(rig.keys["viewer"].line("viewer") + "\n")
    assert rig.server.reload_clients() == ""
    s.send(msgspec.msgpack.encode(note()))
    until(lambda: rig.refused().get("key") == 1)
    assert not s.poll(100) and len(recorder.seen) == 1


def test_a_list_that_is_not_good_is_not_taken(make_rig, recorder):
    rig = make_rig(recorder, tcp=True)
    rig.clients.write_text("nonsense\n")
    assert "line 1" in rig.server.reload_clients()
    assert ask(rig.dealer("operator"), note()).ok


def test_tcp_without_keys_does_not_open(folder, recorder):
    from orchestrator.config.models_operate import Control

    folder.mkdir()
    with pytest.raises(ControlError, match="control.tcp without"):
        servers.ControlServer(Control(tcp="127.0.0.1:0"), recorder, folder)
    assert not (folder / "control.sock").exists()


def test_changes_and_refusals_stand_in_the_audit_log_and_questions_do_not(make_rig, recorder, folder):
    rig = make_rig(recorder)
    s = rig.dealer()
    request = note(who="anna")
    ask(s, request)
    ask(s, Request(cmd="status"))
    ask(s, Request(cmd="note", args={"text": "x"}))
    ask(s, Request(cmd="revive", why="again", args={"token": "secret"}))
    rig.server.audit.close()
    lines = [json.loads(line) for line in (folder / "control.log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["change", "refused", "change"]
    assert lines[0]["id"] == request.id and lines[0]["effects"] == [{"shard": 0, "seq": 1}]
    assert (lines[0]["who"], lines[0]["why"], lines[0]["cmd"]) == ("anna", "test", "note")
    assert lines[1]["refused"] == "form" and lines[1]["count"] == 1
    assert "secret" not in json.dumps(lines)


def test_a_full_disk_stops_no_command_and_is_counted(make_rig, recorder, monkeypatch):
    rig = make_rig(recorder)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrator.control.audit.os.write", full)
    assert ask(rig.dealer(), note()).ok
    until(lambda: rig.server.audit.lost == 1)


def test_many_clients_at_once_are_each_given_their_own_reply(make_rig, recorder):
    rig = make_rig(recorder)
    wrong = []

    def one(i):
        s = rig.dealer()
        for k in range(20):
            request = note(f"{i}.{k}")
            if ask(s, request).id != request.id:
                wrong.append(i)
        s.close()

    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong and len(recorder.seen) == 160


def test_a_client_does_not_speak_to_a_socket_in_a_folder_of_somebody_else(make_rig, recorder, folder, monkeypatch):
    from orchestrator.control import client

    make_rig(recorder)
    with client.ControlClient.local(folder.name) as control:
        assert control.call("note", {"text": "x"}, why="mine").ok
    monkeypatch.setattr(client.os, "getuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(ControlError, match="belongs to another user"):
        client.ControlClient.local(folder.name)


def test_a_client_that_gets_no_answer_asks_again_with_the_same_id_and_then_says_what_to_do(make_rig, recorder, folder):
    from orchestrator.control.client import ControlClient

    make_rig(recorder)
    recorder.hang.add("note")
    recorder.gate.clear()
    with ControlClient.local(folder.name, timeout_s=3) as control, pytest.raises(ControlError, match="did not answer") as found:
        control.call("note", {"text": "x"}, why="test")
    recorder.gate.set()
    assert found.value.code == "timeout" and "peregrine kill" in found.value.hint and len(recorder.seen) == 1
