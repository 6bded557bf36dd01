"""Documents laid over each other: the rule for each shape, and each value's origin."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.layers import Origin, layer_of, merge, node_of, tree_of
from orchestrator.config.paths import KEYED, flat, parse_path
from orchestrator.config.yaml_tree import Tree, parse


def laid(*texts: str, lists: bool = True) -> Tree:
    """Documents "0", "1" … merged in that order."""
    layers = [layer_of(parse(text), "file", str(i)) for i, text in enumerate(texts)]
    root = layers[0].root
    for layer in layers[1:]:
        root = merge(root, layer, lists=lists)
    return tree_of(root, [p for layer in layers for p in layer.problems])


def test_mappings_merge_key_by_key_and_values_replace():
    tree = laid("a: {b: 1, c: [1, 2]}\n", "a:\n  c: [3]\n  d: 4\n")
    assert tree.value == {"a": {"b": 1, "c": [3], "d": 4}} and not tree.problems
    assert tree.origins[("a", "b")] == Origin("file", "0", 1) and tree.origins[("a", "d")] == Origin("file", "1", 3)
    assert tree.origins[("a", "c", 0)].source == "1"


def test_instruments_merge_by_symbol_and_new_ones_come_last():
    tree = laid("instruments: [{symbol: A, shift: 1}, {symbol: B}]\n", "instruments: [{symbol: C}, {symbol: A, multiplier: 7}]\n")
    assert tree.value["instruments"] == [{"symbol": "A", "shift": 1, "multiplier": 7}, {"symbol": "B"}, {"symbol": "C"}]
    assert tree.origins[("instruments", 0, "shift")].source == "0"
    assert tree.origins[("instruments", 0, "multiplier")].source == "1"


def test_policies_merge_by_slot_and_a_slot_given_twice_stays_two():
    tree = laid("policies: {members: [{slot: 0, weight: 1}]}\n", "policies: {members: [{slot: 0, weight: 2}, {slot: 0, weight: 3}]}\n")
    assert [m["weight"] for m in tree.value["policies"]["members"]] == [2, 3]


def test_over_a_profile_every_list_replaces():
    tree = laid("instruments: [{symbol: A}]\n", "instruments: [{symbol: B}]\n", lists=False)
    assert tree.value["instruments"] == [{"symbol": "B"}]


def test_another_kind_replaces_the_whole_mapping():
    tree = laid("venue: {kind: embedded, seed: 1}\n", "venue: {kind: external, ouch: x}\n", "venue: {ouch: y}\n")
    assert tree.value["venue"] == {"kind": "external", "ouch": "y"}


def test_replace_takes_the_overlays_value_whole():
    tree = laid("instruments: [{symbol: A}]\nrisk: {by_symbol: {A: {x: 1}}}\n",
                "replace: [instruments, risk.by_symbol]\ninstruments: [{symbol: B}]\nrisk: {by_symbol: {B: {x: 2}}}\n")  # fmt: skip
    assert tree.value == {"instruments": [{"symbol": "B"}], "risk": {"by_symbol": {"B": {"x": 2}}}} and not tree.problems


def test_remove_takes_away_by_key_and_by_position():
    tree = laid("instruments: [{symbol: A}, {symbol: BRK.B}]\nrisk: {x: 1, y: 2}\npolicies: {members: [{slot: 3}, {slot: 5}]}\n",
                "remove: ['instruments[BRK.B]', risk.x, 'policies.members[slot 5]']\n")  # fmt: skip
    assert tree.value == {"instruments": [{"symbol": "A"}], "risk": {"y": 2}, "policies": {"members": [{"slot": 3}]}}


def test_removing_or_replacing_what_is_not_there_is_told_with_its_line_and_the_nearest_name():
    tree = laid("instruments: [{symbol: WIDE}]\n", "name: x\nremove:\n  - instruments[WYDE]\n  - nothing.here\nreplace: [risk]\n")
    found = [(p.path, p.line, p.source, p.hint) for p in tree.problems]
    assert ("remove", 3, "1", "did you mean `WIDE`?") in found
    assert {(path, line) for path, line, _, _ in found} == {("remove", 3), ("remove", 4), ("replace", 5)}
    assert [p.path for p in laid("a: 1\n", "remove: 5\n").problems] == ["remove"]


def test_places_are_written_with_keys_and_read_back():
    view = {"instruments": [{"symbol": "A"}], "policies": {"members": [{"slot": 2, "weight": 1}]}, "by": {"BRK.B": 1}, "l": [1, 2], "e": {}}
    places = flat(view)
    assert set(places) == {"instruments[A].symbol", "policies.members[slot 2].slot", "policies.members[slot 2].weight", "by[BRK.B]", "l", "e"}
    assert parse_path("policies.members[slot 2].weight") == ("policies", "members", "slot 2", "weight")


# ---- an oracle that merges plain values and knows nothing of nodes

_SCALARS = st.integers(0, 3)
_INSTRUMENT = st.fixed_dictionaries({"symbol": st.sampled_from("ABC")}, optional={"m": _SCALARS, "n": st.dictionaries(st.sampled_from("pq"), _SCALARS)})
_TREES = st.fixed_dictionaries({}, optional={
    "instruments": st.lists(_INSTRUMENT, max_size=3, unique_by=lambda i: i["symbol"]),
    "r": st.dictionaries(st.sampled_from("xyz"), st.one_of(_SCALARS, st.lists(_SCALARS, max_size=2), st.dictionaries(st.sampled_from("ab"), _SCALARS)), max_size=3),
    "k": st.fixed_dictionaries({"kind": st.sampled_from(["e", "f"])}, optional={"v": _SCALARS, "w": _SCALARS}),
    "s": _SCALARS,
})  # fmt: skip


def slow_merge(base: Any, over: Any, path: tuple[str, ...] = ()) -> Any:
    """What the module's docstring says, value by value."""
    if isinstance(base, dict) and isinstance(over, dict):
        if "kind" in over and over["kind"] != base.get("kind"):
            return over
        return {k: (slow_merge(base[k], over[k], (*path, k)) if k in base and k in over else over.get(k, base.get(k)))
                for k in [*base, *(k for k in over if k not in base)]}  # fmt: skip
    if path in KEYED and isinstance(base, list) and isinstance(over, list):
        key = KEYED[path]
        new = {item[key]: item for item in over}
        known = {item[key] for item in base}
        return [slow_merge(i, new[i[key]], (*path, "#")) if i[key] in new else i for i in base] + [i for i in over if i[key] not in known]
    return over


@settings(max_examples=150, deadline=None)
@given(st.lists(_TREES, min_size=1, max_size=4))
def test_any_layers_merge_as_the_oracle_says_and_every_value_names_the_last_layer_that_gave_it(trees):
    layers = []
    for i, tree in enumerate(trees):
        layer = layer_of(Tree(), "file", str(i))
        layer.root = node_of(tree, Origin("file", str(i), 1))
        layers.append(layer)
    root, expected = layers[0].root, trees[0]
    for layer, tree in zip(layers[1:], trees[1:], strict=True):
        root, expected = merge(root, layer, lists=True), slow_merge(expected, tree)
    merged = tree_of(root, [])
    assert merged.value == expected
    views = [flat(tree) for tree in trees]
    for place, (path, value) in flat(merged.value).items():
        if isinstance(value, dict | list):
            continue
        givers = [i for i, view in enumerate(views) if place in view and view[place][1] == value]
        assert int(merged.origins[path].source) in givers, (place, merged.origins[path])
        assert not [i for i, view in enumerate(views) if place in view and i > int(merged.origins[path].source)]
