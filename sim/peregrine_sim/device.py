"""The sim backend's shared library: the device's Verilog, verilated, with the driver core; made on demand, kept by hash.

    library()     a loadable core, 2 banks of 4 slots, behind 4 push slots

It needs a checkout and the wheels of the [hdl] extra. What was built lies under build/hdl by the hash of what went in.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LANES, SLOTS, PUSH_SLOTS, CORE_CLOCK_KHZ = 16, 4, 4, 250_000
DRIVER = ("core", "requests", "policy", "image", "crc32", "text")


class SimMissing(Exception):
    """The library cannot be made here: what is missing, and `hint`."""

    def __init__(self, found: str, hint: str) -> None:
        super().__init__(found)
        self.hint = hint


def tools() -> Any:
    """tools/hdl_model.py. Raises SimMissing outside a checkout or without the wheels."""
    if not (ROOT / "tools" / "hdl_model.py").exists():
        raise SimMissing("the sim backend is built from a checkout, and this is none", "clone the repository")
    for folder in ("tools", "hdl"):
        if str(ROOT / folder) not in sys.path:
            sys.path.insert(0, str(ROOT / folder))
    import hdl_model

    if text := hdl_model.missing():
        raise SimMissing(text.partition(" (hint")[0], "pip install 'peregrine-engine[hdl]'; perl, make and g++ beside it")
    return hdl_model


def loadable_device() -> Any:
    """The device around a loadable core, as Amaranth has it."""
    from peregrine_hdl import loadable_emit
    from peregrine_hdl.loadable_limits import Limits

    return loadable_emit.loadable_device(Limits(lanes=LANES, slots=SLOTS), push_slots=PUSH_SLOTS, core_clock_khz=CORE_CLOCK_KHZ)


def verilog() -> str:
    """The device's Verilog; what these sources emitted before is taken from build/hdl."""
    hdl_model = tools()
    key = hdl_model.content_hash("sim-device", Path(__file__), *sorted((ROOT / "hdl" / "peregrine_hdl").glob("*.py")))

    def make(folder: Path) -> None:
        from peregrine_hdl.emit import device_text

        (folder / "device.v").write_text(device_text(loadable_device()))

    return (hdl_model.cached(f"verilog-{key}", make) / "device.v").read_text()


def library() -> Path:
    """The shared library, for `pgd_backend_load`; a minute when it is not built yet. Raises SimMissing."""
    hdl_model = tools()
    from peregrine_hdl.emit import DEVICE_TOP

    text = verilog()
    drivers = ROOT / "drivers"
    bridge = ROOT / "sim" / "device" / "bridge.cpp"
    sources = [drivers / "core" / f"{name}.c" for name in DRIVER]
    headers = sorted([*(drivers / "include").glob("*.h"), *(drivers / "core").glob("*.h")])
    flags = [*hdl_model.VERILATE, *hdl_model.COMPILE]
    model = hdl_model.content_hash("model", text, *flags, str(hdl_model.verilator_root()))
    key = hdl_model.content_hash("sim", model, bridge, *sources, *headers)
    env = hdl_model.verilator_env()

    def make_model(folder: Path) -> None:
        (folder / "device.v").write_text(text)
        hdl_model._run(["verilator", *hdl_model.VERILATE, "--prefix", "Vtop", "--top-module", DEVICE_TOP, "-Mdir",
                        str(folder / "obj"), "-CFLAGS", "-fPIC -fvisibility=hidden", str(folder / "device.v")], env)  # fmt: skip
        hdl_model._run(["make", "-s", "-C", str(folder / "obj"), "-f", "Vtop.mk", *hdl_model.COMPILE, "Vtop__ALL.a",
                        "libverilated.a"], env)  # fmt: skip
        for made in (folder / "obj").iterdir():  # the precompiled header alone is 70 MB
            if made.suffix not in (".h", ".a"):
                made.unlink()

    def make(folder: Path) -> None:
        obj = hdl_model.cached(f"device-model-{model}", make_model) / "obj"
        include = hdl_model.verilator_root() / "include"
        own = [f"-I{drivers}", f"-I{drivers / 'include'}", "-fPIC", "-O2", "-fvisibility=hidden"]
        objects = []
        for source in sources:
            objects.append(str(folder / f"{source.stem}.o"))
            hdl_model._run([*hdl_model.cxx.default_cc(), "-std=gnu11", *own, "-c", str(source), "-o", objects[-1]], env)
        hdl_model._run([*hdl_model.cxx.default_cxx(), "-std=c++17", *own, f'-DPGD_SIM_DESIGN="loadable, {LANES} lanes"',
                        f"-I{obj}", f"-isystem{include}", f"-isystem{include}/vltstd", "-c", str(bridge), "-o",
                        str(folder / "bridge.o")], env)  # fmt: skip
        hdl_model._run([*hdl_model.cxx.default_cxx(), "-shared", str(folder / "bridge.o"), *objects, str(obj / "Vtop__ALL.a"),
                        str(obj / "libverilated.a"), "-o", str(folder / "device.so"), "-pthread", "-latomic"], env)  # fmt: skip
        for name in [*objects, str(folder / "bridge.o")]:
            Path(name).unlink()

    return Path(hdl_model.cached(f"sim-{key}", make)) / "device.so"
