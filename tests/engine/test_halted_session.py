"""A venue that takes the login and does not say what is open, or goes on behind messages it never sent: no order leaves, until a
person has looked."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

from rig import NEW_RISK, Engine, intents, records, until, verify

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from chaos_line import CHUNK, Line  # noqa: E402

from orchestrator.control.engine_link import EngineLink  # noqa: E402
from orchestrator.control.messages import Request  # noqa: E402
from orchestrator.observe.standing import NO_AGREEMENT, Standing, shard_reasons  # noqa: E402
from orchestrator.observe.states import lost_words  # noqa: E402

READY, HALTED = 6, 7  # SessionPhase
KILLED = 5


class Altered(Line):
    """A line on which account queries are lost while `deaf` is set, and the next login is answered with a number `ahead` of the
    venue's; everything else passes."""

    def __init__(self, venue: str) -> None:
        super().__init__(venue)
        self.deaf = False
        self.lost = self.ahead = 0
        self._rest: dict[socket.socket, bytes] = {}  # of packets that are not whole yet, by who sends them

    def _pass_on(self, selector, one) -> None:
        try:
            if data := one.recv(CHUNK):
                return self._peers[one].sendall(self._heard(one, data))
        except OSError:
            pass
        return self._end(selector, one)

    def _heard(self, one: socket.socket, data: bytes) -> bytes:
        """Whole packets (SoupBinTCP: two bytes of length, a type, its content) without the queries (`U`, then OUCH's `Q`), the
        number in an accepted login (`A`, ten bytes of session, twenty digits) another."""
        data, out = self._rest.pop(one, b"") + data, b""
        while len(data) >= 2 and len(data) >= 2 + (size := int.from_bytes(data[:2], "big")):
            packet, data = data[: 2 + size], data[2 + size :]
            if self.deaf and packet[2:4] == b"UQ":
                self.lost += 1
                continue
            if self.ahead and packet[2:3] == b"A" and size == 31:
                packet = packet[:13] + str(int(packet[13:33]) + self.ahead).rjust(20).encode()
                self.ahead = 0
            out += packet
        self._rest[one] = data
        return out


def test_a_session_without_agreement_stays_halted_until_a_resume_asks_again(tmp_path, engine_name, venue) -> None:
    judge = venue(seed=7, rate=800)
    line = Altered(judge.server.ouch)
    settings = {"venue.ouch": line.address}
    engine = Engine(tmp_path, engine_name, judge, settings=settings)
    link = None
    try:
        engine.until("orders", 3)
        link = EngineLink(engine_name)
        line.deaf = True
        line.drop()
        until(lambda: engine.counters()["session_phase"] == HALTED, "no agreement")
        counters, unanswered = engine.counters(), line.lost
        assert unanswered >= 3 and counters["session_ready"] == 0
        assert shard_reasons(0, counters, Standing(), None)[-1] == f"shard 0: {NO_AGREEMENT}"

        asked = link.send("resume", shard=0, request=Request(cmd="resume", who="ada"))
        until(lambda: line.lost >= unanswered + 3 and engine.counters()["session_phase"] == HALTED, "asked again, in vain")
        line.deaf = False
        heard = link.send("resume", shard=0, request=Request(cmd="resume", who="ada"))
        until(lambda: any(i.seq > heard.seq and i.kind in NEW_RISK for i in intents(records(engine.run_folder))), "orders again")
        until(lambda: engine.counters()["session_phase"] == READY, "agreement")
        report = engine.finish(signal.SIGTERM)
        journal = records(engine.run_folder)
        assert report["unknown_orders"] == 0 and report["reconnects"] >= 1
        lost = next(r.seq for r in journal if r.type == 20 and r.seq < asked.seq and r.payload[:1] == b"\x00")
        assert not [i for i in intents(journal) if lost < i.seq < heard.seq and i.kind in NEW_RISK]
        assert verify(engine.run_folder)["identical"]
    finally:
        if link is not None:
            link.close()
        engine.end()
        line.close()
        for leftover in Path("/dev/shm").glob(f"*{engine_name}*"):
            leftover.unlink()


def test_a_venue_that_goes_on_behind_messages_we_never_saw_kills_and_says_so(tmp_path, engine_name, venue) -> None:
    judge = venue(seed=7, rate=800)
    line = Altered(judge.server.ouch)
    engine = Engine(tmp_path, engine_name, judge, settings={"venue.ouch": line.address})
    try:
        engine.until("orders", 3)
        line.ahead = 5
        line.drop()
        until(lambda: engine.counters()["trading_state"] == KILLED, "a kill")
        until(lambda: judge.summary()["open_orders"] == 0, "nothing open at the venue")
        counters = engine.counters()
        assert counters["lost_messages"] == 5
        assert shard_reasons(0, counters, Standing(), None)[-1] == f"shard 0: killed: {lost_words(0, 5)}" and "5 messages" in lost_words(0, 5)
        engine.until("events", counters["events"] + 100)
        engine.finish(signal.SIGTERM)
        journal = records(engine.run_folder)
        lost = next(r.seq for r in journal if r.type == 20 and r.payload[:1] == b"\x00")
        assert not [i for i in intents(journal) if i.seq > lost and i.kind in NEW_RISK]
        assert verify(engine.run_folder)["identical"]
    finally:
        engine.end()
        line.close()
        for leftover in Path("/dev/shm").glob(f"*{engine_name}*"):
            leftover.unlink()
