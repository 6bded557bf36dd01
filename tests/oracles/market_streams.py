"""Random ITCH streams by seed: mostly sane order flow, with the nasty cases a damaged feed would bring."""

from __future__ import annotations

import random

from hotpath._core import market as mk

SYMBOLS = {1: "AAA", 2: "BBB", 7: "LONGNAME"}


def stream(seed: int, n: int, *, nasty: float = 0.05, prices: int = 40) -> list[bytes]:
    """`n` messages over three symbols; `nasty` is the share of messages that a clean feed never has."""
    rng = random.Random(seed)
    ts = 34_200_000_000_000
    out = [mk.encode({"type": "R", "locate": loc, "stock": s, "ts_ns": ts}) for loc, s in SYMBOLS.items()]
    live: dict[int, list] = {}  # ref -> [locate, shares]
    dead: list[int] = []
    matches: list[int] = []
    next_ref, next_match = 1000, 1
    while len(out) < n:
        ts += rng.randrange(0, 3000)
        d: dict = {"locate": rng.choice(list(SYMBOLS)), "ts_ns": ts}
        ref = rng.choice(list(live)) if live else 0
        if rng.random() < nasty:
            out.append(_nasty(rng, d, ref, live, dead))
            continue
        roll = rng.random()
        if roll < 0.42 or not live:
            next_ref += rng.choice((1, 4, 4, 1 << 33))
            d |= {"type": rng.choice("AAF"), "ref": next_ref, "side": rng.choice("BS"), "shares": rng.randint(1, 900),
                  "stock": SYMBOLS[d["locate"]], "price_ticks": 1_000_000 + 100 * rng.randrange(prices)}
            if d["type"] == "F":
                d["mpid"] = "MPID"
            live[next_ref] = [d["locate"], d["shares"]]
        elif roll < 0.60:
            d |= {"type": "D", "ref": ref, "locate": live.pop(ref)[0]}
            dead.append(ref)
        elif roll < 0.80:
            shares = rng.randint(1, live[ref][1])
            next_match += 1
            d |= {"type": rng.choice("EECX"), "ref": ref, "locate": live[ref][0], "shares": shares}
            if d["type"] in "EC":
                d["match"] = next_match
                matches.append(next_match)
            if d["type"] == "C":
                d |= {"printable": rng.choice("YN"), "price_ticks": 1_000_000 + rng.randrange(4000)}
            live[ref][1] -= shares
            if live[ref][1] == 0:
                del live[ref]
                dead.append(ref)
        elif roll < 0.92:
            next_ref += rng.choice((1, 4))
            shares = rng.randint(1, 900)
            d |= {"type": "U", "ref": ref, "new_ref": next_ref, "shares": shares,
                  "price_ticks": 1_000_000 + 100 * rng.randrange(prices), "locate": live[ref][0]}
            live[next_ref] = [live.pop(ref)[0], shares]
            dead.append(ref)
        else:
            next_match += 1
            stock = {"stock": SYMBOLS[d["locate"]]}
            d |= rng.choice((
                {"type": "P", "side": "B", "shares": rng.randint(0, 50), "price_ticks": 1_000_050, "match": next_match} | stock,
                {"type": "Q", "shares": rng.randint(0, 9000), "price_ticks": 1_000_150, "match": next_match} | stock,
                {"type": "B", "match": rng.choice(matches) if matches else 0},
                {"type": "H", "state": rng.choice("HPQT"), "reason": "T1"} | stock,
                {"type": "h", "market": rng.choice("QB"), "action": rng.choice("HT")} | stock,
                {"type": "Y", "action": rng.choice("012")} | stock,
                {"type": "S", "code": rng.choice("OSQMEC"), "locate": 0},
                {"type": "I", "paired_shares": 5, "imbalance_shares": 9, "direction": rng.choice("BSNO")} | stock,
                {"type": "J", "upper_ticks": 5} | stock, {"type": "N"} | stock, {"type": "K", "locate": 0} | stock,
                {"type": "L", "mpid": "ABCD"} | stock, {"type": "O"} | stock, {"type": "V", "locate": 0},
                {"type": "W", "locate": 0}))
            if d["type"] in "PQ":
                matches.append(next_match)
        out.append(mk.encode(d))
    return out


def _nasty(rng: random.Random, d: dict, ref: int, live: dict[int, list], dead: list[int]) -> bytes:
    gone = rng.choice(dead) if dead and rng.random() < 0.5 else rng.getrandbits(64)
    if gone in live:
        gone = 1
    stock = SYMBOLS[d["locate"]]
    choices: list[dict | bytes] = [
        d | {"type": "D", "ref": gone}, d | {"type": "E", "ref": gone, "shares": 1, "match": 1},
        d | {"type": "X", "ref": gone, "shares": 0}, d | {"type": "U", "ref": gone, "new_ref": 5, "shares": 1},
        d | {"type": "A", "ref": gone | 1 << 62, "side": "B", "shares": 0, "stock": stock, "price_ticks": 1},
        d | {"type": "D", "ref": gone, "locate": 999}, bytes([rng.choice(b"zG\x00\xff")]) + rng.randbytes(30),
        rng.randbytes(rng.randrange(0, 60)),
        mk.encode(d | {"type": rng.choice("AFECXDUPQBI"), "ref": ref, "stock": stock})[: rng.randrange(0, 30)],
    ]
    if live:
        locate, shares = live[ref]
        choices += [
            d | {"type": "A", "ref": ref, "side": "S", "shares": 5, "stock": stock, "price_ticks": 7},
            d | {"type": "E", "ref": ref, "locate": locate, "shares": shares + 1 + rng.randrange(1 << 20), "match": 4},
            d | {"type": "X", "ref": ref, "locate": locate, "shares": 0xFFFFFFFF},
            d | {"type": "U", "ref": ref, "locate": locate, "new_ref": ref, "shares": 5, "price_ticks": 9},
            d | {"type": "U", "ref": ref, "locate": locate, "new_ref": 77, "shares": 0, "price_ticks": 9},
            d | {"type": "D", "ref": ref, "locate": next(x for x in SYMBOLS if x != locate)},
        ]
    choice = rng.choice(choices)
    return choice if isinstance(choice, bytes) else mk.encode(choice)
