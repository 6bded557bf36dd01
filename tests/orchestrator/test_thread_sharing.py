"""Fewer cores than hot threads: shards share threads, and it is said."""

from __future__ import annotations

import pytest

from orchestrator.config import ConfigError, load_profile
from orchestrator.config.cores import hot_threads, resolve_cores, share_threads


def engine(shards: int, **settings):
    symbols = [{"symbol": f"S{i}"} for i in range(shards)]
    named = {f"engine.{name}": value for name, value in settings.items()}
    return load_profile("laptop", {"instruments": symbols, "engine.topology": "pipelined", "engine.shards": shards,
                                   "risk.max_account_orders": 64, "engine.cores": {}, "journal.ring_mb": 4, **named}).engine


@pytest.mark.parametrize(
    ("shards", "cores", "words"),
    [(8, 1, "8 shards on 1 thread: 1 core allowed"), (8, 2, "8 shards on 2 threads: 2 cores allowed"),
     (8, 3, "8 shards on 2 threads: 3 cores allowed"), (8, 4, "8 shards on 2 threads: 4 cores allowed"),
     (8, 6, "8 shards on 4 threads: 6 cores allowed"), (8, 9, "8 shards on 4 threads: 9 cores allowed"), (8, 10, ""),
     (2, 2, ""), (1, 1, "")],
)  # fmt: skip
def test_shards_share_threads_where_cores_are_few(shards, cores, words) -> None:
    shared, said = share_threads(engine(shards), range(cores))
    assert said == words
    if not words:
        assert shared == engine(shards)
    else:
        assert len([t for t in hot_threads(shared) if t.startswith("engine")]) == int(words.split()[3])


def test_what_is_stated_stays() -> None:
    for stated in (engine(8, shards_per_thread=1), engine(8, shards_per_thread=8), engine(3, cores={"engine": [0, 1, 2]})):
        assert share_threads(stated, range(2)) == (stated, "")
    inline = load_profile("laptop", {})
    assert share_threads(inline.engine, range(1)) == (inline.engine, "")


def test_where_a_core_for_each_hot_thread_is_insisted_on_nothing_is_shared_by_itself() -> None:
    auto = dict.fromkeys(("engine", "feed", "session", "journal", "helper"), "auto")
    insists = engine(8, refuse_shared_cores=True, cores=auto)
    with pytest.raises(ConfigError, match="10 hot threads"):
        resolve_cores(insists, range(7))
    found = resolve_cores(engine(8, refuse_shared_cores=True, cores=auto, shards_per_thread=2), range(7))
    hot = [core for name, core in found.items() if name.startswith("engine") or name in ("feed", "session")]
    assert len(hot) == len(set(hot)) == 6 and None not in hot


def test_shared_threads_are_what_gets_the_cores() -> None:
    found = resolve_cores(engine(8, cores={"engine": "auto", "feed": "auto", "session": "auto"}), range(6))
    assert sorted(name for name in found if name.startswith("engine")) == ["engine", "engine-1", "engine-2", "engine-3"]
