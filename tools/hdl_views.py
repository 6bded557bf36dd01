"""The views in hdl/views: which signals of the device a waveform viewer shows, in which order. `python tools/hdl_views.py`
writes them anew.

    device.gtkw    GTKWave:  gtkwave dump.vcd hdl/views/device.gtkw
    device.sucl    Surfer:   surfer --command-file hdl/views/device.sucl dump.vcd
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cxx  # noqa: E402

sys.path.append(str(cxx.ROOT / "hdl"))

FOLDER = cxx.ROOT / "hdl" / "views"
TOP = "peregrine_device"


def channel(prefix: str, name: str, payload: str) -> list[str]:
    """valid, ready and payload of an AXI channel."""
    return [f"{prefix}_{name}{part}" for part in ("valid", "ready", *payload.split())]


GROUPS: dict[str, list[str]] = {
    "clocks_and_resets": ["clk", "rst", "core_clk", "core_rst", "reset.resetting", "reset.stop", "reset.work", "reset.core_held"],
    "registers": [*channel("s_axil", "aw", "addr"), *channel("s_axil", "w", "data strb"), *channel("s_axil", "b", "resp"),
                  *channel("s_axil", "ar", "addr"), *channel("s_axil", "r", "data resp")],
    "push_window": [*channel("s_push", "aw", "addr"), *channel("s_push", "w", "data strb"), *channel("s_push", "b", "resp")],
    "host_reads": [*channel("m_axi", "ar", "addr len"), *channel("m_axi", "r", "data resp last")],
    "host_writes": [*channel("m_axi", "aw", "addr len"), *channel("m_axi", "w", "data strb last"), *channel("m_axi", "b", "resp")],
    "core_requests": ["crossing.i__valid", "crossing.i__ready", "crossing.i__payload"],
    "core_answers": ["crossing.o__valid", "crossing.o__ready", "crossing.o__payload"],
    "weight_banks": ["crossing.bank_cmd__valid", "crossing.bank_cmd__ready", "crossing.bank_cmd__payload",
                     "crossing.bank_reply__valid", "crossing.bank_reply__ready", "crossing.bank_reply__payload"],
    "interrupt": ["irq"],
}  # fmt: skip


def widths() -> dict[str, int]:
    """Bits of every signal shown; of the ones inside, those of the streams' layouts."""
    from amaranth.hdl import Shape

    from peregrine_hdl.axi import axi_read, axi_write, axil_read, axil_write
    from peregrine_hdl.core_port import ANSWER, BANK_COMMAND, BANK_REPLY, REQUEST_WORD
    from peregrine_hdl.csr import ADDRESS_BITS as CSR_BITS
    from peregrine_hdl.push import ADDRESS_BITS as PUSH_BITS

    found = {name: 1 for names in GROUPS.values() for name in names}
    ports = {"s_axil": axil_write(CSR_BITS, 32) | axil_read(CSR_BITS, 32), "s_push": axil_write(PUSH_BITS, 64), "m_axi": axi_read() | axi_write()}
    for prefix, members in ports.items():
        found |= {f"{prefix}_{name}": Shape.cast(member.shape).width for name, member in members.items()}
    found |= {f"crossing.{stream}__payload": layout.size for stream, layout in
              (("i", REQUEST_WORD), ("o", ANSWER), ("bank_cmd", BANK_COMMAND), ("bank_reply", BANK_REPLY))}  # fmt: skip
    return found


def gtkwave() -> str:
    """A save file: @200 a comment line, @22 hexadecimal, @28 binary."""
    bits, lines = widths(), ["[*] made by tools/hdl_views.py", "[timestart] 0", f"[treeopen] {TOP}.", "[sst_width] 220", "[signals_width] 260"]
    for group, names in GROUPS.items():
        lines += ["@200", f"-{group.replace('_', ' ')}"]
        for name in names:
            wide = bits[name] > 1
            lines += ["@22" if wide else "@28", f"{TOP}.{name}" + (f"[{bits[name] - 1}:0]" if wide else "")]
    return "\n".join(lines) + "\n"


def surfer() -> str:
    """A command file; a divider's name is one word."""
    lines = []
    for group, names in GROUPS.items():
        lines += [f"divider_add {group}", *(f"variable_add {TOP}.{name}" for name in names)]
    return "\n".join([*lines, "zoom_fit"]) + "\n"


FILES = {"device.gtkw": gtkwave, "device.sucl": surfer}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, make in FILES.items():
        (FOLDER / file).write_text(make())
