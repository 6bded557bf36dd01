"""A source that only stands in: readings made up from a step number, commands remembered."""

from __future__ import annotations

from orchestrator.observe.screen.reading import CommandRow, ScreenReading, SymbolRow, Use
from orchestrator.observe.screen.source import SourceError

START_NS = 1_795_294_223_000_000_000


class StandIn:
    """An engine of `shards` × `each` symbols that moves a little with each reading. `asked` is what it was told to do."""

    def __init__(self, shards: int = 2, each: int = 4, *, name: str = "desk") -> None:
        self.where = "a stand-in"
        self.name, self.shards, self.each = name, shards, each
        self.asked: list[str] = []
        self.paused: set[str] = set()
        self.paused_shards: set[int] = set()
        self.killed = False
        self.broken = ""
        self.closed = False
        self.step = 0
        self.feed_state = 2
        self.gaps = 0

    def read(self) -> ScreenReading:
        """The next reading."""
        if self.broken:
            raise SourceError(self.broken, "it may be starting")
        self.step += 1
        now = START_NS + self.step * 500_000_000
        counters = [self._counters(i, now) for i in range(self.shards)]
        whole = {name: sum(c[name] for c in counters) for name in counters[0]}
        whole |= {"now_ns": now, "started_ns": START_NS, "feed_state": self.feed_state, "session_ready": 1, "gaps": self.gaps,
                  "trading_state": max(c["trading_state"] for c in counters)}  # fmt: skip
        symbols = [self._symbol(i) for i in range(self.shards * self.each)]
        stage = {"p50": 6_700, "p90": 11_000, "p99": 17_200, "p99_9": 73_000, "max": 77_500, "count": 1_027 * self.step}
        octaves = [0] * 42
        octaves[11:18] = [3, 400, 5_000, 900, 80, 4, 1]
        return ScreenReading(
            name=self.name, pid=4711, alive=True, kill_level=int(self.killed), taken_ns=now, counters=whole, shards=counters, symbols=symbols,
            latency={"tick_to_order": stage, "risk": {**stage, "p50": 480}, "send": {**stage, "count": 0}},
            octaves={"tick_to_order": octaves, "risk": octaves},
            limits=[Use("gross exposure", 700_000_000, 2_000_000_000, "u"), Use("credit", 3_400_000_000, 4_000_000_000, "u"),
                    Use("drawdown", 10_000_000, 10_000_000, "u"), Use("messages", 12, 1_000, "n"), Use("S001 long", 850, 1_000, "l")],
            commands=[CommandRow(0, 17_592, START_NS, "pause", "applied", "kim", "news"), CommandRow(1, 20_001, START_NS, "limits", "refused")],
        )  # fmt: skip

    def _counters(self, shard: int, now: int) -> dict[str, int]:
        state = 5 if self.killed else 3 if shard in self.paused_shards else 1
        return {"now_ns": now - shard * 3_000_000, "started_ns": START_NS, "events": 40_000 * self.step, "orders": 90 * self.step, "fills": 30 * self.step,
                "working_orders": 12, "pnl_units": (shard * 2 - 3) * 1_234_567, "feed_state": self.feed_state, "session_ready": 1,
                "trading_state": state, "gaps": self.gaps, "overruns": 0}  # fmt: skip

    def _symbol(self, i: int) -> SymbolRow:
        name = f"S{i:03}"
        state = 3 if name in self.paused or self.killed else 2 if i % 17 == 11 else 1
        bid = 1_000_000 + 1_300 * i
        return SymbolRow(name, i % self.shards, bid, bid + 100, bid + 100, (i % 7 - 3) * 100, (i * 37 % 41 - 20) * 10_000, i % 5 * 100, state)

    def pause(self, *, symbol: str = "", shard: int = -1) -> str:
        """Remember it."""
        self.asked.append(f"pause {symbol or shard}")
        self.paused |= {symbol} if symbol else set()
        self.paused_shards |= {shard} if shard >= 0 else set()
        return f"pause {symbol or shard}: took effect at record 9"

    def resume(self, *, symbol: str = "", shard: int = -1) -> str:
        """Remember it."""
        self.asked.append(f"resume {symbol or shard}")
        self.paused -= {symbol}
        self.paused_shards -= {shard}
        return f"resume {symbol or shard}: took effect at record 10"

    def kill(self) -> str:
        """Remember it."""
        self.asked.append("kill")
        self.killed = True
        return "kill word set: cancel all"

    def close(self) -> None:
        """Remember it."""
        self.closed = True
