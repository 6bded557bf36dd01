"""The example application is compiled as C11 by whoever reads it, and answers."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import cxx  # noqa: E402

BUILD = ROOT / "build" / f"release-{sysconfig.get_config_var('SOABI') or 'py'}"


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> Path:
    """The program, against the libraries of this build."""
    libraries = [BUILD / f"libperegrine_{name}.a" for name in ("drivers", "core")]
    if not all(library.exists() for library in libraries):
        pytest.skip("an installed wheel has no static libraries")
    folder = tmp_path_factory.mktemp("app")
    include = f"-I{ROOT / 'drivers' / 'include'}"
    subprocess.run([*cxx.default_cc(), "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", include, "-c",
                    str(ROOT / "drivers/example/app.c"), "-o", str(folder / "app.o")], check=True)  # fmt: skip
    subprocess.run([*cxx.default_cxx(), str(folder / "app.o"), *map(str, libraries), "-pthread", "-lrt", "-ldl", "-o",
                    str(folder / "app")], check=True)  # fmt: skip
    return folder / "app"


def test_it_asks_the_cpu_and_prints_the_answer(app):
    done = subprocess.run([str(app)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "tag 4294967297: ok, action 1 of logits 3 7 0\n"


def test_a_card_that_is_not_there_is_said_with_its_fix(app):
    done = subprocess.run([str(app), "ffff:ff:1f.7"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("open: unavailable: ")
    assert "hint: " in done.stderr


@pytest.mark.parametrize("name", ["device.h", "device_kernel.h", "device_measure.h"])
@pytest.mark.parametrize("language", [["-x", "c", "-std=c11"], ["-x", "c++", "-std=c++17"]], ids=["C11", "C++17"])
def test_each_public_header_stands_alone_in_c_and_cpp(tmp_path, name, language):
    source = tmp_path / "alone"
    source.write_text(f'#include "{name}"\n')
    subprocess.run([*(cxx.default_cc() if "c" in language else cxx.default_cxx()), *language, "-Wall", "-Wextra", "-Wpedantic",
                    "-Werror", "-fsyntax-only", f"-I{ROOT / 'drivers' / 'include'}", str(source)], check=True)  # fmt: skip
