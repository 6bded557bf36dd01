"""Two records of the same executions, ours and the venue's, held against each other as they grow.

Each execution is told once by each side, in any order between the two. What one side alone knows waits: for `grace_ns` at
least, and until the other side has provably gone past it. Then it is a difference. What both know is compared at once:
order, symbol, side, quantity, price, liquidity flag. Positions are added up on both sides, so that they agree because every
fill does, and because both began with the same.

No clock and no socket here: time is what the caller says it is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

Side = Literal["ours", "venue"]
OTHER: dict[Side, Side] = {"ours": "venue", "venue": "ours"}
NAMES: dict[Side, str] = {"ours": "our journal", "venue": "the venue's drop copy"}
Key = tuple[int, int]


@dataclass(frozen=True)
class Execution:
    """One side of one match. `ts_ns` is the venue's time of it, since midnight; buys are positive; symbol "" is not known."""

    match: int
    order_ref: int
    symbol: str
    signed_lots: int
    price_ticks: int
    liquidity: str
    ts_ns: int = 0

    @property
    def key(self) -> Key:
        """Two of our orders may meet in one match."""
        return self.match, self.order_ref


@dataclass(frozen=True)
class Difference:
    """What does not agree. `key` is the same however often it is found anew, by another process too."""

    key: str
    text: str


@dataclass
class Waiting:
    """What one side alone has told so far. `mark` is the caller's own."""

    side: Side
    what: Execution
    since_ns: int
    mark: int = 0
    late: bool = False  # already said to be a difference


#: Has the other side gone past this, so that it cannot come any more?
Passed = Callable[[Waiting], bool]


@dataclass
class Agreement:
    """The comparison. `whole_firm`: the engine is all the firm trades, so what it does not know is a difference."""

    start_lots: dict[str, int]
    grace_ns: int
    whole_firm: bool = True
    standing: dict[str, Difference] = field(default_factory=dict)
    agreed: int = 0
    of_other_ports: int = 0
    start_told: bool = False  # by the venue
    lots: dict[Side, dict[str, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.lots = {"ours": dict(self.start_lots), "venue": dict(self.start_lots)}
        self._new: list[Difference] = []
        self._waiting: OrderedDict[Key, Waiting] = OrderedDict()
        self._both: dict[Key, tuple[str, int]] = {}
        self._by_match: dict[int, list[Key]] = {}
        self._refs: set[int] = set()  # of our orders
        self._broken: dict[Side, set[int]] = {"ours": set(), "venue": set()}
        self._breaks: OrderedDict[int, Waiting] = OrderedDict()

    # ---- what the sides tell

    def order(self, order_ref: int) -> None:
        """An order of ours, by the venue's number."""
        self._refs.add(order_ref)

    def fill(self, side: Side, told: Execution, now_ns: int, mark: int = 0) -> None:
        """One side tells an execution."""
        key = told.key
        waiting = self._waiting.get(key)
        if key in self._both or (waiting is not None and waiting.side == side):
            self._say(f"twice:{side}:{key[0]}:{key[1]}", f"{_name(told)}: {NAMES[side]} has it twice")
            return
        if told.symbol:
            self._move(side, told.symbol, told.signed_lots)
        if waiting is None:
            self._waiting[key] = Waiting(side, told, now_ns, mark)
            self._by_match.setdefault(told.match, []).append(key)
            return
        del self._waiting[key]
        ours, venue = (told, waiting.what) if side == "ours" else (waiting.what, told)
        self._both[key] = (ours.symbol, ours.signed_lots)
        if waiting.late:
            self._take_back(f"{'unknown' if waiting.side == 'venue' else 'missing'}:{key[0]}:{key[1]}")
        if said := _unequal(ours, venue):
            self._say(f"unequal:{key[0]}:{key[1]}", f"{_name(ours)}: {said}")
        else:
            self.agreed += 1

    def broken(self, side: Side, match: int, now_ns: int, mark: int = 0) -> None:
        """One side tells that a trade is broken: none of its executions counts any more."""
        if match in self._broken[side]:
            return
        self._broken[side].add(match)
        for key in self._by_match.get(match, []):
            waiting = self._waiting.get(key)
            if waiting is None or waiting.side == side:
                self._unbook(side, key)
        before = self._breaks.get(match)
        if before is None:
            self._breaks[match] = Waiting(side, Execution(match, 0, "", 0, 0, ""), now_ns, mark)
        elif before.side != side:
            del self._breaks[match]
            if before.late:
                self._take_back(f"broken:{match}")

    def start(self, lots: dict[str, int]) -> None:
        """What the venue says we held when its session began."""
        self.start_told = True
        for symbol in sorted({*lots, *self.start_lots}):
            ours, venue = self.start_lots.get(symbol, 0), lots.get(symbol, 0)
            if ours != venue:
                self._move("venue", symbol, venue - ours)
                watched = "" if symbol in self.start_lots else ", and nobody here trades it"
                self._say(f"start:{symbol}", f"{symbol}: the day began with {ours:+} lots here, with {venue:+} at the venue{watched}")

    def say(self, key: str, text: str) -> None:
        """A difference that somebody else has found; once for each key."""
        self._say(key, text)

    # ---- what comes of it

    def look(self, now_ns: int, passed: Passed) -> list[Difference]:
        """What is newly found not to agree. `passed` is asked about what has waited for `grace_ns`."""
        for key, waiting in self._waiting.items():
            if now_ns - waiting.since_ns < self.grace_ns:
                break  # in the order in which they were told
            if not waiting.late and passed(waiting):
                self._overdue(key, waiting)
        self._leave_out()
        for match, waiting in self._breaks.items():
            if now_ns - waiting.since_ns >= self.grace_ns and not waiting.late and passed(waiting):
                self._overdue_break(match, waiting)
        if not self._waiting and not self._breaks and not self.standing:
            for symbol in self.lots["ours"].keys() | self.lots["venue"].keys():
                ours, venue = self.lots["ours"].get(symbol, 0), self.lots["venue"].get(symbol, 0)
                if ours != venue:
                    self._say(f"position:{symbol}:{ours}:{venue}", f"{symbol}: {ours:+} lots by our journal, {venue:+} by the venue's")
        new, self._new = self._new, []
        return new

    @property
    def waiting(self) -> int:
        """Executions and breaks that one side alone knows, not yet late ones."""
        return sum(not w.late for w in (*self._waiting.values(), *self._breaks.values()))

    def oldest_ns(self, now_ns: int) -> int:
        """How long the oldest of them has waited."""
        return max((now_ns - w.since_ns for w in (*self._waiting.values(), *self._breaks.values()) if not w.late), default=0)

    def _overdue(self, key: Key, waiting: Waiting) -> None:
        told, waiting.late = waiting.what, True
        if waiting.side == "venue":
            if not self.whole_firm and told.order_ref not in self._refs:
                return  # another port's: left out by _leave_out
            self._say(f"unknown:{key[0]}:{key[1]}", f"{_name(told)}: the venue's drop copy has {_what(told)}, our journal has not")
        elif told.match in self._broken["venue"]:
            self._say(f"missing:{key[0]}:{key[1]}", f"{_name(told)}: our journal has {_what(told)}, the venue has broken it")
        else:
            self._say(f"missing:{key[0]}:{key[1]}", f"{_name(told)}: our journal has {_what(told)}, the venue's drop copy has not")

    def _overdue_break(self, match: int, waiting: Waiting) -> None:
        waiting.late = True
        if not self.whole_firm and waiting.side == "venue" and match not in self._by_match:
            return
        other = OTHER[waiting.side]
        self._say(f"broken:{match}", f"match {match}: broken in {NAMES[waiting.side]}, not in {NAMES[other]}")

    def _leave_out(self) -> None:
        if self.whole_firm:
            return
        for key, waiting in list(self._waiting.items()):
            if waiting.late and waiting.side == "venue" and waiting.what.order_ref not in self._refs:
                self._unbook("venue", key)
                self.of_other_ports += 1
                del self._waiting[key]

    def _unbook(self, side: Side, key: Key) -> None:
        symbol, lots = self._both[key] if key in self._both else (self._waiting[key].what.symbol, self._waiting[key].what.signed_lots)
        if symbol:
            self._move(side, symbol, -lots)

    def _move(self, side: Side, symbol: str, lots: int) -> None:
        self.lots[side][symbol] = self.lots[side].get(symbol, 0) + lots

    def _say(self, key: str, text: str) -> None:
        if key not in self.standing:
            self.standing[key] = Difference(key, text)
            self._new.append(self.standing[key])

    def _take_back(self, key: str) -> None:
        """It came after all: what was said of it does not stand any more."""
        self.standing.pop(key, None)


def first_line(found: Iterable[Difference]) -> str:
    """The first of them, and how many more there are."""
    texts = [d.text for d in found]
    return texts[0] + (f" (and {len(texts) - 1} more)" if len(texts) > 1 else "") if texts else ""


def _name(told: Execution) -> str:
    return f"{told.symbol or 'an unknown symbol'} match {told.match}"


def _what(told: Execution) -> str:
    return f"{told.signed_lots:+} at {told.price_ticks} on order {told.order_ref}"


def _unequal(ours: Execution, venue: Execution) -> str:
    """The first thing in which two tellings of one execution differ; "" for none."""
    if abs(ours.signed_lots) != abs(venue.signed_lots):
        return f"our quantity is {abs(ours.signed_lots)}, the venue's {abs(venue.signed_lots)}"
    if ours.price_ticks != venue.price_ticks:
        return f"our price is {ours.price_ticks}, the venue's {venue.price_ticks}"
    if venue.symbol and ours.symbol != venue.symbol:
        return f"our symbol is {ours.symbol}, the venue's {venue.symbol}"
    if venue.symbol and ours.signed_lots != venue.signed_lots:
        return f"we {'bought' if ours.signed_lots > 0 else 'sold'}, the venue says we {'bought' if venue.signed_lots > 0 else 'sold'}"
    if ours.liquidity != venue.liquidity:
        return f"our liquidity flag is {ours.liquidity}, the venue's {venue.liquidity}"
    return ""
