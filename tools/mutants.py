"""Builds hotpath._venue with one defect put into the engine on purpose, to see that the simulator finds it.

    python tools/mutants.py NAME        prints the path of the module

The engine's source is patched on its way to the compiler; everything else of the build is taken as it is, so a
mutant costs one compilation and one link. The tests of tests/venue/test_simulation_mutants.py run them.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tomllib
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cxx  # noqa: E402


@dataclass(frozen=True)
class Mutant:
    """One defect: in `file`, `old` (which stands there once) becomes `new`."""

    what: str
    file: str
    old: str
    new: str


MUTANTS = {
    "no_account_query": Mutant(
        "the account query at a reconnect is skipped",
        "src/hotpath/execution/order_requests.cpp",
        "void OrderSession::query(TimeNs now, SessionOut& out) {\n",
        "void OrderSession::query(TimeNs now, SessionOut& out) {\n  return fence(now, out);\n",
    ),
    "unknown_is_flat": Mutant(
        "orders whose fate is unknown after a recovery count as gone",
        "src/hotpath/execution/order_session.cpp",
        "  orders_.on_connection_lost();\n  if (next_sequence_ <",
        "  orders_.on_connection_lost();\n  close_session(out);\n  if (next_sequence_ <",
    ),
    "no_order_limit": Mutant(
        "the gate's check of a symbol's working orders always passes",
        "src/hotpath/risk/checks.cpp",
        "  bool working_orders() {\n    return ",
        "  bool working_orders() {\n    return false && ",
    ),
    "stale_feed_traded": Mutant(
        "a feed that was live once stays live to the shard, whatever gap is declared",
        "src/hotpath/engine/shard.cpp",
        "  feed_state_ = static_cast<FeedState>(change.state);\n",
        "  if (feed_state_ != FeedState::kLive) feed_state_ = static_cast<FeedState>(change.state);\n",
    ),
    "halt_unseen": Mutant(
        "a halted symbol counts as trading",
        "src/hotpath/market/market_rare.cpp",
        "  if (m.state != 'H' && m.state != 'P' && m.state != 'Q' && m.state != 'T') return Outcome::kMalformed;\n",
        "  m.state = 'T';\n",
    ),
    "numbers_used_again": Mutant(
        "recovery does not pass over the order numbers that a lost ring may have held",
        "src/hotpath/journal/recover.cpp",
        "number = number < ~0u - kNumbersPassedOver ? number + kNumbersPassedOver : ~0u;",
        "",
    ),
    "trailer_not_synced": Mutant(
        "recovery builds on a closed segment that may not be on the disk",
        "src/hotpath/journal/recover.cpp",
        "rc = sync_closed(number_);",
        "rc = 0;",
    ),
    "refused_input_dropped": Mutant(
        "an input that the journal refuses once is not consumed in its reserve",
        "src/hotpath/engine/shard_stage.cpp",
        "    return !market_data && consume(type, head, body);\n",
        "    return false;\n",
    ),
}


def build(name: str) -> Path:
    """Compile and link one mutant; returns its extension module. Raises RuntimeError when the source has moved on."""
    mutant = MUTANTS[name]
    source = cxx.ROOT / mutant.file
    text = source.read_text()
    if text.count(mutant.old) != 1:
        raise RuntimeError(f"{mutant.file}: what mutant {name} replaces stands there {text.count(mutant.old)} times, not once")
    folder = cxx.ROOT / "build" / "mutants" / name
    patched = folder / source.name
    patched.parent.mkdir(parents=True, exist_ok=True)
    wanted = text.replace(mutant.old, mutant.new)
    if not patched.exists() or patched.read_text() != wanted:
        patched.write_text(wanted)

    version = tomllib.loads((cxx.ROOT / "pyproject.toml").read_text())["project"]["version"]
    define = [f'-DPEREGRINE_VERSION="{version}"']
    tag = sysconfig.get_config_var("SOABI") or "py"
    tc = cxx.Toolchain(build_dir=cxx.ROOT / "build" / f"{os.environ.get('PEREGRINE_FLAVOUR', 'release')}-{tag}", verbose=False)
    tc.link_flags = ["-Wl,-O1", "-Wl,--gc-sections"]
    sources = [patched if s == source else s for s in cxx.core_sources()]
    core = tc.archive(tc.compile(sources, define), f"peregrine_core_{name}")
    venue = tc.archive(tc.compile(cxx.venue_sources(), define), "peregrine_venue")
    drivers = tc.archive(tc.compile(cxx.driver_sources()), "peregrine_drivers")
    bindings = sorted((cxx.ROOT / "sim/venue").glob("bind_*.cpp"))
    inputs = tc.compile(bindings, [*define, *cxx.python_includes(), "-O1"])
    return tc.link(inputs, folder / f"_venue{sysconfig.get_config_var('EXT_SUFFIX')}", shared=True, first=[core, drivers, venue])


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in MUTANTS:
        print(f"usage: mutants.py {{{','.join(MUTANTS)}}}", file=sys.stderr)
        sys.exit(64)
    print(build(sys.argv[1]))
