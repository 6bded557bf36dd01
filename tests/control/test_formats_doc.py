"""The pages about the control API say what the code does."""

from __future__ import annotations

from pathlib import Path

import msgspec

from orchestrator.control import reference
from orchestrator.control.admission import REASONS
from orchestrator.control.messages import Reply, Request

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/formats-control.md").read_text()


def test_the_tables_are_those_of_the_code():
    begin, end = "<!-- tables: python -m orchestrator.control.reference -->\n", "<!-- end of tables -->"
    assert PAGE.partition(begin)[2].partition(end)[0] == reference.reference(), "write it anew: python -m orchestrator.control.reference"


def test_the_worked_vector_is_read_as_what_it_says():
    blocks = PAGE.split("### A worked vector")[1].split("```")
    asked, told = (bytes.fromhex(blocks[i].removeprefix("text").replace("\n", " ")) for i in (3, 7))
    assert msgspec.msgpack.decode(asked, type=Request) == reference.REQUEST == msgspec.json.decode(blocks[1].removeprefix("json"), type=Request)
    assert msgspec.msgpack.decode(told, type=Reply) == reference.REPLY == msgspec.json.decode(blocks[5].removeprefix("json"), type=Reply)


def test_every_reason_of_a_refusal_is_explained():
    assert all(f"| `{reason}` |" in PAGE for reason in REASONS)
