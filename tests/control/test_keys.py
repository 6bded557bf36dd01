"""Key files, the list of clients, the answer to "may this key connect", the audit log, the engine's agent."""

from __future__ import annotations

import json
import socket
import stat
import struct
import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from orchestrator.cli.main import main
from orchestrator.control import allow_list, audit, bodies, engine_agent, keys, zap
from orchestrator.control.errors import ControlError
from orchestrator.run.plan import builtin_policy_path


def test_a_key_file_is_its_owners_alone_and_never_replaced(tmp_path):
    pair, path = keys.make("anna"), tmp_path / "anna.key"
    keys.write(pair, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and keys.read(path) == pair
    assert pair.secret not in repr(pair)
    with pytest.raises(keys.KeyFileError, match="never replaced"):
        keys.write(pair, path)
    path.chmod(0o640)
    with pytest.raises(keys.KeyFileError, match="open to others"):
        keys.read(path)


@pytest.mark.parametrize("text", ["", "name: a\npublic: b\nsecret: c\n", "nonsense"])
def test_what_is_no_key_file_is_refused(tmp_path, text):
    path = tmp_path / "x.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(keys.KeyFileError, match="no key file"):
        keys.read(path)


def test_a_public_key_that_belongs_to_another_secret_is_found(tmp_path):
    one, two = keys.make("a"), keys.make("b")
    keys.write(keys.KeyPair("a", one.public, two.secret), tmp_path / "x.key")
    with pytest.raises(keys.KeyFileError, match="does not belong"):
        keys.read(tmp_path / "x.key")


@pytest.mark.parametrize("name", ["", "two words", "#x", "x" * 65, "tab\t", "bell\a"])
def test_a_name_that_could_not_stand_in_a_list_gets_no_key(name):
    with pytest.raises(keys.KeyFileError):
        keys.make(name)


def test_keys_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*args, code=0):
        with pytest.raises(SystemExit) as end:
            main(["keys", *args])
        assert end.value.code == code
        return capsys.readouterr().out

    line = call("new", "anna", "--role", "risk")
    assert allow_list.parse(line)[line.split()[2]].role == "risk"
    shown = json.loads(call("show", "anna.key", "--json"))
    assert shown == {"name": "anna", "public": line.split()[2]} and "secret" not in call("show", "anna.key")
    call("new", "anna", code=64)
    call("new", "bob", "--role", "king", code=64)
    assert keys.public_key("anna.key") == keys.public_key(shown["public"]) == shown["public"]


@pytest.mark.parametrize("line", ["anna risk", "anna king KEY", "anna risk short", "anna risk KEY\nanna viewer KEY2", "anna risk KEY\nbob risk KEY"])
def test_a_bad_line_of_the_list_is_named(line):
    text = line.replace("KEY2", keys.make("x").public).replace("KEY", keys.make("y").public)
    with pytest.raises(allow_list.AllowListError, match="line [12]"):
        allow_list.parse(text)


@given(st.text(max_size=200))
def test_any_text_is_a_list_or_refused_with_its_line(text):
    try:
        assert all(len(key) == 40 for key in allow_list.parse(text))
    except allow_list.AllowListError as err:
        assert str(err).startswith("line ")


def test_a_list_others_can_write_is_not_read(tmp_path):
    path = tmp_path / "clients"
    path.write_text("")
    path.chmod(0o666)
    with pytest.raises(allow_list.AllowListError, match="written by others"):
        allow_list.read(path)


def test_the_list_is_read_again_when_it_changes_and_kept_when_it_is_bad(tmp_path):
    path, anna = tmp_path / "clients", keys.make("anna")
    path.write_text("")
    path.chmod(0o600)
    allowed = allow_list.AllowList(path)
    assert allowed.caller(anna.public) is None and allowed.refresh() is None
    path.write_text(anna.line("risk"))
    assert allowed.refresh() == "" and allowed.caller(anna.public).role == "risk"
    path.write_text("nonsense")
    assert "line 1" in allowed.refresh() and allowed.caller(anna.public).role == "risk" and allowed.bad_reloads == 1


@given(st.lists(st.binary(max_size=40), max_size=9))
def test_the_list_answers_any_frames_and_lets_in_only_whom_it_knows(frames):
    class Nobody:
        def caller(self, key):
            return None

    reply, reason = zap.answer(frames, Nobody())
    assert reason and reply[2] != b"200" and len(reply) == 6


def test_a_known_key_is_let_in_under_its_key():
    anna = keys.make("anna")

    class Everybody:
        def caller(self, key):
            return key

    frames = [b"1.0", b"1", b"control", b"127.0.0.1", b"", b"CURVE", z85.decode(anna.public.encode())]
    assert zap.answer(frames, Everybody()) == ([b"1.0", b"1", b"200", b"OK", anna.public.encode(), b""], "")
    assert zap.answer([*frames[:5], b"NULL"], Everybody())[1] == "mechanism"


def test_audit_lines_are_appended_whole_and_a_torn_one_does_not_spoil_the_next(tmp_path, monkeypatch):
    path = tmp_path / "control.log"
    log = audit.Audit(path)
    real, once = audit.os.write, [True]

    def short(handle, data):
        return real(handle, data[:5]) if once.pop(0) is True and once.append(False) is None else real(handle, data)

    monkeypatch.setattr(audit.os, "write", lambda handle, data: short(handle, data))
    log.write({"n": 1})
    log.write({"n": 2})
    log.close()
    good = []
    for line in path.read_text().splitlines():
        try:
            good.append(json.loads(line)["n"])
        except ValueError:
            continue
    assert good == [2] and log.lost == 1 and log.written == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


class Engine:
    """What the agent calls of a LiveRun."""

    def __init__(self):
        self.commands, self.busy = [], 0

    def command(self, kind, body, key, policy, shard, origin):
        if self.busy:
            self.busy -= 1
            return False
        self.commands.append((kind, body, key, policy["slot"], shard, origin))
        return True

    def snapshot_now(self, shard):
        return shard == 0


@pytest.fixture
def agent(folder, monkeypatch):
    monkeypatch.setattr(engine_agent, "HANDOVER_S", 60)  # how long it tries is not the question here
    folder.mkdir(mode=0o700)
    engine, levels = Engine(), []
    with engine_agent.EngineAgent(engine, folder, set_level=levels.append) as made:
        made.engine, made.levels, made.client, made.path = engine, levels, engine_agent.AgentClient(folder, 60), folder / "engine.sock"
        yield made
    assert not (folder / "engine.sock").exists()


def test_the_agent_stages_a_policy_and_hands_it_over_with_its_command(agent):
    data = builtin_policy_path().read_bytes()
    agent.engine.busy = 2
    agent.client.call("bank_swap", slot=1, data=data, key=7, shard=0, origin=b"o")
    assert agent.engine.commands == [(bodies.KINDS["bank_swap"], struct.pack("<II", 1, len(data)) + data, 7, 1, 0, b"o")]
    assert agent.client.call("snapshot", shard=0) == {"shard": 0, "asked": True}
    agent.client.call("log_level", level="debug")
    assert agent.levels == ["debug"] and stat.S_IMODE(agent.path.stat().st_mode) == 0o600


def test_the_agent_refuses_what_is_no_policy_and_what_it_does_not_know(agent):
    for op, args, code in (("bank_swap", {"slot": 0, "data": b"x", "key": 1, "shard": 0, "origin": b""}, "refused"),
                           ("bank_swap", {}, "usage"), ("fly", {}, "usage")):  # fmt: skip
        with pytest.raises(ControlError) as found:
            agent.client.call(op, **args)
        assert found.value.code == code
    assert agent.client.call("ping") > 0


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff\xff", struct.pack("<I", 3) + b"\xc1\xc1\xc1", struct.pack("<I", 9) + b"short"])
def test_the_agent_survives_whatever_is_sent_to_it(agent, data):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.connect(str(agent.path))
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        s.settimeout(60)
        while s.recv(4096):
            pass
    assert agent.client.call("ping") > 0


def test_a_client_of_the_agent_that_says_nothing_does_not_keep_others_out(agent, monkeypatch):
    monkeypatch.setattr(engine_agent, "CLIENT_TIMEOUT_S", 0.2)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.connect(str(agent.path))
        assert agent.client.call("ping") > 0


def test_without_an_engine_process_the_agents_client_says_so(folder):
    with pytest.raises(ControlError) as found:
        engine_agent.AgentClient(folder).call("ping")
    assert found.value.code == "unavailable"


def test_frames_go_both_ways_whole():
    one, two = socket.socketpair()
    with one, two:
        value = {"data": b"x" * 3_000_000}
        sender = threading.Thread(target=engine_agent.send, args=(one, value))
        sender.start()
        assert msgspec.msgpack.decode(engine_agent.receive(two)) == value
        sender.join()
