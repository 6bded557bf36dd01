"""The description of the device: one source, and what is made of it is up to date."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from peregrine_hdl import describe
from peregrine_hdl import registers as r

ROOT = Path(__file__).resolve().parents[2]


def test_the_header_and_the_docs_page_in_the_tree_are_those_of_the_description() -> None:
    assert (ROOT / "drivers/include/device_registers.h").read_text() == describe.header()
    assert (ROOT / "docs/formats-device.md").read_text() == describe.docs()


def test_registers_are_words_of_the_window_and_none_overlaps() -> None:
    offsets = [reg.offset for reg in r.REGISTERS]
    assert len(set(offsets)) == len(offsets) and len(r.OFFSET) == len(offsets)
    assert all(o % 4 == 0 and 0 <= o < r.CSR_BYTES for o in offsets)
    for reg in r.REGISTERS:
        bits = [b for f in reg.fields for b in range(f.lsb, f.lsb + f.bits)]
        assert len(set(bits)) == len(bits) and all(0 <= b < 32 for b in bits), reg.name


@pytest.mark.parametrize("name", list(r.RECORDS))
def test_members_of_a_record_fill_it_without_a_hole(name: str) -> None:
    members, size = r.RECORDS[name]
    at = 0
    for m in members:
        assert m.offset == at, m.name
        at += m.count * m.bits // 8
    assert at == size


@pytest.mark.parametrize(
    ("kind", "count", "lines"),
    [
        ("int8", 1, 1),
        ("int8", 44, 1),
        ("int8", 45, 2),
        ("int8", 64, 2),
        ("features", 11, 1),
        ("features", 12, 2),
        ("features", 64, 5),
    ],
)
def test_lines_follow_from_kind_and_count(kind: str, count: int, lines: int) -> None:
    assert r.lines_of(r.KINDS[kind], count) == lines <= r.MAX_LINES


@pytest.mark.parametrize("compiler", [["gcc", "-std=c11"], ["g++", "-std=c++20"]])
def test_the_header_compiles_as_c_and_as_cpp(compiler: list[str], tmp_path: Path) -> None:
    source = tmp_path / ("h.c" if compiler[0] == "gcc" else "h.cpp")
    source.write_text('#include "device_registers.h"\nint main(void) { return PGD_STATUS_OK; }\n')
    subprocess.run(
        [
            *compiler,
            "-Wall",
            "-Werror",
            "-I",
            str(ROOT / "drivers/include"),
            "-c",
            str(source),
            "-o",
            str(tmp_path / "h.o"),
        ],
        check=True,
    )
