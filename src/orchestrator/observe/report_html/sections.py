"""The page's sections, each from the story of a run to HTML. Numbers are formatted here and nowhere before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.observe.report_html import drawings
from orchestrator.observe.report_html.html import Column, Html, data, el, figure, join, num, table
from orchestrator.observe.report_html.latency import MEASURES
from orchestrator.observe.report_html.numbers import Format, duration, signed
from orchestrator.observe.report_html.orders import Row
from orchestrator.observe.report_html.story import Story

NOT_RECORDED = "not recorded"
TOGETHER_NS = 1_000_000_000  # the same of several shards within this is one happening


def tiles(story: Story, fmt: Format) -> Html:
    """What the run came to, at a glance."""
    r = story.result
    fall, exact = story.max_drawdown()
    answer = story.latency.whole("order_to_answer")
    lost = sum(end - start for start, end in drawings.not_live(story)[1:])
    shown = [
        ("Profit after fees", fmt.money(r.pnl_units), r.currency, "gain" if r.pnl_units >= 0 else "loss"),
        ("Fees", fmt.money(r.fees_units), f"{r.currency} paid" if r.fees_units >= 0 else f"{r.currency}: rebates earned", ""),
        ("Largest drawdown", fmt.money(fall, sign=False), r.currency if exact else f"{r.currency}, at column ends", ""),
        ("Net position", signed(r.position_lots), "lots at the end", "long" if r.position_lots > 0 else "short" if r.position_lots else ""),
        ("Fills", f"{r.fills:,}", f"{r.filled_lots:,} lots", ""),
        ("Orders sent", f"{r.orders:,}", f"and {r.cancels:,} cancels", ""),
        ("Refused", f"{r.risk_rejects:,}", f"by the gate, {r.rejects:,} by the venue", ""),
        ("Order to answer", duration(answer["p50"]) if answer["count"] else "-", f"p50; p99 {duration(answer['p99'])}" if answer["count"] else "", ""),
        ("No live book", duration(lost), f"after the start; {r.gaps:,} feed gaps", ""),
        ("Recoveries", f"{sum(len(s.recoveries) for s in story.shards):,}", f"{r.reconnects:,} session reconnect{'s' * (r.reconnects != 1)}", ""),
    ]  # fmt: skip
    return el("div", *(el("div", el("span", name, cls="name"), el("span", value, cls=f"value {mood}".strip()), el("span", unit, cls="unit"), cls="tile")
                       for name, value, unit, mood in shown), cls="tiles")  # fmt: skip


def money_section(story: Story, fmt: Format, charts: bool) -> Html:
    """Profit and positions of the account, and the symbols' table."""
    summed = len(story.shards) > 1
    caption = join([
        f"Profit is realised and marked at the side we would close at, after fees. Grey: the feed was not live, or the engine not running. Dashed: a command "
        f"or control. Of each of {story.kept.columns} columns of time the first, lowest, highest and last value is drawn",
        f"; sums over the {len(story.shards)} shards are taken at the end of each column." if summed else ".",
        " Exposure is positions and working orders, signs ignored: an order that closes a position counts too, and passes at the limit.",
    ])  # fmt: skip
    rows = [
        (shard.shard, name, signed(f["position_lots"]), f"{f['bought_lots']:,}", f"{f['sold_lots']:,}", f"{f['fills']:,}",
         fmt.price(f["last_ticks"]), fmt.money(f["pnl_units"]))
        for shard, name, f in story.symbols()
    ]  # fmt: skip
    columns = [num("Shard"), Column("Symbol"), num("Position", "lots"), num("Bought", "lots"), num("Sold", "lots"), num("Fills"),
               num("Last", fmt.currency), num("Profit after fees", fmt.currency)]  # fmt: skip
    total = el("p", "Sum of the symbols: ", el("b", fmt.money(story.result.pnl_units), cls="tab"), f" {fmt.currency}.", cls="note")
    return join([
        figure(drawings.account(story, fmt), caption) if charts else None,
        el("h3", "By symbol"), table(columns, rows, empty="No symbols.", cls="wide"), total if len(rows) > 1 else None,
    ])  # fmt: skip


def price_section(story: Story, fmt: Format, charts: bool, most: int) -> Html:
    """Fills on the price, of the symbols that traded most."""
    if not charts:
        return el("p", "Charts need matplotlib; the fills are in fills.csv.", cls="none")
    traded = [(shard, name) for shard, name, facts in story.symbols() if facts["fills"]]
    caption = (
        f"Top of the book as the engine saw it, with our executions: triangles up are buys, down are sells; hollow ones rested in the book "
        f"(maker), filled ones took (taker). Of each of {story.kept.columns} columns of time the lowest and highest fill of a kind is drawn; "
        "all are in fills.csv. Below, the position: blue long, orange short."
    )
    drawn = [figure(drawings.symbol(story, fmt, shard, name), caption if i == 0 else f"{name}, as above.") for i, (shard, name) in enumerate(traded[:most])]
    left = len(traded) - most
    more = el("p", f"{left:,} more symbols traded; their fills are in fills.csv, their curves in curves.csv.", cls="note") if left > 0 else None
    return join([*drawn, more]) if drawn else el("p", "Nothing was executed.", cls="none")


ORDER_COLUMNS = [num("Shard"), num("Order"), num("Record"), Column("Sent"), Column("Symbol"), Column("Side"), Column("Kind"),
                 num("Price"), num("Lots"), num("Filled"), num("At"), Column("End"), num("Answer", "µs"), Column("Why")]  # fmt: skip


def orders_section(story: Story, fmt: Format, total: int) -> Html:
    """The orders, as data that the page's script shows, filters and sorts."""
    rows = [_order(row, fmt) for row in story.newest["orders"]]
    held = f"The newest {len(rows):,} of {total:,} orders are here; all are in orders.csv." if total > len(rows) else f"All {total:,} orders and replaces."
    heads = [el("th", c.title, el("small", f" {c.unit}") if c.unit else None, cls="n" if c.number else None, scope="col") for c in ORDER_COLUMNS]
    return join([
        el("p", held, " Sent: time of the packet that caused it. Answer: from there to the venue's answer. At: average price of its fills.", cls="note"),
        el("div", el("label", "Filter ", el("input", type="search", id="orders-filter", placeholder="PRGN buy part filled", autocomplete="off")),
           el("span", "", id="orders-count", cls="note", aria_live="polite"), cls="tools"),
        el("div", el("table", el("thead", el("tr", *heads)), el("tbody", ""), id="orders-table", cls="wide"), cls="scroll tall", tabindex="0"),
        el("noscript", el("p", "This table needs the page's script; the orders are in orders.csv.", cls="none")),
        data("orders-data", {"numbers": [i for i, c in enumerate(ORDER_COLUMNS) if c.number], "rows": rows}),
    ])  # fmt: skip


def _order(o: Row, fmt: Format) -> list[object]:
    average = fmt.price((2 * o["filled_ticks_lots"] + o["filled_lots"]) // (2 * o["filled_lots"])) if o["filled_lots"] else ""
    kind = f"{o['kind']} {o['replaces']}" if o["replaces"] else o["kind"]
    answer = f"{o['answer_ns'] / 1000:,.1f}" if o["answer_ns"] is not None else ""
    return [o["shard"], o["order"], o["seq"], fmt.clock(o["ts_ns"]), o["symbol"], o["side"], kind, fmt.price(o["price_ticks"]),
            f"{o['qty_lots']:,}", f"{o['filled_lots']:,}", average, o["state"], answer, o["reason"]]  # fmt: skip


def latency_section(story: Story, fmt: Format, charts: bool) -> Html:
    """Percentiles: of the journal over time, and of the run's own histograms."""
    columns = [Column("Measure"), *(num(t) for t in ("p50", "p90", "p99", "p99.9", "max", "count")), Column("From … to")]
    rows = []
    for measure, meaning in MEASURES.items():
        s = story.latency.whole(measure)
        if s["count"]:
            rows.append((drawings.TITLES[measure], *(duration(s[k]) for k in ("p50", "p90", "p99", "p99_9", "max")), f"{s['count']:,}", meaning))
    own = [(name.replace("_", " "), *(duration(s[k]) for k in ("p50", "p90", "p99", "p99_9", "max")), f"{s['count']:,}", HGRM.get(name, ""))
           for name, s in story.histograms.items() if s["count"]]  # fmt: skip
    drawing = drawings.latency(story, fmt) if charts else None
    caption = f"Percentiles of each of {story.latency.rows} spans of time; a span without a value has no point."
    return join([
        figure(drawing, caption) if drawing is not None else None,
        el("h3", "What the journal tells"),
        table(columns, rows, empty="No order was sent, no decision made."),
        el("p", "A journal stamps inputs when they are received and outputs with the input that caused them. It can therefore time answers of the "
                "venue and the turns of the loop; it cannot time the stages between packet and order, nor the network card. Percentiles are at most 0.4 % too high.", cls="note"),
        el("h3", "What the engine measured while it ran"),
        table(columns, own, empty="The run left no histograms (report.histograms, or it did not end by itself)."),
    ])  # fmt: skip


HGRM = {
    "tick_to_order": "from the receive stamp of a packet to its order handed to the socket",
    "send": "the send call", "order_to_ack": "from the order sent to the venue's answer",
    "noise": "gaps that a bare spinning thread of the run saw: no latency above can be better",
}  # fmt: skip


def risk_section(story: Story, fmt: Format) -> Html:
    """Refusals by reason, breakers and kills over time, and the newest refusals."""
    reasons = [(reason, f"{n:,}", fmt.clock(first, 3), fmt.clock(last, 3)) for reason, (n, first, last) in story.risk_reasons().items()]
    soft = sum(s.summary["soft"] for s in story.shards)
    limits = story.shards[0].spec["limits"]
    said = {(r["shard"], r["seq"]): (r.get("who") or "", r.get("why") or "") for r in story.newest["commands"]}
    states = [(fmt.clock(at), shards_of(many), f"{seq:,}", what, was, now, *said.get((many[0], seq), ("", "")))
              for at, many, seq, what, was, now in together(_states(story))]  # fmt: skip
    trips = [(fmt.clock(t["ts_ns"]), t["shard"], f"{t['seq']:,}", t["breaker"].replace("_", " "), *_of_breaker(t, fmt),
              fmt.clock(t["rearmed_ns"]) if t["rearmed_ns"] else _dim("not armed again"), t["rearmed_by"] or "", t["why"] or "") for t in story.trips()]
    newest = [(fmt.clock(r["ts_ns"]), r["shard"], f"{r['seq']:,}", r["symbol"], r["reason"], f"{r['observed']:,}", f"{r['limit']:,}")
              for r in reversed(story.newest["risk"])]  # fmt: skip
    at = [Column("Time"), num("Shard"), num("Record")]
    shown = f" The newest {len(newest):,} are here, all in risk.csv." if len(newest) < story.result.risk_rejects else ""
    return join([
        el("h3", "Refused by the gate, by reason"),
        table([Column("Reason"), num("Refusals"), Column("First"), Column("Last")], reasons, empty="The gate refused nothing."),
        el("p", f"Soft throttle, from {limits['soft_permille'] / 10:g} % of a limit on: {soft:,} orders passed in that state.", cls="note"),
        el("h3", "Breakers, kills, pauses"),
        table([*at, Column("State"), Column("From"), Column("To"), Column("By"), Column("Why")], states,
              empty="No breaker tripped; nothing was killed, paused or drained."),
        *([el("h3", "Breakers that tripped"),
           table([*at, Column("Breaker"), num("Observed"), num("Limit"), Column("Armed again"), Column("By"), Column("Why")], trips, empty="None.")] if trips else []),
        el("h3", "Each refusal"),
        el("p", "Observed and limit are in the check's own unit: ticks, lots, money units, messages or nanoseconds." + shown, cls="note"),
        table([*at, Column("Symbol"), Column("Reason"), num("Observed"), num("Limit")], newest, empty="None."),
    ])  # fmt: skip


def _of_breaker(trip: dict[str, Any], fmt: Format) -> tuple[str, str]:
    """What tripped it and the limit: money of a loss, else a number of events in the window."""
    shown = (lambda n: fmt.money(n, sign=False)) if trip["breaker"] in ("loss", "drawdown") else lambda n: f"{n:,}"
    return shown(trip["value"]), shown(trip["limit"])


def together(rows: Iterable[tuple[int, int, int, Any, Any, Any]]) -> list[tuple[int, list[int], int, Any, Any, Any]]:
    """The same change of several shards as one row: (first time, shards, record of the first, what, from, to)."""
    out: list[tuple[int, list[int], int, Any, Any, Any]] = []
    for at, shard, seq, *same in rows:
        near = next((row for row in reversed(out[-64:]) if row[3:] == tuple(same) and shard not in row[1] and at - row[0] < TOGETHER_NS), None)
        if near is not None:
            near[1].append(shard)
        else:
            out.append((at, [shard], seq, *same))
    return out


def shards_of(shards: Sequence[int]) -> str:
    """Numbers of shards for people: 3; 0 to 7; 0, 2, 5."""
    found = sorted(shards)
    whole = len(found) > 2 and found[-1] - found[0] == len(found) - 1
    return f"{found[0]} to {found[-1]}" if whole else ", ".join(map(str, found))


_ARMED = ("armed", "tripped")
_WORDS = {"killed": ("alive", "killed"), "message_breaker": _ARMED, "reject_breaker": _ARMED, "loss_breaker": _ARMED,
          "drawdown_breaker": _ARMED, "paused": ("trading", "paused"),
          "reduce_only": ("off", "on"), "draining": ("no", "draining")}  # fmt: skip


def _states(story: Story) -> Sequence[tuple[int, int, int, str, str, str]]:
    out = []
    for shard in story.shards:
        for seq, at, what, was, now in shard.changes:
            if what in _WORDS:
                words = _WORDS[what]
                out.append((at, shard.shard, seq, what.replace("_", " "), words[bool(was)], words[bool(now)]))
    return sorted(out)


def incidents_section(story: Story, fmt: Format) -> Html:
    """What happened to the feed and the order session, and the periods without a live book."""
    rows = [(fmt.clock(at), shards_of(many), f"{seq:,}", what, detail) for at, many, seq, what, detail, _ in
            together((r["ts_ns"], r["shard"], r["seq"], r["what"], r["detail"], None) for r in story.newest["incidents"])]  # fmt: skip
    spans = [(fmt.clock(start, 3), fmt.clock(end, 3), duration(end - start)) for start, end in drawings.not_live(story)]
    return join([
        el("h3", "Periods without a live book"),
        el("p", "The feed was not live, or the engine not running. Shaded on every chart; in them nothing but cancels is sent. The first is the start of the run.", cls="note"),
        table([Column("From"), Column("Until"), num("For")], spans, empty="None."),
        el("h3", "Feed and session, in order"),
        table([Column("Time"), num("Shard"), num("Record"), Column("What"), Column("Detail")], rows, empty="Nothing happened.", cls="wide"),
    ])  # fmt: skip


def commands_section(story: Story, fmt: Format) -> Html:
    """Commands and controls: what, by whom, why, when, at which record."""
    rows = []
    of: dict[str, dict[str, Any]] = {}  # a command's id → its row of the first shard: one command, however many shards it went to
    for r in story.newest["commands"]:
        key = f"{r['id']} {r['command']}" if r.get("id") and not r["repeated"] else ""
        if key in of:
            of[key]["shards"].append(r["shard"])
            continue
        row = {**r, "shards": [r["shard"]]}
        rows.append(row)
        if key:
            of[key] = row
    shown = [(
        fmt.clock(r["ts_ns"]), shards_of(r["shards"]), f"{r['seq']:,}", el("b", r["command"]), r.get("detail") or "", r.get("who") or _dim(NOT_RECORDED),
        r.get("why") or _dim(NOT_RECORDED if not r.get("who") else "-"), fmt.clock(r["when_ns"], 3) if r.get("when_ns") else _dim("-"),
    ) for r in rows]  # fmt: skip
    columns = [Column("Took effect"), num("Shard"), num("Record"), Column("Command"), Column("Detail"), Column("By"), Column("Why"), Column("Asked for")]
    return join([
        el("p", "Each is an input of the journal and has its sequence number; what a shard decides from that record on, it decides with it. "
                "“Not recorded” means that the journal is of a release that did not write down who asked, or that the engine's own process did. "
                "A command to several shards is one row, with the record and the numbers of the first; commands.csv has a row for each.", cls="note"),
        table(columns, shown, empty="No command was given.", cls="wide wrap"),
    ])  # fmt: skip


def recoveries_section(story: Story, fmt: Format) -> Html:
    """Each start after a crash."""
    rows = [(fmt.clock(start), fmt.clock(r["ts_ns"]), duration(end - start), r["shard"], f"{r['seq']:,}", r["epoch"], f"{r['last_order']:,}",
             f"{r['last_intent_seq']:,}", f"{r['venue_seq']:,}")
            for shard in story.shards for r, (start, end) in zip(shard.recoveries, shard.stops, strict=True)]  # fmt: skip
    columns = [Column("Last record before"), Column("Recovered"), num("Between"), num("Shard"), num("Record"), num("Epoch"), num("Last order number"), num("Last intent", "record"), num("Venue message")]
    return table(columns, rows, empty="The run was not interrupted.")


def journal_section(story: Story, files: Sequence[str], rows: dict[str, int]) -> Html:
    """Policies, the journal's files and their chain, and the tables written beside the page."""
    policies = [(p["slot"], p["name"], el("code", p["sha256"])) for p in story.result.policies]
    segments = [(s.shard, s.name, f"{s.size:,}", f"{s.records:,}" if s.sha256 else "-", f"{s.first_seq:,}" if s.sha256 else "-",
                 f"{s.last_seq:,}" if s.sha256 else "-", el("code", s.sha256) if s.sha256 else "open: no trailer yet") for s in story.segments]  # fmt: skip
    written = [(name, f"{rows.get(name.partition('.')[0], 0):,}") for name in files]
    return join([
        el("h3", "Policies at the start"),
        table([num("Slot"), Column("Policy"), Column("SHA-256 of its artifact")], policies, empty="None."),
        el("h3", "Segments and their hash chain"),
        table([num("Shard"), Column("File"), num("Size", "bytes"), num("Records"), num("First"), num("Last"), Column("SHA-256")], segments, empty="None.", cls="wide"),
        el("p", "Each segment begins with the hash of the one before it, so the last hash of a shard stands for its whole journal.", cls="note"),
        el("h3", "Tables beside this page"),
        table([Column("File"), num("Rows")], written, empty="None."),
        el("p", "Integers all the way: prices in ticks, quantities in lots, money in units, times in nanoseconds since the epoch.", cls="note"),
    ])  # fmt: skip


def _dim(text: str) -> Html:
    return el("span", text, cls="dim")


