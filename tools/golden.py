"""Golden journals: small journals with their hashes, so that behaviour changes only on purpose.

    python tools/golden.py check [NAME…] [--json]          replay each and compare with the table
    python tools/golden.py bless NAME… | --all --why "…"    make anew what the scenarios say, and write it down
    python tools/golden.py make NAME --into DIR            the journal of a scenario, as a folder

tests/golden/<name>.tar.zst is a journal folder; tests/golden/golden.json holds what it must replay to, and why it is as it is.
Only `bless` changes the table. Where the engine no longer replays a golden to its hashes, bless refuses until
kSemanticsVersion (src/hotpath/journal/version.h) has risen: such a journal belongs to another engine.
Exit codes: 0 good, 1 a golden differs or is not blessed, 64 usage.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "sim"), str(GOLDEN)]

FACTS = ("records", "orders", "order_hash", "state_hash")


class Refused(RuntimeError):
    """Why something may not be blessed, and what to do."""


def table(folder: Path = GOLDEN) -> dict[str, dict[str, Any]]:
    """name → what stands in golden.json."""
    path = folder / "golden.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def pack(journal: Path) -> bytes:
    """A journal folder as one compressed archive; the same files give the same bytes."""
    import zstandard

    return zstandard.ZstdCompressor(level=19).compress(tar_of(journal))


def tar_of(journal: Path) -> bytes:
    """The segments of a journal folder as a tar without names, times or owners of this machine."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for file in sorted(journal.glob("journal-*.pgj")):
            entry = tarfile.TarInfo(file.name)
            data = file.read_bytes()
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def unpack(archive: Path, into: Path) -> Path:
    """The journal folder of an archive."""
    import zstandard

    data = zstandard.ZstdDecompressor().decompress(archive.read_bytes(), max_output_size=64 << 20)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(into, filter="data")
    return into


def make(name: str, into: Path) -> Path:
    """The journal a scenario makes with the engine as it is."""
    from golden_scenarios import SCENARIOS

    SCENARIOS[name](into)
    return into


def replayed(journal: Path) -> dict[str, Any]:
    """What the engine makes of a journal: FACTS, and whether it is identical. Raises JournalUnreadable."""
    from orchestrator.run.journals import verify_journal

    verdict = verify_journal(journal)
    return {**{k: verdict[k] for k in FACTS}, "identical": verdict["identical"], "divergence": verdict.get("divergence")}


def check(name: str, entry: dict[str, Any], folder: Path = GOLDEN) -> list[str]:
    """What is wrong with one golden; an empty list when it is as blessed."""
    from orchestrator.run.journals import JournalUnreadable

    archive = folder / f"{name}.tar.zst"
    if not archive.exists():
        return [f"{archive.name} is missing"]
    if hashlib.sha256(archive.read_bytes()).hexdigest() != entry["sha256"]:
        return [f"{archive.name} is not the file that was blessed"]
    with tempfile.TemporaryDirectory() as scratch:
        try:
            now = replayed(unpack(archive, Path(scratch)))
        except JournalUnreadable as err:
            return [f"cannot be replayed: {err}"]
    wrong = [f"{k}: blessed {entry[k]}, now {now[k]}" for k in FACTS if entry[k] != now[k]]
    if not now["identical"]:
        wrong.append(f"the replay differs from the journal: {json.dumps(now['divergence'])[:600]}")
    return wrong


def bless(names: list[str], why: str, folder: Path = GOLDEN) -> list[str]:
    """Make the named goldens anew and write the table; what was done, a line each. Raises Refused, then nothing is changed."""
    from golden_scenarios import SCENARIOS

    from hotpath import _core

    if len(why.split()) < 3:
        raise Refused("--why says in a sentence what changed and why it is right: a name for those who read the table later")
    entries, said, files = table(folder), [], {}
    semantics, form = _core.journal.SEMANTICS_VERSION, _core.journal.FORMAT_VERSION
    for name in names:
        if name not in SCENARIOS:
            raise Refused(f"no scenario '{name}': there are {', '.join(SCENARIOS)} (tests/golden/golden_scenarios.py)")
        with tempfile.TemporaryDirectory() as scratch:
            journal = make(name, Path(scratch))
            now = replayed(journal)
            data = pack(journal)
        if not now["identical"]:
            raise Refused(f"{name}: the new journal does not replay to itself: {json.dumps(now['divergence'])[:600]}")
        before = entries.get(name)
        if before is not None:
            broken = check(name, before, folder)
            if not broken and all(before[k] == now[k] for k in FACTS):
                said.append(f"{name}: as blessed, left alone")
                continue
            if broken and semantics <= before["semantics_version"]:
                raise Refused(
                    f"{name}: this engine no longer replays it ({broken[0]}), but the semantics version is still {semantics}\n"
                    "hint: if that is on purpose raise kSemanticsVersion in src/hotpath/journal/version.h, else mend the engine")
        history = [*(before["blessed"] if before else []), {"semantics_version": semantics, "why": why.strip()}]
        files[folder / f"{name}.tar.zst"] = data
        entries[name] = {
            "about": (SCENARIOS[name].__doc__ or "").strip(), **{k: now[k] for k in FACTS}, "format_version": form,
            "semantics_version": semantics, "sha256": hashlib.sha256(data).hexdigest(), "blessed": history,
        }  # fmt: skip
        said.append(f"{name}: blessed, {now['records']} records, {now['orders']} order messages, {len(data):,} bytes")
    for path, data in files.items():
        path.write_bytes(data)
    if files:
        (folder / "golden.json").write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return said


def main(argv: list[str]) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description="golden journals")
    parser.add_argument("what", choices=("check", "bless", "make"))
    parser.add_argument("names", nargs="*")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--why", default="")
    parser.add_argument("--into", type=Path)
    parser.add_argument("--json", action="store_true")
    try:
        options = parser.parse_args(argv)
    except SystemExit as end:
        return 64 if end.code else 0
    entries = table()
    if options.what == "make":
        if options.into is None or len(options.names) != 1:
            print("make takes one name and --into DIR", file=sys.stderr)
            return 64
        options.into.mkdir(parents=True, exist_ok=True)
        make(options.names[0], options.into)
        return 0
    if options.what == "bless":
        from golden_scenarios import SCENARIOS

        names = list(SCENARIOS) if options.all else options.names
        if not names:
            print("bless takes names, or --all", file=sys.stderr)
            return 64
        try:
            print("\n".join(bless(names, options.why)))
        except Refused as err:
            print(f"not blessed: {err}", file=sys.stderr)
            return 1
        return 0
    names = options.names or list(entries)
    if unknown := [n for n in names if n not in entries]:
        print(f"no golden called {', '.join(unknown)}: there are {', '.join(entries)}", file=sys.stderr)
        return 64
    wrong = {n: found for n in names if (found := check(n, entries[n]))}
    if options.json:
        print(json.dumps({"checked": names, "wrong": wrong}, indent=1))
    else:
        for n in names:
            print(f"{n:<18} {'ok' if n not in wrong else 'DIFFERS: ' + '; '.join(wrong[n])}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
