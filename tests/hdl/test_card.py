"""What is made for a card: the wrapper's ports, the constraints' names, the views' signals."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("toolchain")

ROOT = Path(__file__).resolve().parents[2]
WRAPPERS = ROOT / "hdl" / "wrappers"
XDC = (WRAPPERS / "peregrine_device.xdc").read_text()
KINDS = ("baked", "loadable")
#: registers that are named like a synchroniser's and are none
OTHERS = ("crossing/core/",)


@pytest.fixture(scope="module", params=KINDS)
def device(request) -> dict:
    """Path of instances to what stands there, of each kind of device."""
    import hdl_device
    import netlist_names

    if request.param == "loadable":
        from peregrine_hdl.emit import device_text
        from peregrine_hdl.loadable_emit import loadable_device
        from peregrine_hdl.loadable_limits import Limits

        text = device_text(loadable_device(Limits(lanes=4, slots=1, weight_rows=64)))
    else:
        text = hdl_device.device_verilog("baked")
    return netlist_names.paths(text, "peregrine_device")


def cells(device: dict) -> dict[str, str]:
    """Register as synthesis names it, inside the wrapper, to its clock."""
    found = {f"card/device/{path}/{name}_reg[0]": clock for path, m in device.items() for name, clock in m.registers.items()}
    return found | {"card/bus_reset/held_reg[0]": "clk", "card/core_reset/held_reg[0]": "core_clk"}


def matched(pattern: str, names: dict[str, str]) -> set[str]:
    """The names that a pattern of the constraints means; a pin's pattern means its register."""
    cell = re.sub(r"/(C|PRE)$", "", pattern)
    return {n for n in names if fnmatch.fnmatchcase(n, cell if cell.endswith("*") else cell + "*")}


def test_every_name_the_constraints_use_is_in_the_emitted_verilog(device):
    names = cells(device)
    patterns = re.findall(r"NAME =~ ([^}\s]+)", XDC)
    assert len(patterns) > 10
    assert not [p for p in patterns if not matched(p, names)]


def test_every_synchroniser_is_marked_and_nothing_else(device):
    names = cells(device)
    marked = set().union(*(matched(p, names) for p in re.findall(r"ASYNC_REG TRUE .*NAME =~ ([^}\s]+)", XDC)))
    stages = {n for n in names if re.search(r"/stage\d_reg|card/\w+_reset/", n) and not any(o in n for o in OTHERS)}
    assert len(stages) >= 36 and marked == stages


def test_the_clocks_are_found_at_registers_that_stand_on_them(device):
    names = cells(device)
    for clock, pattern in (("clk", "bus"), ("core_clk", "core")):
        (where,) = re.findall(rf"set pgd_{pattern}_clock .*NAME =~ ([^}}\s]+)", XDC)
        assert {names[n] for n in matched(where, names)} == {clock}


class Constrained:
    """The constraints, run by Tcl with commands that look names up in the emitted Verilog instead of in a vendor's tool."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names, self.empty, self.delays, self.marked, self.false = names, [], [], set(), set()
        tcl = pytest.importorskip("tkinter").Tcl()
        for command in ("get_cells", "get_pins"):
            tcl.createcommand(command, self.find)
        for command in ("get_clocks", "get_property", "set_property", "set_max_delay", "set_false_path"):
            tcl.createcommand(command, getattr(self, command))
        tcl.eval(XDC)

    def find(self, *words: str) -> str:
        """Cells, or pins by their cells."""
        text = words[words.index("-filter") + 1]
        found = set().union(*(matched(p, self.names) for p in re.findall(r"NAME =~ (\S+)", text)))
        if not found:
            self.empty.append(text)
        return " ".join(sorted(found))

    def get_clocks(self, option: str, objects: str) -> str:
        """Of the pins' cells."""
        assert option == "-of_objects"
        return " ".join(sorted({self.names[n] for n in objects.split()}))

    def get_property(self, *words: str) -> str:
        """The shorter period: the test's clocks have 4 and 5 ns."""
        assert words[:2] == ("-min", "PERIOD")
        return str(min({"clk": 4.0, "core_clk": 5.0}[c] for c in words[2].split()))

    def set_property(self, name: str, value: str, objects: str) -> None:
        """Only synchronisers are marked."""
        assert (name, value) == ("ASYNC_REG", "TRUE")
        self.marked |= set(objects.split())

    def set_max_delay(self, *words: str) -> None:
        """Kept as (from, to, ns)."""
        assert words[0] == "-datapath_only"
        self.delays.append((words[words.index("-from") + 1], words[words.index("-to") + 1], float(words[-1])))

    def set_false_path(self, option: str, objects: str) -> None:
        """Only to what resets the wrapper's own flip-flops."""
        assert option == "-to"
        self.false |= set(objects.split())


def test_run_as_a_script_the_constraints_limit_both_ways_and_find_every_name(device):
    found = Constrained(cells(device))
    assert not found.empty
    assert sorted(found.delays) == [("clk", "core_clk", 4.0), ("core_clk", "clk", 4.0)]
    assert found.false == {"card/bus_reset/held_reg[0]", "card/core_reset/held_reg[0]"}
    assert len(found.marked) >= 36


def test_nothing_outranks_the_limit_between_the_clocks():
    code = re.sub(r"^#.*$", "", XDC, flags=re.M)
    assert "set_clock_groups" not in code
    assert all("held_reg" in line for line in code.splitlines() if "set_false_path" in line)
    assert len(re.findall(r"set_max_delay -datapath_only", code)) == 2


def test_the_wrapper_connects_every_port_of_every_device(device):
    import hdl_device

    text = hdl_device.device_verilog("baked")
    ports = set(hdl_device.port_names(text, "peregrine_device"))
    wrapper = (WRAPPERS / "peregrine_card.v").read_text()
    instance = wrapper.partition("peregrine_device device (")[2].partition(");\nendmodule")[0]
    assert set(re.findall(r"^\s*\.(\w+)\(", instance, flags=re.M)) == ports
    assert ports <= device[""].signals.keys()


def test_the_wrappers_ports_are_as_wide_as_the_devices(device):
    wrapper = (WRAPPERS / "peregrine_card.v").read_text()
    declared = {name: int(high or 0) + 1 for high, name in re.findall(r"(?:input|output)\s+wire\s+(?:\[\s*(\d+):0\])?\s+(\w+)", wrapper)}
    inner = device[""].signals
    shared = [n for n in declared if n in inner]
    assert len(shared) > 55 and not [(n, declared[n], inner[n]) for n in shared if declared[n] != inner[n]]


def test_every_signal_of_the_views_is_in_the_design_as_wide_as_shown(device):
    import hdl_views

    signals = {f"{path}/{name}".lstrip("/").replace("/", "."): bits for path, m in device.items() for name, bits in m.signals.items()}
    widths = hdl_views.widths()
    shown = [name for names in hdl_views.GROUPS.values() for name in names]
    assert len(shown) > 60 and not [(n, widths[n], signals.get(n)) for n in shown if signals.get(n) != widths[n]]


def test_the_views_are_those_of_their_list():
    import hdl_views

    for file, make in hdl_views.FILES.items():
        assert (hdl_views.FOLDER / file).read_text() == make(), "write them anew: python tools/hdl_views.py"


@pytest.mark.slow
def test_the_wrapper_does_under_cocotb_what_its_bench_says():
    import hdl_device

    result = hdl_device.run(*hdl_device.BENCHES["device on a card"])
    assert result["tests"] >= 22 and result["failures"] == 0, result["log"].read_text()[-5000:]
