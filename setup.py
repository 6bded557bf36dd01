"""Build of the compiled rooms: one static core library, linked into the extension modules.

`hotpath._core`   pybind11 objects of the engine
`hotpath._venue`  the simulated exchange and the virtual-time harness (same core objects linked)
`hotpath.rings`   Cython zero-copy views of rings (header-only use of core/)
`hotpath._device` cffi view of device.h: the drivers, and of the core library only the kernels the cpu backend runs
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))
import cxx  # noqa: E402


class BuildExt(build_ext):
    """Compiles incrementally in parallel with tools/cxx.py instead of one unit after the other."""

    def get_source_files(self) -> list[str]:
        """Sources for the sdist come from MANIFEST.in."""
        return []

    def build_extensions(self) -> None:
        """Compile the core once, then each module's own sources, and link."""
        version = f"-DPEREGRINE_VERSION=\"{self.distribution.get_version()}\""
        tag = sysconfig.get_config_var("SOABI") or "py"
        tc = cxx.Toolchain(build_dir=ROOT / "build" / f"{os.environ.get('PEREGRINE_FLAVOUR', 'release')}-{tag}")
        tc.link_flags = ["-Wl,-O1", "-Wl,--gc-sections"]
        py = cxx.python_includes()
        core = tc.archive(tc.compile(cxx.core_sources(), [version]), "peregrine_core")
        drivers = tc.archive(tc.compile(cxx.driver_sources()), "peregrine_drivers")
        for ext in self.extensions:
            if ext.name == "hotpath._device":  # C, made by cffi of device.h
                made = tc.build_dir / "drivers" / "_device.c"
                subprocess.run([sys.executable, str(ROOT / ext.sources[0]), str(made)], check=True)
                inputs = tc.compile([made], ["-isystem", sysconfig.get_paths()["include"], "-Wno-unused"])
                tc.link([*inputs, drivers, core], Path(self.get_ext_fullpath(ext.name)), shared=True)
                continue
            sources = [ROOT / s for s in ext.sources]
            # Views are not on the path of an order: compiled quickly, and linked after the engine, whose inline code wins.
            inputs = tc.compile([_cythonised(s) for s in sources], [version, *py, "-O1"])
            if ext.name == "hotpath.rings":  # takes the few objects it needs
                tc.link([*inputs, core], Path(self.get_ext_fullpath(ext.name)), shared=True)
                continue
            engine = [core, drivers]
            if ext.name == "hotpath._venue":
                engine.append(tc.archive(tc.compile(cxx.venue_sources(), [version]), "peregrine_venue"))
            tc.link(inputs, Path(self.get_ext_fullpath(ext.name)), shared=True, first=engine)


def _cythonised(source: Path) -> Path:
    if source.suffix != ".pyx":
        return source
    out = source.with_suffix(".cpp")
    if not out.exists() or out.stat().st_mtime < source.stat().st_mtime:
        from Cython.Compiler.Main import compile as cython_compile

        cython_compile(str(source), output_file=str(out), cplus=True, language_level=3)
    return out


def _extension(name: str, *patterns: str) -> list[Extension]:
    sources = [str(p.relative_to(ROOT)) for pattern in patterns for p in sorted(ROOT.glob(pattern))
               if p.name != "rings.cpp"]
    return [Extension(name, sources)] if sources else []


extensions = [
    *_extension("hotpath._core", "src/hotpath/bindings/*.cpp"),
    *_extension("hotpath._venue", "sim/venue/bind_*.cpp"),
    *_extension("hotpath.rings", "src/hotpath/bindings/rings.pyx"),
    *_extension("hotpath._device", "drivers/binding/build.py"),
]


def _packages(base: str, name: str) -> dict[str, str]:
    found = {}
    for init in sorted((ROOT / base / name).rglob("__init__.py")):
        folder = init.parent.relative_to(ROOT / base)
        found[".".join(folder.parts)] = str(Path(base) / folder)
    return found


packages = {**_packages("src", "hotpath"), **_packages("src", "orchestrator"), **_packages("hdl", "peregrine_hdl"),
            **_packages("sim", "peregrine_sim")}

setup(
    packages=list(packages),
    package_dir=packages,
    package_data={"orchestrator.config": ["profiles/*.yaml", "template/*.yaml", "template/*/*.yaml"], "orchestrator": ["data/*"], "hotpath": ["py.typed"]},
    ext_modules=extensions,
    cmdclass={"build_ext": BuildExt},
)
