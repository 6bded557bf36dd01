"""The loadable core's banks: images loaded while it answers, swaps between requests, words refused, bits turned over."""

from __future__ import annotations

import numpy as np
import pytest
from loader_model import LoaderModel

import hdl_cases
from hotpath.policy import oracle
from peregrine_hdl import bank_image
from peregrine_hdl.bank_image import CHANNELS, LAYERS, QUANTISER, SLOTS, WEIGHTS
from peregrine_hdl.loadable_limits import Limits
from peregrine_hdl.registers import KINDS, STATUS

pytestmark = [pytest.mark.usefixtures("toolchain"), pytest.mark.slow]

NARROW = Limits(4, 4, weight_rows=1024)
SHAPE = [9, 8, 5]
FEATURES = KINDS["features"]


@pytest.fixture
def core():
    """The small build, with the port that upsets its memories."""
    import hdl_loadable

    made = hdl_loadable.Core(hdl_loadable.build(NARROW, upsets=True))
    yield made
    made.close()


def image_of(seed: int, shape=SHAPE) -> tuple[list, np.ndarray]:
    """(policies, image) of a bank with policies in slots 0 and 2."""
    networks = [hdl_cases.bench_network(shape, seed), None, hdl_cases.bench_network([4, 3], seed + 1)]
    return networks, bank_image.pack(networks, NARROW)


def commands_of(rows: list[tuple[int, int, int]]) -> np.ndarray:
    """(op, bank, word) each."""
    import hdl_loadable as h

    out = np.zeros(len(rows), h.COMMAND)
    for k, name in enumerate(("op", "bank", "data")):
        out[name] = [row[k] for row in rows]
    return out


@pytest.mark.parametrize("stall_seed", [0, 1, 2, 3])
def test_a_swap_under_load_changes_the_answers_once_and_never_mixes_versions(stall_seed, core):
    import hdl_loadable as h

    sets = [image_of(seed) for seed in (0, 4, 8, 12)]
    core.load(sets[0][1], 0)
    count, bank = 600, 0
    network = h.own_inputs(sets[0][0][0])
    x = hdl_cases.bench_features(network, count, stall_seed)
    beats = np.concatenate([h.request(0, FEATURES, row) for row in x])
    commands = [h.load_commands(image, k % 2, swap=True, after=10 + 150 * (k - 1)) for k, (_, image) in enumerate(sets) if k]
    answers, replies, _ = core.run(beats, np.concatenate(commands), count, stall_seed)
    assert replies["ok"].all()
    want = []
    for networks, _ in sets:
        rows = np.zeros(count, h.ANSWER)
        h.expect(rows, np.arange(count), h.own_inputs(networks[0]), x, NARROW)
        want.append(rows)
    swaps = replies[replies["op"] == h.OP_SWAP]
    begin = 0
    for k in range(4):
        taken = int(swaps[k]["after"]) if k < 3 else count  # answers taken when the swap was replied
        end = taken
        if k < 3 and answers["bank"][taken] == bank:
            end += 1  # one answer stood untaken
        part = slice(begin, end)
        h.compare(answers[part], want[k][part], np.ones(end - begin), bank)
        for other in range(4):  # the sets can be told apart
            assert other == k or (want[k]["logits"][part] != want[other]["logits"][part]).any(axis=1).mean() > 0.5
        begin, bank = end, 1 - bank
    assert begin == count and np.count_nonzero(np.diff(answers["bank"].astype(int))) == 3
    assert all(int(a["after"]) >= 30 for a in swaps[:1]), "the bank was loaded while requests were answered"


def test_a_swap_waits_for_the_request_in_the_core_and_the_next_one_waits_for_the_swap(core):
    import hdl_loadable as h

    first, second = image_of(0), image_of(4)
    core.load(first[1], 0)
    assert core.command(h.load_commands(second[1], 1, swap=False))["ok"].all()
    beats = np.concatenate([h.request(0, FEATURES, np.arange(9) * k) for k in range(1, 40)])
    answers, replies, _ = core.run(beats, commands_of([(h.OP_SWAP, 1, 0)]), 39)
    assert replies["ok"].tolist() == [1]
    assert answers["bank"].tolist() == [0] + [1] * 38
    answers, replies, _ = core.run(beats, commands_of([(h.OP_SWAP, 0, 0), (h.OP_SWAP, 0, 0)]), 39)  # back, not loaded again
    assert replies["ok"].tolist() == [1, 1] and replies["crc"].tolist() == [bank_image.crc(first[1])] * 2
    assert answers["bank"].tolist() == [1] + [0] * 38


def test_a_bank_that_is_not_whole_is_never_swapped_in(core):
    import hdl_loadable as h

    image = image_of(0)[1]
    for bank in (0, 1, 2, 15):
        assert core.command(commands_of([(h.OP_SWAP, bank, 0)]))["ok"].tolist() == [0]
    assert not core.command(commands_of([(h.OP_WORD, 0, int(image[0]))]))["ok"].any(), "a word before any start"
    heads = np.flatnonzero(np.isin(image >> 24, range(5)) & (image & 0xFFFFFF > 0))
    for length in {0, 1, *map(int, heads[:40]), *(int(k) + 1 for k in heads[:40]), len(image) - 1}:
        rows = [(h.OP_START, 0, 0), *((h.OP_WORD, 0, int(w)) for w in image[:length]), (h.OP_SWAP, 0, 0)]
        replies = core.command(commands_of(rows))
        assert replies["ok"][:-1].all() and not replies["ok"][-1], length
        assert int(replies["words"][-1]) == length
    assert core.ask(h.request(0, FEATURES, np.arange(9)))["status"][0] == STATUS["no_policy"]


def test_the_active_bank_is_neither_started_nor_written(core):
    import hdl_loadable as h

    networks, image = image_of(0)
    core.load(image, 1)
    rows = [(h.OP_START, 1, 0), *((h.OP_WORD, 1, int(w)) for w in image), (h.OP_WORD, 1, 0)]
    replies = core.command(commands_of(rows))
    assert not replies["ok"].any()
    assert (replies["words"] == len(image)).all() and (replies["crc"] == bank_image.crc(image)).all()
    requests = h.random_requests(networks, NARROW, 100, 1)
    h.compare(core.ask(requests.beats), requests.answers, requests.kinds, 1)


def mutated(rng: np.random.Generator, image: np.ndarray) -> list[int]:
    """An image with one to three things wrong, or now and then none."""
    words = [int(w) for w in image]
    for _ in range(int(rng.integers(0, 3))):
        # heads and small sections are hit more often than their share of the words
        at = int(rng.integers(0, len(words))) if rng.random() < 0.3 else int(rng.integers(0, min(14, len(words))))
        kind = rng.integers(0, 5)
        if kind == 0:
            words[at] ^= 1 << int(rng.integers(0, 32))
        elif kind == 1:
            del words[at:]
        elif kind == 2:
            words.insert(at, int(rng.integers(0, 1 << 32)))
        elif kind == 3:
            del words[at]
        else:
            words[at] = int(rng.choice([0, 0xFFFFFFFF, 0x01000002, 0x04FFFFFF, 0x80010100, int(rng.integers(0, 1 << 32))]))
        if not words:
            break
    return words


def head_places(image: np.ndarray) -> list[int]:
    """Where the five heads stand."""
    places, at = [], 1
    for _ in range(5):
        places.append(at)
        at += 1 + (int(image[at]) & 0xFFFFFF)
    return places


def mutated_heads(rng: np.random.Generator, image: np.ndarray) -> list[int]:
    """An image with a head, or the word behind it, replaced."""
    words = [int(w) for w in image]
    at = int(rng.choice(head_places(image)))
    new = words[at] + int(rng.choice([-2, -1, 1, 2, 4, 1 << 24, -(1 << 24), 0xFFF000]))
    words[at if rng.random() < 0.7 else at + 1] = new & 0xFFFFFFFF
    return words


def mutated_fields(rng: np.random.Generator, image: np.ndarray) -> list[int]:
    """A whole image whose layers and slots do not fit each other, every field in its range."""
    words, places = [int(w) for w in image], head_places(image)
    for at in range(places[LAYERS] + 1, places[QUANTISER], 2):
        if rng.random() < 0.5:
            words[at] = int(rng.integers(1, 129)) | int(rng.integers(1, 129)) << 8 | int(rng.integers(0, 2)) << 16
        if rng.random() < 0.5:
            words[at + 1] = int(rng.integers(0, NARROW.weight_rows)) | int(rng.integers(0, NARROW.channel_rows)) << 16
    if rng.random() < 0.5:
        layers, inputs = int(rng.integers(1, 7)), int(rng.integers(1, 65))
        words[places[SLOTS] + 1] = int(rng.integers(0, 19)) | layers << 8 | inputs << 16 | 1 << 31
    return words


@pytest.mark.parametrize("seed", range(6))
def test_every_command_is_replied_as_the_model_says_and_every_request_answered_whatever_the_words(seed, core):
    import hdl_loadable as h

    rng = np.random.default_rng(seed)
    model = LoaderModel(NARROW)
    answered = swapped = 0
    for round_ in range(25):
        image = image_of(int(rng.integers(0, 50)), [int(rng.integers(1, 20)), int(rng.integers(1, 9)), int(rng.integers(1, 17))])[1]
        change = (mutated, mutated_heads, mutated_fields, mutated_fields)[round_ % 4]
        words = change(rng, image)
        bank = int(rng.choice([0, 1, 0, 1, 2, 9]))
        rows = [(h.OP_START, bank, 0)] * int(rng.random() < 0.95) + [(h.OP_WORD, bank, w) for w in words]
        rows += [(3, bank, 0)] * int(rng.random() < 0.1) + [(h.OP_SWAP, int(rng.choice([bank, 0, 1])), 0)]
        if rng.random() < 0.2:  # two banks in turns
            rows = [r for row in rows for r in (row, (row[0], 1 - row[1] if row[1] < 2 else row[1], row[2]))]
        replies = core.command(commands_of(rows), int(rng.integers(0, 3)))
        want = [model.reply(*row) for row in rows]
        found = [tuple(int(v) for v in (r["op"], r["bank"], r["ok"], r["words"], r["crc"])) for r in replies]
        first = next((k for k, (a, b) in enumerate(zip(found, want, strict=True)) if a != b), None)
        assert first is None, f"round {round_}, command {rows[first]}: core {found[first]}, model {want[first]}"
        swapped += want[-1][2]
        # a whole image whose fields do not agree may answer anything, but it answers
        beats = [h.request(int(s), int(k), np.arange(n)) for s in range(4) for k in (0, 1) for n in rng.integers(1, 20, 2)]
        answered += len(core.ask(np.concatenate(beats), int(rng.integers(0, 3))))
    assert answered == 25 * 16 and 2 <= swapped <= 20


@pytest.mark.parametrize("bank", [0, 1])
def test_whatever_is_written_to_one_bank_the_other_answers_as_before(bank, core):
    import hdl_loadable as h

    rng = np.random.default_rng(bank)
    networks, image = image_of(2)
    core.load(image, bank)
    requests = h.random_requests(networks, NARROW, 30, 1)
    for round_ in range(15):
        change = (mutated, mutated_heads, mutated_fields)[round_ % 3]
        words = change(rng, image_of(round_)[1]) + rng.integers(0, 1 << 32, 20).tolist()
        core.command(commands_of([(h.OP_START, 1 - bank, 0), *((h.OP_WORD, 1 - bank, w) for w in words)]))
        h.compare(core.ask(requests.beats, round_ % 2), requests.answers, requests.kinds, bank)
    assert core.command(commands_of([(h.OP_SWAP, bank, 0)]))["crc"].tolist() == [bank_image.crc(image)]


def test_a_first_layer_that_wants_more_inputs_than_the_request_brings_is_answered_all_the_same(core):
    import hdl_loadable as h

    _, image = image_of(0)
    layers = head_places(image)[LAYERS] + 1
    for inputs in (1, 3, 8, 10, 64, 128):
        bad = image.copy()
        bad[layers] = (int(bad[layers]) & ~0xFF) | inputs
        core.load(bad, 1)
        for kind in (0, 1):
            assert core.ask(h.request(0, kind, np.arange(9)), inputs)["status"].tolist() == [0]
        networks, good = image_of(1)
        core.load(good, 0)
        requests = h.random_requests(networks, NARROW, 20, inputs)
        h.compare(core.ask(requests.beats), requests.answers, requests.kinds, 0)


@pytest.mark.parametrize("region", [SLOTS, LAYERS, QUANTISER, CHANNELS, WEIGHTS])
def test_a_bit_turned_over_in_any_memory_is_seen_when_it_is_read_and_the_answer_withheld(region, core):
    import hdl_loadable as h

    networks, image = image_of(3)
    other = networks[2]
    place = head_places(image)[region] + 1
    count = int(image[place - 1]) & 0xFFFFFF
    mine = {SLOTS: 1, LAYERS: 4, QUANTISER: 9, CHANNELS: count - 4, WEIGHTS: 9 * 2 + 8 * 2}[region]  # slot 0's part
    good = h.request(0, FEATURES, np.arange(9)), h.request(2, FEATURES, np.arange(4))
    for index in sorted({0, mine - 1, *range(0, mine, 5)}):
        core.reset()
        core.load(image, index % 2)
        before = core.parity_clocks
        clean = core.ask(np.concatenate(good))
        assert clean["status"].tolist() == [0, 0] and core.parity_clocks == before
        core.upset(index % 2, region, index, int(image[place + index]))
        hurt = core.ask(np.concatenate([*good, *good]), index)
        assert hurt["status"].tolist() == [STATUS["parity"], 0] * 2, (region, index)
        assert core.parity_clocks - before == 2
        assert not hurt["logits"][0].any() and not hurt["action"][0] and not hurt["outputs"][0]
        x = np.arange(4, dtype=np.int32)[None]
        assert hurt["logits"][1][:3].tolist() == oracle.infer(h.own_inputs(other), x)[0].tolist()
        core.load(image, 1 - index % 2)  # the other bank is whole
        assert core.ask(good[0])["status"].tolist() == [0]


def test_what_is_replied_is_what_was_read_back_from_the_memory(core):
    import hdl_loadable as h

    image = image_of(3)[1]
    weights = head_places(image)[WEIGHTS] + 1
    rows = [(h.OP_START, 0, 0), *((h.OP_WORD, 0, int(w)) for w in image), (h.OP_SWAP, 0, 0)]
    core.upset(0, WEIGHTS, 0, int(image[weights]), on=1)  # whatever is written there is stored wrong
    replies = core.command(commands_of(rows))
    first = 1 + weights
    assert replies["ok"][:first].all() and not replies["ok"][first:].any()
    stored = image[: weights + 1].copy()
    stored[weights] ^= 1
    assert int(replies["words"][first]) == weights + 1 and int(replies["crc"][first]) == bank_image.crc(stored)
    core.upset(0, WEIGHTS, 0, 0, on=0)
    core.load(image, 0)
