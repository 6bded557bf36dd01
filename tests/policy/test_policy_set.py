"""Sets of policies: consensus against the oracle, banks, roles, version."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath import _core
from hotpath.policy import artifact, oracle
from hotpath.policy.random_network import random_features, random_network
from hotpath.signal import schema


def made(seed: int, sizes: tuple[int, ...] = (16, 24, 5)) -> artifact.Artifact:
    network = random_network(np.random.default_rng(seed), sizes, schema.COUNT)
    built = artifact.make(network, name=f"p{seed}", seed=seed,
                          provenance={"data": [], "seed": seed, "versions": {}})
    return artifact.parse(artifact.dump(built))


def opinionated(count: int) -> list[artifact.Artifact]:
    """Artifacts that answer with at least three different actions on random features."""
    rows = random_features(np.random.default_rng(0), 300, schema.COUNT)
    found: list[artifact.Artifact] = []
    for seed in range(500):
        candidate = made(seed)
        if len(np.unique(oracle.argmax(oracle.infer(candidate.network, rows)))) >= 3:
            found.append(candidate)
        if len(found) == count:
            return found
    raise AssertionError("too few random policies with opinions")


ARTIFACTS = opinionated(8)


def version_of(*artifacts: artifact.Artifact) -> int:
    joined = b"".join(bytes.fromhex(a.sha256) for a in artifacts)
    return int.from_bytes(hashlib.sha256(joined).digest()[:8], "big")


def with_policies(*slots: int) -> _core.PolicySet:
    policies = _core.PolicySet()
    for slot in slots:
        policies.stage(slot, ARTIFACTS[slot].to_core())
        assert policies.swap(slot)
    return policies


voters = st.builds(
    lambda weight, risk, veto, forced: oracle.Voter(weight, risk, frozenset(veto) if risk else frozenset(),
                                                    forced if risk else 0),
    st.integers(-32768, 32767) | st.integers(0, 4), st.booleans(), st.sets(st.integers(0, 4)), st.integers(0, 4))


@given(answers=st.lists(st.none() | st.integers(0, 4), min_size=8, max_size=8), quorum=st.integers(0, 256),
       who=st.lists(voters, min_size=8, max_size=8))
@settings(max_examples=400, deadline=None)
def test_consensus_equals_the_oracle(answers: list[int | None], quorum: int, who: list[oracle.Voter]) -> None:
    policies = CONSENSUS_SET
    assert policies.set_quorum(quorum)
    for slot, voter in enumerate(who):
        policies.set_slot(slot, voter.weight, voter.risk, sum(1 << a for a in voter.veto_actions),
                          voter.forced_action)
    got = policies.consensus([-1 if a is None else a for a in answers])
    expected = oracle.consensus(answers, who, quorum, 5)
    assert (got["action"], got["held"], got["vetoed"], tuple(got["score"])) == (
        expected.action, expected.held, expected.vetoed, expected.score)
    assert got["n_policies"] == sum(a is not None for a in answers)


CONSENSUS_SET = with_policies(*range(8))


def test_a_set_decides_what_its_policies_vote_for() -> None:
    policies = with_policies(0, 2, 5)
    for slot, weight in ((0, 3), (2, 2), (5, 2)):
        assert policies.set_weight(slot, weight)
    policies.set_quorum(128)
    who = [oracle.Voter(w) for w in (3, 2, 2)]
    seen = set()
    for row in random_features(np.random.default_rng(3), 300, schema.COUNT):
        got = policies.decide(row)
        answers = [int(oracle.argmax(oracle.infer(ARTIFACTS[s].network, row))) for s in (0, 2, 5)]
        assert [got["argmax"][s] for s in (0, 2, 5)] == answers
        assert all(got["argmax"][s] is None for s in (1, 3, 4, 6, 7))
        expected = oracle.consensus(answers, who, 128, 5)
        assert (got["action"], got["held"]) == (expected.action, expected.held)
        seen.add((got["action"], got["held"]))
    assert len(seen) > 2


def test_a_staged_bank_decides_nothing_until_the_swap_and_a_second_swap_undoes_it() -> None:
    policies = with_policies(0)
    before = policies.version
    assert before == version_of(ARTIFACTS[0])
    rows = random_features(np.random.default_rng(1), 50, schema.COUNT)
    first = [policies.decide(r)["argmax"][0] for r in rows]
    policies.stage(0, ARTIFACTS[7].to_core())
    assert policies.version == before and [policies.decide(r)["argmax"][0] for r in rows] == first
    assert policies.swap(0)
    assert policies.version == version_of(ARTIFACTS[7])
    assert [policies.decide(r)["argmax"][0] for r in rows] == oracle.argmax(
        oracle.infer(ARTIFACTS[7].network, rows)).tolist() != first
    assert policies.swap(0)
    assert policies.version == before and [policies.decide(r)["argmax"][0] for r in rows] == first


def test_a_swap_of_nothing_is_refused_and_changes_nothing() -> None:
    policies = with_policies(1)
    before = policies.state_hash()
    assert not policies.swap(0) and not policies.swap(1) and not policies.swap(8)
    assert policies.state_hash() == before


def test_the_version_names_the_active_artifacts_in_slot_order() -> None:
    policies = _core.PolicySet()
    assert policies.version == 0
    for slot in (5, 0, 2):
        policies.stage(slot, ARTIFACTS[slot].to_core())
        policies.swap(slot)
    assert policies.version == version_of(ARTIFACTS[0], ARTIFACTS[2], ARTIFACTS[5])
    assert policies.decide(np.zeros(schema.COUNT, np.int32))["version"] == policies.version
    assert policies.remove(2) and not policies.remove(2)
    assert policies.version == version_of(ARTIFACTS[0], ARTIFACTS[5])


def test_an_empty_set_holds() -> None:
    got = _core.PolicySet().decide(np.zeros(schema.COUNT, np.int32))
    assert got["held"] and got["action"] == 0 and got["n_policies"] == 0 and got["version"] == 0


def test_an_answer_outside_the_actions_is_no_answer() -> None:
    got = with_policies(0, 1).consensus([9, 3])
    assert got["argmax"][:2] == [None, 3] and got["n_policies"] == 1 and got["action"] == 3


def test_the_lowest_risk_slot_forces_its_action() -> None:
    policies = with_policies(0, 1, 2)
    policies.set_slot(1, 0, True, 0b00010, 4)
    policies.set_slot(2, 0, True, 0b00010, 3)
    got = policies.consensus([1, 1, 1])
    assert got["vetoed"] and got["veto_slot"] == 1 and got["action"] == 4 and not got["held"]
    assert not policies.consensus([1, 2, 2])["vetoed"]


@pytest.mark.parametrize(("args", "message"), [
    ((8, 1, False, 0, 0), "slot: found 8"),
    ((0, 1, True, 1 << 5, 0), "veto_actions: found mask 0x20"),
    ((0, 1, True, 1, 5), "forced_action: found 5, expected below 5"),
    ((0, 1, False, 1, 0), "veto set on a voter"),
])
def test_a_bad_role_is_refused(args: tuple, message: str) -> None:
    policies = with_policies(0)
    before = policies.state_hash()
    with pytest.raises(ValueError, match=message):
        policies.set_slot(*args)
    assert policies.state_hash() == before


def test_a_quorum_is_at_most_everyone() -> None:
    policies = with_policies(0)
    assert policies.set_quorum(256) and not policies.set_quorum(257)


def test_policies_of_different_action_maps_make_no_set() -> None:
    network = random_network(np.random.default_rng(0), (4, 3), schema.COUNT)
    layers = [(layer.weights, layer.bias, layer.shift, layer.relu) for layer in network.layers]
    other = _core.Policy(network.feature_index, network.quant_m, network.quant_s, layers, schema_hash=bytes(32),
                         action_map_hash=b"\7" * 32, artifact_hash=bytes(32), n_schema_features=schema.COUNT,
                         n_actions=3, expected_schema_hash=bytes(32))
    policies = with_policies(0)
    with pytest.raises(ValueError, match="slot 1: action map differs from that of slot 0"):
        policies.stage(1, other)
    assert other.loaded, "a refused policy stays with its owner"
    with pytest.raises(ValueError, match="slot 0: action map differs"):
        policies.stage(0, other)


def test_the_state_hash_sees_banks_weights_and_quorum() -> None:
    policies = with_policies(0)
    seen = {policies.state_hash()}
    policies.stage(0, ARTIFACTS[1].to_core())
    seen.add(policies.state_hash())
    policies.set_weight(0, 9)
    seen.add(policies.state_hash())
    policies.set_quorum(200)
    seen.add(policies.state_hash())
    policies.swap(0)
    seen.add(policies.state_hash())
    assert len(seen) == 5
