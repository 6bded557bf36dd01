"""A run put away for good: every file compressed, and a manifest that shows any change, loss or addition.

    ARCHIVE/
        manifest.json      run, session date, engine, position at the close, and a row a file
        files/NAME.zst     each file of the run; folders stay folders

Each row holds the file's size, SHA-256 before compressing, and `chain`: SHA-256 of the chain before it and of its own row. The
manifest ends in the last of them, so a row taken out, put in, moved or changed breaks every later one. Write the last chain
down elsewhere (it is printed) and the whole archive is pinned by one line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import zstandard

MANIFEST = "manifest.json"
VERSION = 1
LEVEL = 10
_CHUNK_BYTES = 1 << 20


class ArchiveError(Exception):
    """An archive that cannot be made or read; `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass
class Verdict:
    """What became of a check. `problems` is empty when every byte is as it was put away."""

    files: int
    bytes: int
    chain: str
    problems: list[str] = field(default_factory=list)


def archive(run: Path, to: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Put a run away; `facts` go into the manifest. Returns the manifest. Raises ArchiveError.

    The archive is made beside its place and moved there whole: one that was cut off never looks like one.
    """
    run = run.resolve()
    if not run.is_dir() or not any(run.rglob("journal-*.pgj")):
        raise ArchiveError(f"{run} holds no journal", "name the folder of a run")
    if to.exists():
        raise ArchiveError(f"{to} is there already", "an archive is never written over")
    part = to.with_name(f".{to.name}.part")
    if part.exists():
        raise ArchiveError(f"{part} is there: an archive that was cut off", "remove it and try again")
    rows, chain = [], ""
    for path in sorted(p for p in run.rglob("*") if p.is_file() and not p.is_symlink()):
        name = path.relative_to(run).as_posix()
        target = part / "files" / f"{name}.zst"
        target.parent.mkdir(parents=True, exist_ok=True)
        size, digest = _compress(path, target)
        row = {"name": name, "bytes": size, "sha256": digest, "compressed_bytes": target.stat().st_size}
        chain = _next(chain, row)
        rows.append({**row, "chain": chain})
    manifest = {"version": VERSION, **facts, "files": rows, "chain": _next(chain, {"facts": facts})}
    (part / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    verdict = verify(part)
    if verdict.problems:
        raise ArchiveError(f"what was written does not read back: {verdict.problems[0]}", "the disk is not to be trusted")
    part.rename(to)
    return manifest


def verify(folder: Path) -> Verdict:
    """Read every byte of an archive and compare. Raises ArchiveError when there is no manifest to compare with."""
    manifest = read_manifest(folder)
    out = Verdict(0, 0, manifest["chain"])
    chain, named = "", set()
    for row in manifest["files"]:
        name = str(row["name"])
        named.add(f"{name}.zst")
        chain = _next(chain, {k: row[k] for k in ("name", "bytes", "sha256", "compressed_bytes")})
        if row["chain"] != chain:
            out.problems.append(f"{name}: the chain of the manifest breaks here")
            chain = row["chain"]  # one break is told once
        out.files += 1
        if ".." in PurePosixPath(name).parts or name.startswith("/"):
            out.problems.append(f"{name}: leads out of the archive")
            continue
        try:
            size, digest = _digest(folder / "files" / f"{name}.zst")
        except (OSError, zstandard.ZstdError) as err:
            out.problems.append(f"{name}: {err}")
            continue
        out.bytes += size
        if (size, digest) != (row["bytes"], row["sha256"]):
            out.problems.append(f"{name}: {size} bytes of SHA-256 {digest[:12]}…, the manifest says {row['bytes']} of {row['sha256'][:12]}…")
    facts = {k: v for k, v in manifest.items() if k not in ("version", "files", "chain")}
    if manifest["chain"] != _next(chain, {"facts": facts}):
        out.problems.append("the manifest's facts or its last chain were changed")
    for path in sorted((folder / "files").rglob("*")):
        if path.is_file() and path.relative_to(folder / "files").as_posix() not in named:
            out.problems.append(f"{path.relative_to(folder / 'files').as_posix()}: not in the manifest")
    return out


def restore(folder: Path, to: Path) -> None:
    """Write the files of an archive out again, into a new folder, checking each. Raises ArchiveError."""
    if to.exists():
        raise ArchiveError(f"{to} is there already", "name a new folder")
    if problems := verify(folder).problems:
        raise ArchiveError(f"the archive is damaged: {problems[0]}", "peregrine day verify lists everything")
    for row in read_manifest(folder)["files"]:
        target = to / row["name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            for chunk in _chunks(folder / "files" / f"{row['name']}.zst"):
                out.write(chunk)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an archive. Raises ArchiveError."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except OSError as err:
        raise ArchiveError(f"{folder} is no archive: {err.strerror}", "peregrine day archive RUN makes one") from err
    except ValueError as err:
        raise ArchiveError(f"{folder / MANIFEST}: {err}", "the manifest is damaged") from err
    shape = isinstance(manifest, dict) and manifest.get("version") == VERSION and isinstance(manifest.get("files"), list)
    keys = {"name", "bytes", "sha256", "compressed_bytes", "chain"}
    if not shape or "chain" not in manifest or not all(isinstance(r, dict) and set(r) == keys for r in manifest["files"]):
        raise ArchiveError(f"{folder / MANIFEST} is no manifest of version {VERSION}", "the manifest is damaged, or of another release")
    return dict(manifest)


def _next(chain: str, row: dict[str, Any]) -> str:
    return hashlib.sha256((chain + json.dumps(row, sort_keys=True)).encode()).hexdigest()


def _compress(path: Path, target: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as source, target.open("wb") as out, zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).stream_writer(out) as writer:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            writer.write(chunk)
    return size, digest.hexdigest()


def _digest(path: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    for chunk in _chunks(path):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    source: BinaryIO
    with path.open("rb") as source, zstandard.ZstdDecompressor().stream_reader(source) as reader:
        while chunk := reader.read(_CHUNK_BYTES):
            yield chunk
