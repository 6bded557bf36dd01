"""Configuration: strict, complete in its complaints, and without secrets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import (
    PROFILES,
    ConfigError,
    canonical,
    check_file,
    config_hash,
    effective,
    from_effective,
    load_file,
    load_profile,
)
from orchestrator.config.cores import resolve_cores
from orchestrator.config.models import Config
from orchestrator.config.secrets import venue_password
from orchestrator.config.validate import validate
from orchestrator.config.yaml_tree import parse

BAD = """\
extends: laptop
name: bad name!
risk:
  max_order_lot: 5
  max_loss_units: "5"
  max_loss_units: 6
venue:
  kind: external
  ouch: 127.0.0.1
  itch_a: 127.0.0.1:26400
  account:
    username: ABC
    password: hunter2
engine:
  idle: spn
"""

EXTERNAL = """\
extends: laptop
venue:
  kind: external
  ouch: 127.0.0.1:26400
  itch_a: 127.0.0.1:26401
  cancel_on_disconnect: true
  account: {username: ABC, %s}
"""


@pytest.mark.parametrize("name", PROFILES)
def test_every_shipped_profile_is_good_and_survives_the_journal_header(name):
    config = load_profile(name)
    again = from_effective(json.loads(json.dumps(effective(config))))
    assert again == config
    assert config_hash(again) == config_hash(config)


def test_every_error_of_a_file_is_told_at_once_with_its_line(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    problems = check_file(file)
    assert [(p.path, p.line) for p in problems] == [
        ("name", 2),
        ("risk.max_order_lot", 4),
        ("risk.max_loss_units", 5),
        ("risk.max_loss_units", 6),
        ("venue.cancel_on_disconnect", 7),
        ("venue.ouch", 9),
        ("venue.account.password", 13),
        ("engine.idle", 15),
    ]
    hints = {p.path: p.hint for p in problems}
    assert hints["risk.max_order_lot"] == "did you mean `max_order_lots`?"
    assert hints["engine.idle"] == "did you mean `spin`?"
    assert [p.expected for p in problems if p.line == 5] == ["a whole number"]


def test_an_error_in_one_section_does_not_hide_a_check_between_two_others(tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text("extends: laptop\nengine: {idle: fast}\nexecution: {order_qty_lots: 5000}\n")
    assert {p.path for p in check_file(file)} == {"engine.idle", "execution.order_qty_lots"}


def test_a_file_too_large_for_a_configuration_is_refused_without_being_read_to_its_end(tmp_path):
    (tmp_path / "large.yaml").write_bytes(b"# \n" * (3 << 20))
    with pytest.raises(ConfigError, match="more than 8 MiB"):
        load_file(tmp_path / "large.yaml")


def test_a_password_in_a_file_is_refused_and_never_shown(tmp_path, peregrine):
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    for args in (["config", "check", str(file)], ["config", "check", str(file), "--json"], ["run", "--config", str(file)]):
        result = peregrine(*args, code=78)
        assert "hunter2" not in result.stdout + result.stderr


@pytest.mark.parametrize("limit", list(type(load_profile("laptop").risk).model_fields))
def test_no_limit_may_be_left_out(limit):
    value = effective(load_profile("laptop"))
    del value["risk"][limit]
    if limit in ("by_symbol", "breakers", "max_positions", "soft_positions", "soft_positions_interval_ns"):
        from_effective(value)
    else:
        with pytest.raises(ConfigError) as err:
            from_effective(value)
        assert [p.path for p in err.value.problems] == [f"risk.{limit}"]


def test_a_key_given_twice_is_refused_even_when_equal():
    tree = parse("a: 1\nb:\n  c: 2\n  c: 2\n")
    assert [(p.path, p.line) for p in tree.problems] == [("b.c", 4)]


def test_symbols_called_on_and_no_stay_symbols():
    assert parse("[ON, NO, yes, Y, off, true]").value == ["ON", "NO", "yes", "Y", "off", True]


@pytest.mark.parametrize("text", ["a: !!python/object:os.system x", "a: &x [*x]", "a: [", "- \t- :", "a: 1\n---\nb: 2"])
def test_yaml_that_is_more_than_plain_values_is_a_problem_not_a_crash(text):
    assert parse(text).problems


@given(st.text(max_size=200))
def test_any_text_gives_a_configuration_or_problems(text):
    tree = parse(text)
    config, problems = validate(tree.value, tree)
    assert (config is None) == bool(problems)


def test_overrides_change_one_setting_and_are_checked_like_a_file():
    config = load_profile("laptop", ["risk.max_long_lots=900", "policies.members.0.weight=2", "instruments=[{symbol: ABC}]"])
    assert (config.risk.max_long_lots, config.policies.members[0].weight) == (900, 2)
    assert [i.symbol for i in config.instruments] == ["ABC"]
    assert load_profile("laptop", {"venue.seed": 9}).venue.seed == 9
    with pytest.raises(ConfigError) as err:
        load_profile("laptop", ["risk.max_long_lot=500", "nonsense", "instruments.7.symbol=A"])
    assert len(err.value.problems) == 3


def test_another_kind_of_venue_replaces_the_profiles_and_the_same_kind_extends_it(tmp_path):
    file = tmp_path / "v.yaml"
    file.write_text(EXTERNAL % "password_env: PW")
    assert load_file(file).venue.kind == "external"
    file.write_text("extends: laptop\nvenue: {seed: 11}\n")
    assert (load_file(file).venue.seed, load_file(file).venue.rate_per_s) == (11, load_profile("laptop").venue.rate_per_s)


def test_the_password_comes_from_the_environment_or_a_private_file(tmp_path, monkeypatch):
    file, secret = tmp_path / "v.yaml", tmp_path / "secret"
    file.write_text(EXTERNAL % "password_env: PEREGRINE_TEST_PW")
    with pytest.raises(ConfigError, match="not set"):
        venue_password(load_file(file).venue)
    monkeypatch.setenv("PEREGRINE_TEST_PW", "s3cret")
    assert venue_password(load_file(file).venue) == "s3cret"
    assert "s3cret" not in canonical(load_file(file))
    file.write_text(EXTERNAL % f"password_file: {secret}")
    secret.write_text("fromfile\n")
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="open to others"):
        venue_password(load_file(file).venue)
    secret.chmod(0o600)
    assert venue_password(load_file(file).venue) == "fromfile"
    secret.write_text("much-too-long-for-the-login")
    with pytest.raises(ConfigError) as err:
        venue_password(load_file(file).venue)
    assert "much-too-long" not in str(err.value)


@pytest.mark.parametrize("both", ["password_env: A, password_file: b", "session: ''"])
def test_a_login_needs_exactly_one_place_for_its_password(tmp_path, both):
    file = tmp_path / "v.yaml"
    file.write_text(EXTERNAL % both)
    assert [p.path for p in check_file(file)] == ["venue.account"]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        (["execution.order_qty_lots=5000"], "execution.order_qty_lots"),
        (["execution.max_inventory_lots=1001"], "execution.max_inventory_lots"),
        (["execution.min_resting_ns=6000000000"], "execution.min_resting_ns"),
        (["policies.feature_bucket_shifts=[11, 12]"], "policies.feature_bucket_shifts"),
        (["execution.strategy=9"], "execution.strategy"),
        (["risk.max_order_lots=5000"], "risk.max_order_lots"),
        (["risk.cancel_reserve_messages=1000"], "risk.cancel_reserve_messages"),
        (["risk.restricted_symbols=[PRGN]"], "risk.restricted_symbols"),
        (["instruments=[{symbol: A}, {symbol: A}]"], "instruments[1].symbol"),
        (["venue.symbols=[OTHER]"], "instruments[0].symbol"),
        (["policies.members.0.weight=0"], "policies.members"),
        (["policies.members.0.role=risk"], "policies.members[0].veto_actions"),
        (["policies.members.0.veto_actions=[1]"], "policies.members[0].veto_actions"),
        (["account.start_position_lots={PRGN: 100000}"], "account.start_position_lots.PRGN"),
        (["account.start_position_lots={ZZZ: 1}"], "account.start_position_lots.ZZZ"),
        (["engine.cores.feed=1"], "engine.cores.feed"),
        (["journal.ring_mb=3"], "journal.ring_mb"),
        (["virtual.feed_latency={kind: uniform, low_ns: 2, high_ns: 1}"], "virtual.feed_latency.low_ns"),
        (["virtual.feed_latency={kind: gamma}"], "virtual.feed_latency.kind"),
        (["policies.signal=nocolon"], "policies.signal"),
        (["engine.memory_budget_mb=0x1.5"], "engine.memory_budget_mb"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_where_they_stand(changes, path):
    with pytest.raises(ConfigError) as err:
        load_profile("laptop", changes)
    assert [p.path for p in err.value.problems] == [path]
    assert err.value.code == 78


def test_every_setting_says_what_it_is_for_and_ends_in_its_unit():
    seen = []

    def walk(model, prefix):
        for name, info in model.model_fields.items():
            assert info.description or name == "kind", f"{prefix}{name} has no description"
            seen.append(f"{prefix}{name}")
            for part in _sections(info.annotation):
                walk(part, f"{prefix}{name}.")

    walk(Config, "")
    units = ("ns", "ms", "s", "lots", "ticks", "units", "mb", "q8", "bps", "ppm", "permille")
    for name in seen:
        words = name.rpartition(".")[2].split("_")
        misplaced = [w for w in words[:-1] if w in units and "per" not in words and w != "s"]
        assert not misplaced, f"{name}: the unit comes last"


def _sections(annotation):
    import typing

    from orchestrator.config.base import Section

    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [s for a in typing.get_args(annotation) for s in _sections(a)]


def test_auto_gives_the_engine_the_highest_core_and_helpers_the_lowest():
    engine = load_profile("pinned").engine
    assert resolve_cores(engine, {0, 1, 2, 3}) == {"engine": 3, "journal": 1, "helper": 0}
    assert resolve_cores(engine, {4, 5}) == {"engine": 5, "journal": 4, "helper": 4}


def test_pinned_refuses_a_machine_where_helpers_would_share_the_engines_core():
    with pytest.raises(ConfigError, match="where the engine spins"):
        resolve_cores(load_profile("pinned").engine, {0})


SHARDED = ["instruments=[{symbol: A}, {symbol: B}, {symbol: C}]", "engine.topology=pipelined", "engine.shards=3"]


def test_pinned_gives_every_hot_thread_a_core_and_refuses_a_machine_with_too_few():
    engine = load_profile("pinned", SHARDED).engine
    assert resolve_cores(engine, range(8)) == {
        "engine": 7, "engine-1": 6, "engine-2": 5, "feed": 4, "session": 3, "journal": 1, "helper": 0,
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"5 hot threads \(engine, engine-1, engine-2, feed, session\), 4 cores"):
        resolve_cores(engine, range(4))
    two = load_profile("pinned", [*SHARDED, "engine.shards_per_thread=2", "engine.cores.engine=[2, 3]"]).engine
    assert resolve_cores(two, range(8)) == {
        "engine": 2, "engine-1": 3, "feed": 7, "session": 6, "journal": 1, "helper": 0,
    }  # fmt: skip


def test_laptop_pins_no_hot_thread_when_they_have_to_share():
    engine = load_profile("laptop", SHARDED).engine
    assert {core for name, core in resolve_cores(engine, {0, 1}).items() if name not in ("journal", "helper")} == {None}


def test_two_hot_threads_on_one_core_are_refused():
    with pytest.raises(ConfigError, match="core 1 twice"):
        load_profile("pinned", ["engine.topology=pipelined", "engine.cores.feed=1", "engine.cores.session=1"])
    with pytest.raises(ConfigError, match="may use only those"):
        resolve_cores(load_profile("laptop", ["engine.cores.engine=77"]).engine, {0, 1})


def test_config_check_and_show_on_the_command_line(tmp_path, peregrine, read_json):
    shown = peregrine("config", "show", "laptop").stdout
    file = tmp_path / "mine.yaml"
    file.write_text(shown)
    report = read_json(peregrine("config", "check", str(file), "--json"))
    assert report["ok"] and report["errors"] == []
    assert read_json(peregrine("config", "show", "laptop", "--json")) == effective(load_profile("laptop"))
    file.write_text(BAD)
    report = read_json(peregrine("config", "check", str(file), "--json", code=78))
    assert all(set(e) == {"path", "found", "expected", "hint", "line", "source"} for e in report["errors"])
    assert len(report["errors"]) >= 8
    assert peregrine("config", "check", str(tmp_path / "none.yaml"), code=78).stderr
    assert peregrine("config", "show", "lapto", code=78).stdout == ""
