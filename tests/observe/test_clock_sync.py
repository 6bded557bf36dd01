"""Who keeps the clock: answers as the programs give them, and this machine's own kernel."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.observe.clock_sync import (
    STA_NANO,
    STA_UNSYNC,
    TIME_ERROR,
    KernelTime,
    adjtimex,
    from_chrony,
    from_kernel,
    from_ptp4l,
    read_clock,
)

#: `chronyc -c tracking` of chrony 4.3, whose plain form said "1.188508153 seconds slow of NTP time"
CHRONY = "7F7F0101,ntp1,8,1795295479.117447804,1.188508153,-1.188508153,1.188508153,0.250,0.000,0.000,0.002000000,0.000500000,0.0,Normal\n"
PMC = """\
sending: GET TIME_STATUS_NP
\t507c6f.fffe.1fb16d-0 seq 0 RESPONSE MANAGEMENT TIME_STATUS_NP
\t\tmaster_offset              -38
\t\tingress_time               1700000000123456789
\t\tgmPresent                  true
\t\tgmIdentity                 507c6f.fffe.1fb16d
\t507c6f.fffe.1fb16d-1 seq 0 RESPONSE MANAGEMENT PORT_DATA_SET
\t\tportIdentity               507c6f.fffe.1fb16d-1
\t\tportState                  SLAVE
"""
GOOD = KernelTime(0, STA_NANO | 1, 4_000, 300, -2_500, 65536 * 3)


def test_chrony_says_how_slow_our_clock_is_and_how_wrong_at_most():
    clock = from_chrony(CHRONY)
    assert (clock.source, clock.synchronised, clock.reference, clock.stratum) == ("chrony", True, "ntp1", 8)
    assert clock.offset_ns == -1_188_508_153
    assert clock.error_ns == 1_188_508_153 + 500_000 + 1_000_000
    assert clock.frequency_ppb == -250


def test_a_chrony_that_has_found_no_server_is_not_synchronised():
    clock = from_chrony("00000000,,0,0.000000000,0.000000000,0.0,0.0,0.000,0.000,0.000,1.000000000,1.000000000,0.0,Not synchronised")
    assert not clock.synchronised and clock.offset_ns is None


def test_ptp4l_says_how_far_we_are_from_the_master():
    clock = from_ptp4l(PMC)
    assert (clock.source, clock.synchronised, clock.offset_ns, clock.reference) == ("ptp4l", True, -38, "507c6f.fffe.1fb16d")
    assert not from_ptp4l(PMC.replace("SLAVE", "LISTENING")).synchronised


@pytest.mark.parametrize(("state", "synchronised", "offset_ns"), [
    (GOOD, True, -2_500), (KernelTime(0, 1, 4_000, 300, -2, 0), True, -2_000),
    (KernelTime(TIME_ERROR, STA_UNSYNC, 16_000_000, 16_000_000, 0, 0), False, None), (KernelTime(0, STA_UNSYNC, 1, 1, 0, 0), False, None),
])  # fmt: skip
def test_the_kernel_says_whether_anybody_keeps_its_clock(state, synchronised, offset_ns):
    clock = from_kernel(state)
    assert (clock.synchronised, clock.offset_ns) == (synchronised, offset_ns)
    assert clock.error_ns == (4_000_000 if synchronised else None)


def test_the_better_source_is_asked_first(tmp_path):
    def run(command):
        return {"chronyc": CHRONY, "pmc": PMC}.get(command[0])

    assert read_clock(run, lambda: GOOD, tmp_path).source == "chrony"
    assert read_clock(lambda c: PMC if c[0] == "pmc" else None, lambda: GOOD, tmp_path).source == "ptp4l"
    assert read_clock(lambda c: None, lambda: GOOD, tmp_path).source == "kernel"
    nobody = read_clock(lambda c: None, lambda: None, tmp_path)
    assert (nobody.source, nobody.synchronised) == ("none", False) and "nobody" in nobody.line()


def test_cards_that_stamp_packets_are_listed(tmp_path):
    (tmp_path / "dev").mkdir()
    for name in ("ptp0", "ptp1", "ptp_kvm", "null"):
        (tmp_path / "dev" / name).write_text("")
    assert read_clock(lambda c: None, lambda: GOOD, tmp_path).hardware_clocks == ("ptp0", "ptp1")


@given(st.text(max_size=300))
def test_no_answer_of_another_program_breaks_it(text):
    for parse in (from_chrony, from_ptp4l):
        found = parse(text)
        assert found is None or isinstance(found.synchronised, bool)


@given(st.lists(st.sampled_from(["", "x", "nan", "inf", "-1", "9" * 400, "0.5", "Normal"]), min_size=13, max_size=15))
def test_nonsense_in_chronys_columns_is_no_answer_and_no_error(columns):
    found = from_chrony(",".join(columns))
    assert found is None or found.offset_ns is None or isinstance(found.offset_ns, int)


def test_this_machines_kernel_answers_and_is_shown():
    state = adjtimex()
    clock = read_clock()
    assert state is None or 0 <= state.state <= TIME_ERROR
    assert clock.source in ("chrony", "ptp4l", "kernel", "none") and clock.line()
    assert json.loads(json.dumps(clock.to_json()))["source"] == clock.source


def test_the_clock_stands_in_a_journals_header_when_it_is_given():
    import datetime as dt

    from hotpath.journal import header
    from orchestrator.config import load_profile
    from orchestrator.run import plan

    cfg = load_profile("laptop")
    spec = plan.shard_spec(cfg, midnight_ns=0)
    policies = plan.load_policies(cfg)
    clock = from_chrony(CHRONY).to_json()
    told = header.parse_header(plan.journal_header(cfg, spec, policies, dt.date(2026, 1, 5), clock=clock))
    silent = header.parse_header(plan.journal_header(cfg, spec, policies, dt.date(2026, 1, 5)))
    assert told.machine["clock"]["offset_ns"] == -1_188_508_153
    assert "clock" not in silent.machine and told.config == silent.config
