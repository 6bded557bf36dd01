"""The house rules as a test: layering, small files, nothing that blocks or guesses in the hot rooms, honest names.

A rule is broken on purpose by adding a line to its list of exceptions, with the reason.
"""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOTPATH = ROOT / "src/hotpath"
ROOMS = ("core", "market", "signal", "policy", "risk", "execution", "journal", "engine", "bindings")
HOT_ROOMS = ("core", "market", "signal", "policy", "risk", "execution", "journal", "engine")

#: Headers that are only a format: any room may include them.
FORMAT_HEADERS = {"journal/record.h"}

#: file → why it may be longer than 500 lines
LONG_FILES: dict[str, str] = {}

#: file → why it may allocate, throw or lock. Construction, files and helper threads; never the step.
COLD_FILES: dict[str, str] = {
    "src/hotpath/market/huge_array.h": "the one mapping of a table, made at construction",
    "src/hotpath/journal/files.cpp": "opens a journal: folders and names, before and after a run",
    "src/hotpath/journal/ring.cpp": "makes or opens a ring; appending is in ring_append and allocates nothing",
}

#: (file, word) → why this one use is right
ALLOWED_WORDS: dict[tuple[str, str], str] = {}

#: the only places that may read a clock or draw without a seed: the engine's, and the simulated venue's own
CLOCK_SEAMS = {"src/hotpath/core/clock.h", "src/hotpath/core/clock.cpp", "sim/venue/server.cpp"}

#: names that only look as if a unit stood too early
UNIT_NAMES_ALLOWED: set[str] = set()


def tracked(*patterns: str) -> list[Path]:
    """Files of the project that match, as git sees them; every such file where git is not there (an sdist)."""
    try:
        out = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        files = [ROOT / line for line in out.splitlines()]
    except (OSError, subprocess.CalledProcessError):
        folders = [ROOT / name for name in ("src", "hdl", "sim", "drivers", "tests", "tools", "bench", "docs")]
        files = [p for f in folders for pattern in patterns for p in f.rglob(pattern.rpartition("/")[2])]
    return sorted(p for p in files if p.is_file() and "build" not in p.relative_to(ROOT).parts[:1])


def name_of(path: Path) -> str:
    """The path from the root, with slashes."""
    return path.relative_to(ROOT).as_posix()


def code_of(path: Path) -> str:
    """C++ without comments and string literals, line for line."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r'R"(\w*)\((.*?)\)\1"', lambda m: '""' + "\n" * m[0].count("\n"), text, flags=re.S)
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\''
    return re.sub(pattern, lambda m: "\n" * m[0].count("\n") + " ", text, flags=re.S)


def cpp_files(*rooms: str) -> list[Path]:
    """Sources and headers of the named rooms."""
    return [p for room in rooms for p in sorted((HOTPATH / room).rglob("*")) if p.suffix in (".h", ".cpp") and p.name != "rings.cpp"]


def python_files() -> list[Path]:
    """Shipped Python."""
    return [p for p in tracked("*.py") if name_of(p).startswith(("src/", "hdl/", "sim/", "drivers/"))]


def room_of(include: str) -> str | None:
    """The room an include names, None for anything outside the engine."""
    head = include.partition("/")[0]
    return head if head in ROOMS else None


def test_every_room_includes_only_rooms_before_it():
    broken = []
    for room in ROOMS:
        for path in cpp_files(room):
            for include in re.findall(r'^\s*#include\s+"([^"]+)"', path.read_text(), flags=re.M):
                other = room_of(include)
                if include.startswith(("venue/", "peregrine_sim")):
                    broken.append(f"{name_of(path)} includes the simulated venue: {include}")
                elif other and ROOMS.index(other) > ROOMS.index(room) and include not in FORMAT_HEADERS:
                    broken.append(f"{name_of(path)} includes {include}: {room} comes before {other}")
    assert not broken, "\n".join(broken)


def driver_files(*suffixes: str) -> list[Path]:
    """Sources and headers of the drivers."""
    return [p for p in sorted((ROOT / "drivers").rglob("*")) if p.suffix in suffixes]


def includes_of(path: Path) -> list[str]:
    """What a file includes in quotes."""
    return re.findall(r'^\s*#include\s+"([^"]+)"', path.read_text(), flags=re.M)


def test_the_drivers_know_device_h_and_each_other_and_nothing_of_the_engine():
    own = {p.relative_to(ROOT / "drivers").as_posix() for p in driver_files(".h")}
    own |= {p.name for p in (ROOT / "drivers/include").glob("*.h")}
    broken = [f"{name_of(p)} includes {i}" for p in driver_files(".h", ".c") for i in includes_of(p) if i not in own]
    assert not broken, "\n".join(broken)


def test_the_public_headers_need_nothing_but_each_other_and_backends_not_each_other():
    broken = [f"{name_of(p)} includes {i}" for p in (ROOT / "drivers/include").glob("*.h") for i in includes_of(p) if "/" in i]
    for backend, other in (("cpu", "vfio/"), ("vfio", "cpu/")):
        broken += [f"{name_of(p)} includes {i}" for p in (ROOT / "drivers" / backend).rglob("*.[ch]")
                   for i in includes_of(p) if i.startswith(other)]  # fmt: skip
    assert not broken, "\n".join(broken)


def test_the_engine_reaches_a_device_through_the_public_headers_only():
    public = {p.name for p in (ROOT / "drivers/include").glob("*.h")}
    broken = [f"{name_of(p)} includes {i}" for p in cpp_files(*ROOMS) for i in includes_of(p)
              if i.startswith(("core/core.h", "core/common.h", "vfio/", "cpu/")) or (i.startswith("device") and i not in public)]  # fmt: skip
    assert not broken, "\n".join(broken)


#: what runs for each request: no allocation, lock, print or call of the kernel may stand there
REQUEST_PATH = ("drivers/core/requests.c",)
KERNEL_CALLS = r"\b(?:open|close|ioctl|mmap|munmap|mlock|pread|pwrite|eventfd|clock_gettime|usleep|nanosleep|sched_yield)\s*\("


def test_the_path_of_a_request_allocates_nothing_and_calls_nothing():
    for name in REQUEST_PATH:
        code = code_of(ROOT / name)
        for word, pattern in {**FORBIDDEN, "kernel": KERNEL_CALLS}.items():
            assert not re.search(pattern, code), f"{name}: {word}"
    submit_and_poll = code_of(ROOT / "drivers/cpu/cpu.c").partition("static int cpu_submit")[2].partition("static int cpu_reset")[0]
    assert "cpu_poll" in submit_and_poll
    for word, pattern in {**FORBIDDEN, "kernel": KERNEL_CALLS}.items():
        assert not re.search(pattern, submit_and_poll), f"cpu.c: {word}"


def test_a_format_header_needs_nothing_but_core():
    for header in FORMAT_HEADERS:
        path = HOTPATH / header
        for include in re.findall(r'^\s*#include\s+"([^"]+)"', path.read_text(), flags=re.M):
            assert room_of(include) == "core", f"{header} includes {include}"


def imported_modules(path: Path) -> set[str]:
    """Names of the modules a Python file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_engine_never_imports_the_control_plane_and_only_the_embedded_venue_reaches_into_sim():
    broken = []
    for path in python_files():
        name, modules = name_of(path), {m.partition(".")[0] for m in imported_modules(path)}
        if name.startswith("src/hotpath/") and modules & {"orchestrator", "peregrine_hdl", "peregrine_sim"}:
            broken.append(name)
        if name.startswith("sim/") and "orchestrator" in modules:
            broken.append(name)
        if name.startswith("hdl/") and modules & {"orchestrator", "peregrine_sim"}:
            broken.append(name)
    assert not broken, broken


def test_pickle_is_used_nowhere():
    risky = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
    broken = [name_of(p) for p in tracked("*.py") if {m.partition(".")[0] for m in imported_modules(p)} & risky]
    assert not broken, broken
    loads = [name_of(p) for p in tracked("*.py") if re.search(r"allow_pickle\s*=\s*True", p.read_text())
             and p != Path(__file__)]  # fmt: skip
    assert not loads, loads


def test_no_file_is_over_500_lines_without_a_reason():
    long = {}
    for path in tracked("*.py", "*.h", "*.c", "*.cpp", "*.pyx", "*.sh", "*.yaml"):
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > 500:
            long[name_of(path)] = lines
    assert {n: c for n, c in long.items() if n not in LONG_FILES} == {}
    assert not [n for n in LONG_FILES if n not in long], "an exception nobody needs any more"


#: what may not stand in a hot room's code, by the reason it is unwelcome there
FORBIDDEN = {
    "mutex": r"\bstd::(mutex|shared_mutex|recursive_mutex|condition_variable|lock_guard|unique_lock|scoped_lock)\b|\bpthread_mutex",
    "malloc": r"\b(malloc|calloc|realloc|free)\s*\(",
    "throw": r"\bthrow\b",
    # placement new (`new (where) T`) takes no memory
    "new": r"(?<![\w#])new\s+(?:\(std::nothrow\)\s*)?[A-Za-z_]",
    "iostream": r"\bstd::(cout|cerr|endl)\b|\bprintf\s*\(",
}


def forbidden_words() -> list[tuple[str, str, int, str]]:
    """Every (file, word, line, text) of a hot room that holds a forbidden word."""
    found = []
    for path in cpp_files(*HOT_ROOMS):
        for number, line in enumerate(code_of(path).splitlines(), 1):
            for word, pattern in FORBIDDEN.items():
                if re.search(pattern, line):
                    found.append((name_of(path), word, number, line.strip()))
    return found


def test_the_hot_rooms_do_not_lock_allocate_throw_or_print():
    broken = [
        f"{name}:{number}: {word}: {line}"
        for name, word, number, line in forbidden_words()
        if name not in COLD_FILES and (name, word) not in ALLOWED_WORDS
    ]
    assert not broken, "\n".join(broken)


def test_no_exception_to_a_rule_is_left_over():
    found = {(name, word) for name, word, _, _ in forbidden_words()}
    assert not [n for n in COLD_FILES if n not in {name for name, _ in found}], "a cold file that is none"
    assert not [key for key in ALLOWED_WORDS if key not in found], "an allowed word that is not there"


CLOCKS = (
    r"\bclock_gettime\b|\bgettimeofday\b|\b__?rdtscp?\b|std::chrono|\b(?:std::)?time\s*\(\s*(?:NULL|nullptr|0)\s*\)"
    r"|\brandom_device\b|\bstd::rand\b|(?<![\w:])s?rand\s*\(|\bmt19937\b|\bgetrandom\b|\barc4random\b"
)


def test_clock_and_randomness_are_read_only_at_their_seams():
    broken = []
    for path in [*cpp_files(*ROOMS), *sorted((ROOT / "sim").rglob("*.h")), *sorted((ROOT / "sim").rglob("*.cpp"))]:
        if name_of(path) in CLOCK_SEAMS:
            continue
        for number, line in enumerate(code_of(path).splitlines(), 1):
            if re.search(CLOCKS, line):
                broken.append(f"{name_of(path)}:{number}: {line.strip()}")
    for path in python_files():
        if name_of(path).startswith("src/hotpath/"):
            modules = {m.partition(".")[0] for m in imported_modules(path)}
            if found := modules & {"time", "random", "secrets", "uuid"}:
                broken.append(f"{name_of(path)} imports {found}")
            if "datetime" in modules and re.search(r"\.(now|today|utcnow)\(", path.read_text()):
                broken.append(f"{name_of(path)} asks for the time of day")
            if re.search(r"np\.random\.(?!default_rng\(\w|Generator|SeedSequence|Philox|PCG64)", path.read_text()):
                broken.append(f"{name_of(path)} draws from numpy without a seed")
    assert not broken, "\n".join(broken)


def test_floating_point_stays_out_of_decisions():
    rooms = ("market", "risk", "execution")
    broken = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in cpp_files(*rooms)
        for number, line in enumerate(code_of(path).splitlines(), 1)
        if re.search(r"\b(double|float)\b", line)
    ]
    assert not broken, "\n".join(broken)


def test_public_python_is_documented():
    broken = []
    for path in python_files():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not ast.get_docstring(tree) and tree.body:
            broken.append(f"{name_of(path)}: the module")
        for node in tree.body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                broken.append(f"{name_of(path)}:{node.lineno}: {node.name}")
            for item in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(item, ast.FunctionDef) and not item.name.startswith("_") and not ast.get_docstring(item):
                    broken.append(f"{name_of(path)}:{item.lineno}: {node.name}.{item.name}")
    assert not broken, "\n".join(broken)


UNITS = r"(?:ns|us|ms|ticks|lots|bytes|bps|ppm)"
#: `bytes_of(x)`, `lots_at(price)`, `bytes_needed()`: the unit is what is given back
AFTER_UNIT = "of|at|in|out|to|from|per|left|needed|asked|available|read|written|sent|taken|lost|free|used|t"
EARLY_UNIT = re.compile(rf"\b{UNITS}_(?!(?:{AFTER_UNIT})(?:_|\b))[a-z][a-z_]*\b")


def test_units_stand_last_in_names():
    broken = []
    for path in [*cpp_files(*ROOMS), *sorted((ROOT / "sim").rglob("*.h")), *sorted((ROOT / "sim").rglob("*.cpp")),
                 *driver_files(".h", ".c")]:  # fmt: skip
        for number, line in enumerate(code_of(path).splitlines(), 1):
            for word in EARLY_UNIT.findall(line):
                if not word.endswith("_") and word not in UNIT_NAMES_ALLOWED:
                    broken.append(f"{name_of(path)}:{number}: {word}")
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.arg if isinstance(node, ast.arg) else node.id if isinstance(node, ast.Name) else ""
            if EARLY_UNIT.fullmatch(name) and name not in UNIT_NAMES_ALLOWED:
                broken.append(f"{name_of(path)}:{node.lineno}: {name}")
    assert not broken, "\n".join(sorted(set(broken)))


def test_headers_say_what_they_are_and_are_included_once():
    broken = []
    for path in [*(p for p in cpp_files(*ROOMS) if p.suffix == ".h"), *driver_files(".h")]:
        text = path.read_text()
        if not text.startswith("//"):
            broken.append(f"{name_of(path)}: begins without a comment that says what it is for")
        if "#pragma once" not in text and not re.search(r"^#ifndef (\w+)\n#define \1\n", text, flags=re.M):
            broken.append(f"{name_of(path)}: nothing keeps it from being included twice")
    assert not broken, "\n".join(broken)


def test_no_path_of_one_machine_stands_in_the_source():
    pattern = re.compile(r"(?<![\w.}])/(?:work|root|home|Users|tmp|opt)/[A-Za-z]")
    broken = []
    for path in tracked("*.py", "*.h", "*.c", "*.cpp", "*.pyx", "*.md", "*.yaml", "*.toml", "Makefile", "*.cfg"):
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line):
                broken.append(f"{name_of(path)}:{number}: {line.strip()[:100]}")
    assert not broken, "\n".join(broken)


def test_every_dependency_has_its_reason():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {re.split(r"[\[<>=~! ]", d)[0].lower() for d in wanted}
    text = (ROOT / "docs/guide/building.md").read_text().lower()
    assert not [n for n in sorted(names) if f"`{n}`" not in text], "docs/guide/building.md gives each a line"


@pytest.mark.parametrize(
    ("code", "word"),
    [("auto* p = new Foo();", "new"), ("std::lock_guard<std::mutex> g(m);", "mutex"), ("throw Bad();", "throw"),
     ("p = malloc(5);", "malloc")],
)  # fmt: skip
def test_the_rules_find_what_they_are_for(code, word):
    assert re.search(FORBIDDEN[word], code)


@pytest.mark.parametrize(
    "code", ["u32 new_orders = 0;", "renew (x);", "u64 free_bytes() const;", "auto* i = new (&slot) Instrument{};", "void f() noexcept;", "#include <new>"]
)
def test_the_rules_pass_over_what_only_looks_like_it(code):
    assert not [word for word, pattern in FORBIDDEN.items() if re.search(pattern, code)]


@pytest.mark.parametrize(("name", "early"), [("ns_timeout", True), ("timeout_ns", False), ("lots_max", True), ("ns_per_tick", False), ("bytes_asked", False), ("bytes_max", True)])  # fmt: skip
def test_an_early_unit_is_seen(name, early):
    assert bool(EARLY_UNIT.fullmatch(name)) is early


def test_comments_and_strings_are_no_code(tmp_path):
    file = tmp_path / "x.h"
    file.write_text('int a;  // throw new\n/* std::mutex\n */ const char* s = "malloc(1)"; int b;\n')
    assert not re.search("throw|mutex|malloc", code_of(file))
    assert code_of(file).count("\n") == file.read_text().count("\n")
