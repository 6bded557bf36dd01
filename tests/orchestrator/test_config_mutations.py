"""Five hundred damaged configurations: each is refused, naming the place and the way out, or shown to do no harm.

A mutation takes one place of a good configuration and changes the YAML there: a key gone, renamed, doubled, of another unit or
type; numbers beyond every bound; text of any script; nesting, tags, aliases. What is accepted must be the same configuration
but for that one place, with every number one that the engine can hold.
"""

from __future__ import annotations

import copy
import functools
import random
import re
from typing import Any, NamedTuple

import pytest
import yaml

from orchestrator.config import ConfigError, check_file, effective, from_effective, load_file, load_profile
from orchestrator.config.problems import Problem

DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
MARK = "QQPLACEQQ"
SEEDS = 500
CHUNKS = 10

EXTERNAL = {
    "kind": "external", "ouch": "127.0.0.1:26400", "itch_a": "239.1.1.1:26401", "itch_b": "239.1.1.2:26401",
    "retransmit": "127.0.0.1:26402", "glimpse": "127.0.0.1:26403", "interface": "127.0.0.1", "cancel_on_disconnect": True,
    "account": {"username": "ABC", "password_env": "PEREGRINE_PASSWORD", "firm": "ABCD"},
}  # fmt: skip
SCALARS = ["'5'", "5.5", "true", "[]", "{}", "[1, 2]", "{a: 1}", "null", "''", "text", "-1", "0", "1", "yes", "0x10", "1_000", "0o17",
           "2026-02-30", "1e3", ".inf", "-.inf", ".nan", "~", "'~'", "' '", "!!str 5", "1:30", "+5"]  # fmt: skip
HUGE = ["9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "4611686018427387905",
        "1" + "0" * 30, "-1" + "0" * 30, "1" + "0" * 400, "9" * 5000, "1e308", "1e999", "0x" + "f" * 40, "4294967296", "65536"]  # fmt: skip
TEXTS = ["'\u202e\u0661\u0662'", "'\U0001f985'", "'e\u0301'", "\"\\0\"", "\"\\n\"", "'a b'", "'A' # \u00e9", "'" + "x" * 10_000 + "'", "'../../etc/passwd'",
         "'$(id)'", "'%s%n'", "'\u00a0'", "\"\\ud800\"", "'\u212a'", "'\uff15'"]  # fmt: skip
TAGS = ["!!python/object/apply:os.system ['true']", "!!binary aGVsbG8=", "!mine 5", "!!set {a, b}", "!!omap [a: 1]", "!!timestamp 2026-01-01", "!!int '5'"]
UNITS = {"_ns": "_ms", "_ms": "_ns", "_us": "_s", "_lots": "_shares", "_ticks": "_cents", "_units": "_dollars", "_bps": "_percent", "_mb": "_kb",
         "_messages": "_count", "_permille": "_percent", "_per_s": "_per_ms"}  # fmt: skip


class Mutant(NamedTuple):
    """A damaged configuration, and what was done to which place."""

    text: str
    place: tuple[Any, ...]
    names: tuple[str, ...]  # the place may be told by any of these
    what: str


def dump(tree: Any, **options: Any) -> str:
    """YAML of a tree."""
    return str(yaml.dump(tree, Dumper=DUMPER, **options))


@functools.cache
def whole(profile: str) -> dict[str, Any]:
    """A shipped profile with every setting written out."""
    return effective(load_profile(profile))


def base(rng: random.Random) -> dict[str, Any]:
    """A complete good configuration: every setting written out."""
    tree = copy.deepcopy(whole(rng.choice(["laptop", "replay"])))
    if rng.random() < 0.3:
        tree["venue"] = dict(EXTERNAL)
    return tree


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place below the root."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [p for k, v in items for p in ((*path, k), *places(v, (*path, k)))]


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    """The value at a path."""
    for part in path:
        tree = tree[part]
    return tree


@functools.cache
def mutate(seed: int) -> tuple[dict[str, Any], Mutant]:
    """The configuration before, and the mutant of this seed."""
    rng = random.Random(seed)
    before = base(rng)
    tree = copy.deepcopy(before)
    spots = places(tree)
    if rng.random() < 1 / 16:  # items of lists are few among the settings
        spots = [p for p in spots if isinstance(p[-1], int)] or spots
    path = rng.choice(spots)
    parent, key = at(tree, path[:-1]), path[-1]
    keyed = isinstance(parent, dict)
    value = parent[key]
    ops = ["delete", "retype", "retype", "huge", "text", "tag", "deep", "alias", "bomb"]
    ops += ["rename", "unit", "double", "odd key", "merge"] if keyed else ["again"]
    what = rng.choice(ops)
    names = (str(key), *(() if keyed else (str(path[-2]),)))
    raw = MARK
    before_text = ""
    if what == "delete":
        del parent[key]
        return before, Mutant(dump(tree), path, names, what)
    if what in ("rename", "unit", "odd key"):
        new = str(key)
        if what == "unit":
            new = next((new.removesuffix(a) + b for a, b in UNITS.items() if new.endswith(a)), new + "_ns")
        elif what == "odd key":
            new = rng.choice(["\u0430" + new, new.upper(), new + "\u200b", "", " " + new, "null", "1", "<<x", "__proto__"])
        else:
            i = rng.randrange(len(new))
            new = new[:i] + new[i + 1 :] if len(new) > 3 and rng.random() < 0.5 else new + rng.choice("sx_2")
        parent[new] = parent.pop(key)
        return before, Mutant(dump(tree, allow_unicode=rng.random() < 0.5), (*path[:-1], new), (*names, new), what)
    if what == "again":
        parent.append(value)
        return before, Mutant(dump(tree), path[:-1], (str(path[-2]),), what)
    if what in ("double", "merge"):
        other = rng.choice(SCALARS)
        parent[MARK] = 0
        text = dump(tree, sort_keys=False)
        line = f"{key}: {other}" if what == "double" else "<<: {" + f"{key}: {other}" + "}"
        return before, Mutant(text.replace(f"{MARK}: 0", line), path if what == "double" else path[:-1], (*names, "<<"), what)
    if what == "retype":
        raw = rng.choice(SCALARS)
    elif what == "huge":
        raw = rng.choice(HUGE)
    elif what == "text":
        raw = rng.choice(TEXTS)
    elif what == "tag":
        raw = rng.choice(TAGS)
    elif what == "deep":
        n = rng.choice([1, 2, 30, 33, 200, 600])
        opening, closing = rng.choice([("[", "]"), ("{a: ", "}")])
        raw = opening * n + "1" + closing * n
    elif what == "alias":
        raw = rng.choice(["&a [*a]", "&a {b: *a}", "*nowhere", "&a 5"])
    else:
        before_text = "zz: &z0 [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(f"z{n}: &z{n} [{', '.join([f'*z{n - 1}'] * 8)}]\n" for n in range(1, 9))
        raw, names = "*z8", (*names, "zz", "z1")
    parent[key] = MARK
    return before, Mutant(before_text + dump(tree).replace(MARK, raw), path, names, what)


def covers(problem: Problem, m: Mutant) -> bool:
    """Whether a problem names the mutated place: its path, one above or below it, or the setting's name in a check between two."""
    if problem.path == "":
        return problem.line is not None or m.what in ("deep", "bomb")
    path = [int(p) if p.isdigit() else p for p in re.sub(r"\[(\d+)\]", r".\1", problem.path).split(".")]
    n = min(len(path), len(m.place))
    if [str(p) for p in path[:n]] == [str(p) for p in m.place[:n]]:
        return True
    return any(name and name in f"{problem.path} {problem.expected} {problem.found} {problem.hint}" for name in m.names)


def flat(tree: Any) -> dict[tuple[Any, ...], Any]:
    """Leaves by path."""
    return {p: v for p in places(tree) if not isinstance(v := at(tree, p), (dict, list)) or not v}


def numbers(tree: Any) -> list[int]:
    """Every number of a configuration."""
    return [v for v in flat(tree).values() if isinstance(v, int) and not isinstance(v, bool)]


def judge(seed: int, folder) -> str:
    """What became of one mutant: 'refused' or 'harmless'; fails when it is neither."""
    before, m = mutate(seed)
    said = f"seed {seed}, {m.what} at {'.'.join(map(str, m.place))}"
    file = folder / f"{seed}.yaml"
    file.write_text(m.text, encoding="utf-8", errors="surrogatepass")
    try:
        problems = check_file(file)
    except ConfigError as err:
        problems = err.problems
    if problems:
        naming = [p for p in problems if covers(p, m)]
        assert naming, (said, [(p.path, p.found, p.expected) for p in problems])
        bare = [(p.path, p.found, p.expected) for p in naming if not p.hint]
        assert not bare, (said, "no hint", bare)
        with pytest.raises(ConfigError) as refused:
            load_file(file)
        assert refused.value.code == 78, said
        assert len(refused.value.problems) == len(problems), said
        return "refused"
    after = effective(load_file(file))
    assert from_effective(after) == load_file(file), said
    was, now = flat(effective(from_effective(before))), flat(after)
    changed = [p for p in was.keys() | now.keys() if was.get(p) != now.get(p)]
    outside = [p for p in changed if p[: len(m.place)] != m.place]
    assert not outside, (said, outside)
    assert all(-(2**63) <= n < 2**63 for n in numbers(after)), (said, [n for n in numbers(after) if abs(n) >= 2**63])
    return "harmless"


@pytest.mark.parametrize("chunk", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, CHUNKS))])
def test_a_damaged_configuration_is_refused_by_its_place_or_does_no_harm(chunk, tmp_path):
    seen = [judge(seed, tmp_path) for seed in range(chunk, SEEDS, CHUNKS)]
    assert seen.count("refused") > len(seen) // 2  # a mutation that is never refused shows nothing


def test_some_damage_does_no_harm(tmp_path):
    assert any(judge(seed, tmp_path) == "harmless" for seed in range(SEEDS))  # else nothing would show that such are told apart


def test_the_mutants_are_of_every_kind():
    kinds = {mutate(seed)[1].what for seed in range(SEEDS)}
    assert kinds == {"delete", "retype", "huge", "text", "tag", "deep", "alias", "bomb", "rename", "unit", "double", "odd key", "merge", "again"}


def test_a_bomb_of_aliases_is_refused_with_its_path_on_the_command_line(peregrine, tmp_path):
    seed = next(s for s in range(SEEDS) if mutate(s)[1].what == "bomb")
    (tmp_path / "bomb.yaml").write_text(mutate(seed)[1].text)
    result = peregrine("config", "check", "bomb.yaml", code=78)
    assert "remove the aliases" in result.stderr + result.stdout
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["account.taker_fee_units_per_lot", "account.maker_fee_units_per_lot"])
@pytest.mark.parametrize(("value", "good"), [(10**9, True), (-(10**9), True), (10**9 + 1, False), (-(10**9) - 1, False), (10**30, False)])
def test_a_fee_beyond_what_sixty_four_bits_carry_is_refused(name, value, good):
    if good:
        load_profile("laptop", {name: value})
        return
    with pytest.raises(ConfigError) as refused:
        load_profile("laptop", {name: value})
    assert [p.path for p in refused.value.problems] == [name]
