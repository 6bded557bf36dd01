"""Fuzz every parser under AddressSanitizer and UBSan; keep the corpus; turn findings into regression cases.

    python tools/fuzz.py [--seconds 20] [--only NAME] [--json] [--no-keep]
    python tools/fuzz.py replay [--only NAME]       corpus and regressions, without libFuzzer: part of the tests

C++ targets are tests/fuzz/<name>.cpp under libFuzzer (clang). Python targets are tests/fuzz/py_<name>.py under atheris
when it can be had (installed into build/fuzz/atheris), else under this project's own seeded mutator; the table says which.
A finding is copied to tests/fuzz/regressions/<target>/ and fails the run: fix the parser, keep the file.
Exit codes: 0 nothing found, 1 findings, 64 usage, 69 clang or its libFuzzer is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cxx  # noqa: E402

ROOT = cxx.ROOT
TARGETS = ROOT / "tests" / "fuzz"
BUILD = ROOT / "build" / "fuzz"
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
ROOMS = ("core", "market", "signal", "policy", "risk", "execution", "journal")
VENUE = ("drop_copy", "exchange", "exchange_ouch", "exchange_out", "matching")
SANITIZER_ENV = {"ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:quarantine_size_mb=4:allocator_may_return_null=0",
                 "UBSAN_OPTIONS": "print_stacktrace=1"}
KEPT_FILES, KEPT_BYTES, KEPT_FILE_BYTES = 60, 64 << 10, 8 << 10  # of one target's corpus in the repository


class Missing(RuntimeError):
    """Something this needs is not installed: what, and how to get it."""


@dataclass
class Result:
    """What one target's run showed."""

    target: str
    engine: str
    executions: int = 0
    seconds: float = 0.0
    coverage_before: int = 0
    coverage: int = 0
    corpus_files: int = 0
    findings: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def per_second(self) -> int:
        """Executions a second."""
        return int(self.executions / self.seconds) if self.seconds else 0


def cpp_targets(only: str | None = None) -> list[str]:
    """Names of the C++ targets."""
    names = sorted(p.stem for p in TARGETS.glob("*.cpp") if p.stem != "replay_main")
    return [n for n in names if only is None or only in n]


def python_targets(only: str | None = None) -> list[str]:
    """Names of the Python targets, with their prefix py_."""
    return [n for n in sorted(p.stem for p in TARGETS.glob("py_*.py")) if only is None or only in n]


def clang() -> list[str]:
    """The compiler with libFuzzer, through ccache when it is there; raises Missing with the fix."""
    name = os.environ.get("FUZZ_CXX", "clang++")
    if shutil.which(name) is None:
        raise Missing(f"{name} is not installed, and libFuzzer comes with it\n"
                      "hint: apt install clang libclang-rt-14-dev (or your system's clang; FUZZ_CXX names another one)")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cpp"
        source.write_text('extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }\n')
        probe = subprocess.run([name, "-std=c++20", "-fsanitize=fuzzer,address", str(source), "-o", f"{folder}/probe"],
                               capture_output=True, text=True)
    if probe.returncode != 0:
        raise Missing(f"{name} cannot link libFuzzer: {probe.stderr.strip().splitlines()[-1] if probe.stderr else 'no reason given'}\n"
                      "hint: apt install libclang-rt-14-dev (the number of your clang), or name a clang that has it with FUZZ_CXX")
    return ["ccache", name] if shutil.which("ccache") else [name]


def sources() -> list[Path]:
    """What the targets are linked with: the engine without its threads and sockets, and the exchange."""
    engine = [p for p in cxx.core_sources() if p.parent.name in ROOMS]
    return [*engine, *(p for p in cxx.venue_sources() if p.stem in VENUE)]


def _define() -> list[str]:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return [f'-DPEREGRINE_VERSION="{version}"']


def build(names: list[str], *, verbose: bool = True) -> dict[str, Path]:
    """The named C++ targets under libFuzzer: name → program."""
    tc = cxx.Toolchain(build_dir=BUILD, cxx=clang(), flags=["-fsanitize=fuzzer-no-link", *SANITIZE], verbose=verbose)
    tc.link_flags = ["-fsanitize=fuzzer"]
    core = tc.archive(tc.compile(sources(), _define()), "peregrine_fuzzed")
    objects = tc.compile([TARGETS / f"{n}.cpp" for n in names], _define())
    return {n: tc.link([o, core], BUILD / "bin" / n, shared=False) for n, o in zip(names, objects, strict=True)}


def build_replay(names: list[str], *, verbose: bool = False) -> dict[str, Path]:
    """The same targets with the ordinary compiler and a main that feeds files. Shares the objects of `make asan`."""
    tc = cxx.Toolchain(build_dir=ROOT / "build" / "native-asan", flags=SANITIZE, verbose=verbose)
    with cxx.sole_user(tc.build_dir):
        core = tc.archive(tc.compile(sources(), _define()), "peregrine_fuzzed")
        main = tc.compile([TARGETS / "replay_main.cpp"], _define())
        objects = tc.compile([TARGETS / f"{n}.cpp" for n in names], [*_define(), "-O1"])  # they run for seconds only
        return {n: tc.link([o, *main, core], tc.build_dir / "replay" / n, shared=False)
                for n, o in zip(names, objects, strict=True)}


def replay(program: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Run a target's committed corpus and regressions once."""
    folders = [str(d) for d in (TARGETS / "corpus" / name, TARGETS / "regressions" / name) if d.is_dir()]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch:
        return subprocess.run([str(program), *folders], capture_output=True, text=True, errors="replace",
                              env={**os.environ, **SANITIZER_ENV, "PEREGRINE_FUZZ_TMP": scratch})


def fuzz_cpp(name: str, program: Path, seconds: float, keep: bool) -> Result:
    """Run one C++ target for `seconds`, then minimise what it learned."""
    work, found = BUILD / "corpus" / name, BUILD / "found" / name
    kept = TARGETS / "corpus" / name
    for folder in (work, found, kept):
        folder.mkdir(parents=True, exist_ok=True)
    seeds = [str(d) for d in (work, kept, TARGETS / "regressions" / name) if d.is_dir()]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch:
        env = {**os.environ, **SANITIZER_ENV, "PEREGRINE_FUZZ_TMP": scratch}
        run = subprocess.run(
            [str(program), f"-max_total_time={max(1, round(seconds))}", "-print_final_stats=1", "-timeout=20",
             "-rss_limit_mb=3000", "-max_len=2048", "-len_control=20", f"-artifact_prefix={found}/", *seeds],
            capture_output=True, text=True, errors="replace", env=env)
        if keep and run.returncode == 0:
            _minimise(program, name, [work, kept], env)
    result = Result(name, "libFuzzer", seconds=time.monotonic() - began)
    _read_libfuzzer(run.stderr, result)
    result.corpus_files = len(list(kept.iterdir()))
    _collect(result, found, run.returncode, run.stderr)
    return result


def _read_libfuzzer(text: str, result: Result) -> None:
    if stat := re.search(r"stat::number_of_executed_units:\s+(\d+)", text):
        result.executions = int(stat[1])
    if spent := re.search(r"Done \d+ runs in (\d+) second", text):
        result.seconds = max(1.0, float(spent[1]))
    if first := re.search(r"INITED cov: (\d+)", text):
        result.coverage_before = int(first[1])
    result.coverage = max([int(c) for c in re.findall(r"cov: (\d+)", text)], default=0)


def _collect(result: Result, found: Path, code: int, text: str) -> None:
    for slow in found.glob("slow-unit-*"):  # told by libFuzzer, no fault: a busy machine makes them too
        slow.unlink()
    files = sorted(p for p in found.iterdir() if p.is_file())
    for file in files:
        home = TARGETS / "regressions" / result.target
        home.mkdir(parents=True, exist_ok=True)
        kind = file.name.partition("-")[0]
        name = home / f"{kind}-{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}"
        shutil.move(file, name)
        result.findings.append(str(name.relative_to(ROOT)))
    if code != 0 and not files:
        result.findings.append(f"(exit {code}, no input kept)")
    if code != 0:
        said = [line for line in text.splitlines() if re.search(r"ERROR|runtime error|fuzz: |assertion failed|Error", line)]
        result.note = said[0].strip()[:200] if said else text[-300:]


def _minimise(program: Path, name: str, folders: list[Path], env: dict[str, str]) -> None:
    """The smallest set of inputs with the same coverage becomes the committed corpus, within its limits."""
    kept = TARGETS / "corpus" / name
    with tempfile.TemporaryDirectory() as fresh:
        merge = subprocess.run([str(program), "-set_cover_merge=1", "-max_len=2048", fresh, *map(str, folders)],
                               capture_output=True, text=True, errors="replace", env=env)
        if merge.returncode != 0:
            return
        _keep_some(list(Path(fresh).iterdir()), kept)


def _keep_some(files: list[Path], kept: Path) -> None:
    """Some of `files`, of all sizes and within the limits, become the whole of the folder `kept`."""
    contents = sorted({f.read_bytes() for f in files}, key=lambda data: (len(data), data))
    for old in list(kept.iterdir()):
        old.unlink()
    total = 0
    for data in contents[:: max(1, -(-len(contents) // KEPT_FILES))]:
        total += len(data)
        if total > KEPT_BYTES or len(data) > KEPT_FILE_BYTES:
            break
        (kept / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def atheris_path() -> Path | None:
    """Where atheris is, installed on first use into build/; None when it cannot be had."""
    home = BUILD / "atheris"
    if not (home / "atheris").is_dir():
        got = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps",
                              "--target", str(home), "atheris"], capture_output=True, text=True)
        if got.returncode != 0:
            shutil.rmtree(home, ignore_errors=True)
            return None
    probe = subprocess.run([sys.executable, "-c", "import atheris"], capture_output=True,
                           env={**os.environ, "PYTHONPATH": str(home)})
    return home if probe.returncode == 0 else None


def fuzz_python(name: str, seconds: float, keep: bool, atheris: Path | None) -> Result:
    """Run one Python target for `seconds` in a process of its own."""
    work, found = BUILD / "corpus" / name, BUILD / "found" / name
    for folder in (work, found):
        folder.mkdir(parents=True, exist_ok=True)
    engine = "atheris" if atheris else "own mutator"
    paths = [ROOT / "src", ROOT / "sim", *([atheris] if atheris else [])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONHASHSEED": "0"}
    run = subprocess.run([sys.executable, str(TARGETS / f"{name}.py"), "--engine", "atheris" if atheris else "own",
                          "--seconds", str(seconds), "--work", str(work), "--found", str(found)],
                         capture_output=True, text=True, errors="replace", env=env)
    result = Result(name, engine, seconds=seconds)
    if atheris:
        _read_libfuzzer(run.stderr, result)
    elif run.stdout.strip():
        said = json.loads(run.stdout.strip().splitlines()[-1])
        result.executions, result.seconds = said["executions"], said["seconds"]
    kept = TARGETS / "corpus" / name
    kept.mkdir(parents=True, exist_ok=True)
    if keep and run.returncode == 0:
        _keep_some([*work.iterdir(), *kept.iterdir()], kept)
    result.corpus_files = len(list(kept.iterdir()))
    _collect(result, found, run.returncode, run.stderr)
    return result


def ledger(results: list[Result]) -> dict[str, int]:
    """Executions of every target over all runs on this machine, this one added."""
    file = BUILD / "ledger.json"
    total: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    for r in results:
        total[r.target] = total.get(r.target, 0) + r.executions
    file.write_text(json.dumps(total, indent=1, sort_keys=True) + "\n")
    return total


def table(results: list[Result], total: dict[str, int]) -> str:
    """For people."""
    lines = [f"{'target':<14} {'engine':<11} {'executions':>13} {'exec/s':>9} {'coverage':>9} {'new':>6} {'corpus':>7} {'findings':>8}"]
    for r in results:
        lines.append(f"{r.target:<14} {r.engine:<11} {r.executions:>13,} {r.per_second:>9,} {r.coverage:>9,} "
                     f"{max(0, r.coverage - r.coverage_before):>6,} {r.corpus_files:>7,} {len(r.findings):>8}")
    lines.append(f"{'all':<26} {sum(r.executions for r in results):>13,}   in all runs here: {sum(total.values()):,}")
    for r in results:
        for finding in r.findings:
            lines.append(f"finding in {r.target}: {finding}\n  {r.note}")
    if any(r.findings for r in results):
        lines.append("hint: run the program of the target (build/fuzz/bin) on the file, fix the parser, commit both")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description="fuzz every parser")
    parser.add_argument("what", nargs="?", choices=("run", "replay"), default="run")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS", "20")), help="for each target")
    parser.add_argument("--only", help="targets whose name contains this")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-keep", action="store_true", help="leave the committed corpus as it is")
    try:
        options = parser.parse_args(argv)
    except SystemExit as end:
        return 64 if end.code else 0
    names, python = cpp_targets(options.only), python_targets(options.only)
    if not names and not python:
        print(f"no fuzz target with '{options.only}' in its name\nhint: there are {', '.join(cpp_targets() + python_targets())}",
              file=sys.stderr)
        return 64
    if options.what == "replay":
        failed = 0
        for name, program in build_replay(names).items():
            run = replay(program, name)
            failed += run.returncode != 0
            print(f"{name}: {run.stdout.strip() if run.returncode == 0 else 'FAILED' + chr(10) + run.stderr[-3000:]}", flush=True)
        return 1 if failed else 0
    try:
        programs = build(names) if names else {}
    except Missing as err:
        print(f"make fuzz: {err}", file=sys.stderr)
        return 69
    results = []
    for name, program in programs.items():
        results.append(fuzz_cpp(name, program, options.seconds, not options.no_keep))
        _say(results[-1], options.json)
    atheris = atheris_path() if python else None
    for name in python:
        results.append(fuzz_python(name, options.seconds, not options.no_keep, atheris))
        _say(results[-1], options.json)
    total = ledger(results)
    if options.json:
        print(json.dumps({"targets": [{**asdict(r), "per_second": r.per_second} for r in results],
                          "executions": sum(r.executions for r in results), "executions_all_runs": sum(total.values()),
                          "findings": sum(len(r.findings) for r in results)}, indent=1))
    else:
        print(table(results, total))
    return 1 if any(r.findings for r in results) else 0


def _say(r: Result, quiet: bool) -> None:
    if not quiet:
        print(f"  {r.target}: {r.executions:,} executions, {len(r.findings)} findings", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
