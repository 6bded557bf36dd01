"""The device: its benches under cocotb, its Verilog, and the blocks that plain Python can check."""

from __future__ import annotations

import random
import re
import zlib
from pathlib import Path

import pytest

from peregrine_hdl import registers as r

pytestmark = pytest.mark.usefixtures("toolchain")


@pytest.mark.slow
@pytest.mark.parametrize(("bench", "at_least"), [("device", 38), ("device, errors", 13), ("device, resets", 11), ("device, weight banks", 15),
                                                 ("device over PCIe", 1)])  # fmt: skip
def test_the_device_does_under_cocotb_what_its_bench_says(bench, at_least):
    import hdl_device

    result = hdl_device.run(*hdl_device.BENCHES[bench])
    assert result["tests"] >= at_least and result["failures"] == 0, result["log"].read_text()[-5000:]


@pytest.mark.slow
def test_no_part_of_a_signal_waits_for_a_change_that_never_comes():
    """`always @*` around a constant alone never runs: that part would stay unknown in simulators."""
    import hdl_device

    for kind in ("baked", "stand-in"):
        text = hdl_device.device_verilog(kind)
        assert not re.findall(r"always @\*\n\s+\S+ = \d+'h[0-9a-f]+;", text)


@pytest.mark.parametrize("bits", [8, 32, 64])
def test_the_crc_of_words_is_that_of_zlib(bits):
    from peregrine_hdl import crc32

    rng, state, data = random.Random(bits), crc32.START, b""
    for _ in range(50):
        word = rng.getrandbits(bits)
        source = state | word << 32
        state = sum((bin(source & mask).count("1") & 1) << k for k, mask in enumerate(crc32.masks(bits)))
        data += word.to_bytes(bits // 8, "little")
        assert state ^ 0xFFFFFFFF == zlib.crc32(data)


def test_lines_in_the_gateware_follow_kind_and_count_as_in_the_description():
    from amaranth.hdl import Module, Signal
    from amaranth.sim import Simulator

    from peregrine_hdl import request

    head, last, words = Signal(request.HEAD), Signal(3), Signal(7)
    m = Module()
    m.d.comb += [last.eq(request.last_line(head)), words.eq(request.body_words(head))]

    async def every_head(ctx):
        for kind in range(4):
            for count in range(256):
                ctx.set(head.kind, kind)
                ctx.set(head.count, count)
                await ctx.delay(1e-9)
                sane = kind in r.KINDS.values() and 1 <= count <= r.MAX_INPUTS
                assert ctx.get(last) == (r.lines_of(kind, count) - 1 if sane else 0), (kind, count)
                if sane:
                    assert ctx.get(words) == (count if kind == 1 else -(-count // 4))

    simulator = Simulator(m)
    simulator.add_testbench(every_head)
    simulator.run()


def test_caps_that_do_not_fit_their_fields_are_refused():
    from peregrine_hdl.device import Caps

    caps = Caps("loadable", slots=16, banks=2, lanes=64, max_inputs=64, max_width=128, max_layers=6, max_outputs=16)
    with pytest.raises(ValueError, match="slots: found 16"):
        caps.words(4)


def test_the_benches_of_the_device_are_all_run():
    import hdl_device

    files = {p.stem for p in Path(__file__).parent.glob("*_bench.py")}
    assert files == {module for _, module in hdl_device.BENCHES.values()} | {"core_bench"}
