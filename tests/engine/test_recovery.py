"""Killed at any moment and started again: nothing lost, nothing doubled, and the journal of all lives replays as one."""

from __future__ import annotations

import random
import signal
import struct
import sys
import time
from pathlib import Path

import pytest
from rig import (
    ACCOUNT_QUERY,
    HEADER,
    INTENT,
    MASS_CANCEL,
    NEW_RISK,
    RECOVERED,
    SESSION,
    SESSION_STATE,
    Record,
    feed_all,
    intents,
    records,
    replayer,
    verify,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from chaos_clock import SteppedClock  # noqa: E402


def check_generations(journal: list[Record], crashes: int) -> None:
    """Each life begins with RECOVERED, which tells the truth about the lives before."""
    assert [r.seq for r in journal] == list(range(1, len(journal) + 1))
    assert sum(r.type == HEADER for r in journal) == 1
    recovered = [r for r in journal if r.type == RECOVERED]
    assert len(recovered) == crashes
    for n, r in enumerate(recovered, start=2):
        epoch, last_number, last_intent = struct.unpack_from("<IIQ", r.payload)
        assert epoch == r.generation == n
        before = [i for i in intents(journal) if i.seq < r.seq]
        assert last_intent == (before[-1].seq if before else 0)
        assert last_number == max((i.user_ref_num for i in before), default=0)
    assert all(a.ts_ns <= b.ts_ns for a, b in zip(journal, journal[1:], strict=False))


def check_numbers(journal: list[Record]) -> None:
    """Order numbers rise over all lives; none is used twice; ClOrdIds carry the life they are from."""
    taken = [i.user_ref_num for i in intents(journal) if i.kind in (*NEW_RISK, MASS_CANCEL)]
    assert taken == sorted(set(taken))
    ids = [i.message[31:45] for i in intents(journal) if i.kind == 1]
    assert len(ids) == len(set(ids))


def check_fences(journal: list[Record]) -> None:
    """After each RECOVERED, and on each connection: account query, mass cancel, and only then anything new."""
    starts = [r.seq for r in journal if r.type == RECOVERED or (r.type == SESSION_STATE and r.payload[0] == 1)]
    for start, end in zip(starts, [*starts[1:], len(journal) + 1], strict=True):
        kinds = [i.kind for i in intents(journal) if start < i.seq < end]
        assert kinds[:2] in ([ACCOUNT_QUERY, MASS_CANCEL], [ACCOUNT_QUERY], []), kinds[:4]


def check_sequence(journal: list[Record], judge) -> None:
    """The venue's numbered messages were consumed once each, in order, over all connections and lives."""
    stream, consumed, at = 0, 0, []
    for r in journal:
        if r.type != SESSION:
            continue
        if r.payload[:1] == b"A":
            stream = int(r.payload[11:31])
        elif r.payload[:1] == b"S":
            if stream == consumed + 1:
                consumed = stream
                at.append(r.payload[1:])
            stream += 1
    sent = [bytes(m) for m in judge.server.ouch_messages("DEMO01")]
    assert at == sent[: len(at)]
    # The engine ends once nothing works any more: of the drain it may leave the answer to its mass cancel unread, and on a
    # connection that is just back the answer to its account query.
    assert {m[:1] for m in sent[len(at) :]} <= {b"X", b"Q"}


@pytest.mark.parametrize("on_disconnect", [False, True], ids=["orders stay on disconnect", "cancel on disconnect"])
def test_an_engine_killed_at_random_moments_goes_on_without_loss(venue, engine, on_disconnect) -> None:
    check_crashes(venue(seed=21, cancel_on_disconnect=on_disconnect), engine, crashes=4, seed=5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_crashes_and_a_faulty_network_together_lose_nothing(venue, engine, seed) -> None:
    judge = venue(seed=seed, fault="loss=1%,reorder=1%,dup=1%,disconnect=900ms", cancel_on_disconnect=seed % 2 == 0)
    check_crashes(judge, engine, crashes=6, seed=seed)


def check_crashes(judge, engine, *, crashes: int, seed: int) -> None:
    """Kills and resumes an engine on one journal; at the end venue and engine agree, and the whole journal replays."""
    rng = random.Random(seed)
    run = engine(judge)
    folder: Path | None = None
    for _ in range(crashes):
        run.until("events", 100)
        run.until("orders", rng.randrange(1, 8))
        time.sleep(rng.random() * 0.4)
        folder = folder or run.run_folder
        run.kill_9()
        run = engine(judge, resume=run.folder / "runs" / "latest")
    assert folder is not None
    run.until("orders", 3)
    run.until("session_ready", 1)
    report = run.finish(signal.SIGTERM)
    assert Path(report["journal"]).resolve() == folder
    assert report["position"] == judge.position_lots()
    assert report["fees_units"] == judge.summary()["fees_ticks"]
    assert report["unknown_orders"] == 0
    assert judge.summary()["open_orders"] == 0
    journal = records(folder)
    check_generations(journal, crashes)
    check_numbers(journal)
    check_fences(journal)
    check_sequence(journal, judge)
    asked = {i.user_ref_num for i in intents(journal) if i.kind in NEW_RISK}
    assert {e["user_ref_num"] for e in judge.ours() if e["kind"] in ("accepted", "replaced", "executed")} <= asked
    verdict = verify(folder)
    assert verdict["identical"], verdict
    assert verdict["recoveries"] == crashes
    assert verdict["order_hash"] == report["order_hash"]
    assert verdict["state_hash"] == report["state_hash"]


def test_a_run_that_ended_well_can_be_resumed_and_trades_again(venue, engine) -> None:
    judge = venue(seed=4)
    first = engine(judge)
    first.until("fills", 2)
    before = first.finish(signal.SIGTERM)
    again = engine(judge, resume=first.run_folder)
    again.until("orders", before["orders"] + 3)
    report = again.finish(signal.SIGINT)
    assert report["position"] == judge.position_lots()
    assert report["orders"] > before["orders"]
    verdict = verify(first.run_folder)
    assert verdict["identical"]
    assert verdict["recoveries"] == 1
    check_generations(records(first.run_folder), 1)


def test_a_killed_engine_stays_killed_when_it_is_resumed(venue, engine) -> None:
    judge = venue(seed=4)
    first = engine(judge)
    first.until("orders", 3)
    first.signal(signal.SIGUSR1)
    first.until("trading_state", 5)
    first.kill_9()
    again = engine(judge, resume=first.run_folder)
    again.until("session_ready", 1)
    again.until("events", 500)
    report = again.finish(signal.SIGTERM)
    assert report["stopped_by"] == "kill"
    journal = records(first.run_folder)
    (recovered,) = [r.seq for r in journal if r.type == RECOVERED]
    assert not [i for i in intents(journal) if i.seq > recovered and i.kind in NEW_RISK]
    assert judge.summary()["open_orders"] == 0
    assert verify(first.run_folder)["identical"]


def test_a_journal_that_does_not_replay_is_not_traded_on(venue, engine, tmp_path) -> None:
    """An intent altered in the journal: recovery refuses with the reason, exit code 69."""
    from hotpath import _core

    judge = venue(seed=4)
    first = engine(judge)
    first.until("fills", 1)
    first.finish(signal.SIGTERM)
    copy = tmp_path / "altered"
    copy.mkdir()
    appender = _core.journal.Appender(dir=str(copy), name="altered", ring_dir=str(tmp_path), ring_bytes=1 << 26)
    writer = _core.journal.Writer(appender, dir=str(copy))
    done = False
    for r in records(first.run_folder):
        payload = bytearray(r.payload)
        if r.type == INTENT and payload[0] == 1 and not done:
            payload[-30] ^= 1
            done = True
        assert appender.append(r.type, r.ts_ns, bytes(payload)) == r.seq
    writer.close()
    refused = engine(judge, resume=copy)
    out, err = refused.process.communicate(timeout=120)
    assert refused.process.returncode == 69, err
    assert "does not replay" in err
    assert "hint:" in err
    assert "Traceback" not in err
    assert out == ""


def test_a_journal_in_use_is_refused(venue, engine, peregrine) -> None:
    judge = venue(seed=4)
    run = engine(judge)
    run.until("orders", 1)
    config = run.folder / f"{run.name}.yaml"
    result = peregrine("run", "--config", str(config), "--resume", str(run.run_folder), "--set", f"engine.name={run.name}-b",
                       "--for", "1s", "--json", code=69)  # fmt: skip
    assert "stop that engine first" in result.stderr
    assert "Traceback" not in result.stderr
    run.finish(signal.SIGTERM)


def test_a_crash_between_input_and_intents_is_no_difference(venue, engine) -> None:
    """Every prefix of a journal followed by RECOVERED replays; what the prefix lacks was never sent."""
    judge = venue(seed=4)
    run = engine(judge)
    run.until("fills", 3)
    run.finish(signal.SIGTERM)
    journal = records(run.run_folder)
    outputs = [i for i, r in enumerate(journal) if r.type == INTENT]
    for cut in (outputs[2], outputs[3], outputs[len(outputs) // 2], outputs[-1]):
        _, shard = replayer(run.run_folder)
        head = journal[:cut]  # the intent at `cut` was decided, not journaled
        before = intents(head)
        payload = struct.pack("<IIQQ", 2, max(i.user_ref_num for i in before), before[-1].seq, 0)
        end = Record(RECOVERED, journal[cut].seq, journal[cut].ts_ns, 2, payload)
        result = feed_all(shard, [*head, end])
        assert result["identical"], result
        assert result["unsent"] >= 1
        assert result["summary"]["session_phase"] == "down"
        assert result["summary"]["feed_state"] == 0


def test_behind_a_clock_that_was_set_back_time_goes_on_from_the_journal(venue, engine, tmp_path) -> None:
    judge = venue(seed=4)
    first = engine(judge)
    first.until("orders", 2)
    first.kill_9()
    before = records(first.run_folder)
    clock = SteppedClock(tmp_path)
    clock.offset_ns = -3600 * 10**9
    stepped = ["env", *(f"{name}={value}" for name, value in clock.environment.items()), sys.executable, "-m", "orchestrator"]
    again = engine(judge, resume=first.run_folder, launcher=stepped)
    again.until("orders", len(intents(before)) + 2)
    report = again.finish(signal.SIGTERM)
    assert clock.asked > 0 and report["recovery"]["replayed_inputs"] > 0
    times = [r.ts_ns for r in records(again.run_folder)]
    assert len(times) > len(before) and times == sorted(times)
    assert verify(again.run_folder)["identical"]


def test_damage_inside_the_last_segment_is_cut_only_on_the_operators_word(venue, engine) -> None:
    judge = venue(seed=4)
    run = engine(judge)
    run.until("fills", 3)
    run.kill_9()
    (segment,) = run.run_folder.glob("journal-*.pgj")
    data = bytearray(segment.read_bytes())
    used = len(data.rstrip(b"\0"))
    data[used // 2] ^= 0xFF
    segment.write_bytes(data)
    refused = engine(judge, resume=run.run_folder)
    _, err = refused.process.communicate(timeout=120)
    assert refused.process.returncode == 69 and "--cut-damaged-tail cuts" in err, err
    assert "Traceback" not in err
    again = engine(judge, resume=run.run_folder, args=("--cut-damaged-tail",))
    again.until("session_ready", 1)
    report = again.finish(signal.SIGTERM)
    assert any("as told; they are kept in" in w for w in report["warnings"]), report["warnings"]
    assert list(run.run_folder.glob("*.cut-*"))
    assert judge.summary()["open_orders"] == 0
    # Orders cut from the journal were learnt again from the venue, or stopped the run: never traded past.
    assert report["position"] == judge.position_lots() or report["stopped_by"] == "kill"
    assert verify(run.run_folder)["identical"]
