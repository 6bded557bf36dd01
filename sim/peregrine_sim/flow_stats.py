"""Statistics of an ITCH order flow: the venue's generator beside the recordings.

`python -m peregrine_sim.flow_stats [--recording FILE ...] [--seed N] [--messages N]` prints one table, a column a
source. Everything is computed from the ITCH messages alone, by the same code for each source.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

INCREMENT_TICKS = 100


def blocks(data: bytes) -> Iterator[bytes]:
    """The messages of a file of u16 length + message blocks."""
    at = 0
    while at + 2 <= len(data):
        (n,) = struct.unpack_from(">H", data, at)
        if n == 0 or at + 2 + n > len(data):
            return
        yield data[at + 2 : at + 2 + n]
        at += 2 + n


def load(path: Path) -> bytes:
    """Bytes of an ITCH file, decompressed when its name ends in .zst."""
    raw = path.read_bytes()
    if path.suffix == ".zst":
        import zstandard

        return zstandard.ZstdDecompressor().decompress(raw, max_output_size=1 << 30)
    return raw


@dataclass
class _Side:
    sign: int
    prices: list[int] = field(default_factory=list)  # sign * price, worst first
    qty: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def change(self, price: int, by: int) -> None:
        """Add `by` shares (negative: remove) to a price."""
        if self.qty[price] == 0:
            insort(self.prices, self.sign * price)
        self.qty[price] += by
        if self.qty[price] == 0:
            del self.qty[price]
            del self.prices[bisect_left(self.prices, self.sign * price)]

    def best(self) -> int | None:
        """The best price, None when the side is empty."""
        return self.sign * self.prices[-1] if self.prices else None


@dataclass
class FlowStats:
    """What one pass over a flow found. Times in ns, prices in ticks of 1/10,000 dollar."""

    name: str
    messages: Counter[str] = field(default_factory=Counter)
    spread: list[int] = field(default_factory=list)
    lifetime_ns: list[int] = field(default_factory=list)
    lifetime_messages: list[int] = field(default_factory=list)
    depth_bid: list[int] = field(default_factory=list)
    distance: list[int] = field(default_factory=list)
    add_qty: list[int] = field(default_factory=list)
    trade_qty: list[int] = field(default_factory=list)
    gap_ns: list[int] = field(default_factory=list)
    mid: list[int] = field(default_factory=list)
    imbalance: list[tuple[float, int]] = field(default_factory=list)
    live: list[int] = field(default_factory=list)
    first_ns: int = 0
    last_ns: int = 0

    def rows(self) -> dict[str, object]:
        """The figures of the table, in its order."""
        total = sum(self.messages[t] for t in "AFEXDUCP") or 1
        out: dict[str, object] = {"book messages": total}
        for label, kinds in (("add % (A F)", "AF"), ("delete % (D)", "D"), ("execute % (E C)", "EC"),
                             ("hidden trade % (P)", "P"), ("partial % (X)", "X"), ("replace % (U)", "U")):
            out[label] = round(100 * sum(self.messages[k] for k in kinds) / total, 2)
        inc = INCREMENT_TICKS
        for label, values, unit in (
            ("spread, increments", self.spread, inc), ("best bid size, shares", self.depth_bid, 1),
            ("add distance, increments", self.distance, inc), ("add size, shares", self.add_qty, 1),
            ("trade size, shares", self.trade_qty, 1), ("lifetime, ms", self.lifetime_ns, 1_000_000),
            ("lifetime, messages", self.lifetime_messages, 1), ("gap, us", self.gap_ns, 1_000), ("live orders", self.live, 1),
        ):
            out[label + " p25/p50/p75/p90"] = "/".join(_short(_pct(values, p) / unit) for p in (25, 50, 75, 90))
        out["mid step^2 per message, increments^2"] = round(_variance(self.mid, inc), 4)
        out["imbalance -> next mid move, corr"] = round(self.imbalance_power(), 3)
        out["seconds"] = round((self.last_ns - self.first_ns) / 1e9, 1)
        return out

    def imbalance_power(self) -> float:
        """Correlation of top-of-book imbalance with the mid's change over the next 20 book messages."""
        pairs = [(self.imbalance[i][0], self.imbalance[i + 20][1] - self.imbalance[i][1])
                 for i in range(0, len(self.imbalance) - 20, 5)]
        return _corr(pairs)


def _short(x: float) -> str:
    return f"{x:.0f}" if abs(x) >= 10 else f"{x:.3g}"


def _pct(values: list[int], p: int) -> float:
    if not values:
        return 0.0
    ordered = sorted(values)
    return float(ordered[min(len(ordered) - 1, len(ordered) * p // 100)])


def _variance(mid: list[int], unit: int) -> float:
    if len(mid) < 2:
        return 0.0
    return sum(((b - a) / unit) ** 2 for a, b in zip(mid, mid[1:], strict=False)) / (len(mid) - 1)


def _corr(pairs: list[tuple[float, int]]) -> float:
    n = len(pairs)
    if n < 3:
        return 0.0
    mx = sum(x for x, _ in pairs) / n
    my = sum(y for _, y in pairs) / n
    sxy = sum((x - mx) * (y - my) for x, y in pairs)
    sxx = sum((x - mx) ** 2 for x, _ in pairs)
    syy = sum((y - my) ** 2 for _, y in pairs)
    return sxy / (sxx * syy) ** 0.5 if sxx and syy else 0.0


def measure(name: str, messages: Iterable[bytes], skip_first_ns: bool = True) -> FlowStats:
    """One pass over ITCH messages of one symbol. Orders of the first timestamp (a snapshot) are not counted."""
    stats = FlowStats(name)
    orders: dict[int, list[int]] = {}  # ref -> [side sign, price, qty, added at, message]
    sides = {1: _Side(1), -1: _Side(-1)}
    first = None
    last_ts = 0
    seen = 0

    def remove(ref: int, qty: int, ts: int) -> int:
        order = orders.get(ref)
        if order is None:
            return 0
        sides[order[0]].change(order[1], -min(qty, order[2]))
        order[2] -= min(qty, order[2])
        if order[2] == 0:
            if order[3] > stats.first_ns:
                stats.lifetime_ns.append(ts - order[3])
                stats.lifetime_messages.append(seen - order[4])
            del orders[ref]
        return order[1]

    def add(ref: int, sign: int, qty: int, price: int, ts: int, count: bool) -> None:
        best = sides[sign].best()
        if count and best is not None:
            stats.distance.append(sign * (best - price))
            stats.add_qty.append(qty)
        orders[ref] = [sign, price, qty, ts, seen]
        sides[sign].change(price, qty)

    for m in messages:
        kind = m[:1]
        if kind not in b"AFEXDUCP":
            continue
        ts = int.from_bytes(m[5:11], "big")
        seen += 1
        if first is None:
            first = ts
            stats.first_ns = ts
        counted = not (skip_first_ns and ts == first)
        if counted:
            stats.messages[kind.decode()] += 1
            if last_ts:
                stats.gap_ns.append(ts - last_ts)
        last_ts = ts
        if kind in b"AF":
            ref, side, qty = struct.unpack_from(">QcI", m, 11)
            add(ref, 1 if side == b"B" else -1, qty, struct.unpack_from(">I", m, 32)[0], ts, counted)
        elif kind in b"EC":
            ref, qty = struct.unpack_from(">QI", m, 11)
            stats.trade_qty.append(qty)
            remove(ref, qty, ts)
        elif kind == b"X":
            ref, qty = struct.unpack_from(">QI", m, 11)
            remove(ref, qty, ts)
        elif kind == b"D":
            remove(struct.unpack_from(">Q", m, 11)[0], 1 << 31, ts)
        elif kind == b"U":
            old, new, qty, price = struct.unpack_from(">QQII", m, 11)
            if old in orders:
                sign = orders[old][0]
                remove(old, 1 << 31, ts)
                add(new, sign, qty, price, ts, counted)
        elif kind == b"P":
            stats.trade_qty.append(struct.unpack_from(">I", m, 20)[0])
        stats.last_ns = ts
        bid, ask = sides[1].best(), sides[-1].best()
        if counted and bid is not None and ask is not None:
            bq, aq = sides[1].qty[bid], sides[-1].qty[ask]
            mid = (bid + ask) // 2
            stats.spread.append(ask - bid)
            stats.depth_bid.append(bq)
            stats.mid.append(mid)
            stats.live.append(len(orders))
            stats.imbalance.append(((bq - aq) / (bq + aq), mid))
    return stats


def generated(seed: int, messages: int, **params: int) -> list[bytes]:
    """The first `messages` ITCH messages of the venue's generator, one symbol, default parameters but for `params`."""
    import hotpath._venue as _venue

    exchange = _venue.Exchange({"symbols": [{"symbol": "PRGN"}]})
    flow = _venue.Flow({"seed": seed, **params}, exchange)
    now = 34_200_000_000_000
    exchange.start(now)
    exchange.set_session_state("open", now)
    flow.seed_books(now)
    flow.begin(now)
    while exchange.itch_count() < messages:
        flow.step(1000)
    return exchange.itch_messages()[:messages]


def table(columns: list[FlowStats]) -> str:
    """The figures of several sources side by side."""
    rows = [c.rows() for c in columns]
    label = max(len(k) for k in rows[0])
    widths = [max(len(c.name), *(len(str(v)) for v in r.values())) for c, r in zip(columns, rows, strict=True)]
    lines = [" " * label + "".join(f"  {c.name:>{w}}" for c, w in zip(columns, widths, strict=True))]
    lines += [f"{key:<{label}}" + "".join(f"  {r[key]!s:>{w}}" for r, w in zip(rows, widths, strict=True)) for key in rows[0]]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m peregrine_sim.flow_stats", description=__doc__)
    parser.add_argument("--recording", type=Path, action="append", default=[])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--messages", type=int, default=60_000, help="of the generator; 0 leaves it out")
    parser.add_argument("--param", action="append", default=[], metavar="NAME=N", help="a parameter of the generator")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    columns = [measure(path.name.split(".")[0], blocks(load(path))) for path in args.recording]
    if args.messages:
        params = {k: int(v) for k, v in (p.split("=") for p in args.param)}
        columns.insert(0, measure(f"venue seed {args.seed}", generated(args.seed, args.messages, **params)))
    if args.json:
        print(json.dumps({c.name: c.rows() for c in columns}))
    else:
        print(table(columns))
    return 0


if __name__ == "__main__":
    sys.exit(main())
