"""Plant faults in the engine, one at a time, and see that the tests find each: a test that only repeats the code would not.

    python tools/mutate.py [--only TEXT]… [--sample N --seed S] [--json] [--list]

tests/mutations/<room>.toml lists the faults: file, exact old text, new text, and what a test must see. Each is planted in a
scratch copy of the tree (build/mutate/tree); the room's files that hold it are compiled, quickly, and linked before all others
(of an inline function that several have, the faulty one is kept); then the room's tests run until the first failure.
A survivor is a hole in the tests (write the test) or a fault that changes nothing (replace it).
Exit codes: 0 all caught, 1 survivors, 64 usage, 78 an entry that fits the source no more (or does not compile).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cxx  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
TABLES = ROOT / "tests" / "mutations"
SCRATCH = ROOT / "build" / "mutate" / "tree"
TEST_LIMIT_S = 600


class BadEntry(RuntimeError):
    """A mutation that cannot be planted as it is written."""


@dataclass(frozen=True)
class Mutation:
    """One planted fault."""

    room: str
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    bindings: tuple[str, ...]
    caught_by: str

    def apply(self, text: str) -> str:
        """The source with the fault; raises BadEntry when the old text is not there exactly once."""
        found = text.count(self.old)
        if found != 1:
            raise BadEntry(f"tests/mutations/{self.room}.toml: '{self.name}': its old text stands {found} times in {self.file}, "
                           "expected once\nhint: copy the present text of the place into `old`")
        if self.old == self.new:
            raise BadEntry(f"tests/mutations/{self.room}.toml: '{self.name}': old and new are the same")
        return text.replace(self.old, self.new)


@dataclass
class Verdict:
    """What the tests said to one fault."""

    room: str
    name: str
    file: str
    caught: bool
    by: str = ""
    seconds: float = 0.0
    tests: list[str] = field(default_factory=list)


def load(only: list[str] | None = None) -> list[Mutation]:
    """Every mutation of the tables, by room and place in its file."""
    found = []
    for path in sorted(TABLES.glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        for entry in table["mutation"]:
            found.append(Mutation(table["room"], entry["name"], entry["file"], entry["old"], entry["new"],
                                  tuple(entry.get("tests", table["tests"])), tuple(table.get("bindings", ())), entry["caught_by"]))
    rooms = {m.room for m in found}
    return [m for m in found if not only or any(m.room == text if text in rooms else text in m.name for text in only)]


def copy_tree() -> None:
    """Bring the scratch copy up to the working tree; files that are the same keep their time, so little is compiled."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"],
                            capture_output=True, text=True, check=True).stdout.splitlines()
    wanted = {name for name in listed if (ROOT / name).is_file() and not name.startswith(("tests/fuzz/", "tests/golden/"))}
    for name in wanted:
        source, target = ROOT / name, SCRATCH / name
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for top in ("src", "sim", "tests", "tools"):
        for path in (SCRATCH / top).rglob("*"):
            generated = path.suffix in (".so", ".pyc") or path.name == "rings.cpp"
            if path.is_file() and not generated and path.relative_to(SCRATCH).as_posix() not in wanted:
                path.unlink()


def build() -> subprocess.CompletedProcess[str]:
    """Bring the tree's own build up to date and lend its modules to the scratch copy; nothing is compiled twice."""
    built = subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=ROOT, capture_output=True, text=True)
    if built.returncode == 0:
        for module in (ROOT / "src/hotpath").glob("*.so"):
            shutil.copy2(module, SCRATCH / "src/hotpath" / module.name)
        shutil.copy2(_module(), _module().with_suffix(".sound"))
    return built


def _module() -> Path:
    return SCRATCH / "src/hotpath" / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"


def build_mutant(m: Mutation) -> None:
    """The engine's module with the faulty file in it. Raises BadEntry when it does not compile."""
    cxx.ROOT = SCRATCH
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    extra = [f'-DPEREGRINE_VERSION="{version}"', "-O1", "-g0", "-w"]
    sound = ROOT / "build" / f"{os.environ.get('PEREGRINE_FLAVOUR', 'release')}-{sysconfig.get_config_var('SOABI') or 'py'}"
    rest = [p.relative_to(SCRATCH) for p in [*cxx.core_sources(), *(p for p in sorted((SCRATCH / "src/hotpath/bindings").glob("*.cpp"))
                                                                   if p.name != "rings.cpp")]]
    room = Path(m.file).parent
    faulty = [p for p in rest if p == Path(m.file) or (m.file.endswith(".h") and (p.parent == room or p.stem in m.bindings)
                                                       and m.file in (sound / p.with_suffix(".d")).read_text())]
    shutil.rmtree(SCRATCH / "build" / "mutants", ignore_errors=True)
    tc = cxx.Toolchain(build_dir=SCRATCH / "build" / "mutants", verbose=False)
    try:
        objects = tc.compile([SCRATCH / p for p in faulty], [*cxx.python_includes(), *extra])
        others = [sound / p.with_suffix(".o") for p in rest if p not in faulty]
        tc.link([*objects, *others, sound / "libperegrine_drivers.a"], SCRATCH / "build" / "mutants" / "_core.so", shared=True)
    except RuntimeError as err:
        raise BadEntry(f"tests/mutations/{m.room}.toml: '{m.name}' does not build:\n{str(err)[-2000:]}") from None
    (SCRATCH / "build" / "mutants" / "_core.so").replace(_module())


def run_tests(tests: tuple[str, ...]) -> tuple[bool, str]:
    """(whether the tests failed, which one did). A crash or a hang of the test process counts, under the last test's name."""
    env = {**os.environ, "PYTHONPATH": f"{SCRATCH / 'src'}{os.pathsep}{SCRATCH / 'sim'}", "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *tests, "-x", "-v", "--tb=no", "-n", "0", "-m", "not slow", "-p", "no:cacheprovider",
         "-p", "no:faulthandler", "--override-ini", "addopts=--import-mode=importlib"],
        cwd=SCRATCH, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=TEST_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return True, f"{_last_test(output)} (did not end)"
    if process.returncode == 0:
        return False, ""
    if failed := re.search(r"^(?:FAILED|ERROR) (\S+)", output, flags=re.M):
        return True, failed[1]
    if process.returncode < 0:
        said = re.search(r"assertion failed: .*", output)
        return True, f"{_last_test(output)} ({said[0] if said else signal.Signals(-process.returncode).name})"
    raise BadEntry(f"the tests could not run (exit {process.returncode}):\n{output[-2000:]}")


def _last_test(output: str) -> str:
    names = re.findall(r"^(tests/\S+::.+?)(?: (?:PASSED|FAILED|SKIPPED)|$)", output, flags=re.M)
    return names[-1].strip() if names else "before the first test"


def try_one(m: Mutation) -> Verdict:
    """Plant one fault, build, test, take it out again."""
    began = time.monotonic()
    target = SCRATCH / m.file
    sound = target.read_text(encoding="utf-8")
    times = (target.stat().st_atime_ns, target.stat().st_mtime_ns)
    target.write_text(m.apply(sound), encoding="utf-8")
    try:
        build_mutant(m)
        caught, by = run_tests(m.tests)
    finally:
        target.write_text(sound, encoding="utf-8")
        os.utime(target, ns=times)
        shutil.copy2(_module().with_suffix(".sound"), _module())
    return Verdict(m.room, m.name, m.file, caught, by, time.monotonic() - began, list(m.tests))


def main(argv: list[str]) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description="plant faults and see that the tests find them")
    parser.add_argument("--only", action="append", help="mutations of this room, or with this in their name; may be given again")
    parser.add_argument("--sample", type=int, help="only so many of them, drawn by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--list", action="store_true", help="name them and check that each still fits the source")
    try:
        options = parser.parse_args(argv)
    except SystemExit as end:
        return 64 if end.code else 0
    chosen = load(options.only)
    if not chosen:
        print(f"no mutation of a room, or with a name, like {', '.join(options.only)}\nhint: --list names them", file=sys.stderr)
        return 64
    if options.sample is not None:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    try:
        for m in chosen:
            m.apply((ROOT / m.file).read_text(encoding="utf-8"))
        if options.list:
            for m in chosen:
                print(f"{m.room:<12} {m.name}")
            print(f"{len(chosen)} mutations, each fits the source once")
            return 0
        copy_tree()
        built = build()
        if built.returncode != 0:
            print(f"the tree itself does not build:\n{built.stderr[-3000:]}", file=sys.stderr)
            return 70
        for tests in sorted({m.tests for m in chosen}):
            failed, by = run_tests(tests)
            if failed:
                print(f"{by} fails without any mutation\nhint: make the tree's own tests pass first", file=sys.stderr)
                return 70
        verdicts = []
        for m in chosen:
            verdicts.append(try_one(m))
            v = verdicts[-1]
            print(f"{'caught  ' if v.caught else 'SURVIVED'} {v.room:<12} {v.name}\n         {v.by if v.caught else m.caught_by}"
                  f"  [{v.seconds:.0f} s]", file=sys.stderr if options.json else sys.stdout, flush=True)
    except BadEntry as err:
        print(f"make mutate: {err}", file=sys.stderr)
        return 78
    survivors = [v for v in verdicts if not v.caught]
    rooms = {r: [sum(v.room == r and v.caught for v in verdicts), sum(v.room == r for v in verdicts)]
             for r in sorted({v.room for v in verdicts})}
    if options.json:
        print(json.dumps({"mutations": [asdict(v) for v in verdicts], "caught": len(verdicts) - len(survivors),
                          "survived": len(survivors), "rooms": rooms}, indent=1))
    else:
        print("; ".join(f"{room}: {caught} of {of} caught" for room, (caught, of) in rooms.items())
              + f"; {sum(v.seconds for v in verdicts):.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
