"""A message of very many problems stays readable: each sort told in full, the rest counted, nothing lost."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import ConfigError, load_file
from orchestrator.config.problems import IN_FULL, Problem, told

MANY = 2_000


@pytest.fixture
def crowded(tmp_path):
    """A file with thousands of unknown keys in two places, and two slips that are easily lost among them."""
    path = tmp_path / "crowded.yaml"
    path.write_text(
        "extends: laptop\nversion: 1\nname: crowded\nrisk:\n"
        + "".join(f"  strange_{i}: {i}\n" for i in range(MANY))
        + "journal: {sync: sometimes}\ninstruments:\n"
        + "".join(f"  - {{symbol: S{i}, increment_ticks: 100, round_lot_lots: 100, odd: 1}}\n" for i in range(100))
        + "engine: {shards: -2}\n"
    )
    return path


def heads(text: str) -> int:
    """Problems told in full."""
    return len(re.findall(r"^    found ", text, re.M))


def counted(text: str) -> int:
    """Problems that are only counted."""
    return sum(int(n.replace(",", "")) for n in re.findall(r"^… and ([0-9,]+) more ", text, re.M))


def test_thousands_of_unknown_keys_make_one_screen_or_two_and_hide_no_other_slip(crowded):
    with pytest.raises(ConfigError) as err:
        load_file(crowded)
    text = str(err.value)
    assert len(err.value.problems) == MANY + 102 and text.startswith(f"{MANY + 102:,} problems in the configuration, {IN_FULL} of them in full")
    assert len(text) < 15_000 and heads(text) == IN_FULL and heads(text) + counted(text) == MANY + 102
    assert f"crowded.yaml:{MANY + 5}: journal.sync" in text and "engine.shards" in text, "each sort is told in full"
    assert re.search(rf"^… and [0-9,]+ more unknown keys under risk, \S+crowded.yaml:5 to {MANY + 4}$", text, re.M)
    assert re.search(r"^… and \d+ more unknown keys under instruments\[…\], ", text, re.M)
    assert text.count("known keys: collar_ticks") == 1 and "config check … --all" in text


def test_check_tells_every_one_with_all_and_with_json(crowded, peregrine, read_json):
    every = peregrine("config", "check", str(crowded), "--all", code=78).stderr
    assert heads(every) == MANY + 102 and counted(every) == 0
    assert len(read_json(peregrine("config", "check", str(crowded), "--json", code=78))["errors"]) == MANY + 102


def test_a_sane_number_of_problems_is_told_whole(tmp_path):
    path = tmp_path / "few.yaml"
    path.write_text("extends: laptop\nversion: 1\nname: few\nrisk:\n" + "".join(f"  strange_{i}: {i}\n" for i in range(IN_FULL)))
    with pytest.raises(ConfigError) as err:
        load_file(path)
    assert heads(str(err.value)) == IN_FULL and "… and" not in str(err.value) and "--all" not in str(err.value)


def test_a_mapping_or_key_without_end_is_shown_short(tmp_path):
    path = tmp_path / "long.yaml"
    path.write_text(f"extends: laptop\nversion: 1\nname: long\n{'k' * 900}: 1\njournal:\n  dir: {{" + ", ".join(f"a{i}: 1" for i in range(9000)) + "}\n")
    with pytest.raises(ConfigError) as err:
        load_file(path)
    assert len(err.value.problems) == 2 and len(str(err.value)) < 3_000 and "and 8,988 more" in str(err.value)


problem = st.builds(
    Problem, path=st.sampled_from(["", "a", "a.b", "a[1].b", "a[2].b", "risk.by_symbol.X"]), found=st.sampled_from(["nothing", "an unknown key, 1 (number)", "3 (number)"]),
    expected=st.sampled_from(["a value", "at least 4", "a known key"]), line=st.none() | st.integers(1, 9), source=st.sampled_from(["", "f.yaml", "g.yaml"]),
)  # fmt: skip


@given(st.lists(problem, max_size=40), st.integers(1, 12))
def test_what_is_told_and_what_is_counted_come_to_all_and_no_sort_is_only_counted_while_there_is_room(problems, limit):
    text = told(problems, "s.yaml", limit)
    assert heads(text) == min(len(problems), limit) and heads(text) + counted(text) == len(problems)
    sorts = Counter(p.sort for p in problems)
    if len(sorts) <= limit:
        for p in problems:
            if sorts[p.sort] == 1:
                assert p.text("s.yaml").splitlines()[0] in text
