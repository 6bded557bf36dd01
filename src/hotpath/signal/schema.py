"""The feature schema, version 1: what the engine computes at each decision, number by number.

All features are int32. Notation: `b`, `a` best bid and ask price in ticks; `B`, `A` lots there; `mid2 = b + a` of the
last book that had both sides (0 = never); division floors; `sat32` clamps to int32; `lg(x)` is the binary logarithm in
Q8 by Mitchell's linear interpolation, `lg(x) = 256*k + ((x << 8) >> k) - 256` with `k = floor(log2 x)`, `x >= 1`.
`sum_w` runs over the events in window `w`: the bucket holding `now` and the 7 before it, bucket number =
`ts_rx_ns >> shift_w`; within each bucket a sum is clamped to +-2^59 (counts to 2^59). A snapshot event moves the book
but adds nothing to any sum. Formulas, Q formats, ranges and sources are in `FEATURES`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

VERSION = 1
BUCKETS = 8
DEFAULT_BUCKET_SHIFTS = (24, 27, 30)


@dataclass(frozen=True)
class Feature:
    """One number of the schema: name, formula, fixed-point format, range and literature source."""

    name: str
    formula: str
    q_format: str
    saturation: str
    source: str


@dataclass(frozen=True)
class FeatureParams:
    """Bucket widths of the three windows, as powers of two of nanoseconds (fast, medium, slow)."""

    bucket_shifts: tuple[int, int, int] = DEFAULT_BUCKET_SHIFTS

    def __post_init__(self) -> None:
        if len(self.bucket_shifts) != 3 or any(not 10 <= s <= 40 for s in self.bucket_shifts):
            raise ValueError(f"bucket_shifts: found {self.bucket_shifts}, expected three integers in 10..40")


_OFI = ("sum_w e;  e = [b>=b']B - [b<=b']B' - [a<=a']A + [a>=a']A' over consecutive tops (primed = before the event); "
        "an empty bid counts as price -infinity, an empty ask as +infinity, both with 0 lots")
_CKS = "Cont, Kukanov, Stoikov (2014), The price impact of order book events"
_FLOW = ("sum_w d*qty;  d = +1 when the buyer was the aggressor, -1 when the seller was: the resting order's side for "
         "executions; for trades against hidden orders the quote rule (price*2 above mid2 +1, below -1, equal 0); "
         "non-printable executions, crosses and broken trades add nothing")
_LEE = "Lee, Ready (1991), Inferring trade direction from intraday data; Cont, Kukanov, Stoikov (2014)"
_RET = "((mid2 - m) << 24) / m;  m = mid2 in force when the window's oldest bucket began; 0 while m or mid2 is unknown"
_AB = "Andersen, Bollerslev, Diebold, Labys (2003), Modeling and forecasting realized volatility"
_QUEUE = ("ahead < 0 (no order): -32768; else min(32768, (ahead << 15) / best) with best = lots at our side's best "
          "price; best = 0: 32768 when ahead > 0 else 0")
_MY = "Moallemi, Yuan (2016), A model for queue position valuation in a limit order book"
_AS = "Avellaneda, Stoikov (2008), High-frequency trading in a limit order book"

FEATURES: tuple[Feature, ...] = (
    Feature("microprice_offset", "((a - b) * (B - A) * 128) / (B + A); 0 while a side is empty",
            "Q8 ticks from the mid", "sat32", "Stoikov (2018), The micro-price; Gatheral, Oomen (2010)"),
    Feature("spread", "a - b; 0 while a side is empty", "Q0 ticks", "sat32",
            "Roll (1984), A simple implicit measure of the effective bid-ask spread"),
    Feature("imbalance_1", "((B - A) << 15) / (B + A); 0 when both sides are empty", "Q15", "-32768..32768",
            "Gould, Bonart (2016), Queue imbalance as a one-tick-ahead price predictor"),
    Feature("imbalance_5", "((SB - SA) << 15) / (SB + SA), S = lots of the best five levels; 0 when both are empty",
            "Q15", "-32768..32768", "Cao, Hansch, Wang (2009), The information content of an open limit-order book"),
    Feature("ofi_fast", _OFI + "; medium window", "Q0 lots", "sat32", _CKS),
    Feature("ofi_slow", _OFI + "; slow window", "Q0 lots", "sat32", _CKS),
    Feature("flow_fast", _FLOW + "; medium window", "Q0 lots", "sat32", _LEE),
    Feature("flow_slow", _FLOW + "; slow window", "Q0 lots", "sat32", _LEE),
    Feature("return_fast", _RET + "; fast window", "Q24", "sat32", _AB),
    Feature("return_medium", _RET + "; medium window", "Q24", "sat32", _AB),
    Feature("return_slow", _RET + "; slow window", "Q24", "sat32", _AB),
    Feature("realised_volatility", "(isqrt(sum_w min(|d|, 2^20)^2) << 24) / mid2 over the slow window, d = change of "
            "mid2 at each event; 0 while mid2 is unknown", "Q24", "sat32", _AB),
    Feature("quote_rate", "lg(1 + n), n = adds, reduces, deletes and replaces in the medium window", "Q8 octaves",
            "n < 2^62", "Cont, Stoikov, Talreja (2010), A stochastic model for order book dynamics"),
    Feature("trade_rate", "lg(1 + n), n = printable executions and hidden trades in the medium window", "Q8 octaves",
            "n < 2^62", "Bowsher (2007), Modelling security market events in continuous time"),
    Feature("queue_ahead_bid", _QUEUE, "Q15 of the best bid's lots", "-32768..32768", _MY),
    Feature("queue_ahead_ask", _QUEUE, "Q15 of the best ask's lots", "-32768..32768", _MY),
    Feature("position", "own position, short negative", "Q0 lots", "sat32", _AS),
    Feature("working_buy", "own open buy quantity", "Q0 lots", "sat32", _AS),
    Feature("working_sell", "own open sell quantity", "Q0 lots", "sat32", _AS),
    Feature("time_since_trade", "lg(1 + dt), dt = now - last printable execution or hidden trade in ns; "
            "16128 (= 63 octaves) when there was none", "Q8 octaves", "0..16128",
            "Engle, Russell (1998), Autoregressive conditional duration"),
    Feature("depth_1", "lg(1 + B + A)", "Q8 octaves", "0..16128",
            "Cont, Kukanov, Stoikov (2014): impact falls with depth"),
    Feature("user_signal", "what the user's own signal returned at this decision; 0 without one", "the user's",
            "int32", "the user's"),
)

NAMES: tuple[str, ...] = tuple(f.name for f in FEATURES)
COUNT = len(FEATURES)
INDEX: dict[str, int] = {name: i for i, name in enumerate(NAMES)}


def canonical(params: FeatureParams | None = None) -> str:
    """The text that is hashed: version, parameters, ordered names. C++ builds the same bytes."""
    p = params or FeatureParams()
    shifts = ",".join(map(str, p.bucket_shifts))
    return f"peregrine.signal.schema;version={VERSION};buckets={BUCKETS};shifts={shifts};features={','.join(NAMES)}"


def schema_hash(params: FeatureParams | None = None) -> str:
    """SHA-256 of `canonical(params)`, 64 hex digits."""
    return hashlib.sha256(canonical(params).encode()).hexdigest()


def describe() -> str:
    """All features as readable text, one block each."""
    return "\n".join(
        f"{i:2d} {f.name}\n     {f.formula}\n     {f.q_format}; saturation {f.saturation}; source: {f.source}"
        for i, f in enumerate(FEATURES)
    )
