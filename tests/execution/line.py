"""A desk and a tiny venue on one connection, for the session's tests."""

from __future__ import annotations

from hotpath import _core
from tests.oracles.execution_venue import TinyVenue

MS = 1_000_000
ENTER, REPLACE, CANCEL, MASS_CANCEL, QUERY = 1, 2, 3, 4, 5
ALARM = {"login_rejected": 1, "session_changed": 2, "gap": 3, "no_agreement": 4, "unknown": 5, "anomaly": 6, "send_failed": 7,
         "cancel_unanswered": 8, "disabled": 10, "malformed": 11}


class Line:
    """A desk and a venue joined by a connection that can be cut; messages move only when told."""

    def __init__(self, session: str = "PRG0000001", **options) -> None:
        self.desk = _core.OrderDesk(["PRGN", "OTHR"], **options)
        self.venue = TinyVenue(mass_cancel=options.get("venue_mass_cancel", True))
        self.session = session
        self.now = 1000 * MS
        self.wire: list[bytes] = []      # sent, not yet at the venue
        self.sent_sequence = 0           # messages put on this connection
        self.intents: list[dict] = []

    def collect(self) -> list[dict]:
        """New intents; their bytes go on the wire."""
        new = self.desk.take_intents()
        self.intents += new
        self.wire += [i["message"] for i in new]
        return new

    def login(self) -> None:
        """Connect and be accepted; nothing is replayed yet."""
        self.desk.on_state(True, self.now)
        session, sequence = self.desk.login
        same = session.strip() in (b"", self.session.encode())
        start = sequence if same else 1
        self.desk.on_packet(b"A" + _core.soup_login_accepted(self.session, start), self.now)
        self.sent_sequence = start - 1
        self.collect()

    def to_venue(self, count: int | None = None) -> None:
        """The venue takes what is on the wire."""
        n = len(self.wire) if count is None else count
        for data in self.wire[:n]:
            self.venue.on_request(data)
        del self.wire[:n]

    def to_desk(self, count: int | None = None) -> None:
        """The desk hears sequenced messages."""
        while self.sent_sequence < len(self.venue.out) and (count is None or count > 0):
            self.desk.on_packet(b"S" + self.venue.out[self.sent_sequence], self.now)
            self.sent_sequence += 1
            count = None if count is None else count - 1
            self.collect()

    def settle(self) -> None:
        """Everything arrives everywhere."""
        for _ in range(20):
            self.collect()
            self.to_venue()
            self.to_desk()

    def drop(self, lose_wire: bool = True) -> list[bytes]:
        """The connection is lost; returns what was under way."""
        late, self.wire = self.wire, []
        self.desk.on_state(False, self.now, 1)
        return [] if lose_wire else late

    def up(self) -> Line:
        """Ready to trade."""
        self.login()
        self.settle()
        assert self.desk.ready
        return self

    def tick(self, ns: int) -> None:
        """Time goes on; due timers fire one by one."""
        end = self.now + ns
        while (due := self.desk.deadline_ns) is not None and due <= end:
            self.now = max(self.now, due)
            self.desk.on_timer(self.now)
            self.collect()
        self.now = end

    def enter(self, qty: int = 100, side: int = 0, price: int = 10_000) -> int:
        """A new order; its number."""
        error, n = self.desk.enter(0, side, price, qty, self.now)
        assert error == "sent", error
        self.collect()
        return n

    def alarms(self) -> list[int]:
        """Alarm codes since last asked."""
        return [a[0] for a in self.desk.take_alarms()]


def kinds(intents: list[dict]) -> list[int]:
    """What was sent."""
    return [i["kind"] for i in intents]
