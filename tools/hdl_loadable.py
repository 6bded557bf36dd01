"""The loadable core's benches: its simulation behind the core port, random sets of policies, and what the oracle says.

`Core(build(limits))` is a simulation; `load` and `swap` drive its banks, `ask` its requests. `prove` holds a set of
policies against the oracle and the scalar kernel and the cycles against the formula; `flood` does the same against the
kernel alone in C++ (tests/hdl/loadable_vectors.cpp) for as many requests as are asked for.
"""

from __future__ import annotations

import concurrent.futures
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cxx  # noqa: E402
import hdl_cases  # noqa: E402
import hdl_model  # noqa: E402
from hotpath.policy import oracle  # noqa: E402
from hotpath.policy.oracle import Network  # noqa: E402
from peregrine_hdl import bank_image  # noqa: E402
from peregrine_hdl.loadable_limits import LARGEST, Limits, channel_rows_of, weight_rows_of  # noqa: E402
from peregrine_hdl.registers import COMPLETION_LOGITS, KINDS  # noqa: E402

SHIM = cxx.ROOT / "sim" / "device" / "port_model.cpp"
OP_START, OP_WORD, OP_SWAP = 0, 1, 2
PATIENCE = 50_000  # cycles without anything moving; the longest request that can be made takes fewer
BEAT = np.dtype([("word", "<u4"), ("slot", "u1"), ("kind", "u1"), ("count", "u1"), ("last", "u1"), ("after", "<u4")])
COMMAND = np.dtype([("data", "<u4"), ("op", "u1"), ("bank", "u1"), ("zero", "u1", 2), ("after", "<u4")])
ANSWER = np.dtype([("status", "u1"), ("action", "u1"), ("outputs", "u1"), ("bank", "u1"), ("cycles", "<u4"),
                   ("logits", "<i4", COMPLETION_LOGITS), ("idle", "<u4"), ("measured", "<u4")])  # fmt: skip
REPLY = np.dtype([("op", "u1"), ("bank", "u1"), ("ok", "u1"), ("zero", "u1"), ("words", "<u4"), ("crc", "<u4"), ("after", "<u4")])

# shapes that lie at an end of something: inputs, width, layers, outputs, one layer, one of everything
CORNER_SHAPES = ((1, 1), (64, 16), (1, 128, 1), (64, 1, 16), (3, 1, 1, 1, 1, 1, 2), (64, 128, 16), (5, 2), (17, 33, 9))


NARROW_WIDTH = 8


class Hang(Exception):
    """Nothing moved on any stream for PATIENCE cycles."""


@dataclass(frozen=True)
class Built:
    """A verilated build."""

    limits: Limits
    library: Path
    upsets: bool


def build(limits: Limits, upsets: bool = False) -> Built:
    """The simulation of a build; what these sources made before is taken from build/hdl."""
    from peregrine_hdl.loadable_emit import TOP

    source = cxx.ROOT / "hdl" / "peregrine_hdl"
    needed = [source / name for name in ("argmax.py", "bank_image.py", "core_port.py", "pipeline.py", "registers.py")]
    key = hdl_model.content_hash(repr(limits), str(upsets), *needed, *sorted(source.glob("loadable*.py")))

    def make(folder: Path) -> None:
        from peregrine_hdl.loadable import LoadableCore
        from peregrine_hdl.loadable_emit import loadable_verilog

        (folder / "core.v").write_text(loadable_verilog(LoadableCore(limits, upsets=upsets)))

    text = (hdl_model.cached(f"loadable-{key}", make) / "core.v").read_text()
    return Built(limits, hdl_model.build_model(text, TOP, SHIM, ("-DHDL_UPSETS",) if upsets else ()), upsets)


class Core:
    """One simulation of a build."""

    def __init__(self, built: Built) -> None:
        self.limits = built.limits
        self._lib = ctypes.CDLL(str(built.library))
        u32, u64, ptr = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
        functions: list[tuple[str, Any, list[Any]]] = [
            ("open", ptr, []), ("close", None, [ptr]), ("reset", None, [ptr]), ("parity_clocks", u64, [ptr]),
            ("run", u64, [ptr, *[ptr, u64] * 4, u64, u64]),
        ]  # fmt: skip
        if built.upsets:
            functions.append(("upset", None, [ptr, u32, u32, u32, u32, u32]))
        for name, result, arguments in functions:
            function = getattr(self._lib, f"port_{name}")
            function.restype, function.argtypes = result, arguments
        self._handle = self._lib.port_open()

    def run(self, beats: np.ndarray, commands: np.ndarray, answers: int, stall_seed: int = 0,
            patience: int = PATIENCE) -> tuple[np.ndarray, np.ndarray, int]:  # fmt: skip
        """(answers, replies, cycles); one reply a command. Raises Hang."""
        out, replies = np.zeros(answers, ANSWER), np.zeros(len(commands), REPLY)
        lists = []
        for array, dtype in ((beats, BEAT), (commands, COMMAND), (out, ANSWER), (replies, REPLY)):
            assert array.dtype == dtype and array.flags.c_contiguous
            lists += [array.ctypes.data, len(array)]
        cycles = self._lib.port_run(self._handle, *lists, stall_seed, patience)
        if cycles == 0 and (answers or len(commands)):
            raise Hang(f"{len(beats)} words and {len(commands)} commands went in; not all came out")
        return out, replies, int(cycles)

    def command(self, commands: np.ndarray, stall_seed: int = 0) -> np.ndarray:
        """Replies to bank commands."""
        return self.run(np.zeros(0, BEAT), commands, 0, stall_seed)[1]

    def ask(self, beats: np.ndarray, stall_seed: int = 0) -> np.ndarray:
        """Answers to requests."""
        return self.run(beats, np.zeros(0, COMMAND), int((beats["last"] != 0).sum()), stall_seed)[0]

    def load(self, image: np.ndarray, bank: int, stall_seed: int = 0) -> None:
        """Load and swap in; every reply is checked."""
        replies = self.command(load_commands(image, bank, swap=True), stall_seed)
        check_load(replies, image, bank)

    def upset(self, bank: int, region: int, index: int, word: int, on: int = 2) -> None:
        """Turn over a bit of what a memory holds: `word`, which it was loaded with. In one clock, or from now on (1) to (0)."""
        self._lib.port_upset(self._handle, bank, region, index, word, on)

    @property
    def parity_clocks(self) -> int:
        """Clocks with `parity_error` high, ever."""
        return int(self._lib.port_parity_clocks(self._handle))

    def reset(self) -> None:
        """A clock of reset."""
        self._lib.port_reset(self._handle)

    def close(self) -> None:
        """Free the simulation."""
        if self._handle:
            self._lib.port_close(self._handle)
            self._handle = None


def load_commands(image: np.ndarray, bank: int, swap: bool, after: int = 0) -> np.ndarray:
    """start, the words, and swap if asked for, all once `after` answers were taken."""
    out = np.zeros(len(image) + 1 + swap, COMMAND)
    out["bank"], out["after"], out["op"] = bank, after, OP_WORD
    out["op"][0] = OP_START
    out["data"][1 : 1 + len(image)] = image
    if swap:
        out["op"][-1] = OP_SWAP
    return out


def check_load(replies: np.ndarray, image: np.ndarray, bank: int) -> None:
    """Every reply of `load_commands` is good, and the counts and CRC are the image's."""
    assert replies["ok"].all(), f"reply {int(np.argmin(replies['ok']))}: {replies[np.argmin(replies['ok'])]}"
    assert (replies["bank"] == bank).all()
    count = np.minimum(np.arange(len(replies)), len(image))
    assert np.array_equal(replies["words"], count)
    assert int(replies["crc"][0]) == 0 and int(replies["crc"][-1]) == bank_image.crc(image)


def request(slot: int, kind: int, values: np.ndarray, count: int | None = None) -> np.ndarray:
    """Beats of one request: int32 features, or int8 inputs four a word."""
    if kind == KINDS["features"]:
        words = np.ascontiguousarray(values, "<i4").view("<u4")
    else:
        padded = np.zeros(-(-max(len(values), 1) // 4) * 4, "i1")
        padded[: len(values)] = values
        words = padded.view("<u4")
    beats = np.zeros(len(words), BEAT)
    beats["word"], beats["slot"], beats["kind"] = words, slot, kind
    beats["count"] = len(values) if count is None else count
    beats["last"][-1:] = 1
    return beats


def own_inputs(network: Network) -> Network:
    """The network as a request sees it: input k is feature k."""
    return replace(network, feature_index=np.arange(len(network.feature_index), dtype=np.uint16))


def without_quantiser(network: Network) -> Network:
    """The network whose int32 features are its int8 inputs."""
    n = len(network.feature_index)
    return replace(own_inputs(network), quant_m=np.ones(n, np.int16), quant_s=np.zeros(n, np.uint8))


@dataclass
class Requests:
    """Random requests to a bank's policies, and the answers that the oracle gives."""

    beats: np.ndarray
    answers: np.ndarray  # ANSWER, idle and measured 0, bank 0
    kinds: np.ndarray


def random_requests(networks: Sequence[Network | None], limits: Limits, rows: int, seed: int) -> Requests:
    """`rows` requests of both kinds, each to a random slot that holds something."""
    rng = np.random.default_rng([11, seed])
    held = [k for k, n in enumerate(networks) if n is not None]
    slots, kinds = rng.choice(held, rows), rng.integers(0, 4, rows) > 0
    answers = np.zeros(rows, ANSWER)
    values: list[np.ndarray] = [np.zeros(0)] * rows
    for slot in held:
        full = networks[slot]
        assert full is not None
        for features in (False, True):
            mine = np.flatnonzero((slots == slot) & (kinds == features))
            if not len(mine):
                continue
            network = own_inputs(full) if features else without_quantiser(full)
            if features:
                x = hdl_cases.bench_features(network, len(mine), seed)
            else:
                x = rng.integers(-128, 128, (len(mine), network.sizes[0])).astype(np.int32)
                x[rng.random(x.shape) < 0.2] = rng.choice(np.array([-128, 127, 0]))
            expect(answers, mine, network, x, limits)
            for k, row in zip(mine, x, strict=True):
                values[k] = row
    beats = [request(int(s), int(f), v) for s, f, v in zip(slots, kinds, values, strict=True)]
    return Requests(np.concatenate(beats), answers, kinds)


def expect(answers: np.ndarray, rows: np.ndarray, network: Network, x: np.ndarray, limits: Limits) -> None:
    """Fill `answers[rows]` with what the oracle says to features x."""
    logits = oracle.infer(network, x)
    shown = min(COMPLETION_LOGITS, logits.shape[1])
    answers["action"][rows] = oracle.argmax(logits)
    answers["outputs"][rows] = logits.shape[1]
    answers["cycles"][rows] = limits.cycles(network.sizes)
    block = np.zeros((len(rows), COMPLETION_LOGITS), np.int32)
    block[:, :shown] = logits[:, :shown]
    answers["logits"][rows] = block


def compare(found: np.ndarray, want: np.ndarray, kinds: np.ndarray, bank: int) -> None:
    """Every bit of every answer; cycles by the formula and by the bench's own count."""
    for name in ("status", "action", "outputs", "logits"):
        wrong = np.flatnonzero((found[name] != want[name]).reshape(len(want), -1).any(axis=1))
        assert not len(wrong), f"request {wrong[0]}: {name}: core {found[wrong[0]]}, oracle {want[wrong[0]]}"
    assert (found["bank"] == bank).all(), found["bank"]
    late = found["cycles"].astype(np.int64) - want["cycles"]
    # a clock without a word delays features by one; of four int8 inputs in a word it may delay none
    wrong = np.flatnonzero(np.where(kinds, late != found["idle"], (late < 0) | (late > found["idle"])))
    assert not len(wrong), f"request {wrong[0]}: cycles: core {found[wrong[0]]}, formula {want['cycles'][wrong[0]]}"
    wrong = np.flatnonzero(found["cycles"] != found["measured"])
    assert not len(wrong), f"request {wrong[0]}: says {found['cycles'][wrong[0]]}, took {found['measured'][wrong[0]]}"


def random_shape(rng: np.random.Generator, most: int = 40) -> tuple[int, ...]:
    """Inputs, hidden widths and outputs of a policy, none over `most`; the narrow ones have two hidden layers at most."""
    hidden = rng.integers(1, most + 1, int(rng.integers(0, 3 if most <= NARROW_WIDTH else 6)))
    return (int(rng.integers(1, min(most, 64) + 1)), *map(int, hidden), int(rng.integers(1, min(most, 16) + 1)))


def random_bank(seed: int, limits: Limits, shapes: Sequence[Sequence[int]] = (), most: int = 40) -> list[Network | None]:
    """Policies for a bank's slots: of the shapes given, else random ones up to `most` wide that fit; some slots empty."""
    rng = np.random.default_rng([5, seed])
    out: list[Network | None] = [hdl_cases.bench_network(list(s), seed + k) for k, s in enumerate(shapes)]
    while not shapes and len(out) < limits.slots:
        shape = random_shape(rng, most)
        held = [n.sizes for n in out if n is not None] + [list(shape)]
        fits = (sum(weight_rows_of(s, limits.lanes) for s in held) <= limits.weight_rows
                and sum(channel_rows_of(s, limits.lanes) for s in held) <= limits.channel_rows)  # fmt: skip
        if fits and (len(out) == 0 or rng.random() < 0.85):
            out.append(hdl_cases.bench_network(list(shape), seed + len(out)))
        elif fits or len(held) > 1:
            out.append(None)
    return out


def prove(core: Core, networks: Sequence[Network | None], rows: int, seed: int, bank: int = 0) -> dict[str, int]:
    """Load a bank and hold `rows` requests at full speed and as many with stalls against the oracle."""
    image = bank_image.pack(networks, core.limits)
    core.load(image, bank, stall_seed=seed % 2 * (seed + 1))
    requests = random_requests(networks, core.limits, rows, seed)
    for stall_seed in (0, seed + 1):
        compare(core.ask(requests.beats, stall_seed), requests.answers, requests.kinds, bank)
    return {"vectors": 2 * rows, "words": len(image), "policies": sum(n is not None for n in networks)}


def flood(built: Built, networks: Sequence[Network | None], vectors: int, seed: int,
          loaded: Sequence[Network | None] | None = None) -> dict[str, Any]:  # fmt: skip
    """Core against scalar kernel in C++. Raises RuntimeError with the first request that differs.

    `loaded` (tests) is what the bank gets in the policies' place.
    """
    image = bank_image.pack(networks if loaded is None else loaded, built.limits)
    key = hdl_model.content_hash(image.tobytes(), *(hdl_cases.case_bytes(n) for n in networks if n is not None))

    def make(folder: Path) -> None:
        (folder / "image.bin").write_bytes(image.astype("<u4").tobytes())
        for k, network in enumerate(networks):
            if network is not None:
                (folder / f"{k}.case").write_bytes(hdl_cases.case_bytes(network))

    folder = hdl_model.cached(f"bank-{key}", make)
    cases = ["-" if n is None else str(folder / f"{k}.case") for k, n in enumerate(networks)]
    lanes = str(built.limits.lanes)
    done = subprocess.run([str(hdl_cases.harness("loadable_vectors")), str(built.library), lanes, str(folder / "image.bin"),
                           str(vectors), str(seed), *cases], capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def sim_limits(lanes: int) -> Limits:
    """The builds of `make sim`: from 16 lanes on with memories for the largest network."""
    return Limits(lanes, 4, weight_rows=0 if lanes >= 16 else 1024)


def bench(lanes: int, banks: int, proven: int, flooded: int, say: Callable[[str], None]) -> dict[str, Any]:
    """A build against oracle (`proven` requests a bank, twice) and kernel (`flooded` in all), corner shapes first.

    Nine in ten of the flood's requests go to policies up to 8 wide, the rest to ones up to 40 wide; where the memories
    allow it one in 500 goes to a policy of up to 128, and a few to the largest there is.
    """
    built = build(sim_limits(lanes))
    limits = built.limits
    hdl_cases.harness("loadable_vectors")
    whole = limits.weight_rows >= weight_rows_of(LARGEST, lanes)
    shapes = [s for s in CORNER_SHAPES if whole or max(s) <= 64]
    plan = [(random_bank(k, limits, shapes[k : k + 4]), proven, 0) for k in range(0, len(shapes), 4)]
    plan += [(random_bank(100 + k, limits, most=NARROW_WIDTH), proven, flooded * 9 // 10 // banks) for k in range(banks)]
    plan += [(random_bank(200 + k, limits), proven, flooded // 10 // max(1, banks // 4)) for k in range(max(1, banks // 4))]
    if whole:
        plan += [(random_bank(300, limits, [random_shape(np.random.default_rng(7), 128)]), proven // 4, flooded // 500)]
        plan += [(random_bank(301, limits, [LARGEST]), proven // 4, flooded // 50_000)]

    def one(job: tuple[int, tuple[list[Network | None], int, int]]) -> dict[str, int]:
        seed, (networks, rows, more) = job
        core = Core(built)
        counts = prove(core, networks, rows, seed)
        core.close()
        total = {"vectors": counts["vectors"], "cycles": 0, "ties": 0}
        if more:
            result = flood(built, networks, more, seed)
            total = {name: total[name] + result[name] for name in total}
        return {**total, "policies": counts["policies"]}

    total: dict[str, Any] = {}
    jobs = int(os.environ.get("PEREGRINE_JOBS", os.cpu_count() or 1))
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for result in pool.map(one, enumerate(plan)):
            for name, value in result.items():
                total[name] = total.get(name, 0) + value
    say(f"  loadable, {lanes} lanes: {total['vectors']:,} requests to {total['policies']} policies equal")
    return total
