"""The room cross-compiles for aarch64: object code of that machine, and the same bits when an emulator can run it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CROSS = shutil.which("aarch64-linux-gnu-g++")
SOURCES = [*sorted((ROOT / "src/hotpath/policy").glob("*.cpp")), ROOT / "src/hotpath/core/sha256.cpp", ROOT / "src/hotpath/core/cpu.cpp",
           ROOT / "src/hotpath/signal/features.cpp", ROOT / "tests/native/policy_asan.cpp"]
EM_AARCH64 = 183


def compile_program(cxx: str, out: Path) -> None:
    subprocess.run([cxx, "-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers",
                    f"-I{ROOT / 'src/hotpath'}", f"-I{ROOT / 'drivers/include'}", "-static", *map(str, SOURCES), "-o", str(out)], check=True)


def elf_machine(path: Path) -> int:
    head = path.read_bytes()[:20]
    assert head[:4] == b"\x7fELF"
    return int.from_bytes(head[18:20], "little")


def symbols(path: Path, nm: str) -> str:
    return subprocess.run([nm, "-C", str(path)], check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(CROSS is None, reason="aarch64-linux-gnu-g++ is not installed")
def test_the_scalar_kernel_compiles_to_aarch64_object_code(tmp_path: Path) -> None:
    obj = tmp_path / "kernel_scalar.o"
    subprocess.run([CROSS, "-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'src/hotpath'}", "-c",
                    str(ROOT / "src/hotpath/policy/kernel_scalar.cpp"), "-o", str(obj)], check=True)
    assert elf_machine(obj) == EM_AARCH64
    assert "T peregrine::infer_scalar(" in symbols(obj, "aarch64-linux-gnu-nm")


@pytest.mark.slow
@pytest.mark.skipif(CROSS is None, reason="aarch64-linux-gnu-g++ is not installed")
def test_features_and_policies_link_for_aarch64_and_give_the_same_bits_there(tmp_path: Path) -> None:
    program = tmp_path / "policy_aarch64"
    compile_program(CROSS, program)
    assert elf_machine(program) == EM_AARCH64
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("compiled and linked for aarch64; not run: no qemu-aarch64 here")
    native = tmp_path / "policy_native"
    compile_program("g++", native)
    runs = [subprocess.run(cmd, check=True, capture_output=True, text=True).stdout
            for cmd in ([str(native)], [emulator, str(program)])]
    assert runs[0] == runs[1] and runs[0].startswith("policy_asan: ok ")
