"""The fake kernel as a fixture, built once, and the backends that the suite runs over."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hotpath.device import Device

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import cxx  # noqa: E402


def build_fake() -> Path:
    """The shared library of the fake kernel, compiled when one of its sources changed."""
    toolchain = cxx.Toolchain(build_dir=ROOT / "build" / "drivers", verbose=False)
    with cxx.sole_user(toolchain.build_dir):
        sources = [*sorted(Path(__file__).parent.glob("*.cpp")), ROOT / "drivers/vfio/iova.c"]
        objects = toolchain.compile(sources, [f"-I{ROOT / 'drivers'}", "-fvisibility=default"])
        return toolchain.link(objects, toolchain.build_dir / "fake.so", shared=True)


def sim_library() -> Path:
    """The sim backend, built on demand; skips where its toolchain is not installed."""
    from peregrine_sim.device import SimMissing, library

    try:
        return library()
    except SimMissing as missing:
        pytest.skip(str(missing))


class Fake:
    """A machine with the device in it, or with what a test takes away."""

    address = "0000:65:00.0"

    def __init__(self, library: ctypes.CDLL, *, iommufd: bool = False, line_store: bool = False) -> None:
        self._lib = library
        self._handle = library.fake_new(int(iommufd), int(line_store))
        self.sys = int(library.fake_sys(self._handle))

    def lack(self, *what: str) -> Fake:
        """This machine has no such."""
        for name in what:
            self._lib.fake_lack(self._handle, name.encode())
        return self

    def set(self, **values: int) -> Fake:
        """Faults and settings of the device by name."""
        for name, value in values.items():
            assert self._lib.fake_set(self._handle, name.encode(), value), name
        return self

    def mutate(self, index: int) -> None:
        """Plant the wrong call."""
        self._lib.fake_mutate(self._handle, index)

    def breaches(self, closed: bool = False) -> list[str]:
        """What the driver did wrong; closed: it should have given everything back."""
        return list(self._lib.fake_breaches(self._handle, int(closed)).decode().splitlines())

    def kernel_calls(self) -> int:
        """System calls the driver made so far."""
        return int(self._lib.fake_kernel_calls(self._handle))

    def open(self, **options: Any) -> Device:
        """The driver on this machine."""
        return Device("vfio", sys=self.sys, **{"address": self.address, **options})

    def free(self) -> None:
        """The machine's end; every device must be closed."""
        self._lib.fake_free(self._handle)


@pytest.fixture(scope="session")
def fake_library() -> ctypes.CDLL:
    """The library's functions with their types."""
    library = ctypes.CDLL(str(build_fake()))
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("new", pointer, [ctypes.c_int, ctypes.c_int]), ("free", None, [pointer]), ("sys", pointer, [pointer]),
        ("lack", None, [pointer, text]), ("set", ctypes.c_int, [pointer, text, ctypes.c_uint64]),
        ("mutants", ctypes.c_int, []), ("mutant_name", text, [ctypes.c_int]), ("mutate", None, [pointer, ctypes.c_int]),
        ("breaches", text, [pointer, ctypes.c_int]), ("kernel_calls", ctypes.c_uint64, [pointer]),
        ("iova_new", pointer, [ctypes.POINTER(ctypes.c_uint64), ctypes.c_int]),
        ("iova_take", ctypes.c_uint64, [pointer, ctypes.c_uint64]),
        ("iova_give", None, [pointer, ctypes.c_uint64]), ("iova_free", None, [pointer]),
    ):  # fmt: skip
        function = getattr(library, f"fake_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class Rig:
    """One backend as the suite drives it: `device(**options)` opens, `stall` keeps requests from being taken."""

    def __init__(self, name: str, machine: Any) -> None:
        self.name = name
        self.exclusive = name.startswith("vfio")
        self._fake = None
        self._backend, _, transport = name.rpartition("-")
        self._options: dict[str, Any] = {"transport": transport} if self._backend else {}
        self._backend = self._backend or name
        if self._backend == "sim":
            self._backend = str(sim_library())
        if self.exclusive:
            way = name.split("-")[1]
            self._fake = machine(iommufd=way == "iommufd", line_store=way == "iommufd")
        self._open: list[Device] = []

    @property
    def stalls(self) -> bool:
        """Can requests be kept waiting?"""
        return self._fake is not None

    def device(self, **options: Any) -> Device:
        """Open; closed at the test's end."""
        given = {**self._options, **options}
        self._open.append(self._fake.open(**given) if self._fake else Device(self._backend, **given))
        return self._open[-1]

    def stall(self, on: bool = True) -> None:
        """Requests wait in the device from now on, or no longer."""
        if self._fake is not None:
            self._fake.set(hold=int(on))

    def close(self) -> None:
        """Close what a test left open."""
        for device in self._open:
            device.close()


BACKENDS = ("cpu", "vfio-group-push", "vfio-group-ring", "vfio-iommufd-push", "vfio-iommufd-ring",
            *(pytest.param(name, marks=pytest.mark.slow) for name in ("sim-push", "sim-ring")))  # fmt: skip


@pytest.fixture(params=BACKENDS)
def rig(request, machine) -> Iterator[Rig]:
    """Each backend in turn."""
    made = Rig(request.param, machine)
    yield made
    made.close()


@pytest.fixture
def machine(fake_library) -> Iterator[Any]:
    """Makes fake machines; at the end none may hold a breach."""
    made: list[Fake] = []

    def make(**options: bool) -> Fake:
        made.append(Fake(fake_library, **options))
        return made[-1]

    yield make
    found = [fake.breaches(closed=True) for fake in made]
    for fake in made:
        fake.free()
    assert not any(found), found
