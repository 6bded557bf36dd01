"""Results, statuses and constants of device.h against where they come from."""

from __future__ import annotations

import re
from pathlib import Path

from hotpath._device import ffi, lib
from peregrine_hdl import registers

HEADER = (Path(__file__).resolve().parents[2] / "drivers/include/device.h").read_text()


def text(value) -> str:
    """A C string."""
    return ffi.string(value).decode()


def test_every_result_has_a_name_and_a_sentence_of_its_own():
    names = re.findall(r"^#define PGD_E_(\w+) (-\d+)", HEADER, flags=re.M)
    assert len(names) == 17
    assert [text(lib.pgd_result_name(int(value))) for _, value in names] == [name.lower() for name, _ in names]
    assert len({text(lib.pgd_result_text(int(value))) for _, value in names}) == len(names)
    assert [int(value) for _, value in names] == [-k for k in range(1, 18)]
    assert text(lib.pgd_result_name(0)) == "ok"
    assert [text(lib.pgd_result_name(r)) for r in (1, -18, -1000)] == ["unknown"] * 3


def test_statuses_are_named_as_the_gateware_names_them():
    assert [text(lib.pgd_status_name(k)) for k in range(len(registers.STATUSES))] == [name for name, _ in registers.STATUSES]
    assert text(lib.pgd_status_name(len(registers.STATUSES))) == "unknown"


def test_the_binding_has_the_headers_constants_and_layouts():
    assert lib.PGD_MAP_HASH == registers.MAP_HASH
    assert {r.name: getattr(lib, f"PGD_REG_{r.name.upper()}") for r in registers.REGISTERS} == registers.OFFSET
    assert ffi.sizeof("struct pgd_completion") == ffi.sizeof("struct pgd_request") == 64
    for name, (members, size) in registers.RECORDS.items():
        assert ffi.sizeof(f"struct pgd_{name}") == size
        for member in members:
            assert ffi.offsetof(f"struct pgd_{name}", member.name) == member.offset


def test_only_backends_of_this_build_are_found_by_name():
    assert text(lib.pgd_backend_by_name(b"cpu").name) == "cpu"
    assert text(lib.pgd_backend_by_name(b"vfio").name) == "vfio"
    for name in (b"sim", b"", b"CPU"):
        assert lib.pgd_backend_by_name(name) == ffi.NULL
    assert lib.pgd_backend_by_name(ffi.NULL) == ffi.NULL


def test_a_library_that_is_none_or_holds_none_is_refused(tmp_path):
    import _ctypes

    reason = ffi.new("struct pgd_reason*")
    for path in (str(tmp_path / "none.so"), _ctypes.__file__):
        assert lib.pgd_backend_load(path.encode(), reason) == ffi.NULL
        assert text(reason.found)
        assert text(reason.hint)
    assert lib.pgd_backend_load(ffi.NULL, reason) == ffi.NULL
