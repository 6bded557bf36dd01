"""The documents are run: every command, every code block, every link, against the built tree.

Blocks of one page share a folder and run in order, so a page may use what it made further up. A block that cannot be
run says why in its info string (```bash no-run: reason); how many may is bounded below.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    p for p in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if p.name not in ("CHANGELOG.md", "CONTRACT.md")
)
NO_RUN_AT_MOST = 12
LANGUAGES = {"bash", "python", "json", "yaml", "text", "cpp", ""}
ENGINE_COMMANDS = re.compile(r"peregrine\s+(run|replay|verify|top|kill|bench)\b")


@dataclass
class Block:
    """One fenced block: where it stands, its language, its tag and its text."""

    page: Path
    line: int
    language: str
    tag: str
    text: str

    @property
    def where(self) -> str:
        """Page and line, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    start, fence, indent = None, "", ""
    for number, line in enumerate(lines, 1):
        mark = re.match(r"^(\s*)(```+)(.*)$", line)
        if start is None and mark:
            start, indent, fence = number, mark[1], mark[2]
            language, _, tag = mark[3].strip().partition(" ")
            found.append(Block(page, number, language, tag.strip(), ""))
        elif start is not None and mark and mark[2] == fence and not mark[3].strip():
            found[-1].text = "\n".join(x.removeprefix(indent) for x in lines[start : number - 1]) + "\n"
            start = None
    assert start is None, f"{page.name}:{start}: a block that never ends"
    return found


ALL_BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def page_id(page: Path) -> str:
    """A page's name in a test id."""
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def shell_env(tmp_path):
    """An environment where `peregrine` and `python` are those of the tree under test, and supervisors have a folder of their own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, command in (("peregrine", "-m orchestrator "), ("python", ""), ("python3", "")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command}"$@"\n')
        (folder / name).chmod(0o755)
    runtime = tempfile.mkdtemp(prefix="prg")  # short: a socket's path has little room
    yield {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "sim"), *filter(None, sys.path)]),
        "NO_COLOR": "1",
        "COLUMNS": "110",
        "PEREGRINE_RUNTIME_DIR": runtime,
    }
    shutil.rmtree(runtime, ignore_errors=True)


#: followed by tests/docs/test_runbooks.py, each against an engine in the page's situation
RUNBOOKS = [p for p in PAGES if p.parent.name == "runbooks"]


@pytest.mark.parametrize("page", [p for p in PAGES if p not in RUNBOOKS and any(b.language in ("bash", "python") for b in blocks_of(p))], ids=page_id)
def test_every_block_of_the_page_runs(page, tmp_path, shell_env):
    blocks = [b for b in blocks_of(page) if b.language in ("bash", "python") and not b.tag.startswith("no-run:")]
    if importlib.util.find_spec("orchestrator.runner") is None and any(ENGINE_COMMANDS.search(b.text) for b in blocks):
        pytest.skip("the engine's runner is not in this build")
    folder = tmp_path / "work"
    folder.mkdir()
    for block in blocks:
        file = folder / f".block{block.line}"
        file.write_text(block.text)
        command = ["bash", "-euo", "pipefail", str(file)] if block.language == "bash" else [sys.executable, str(file)]
        result = subprocess.run(
            command, cwd=folder, env=shell_env, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL
        )
        expected = int(block.tag.removeprefix("exit:")) if block.tag.startswith("exit:") else 0
        assert result.returncode == expected, f"{block.where}\n{block.text}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"


def test_every_json_block_is_json():
    for block in ALL_BLOCKS:
        if block.language == "json":
            json.loads(block.text)


@pytest.mark.parametrize("block", [b for b in ALL_BLOCKS if b.language == "yaml"], ids=lambda b: b.where)
def test_every_yaml_block_is_a_good_configuration(block, tmp_path):
    from orchestrator.config import check_file

    value = yaml.safe_load(block.text)
    assert isinstance(value, dict)
    text = block.text if {"version", "extends"} & value.keys() else "extends: laptop\n" + block.text
    file = tmp_path / "block.yaml"
    file.write_text(text)
    assert [p.text() for p in check_file(file)] == []


def test_blocks_have_a_language_the_tests_know_and_a_reason_not_to_run():
    assert not [b.where for b in ALL_BLOCKS if b.language not in LANGUAGES]
    assert not [b.where for b in ALL_BLOCKS if b.tag and not re.match(r"^(no-run: \S.{5,}|exit:\d+)$", b.tag)]
    skipped = [b.where for b in ALL_BLOCKS if b.tag.startswith("no-run:")]
    assert len(skipped) <= NO_RUN_AT_MOST, skipped


def anchors_of(page: Path) -> set[str]:
    """The anchors a page's headings make."""
    heads = re.findall(r"^#+\s+(.*)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in heads}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"^[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors_of(file), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_and_commands_named_in_the_text_exist(page):
    import typer

    from orchestrator.cli.main import build_app

    commands = set(typer.main.get_command(build_app()).commands)
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    for name in re.findall(r"(?:^|`)peregrine ([a-z]+(?:-[a-z]+)*)", text, flags=re.M):
        assert name in commands, f"{page.name} names `peregrine {name}`"
    for name in re.findall(r"(?:^|`)make ([a-z]+)", text, flags=re.M):
        assert name in targets, f"{page.name} names `make {name}`"
    for name in re.findall(r"`((?:src|sim|tests|tools|docs|bench)/[\w./-]+\.\w+)`", text):
        if not name.startswith("bench/results/"):  # what `make bench` and `make synth` leave; a fresh checkout has none
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_every_command_is_in_the_readme():
    import typer

    from orchestrator.cli.main import build_app

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [n for n in typer.main.get_command(build_app()).commands if f"peregrine {n}" not in text]
    assert not missing, missing


def test_every_setting_is_in_the_configuration_page():
    from orchestrator.config.reference import reference

    page = (ROOT / "docs/concepts/configuration.md").read_text(encoding="utf-8")
    begin, end = "<!-- settings: python -m orchestrator.config.reference -->\n", "<!-- end of settings -->"
    assert page.partition(begin)[2].partition(end)[0] == reference(), "write it anew: python -m orchestrator.config.reference"


def test_the_block_reader_sees_language_tag_and_text(tmp_path):
    page = tmp_path / "p.md"
    page.write_text("a\n```bash no-run: needs a network\nls\n```\n\n  ```json\n  {}\n  ```\n")
    page_blocks = blocks_of(page)
    assert [(b.language, b.tag, b.text, b.line) for b in page_blocks] == [
        ("bash", "no-run: needs a network", "ls\n", 2),
        ("json", "", "{}\n", 6),
    ]


def test_every_page_can_be_reached_from_the_readme():
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or not page.exists():
            continue
        seen.add(page)
        for target in re.findall(r"\]\(([^)\s#]+\.md)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not re.match(r"^[a-z]+:", target):
                todo.append((page.parent / target).resolve())
    assert not [page_id(p) for p in PAGES if p not in seen]
