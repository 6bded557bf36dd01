"""A folder of layers as one merged view, and every way to name it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.config import (
    ConfigError,
    check_file,
    effective,
    from_effective,
    load_file,
    load_view,
    parse_name,
)
from orchestrator.config.environments import desks, environments
from orchestrator.config.origin import merged_text, origin_of, settings, write_template


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped template."""
    write_template(tmp_path / "conf")
    return tmp_path / "conf"


def problems(*args, **options) -> list[tuple[str, str, int | None]]:
    """(path, file's name, line) of every problem."""
    with pytest.raises(ConfigError) as err:
        load_file(*args, **options)
    assert err.value.code == 78
    return [(p.path, Path(p.source).name, p.line) for p in err.value.problems]


def test_the_template_is_good_in_every_environment_with_and_without_its_desk(folder):
    assert environments(folder) == ["development", "production", "staging"] and desks(folder) == ["rates"]
    for environment in environments(folder):
        for desk in (None, "rates"):
            cfg = load_file(folder, environment=environment, desk=desk)
            assert cfg.environment == environment and cfg.engine.name == environment
            assert [i.symbol for i in cfg.instruments] == (["PRGN", "BOND"] if desk else ["PRGN"])
            assert cfg.name == ("rates" if desk else "desk")


def test_a_view_is_named_by_options_or_in_one_word(folder):
    by_options = load_file(folder, environment="production", desk="rates")
    assert load_file(f"{folder}#production/rates") == by_options
    assert load_file(f"{folder}#production", desk="rates") == by_options
    assert parse_name(f"{folder}#production/rates").text() == f"{folder}#production/rates"
    with pytest.raises(ConfigError, match="name it once"):
        parse_name(f"{folder}#production", "staging")
    odd = folder / "with#hash.yaml"
    odd.write_text("extends: laptop\n")
    assert load_file(odd).name == "laptop"


def test_a_folder_needs_an_environment_and_names_those_it_has(folder):
    with pytest.raises(ConfigError, match="development, production, staging"):
        load_file(folder)
    with pytest.raises(ConfigError, match="did you mean `production`"):
        load_file(folder, environment="prodution")
    with pytest.raises(ConfigError, match="no desk called rats") as err:
        load_file(folder, environment="staging", desk="rats")
    assert "did you mean `rates`?" in str(err.value)
    with pytest.raises(ConfigError, match=r"no base\.yaml"):
        load_file(folder / "desks", environment="staging")
    with pytest.raises(ConfigError, match="no folder"):
        load_file(folder / "base.yaml", environment="staging")


def test_all_problems_of_all_layers_come_in_one_message_each_with_file_line_and_hint(folder):
    for file, text in (("base.yaml", "engin: {}\n"), ("environments/staging.yaml", "observe: {log_level: loud}\n"),
                       ("desks/rates.yaml", "account: {currency: 5}\n")):  # fmt: skip
        with (folder / file).open("a") as out:
            out.write(text)
    lines = {file: len((folder / file).read_text().splitlines()) for file in ("base.yaml", "environments/staging.yaml", "desks/rates.yaml")}
    found = problems(folder, ["risk.max_long_lot=5"], environment="staging", desk="rates")
    assert set(found) == {
        ("engin", "base.yaml", lines["base.yaml"]),
        ("observe.log_level", "staging.yaml", lines["environments/staging.yaml"]),
        ("account.currency", "rates.yaml", lines["desks/rates.yaml"]),
        ("risk.max_long_lot", "--set", None),
    }
    told = check_file(parse_name(folder, "staging", "rates"), ["risk.max_long_lot=5"])
    hints = {p.path: p.hint for p in told}
    assert hints["engin"] == "did you mean `engine`?" and hints["risk.max_long_lot"] == "did you mean `max_long_lots`?"
    text = str(ConfigError(told, "x"))
    assert f"base.yaml:{lines['base.yaml']}: engin" in text and "--set: risk.max_long_lot" in text


def test_an_environment_of_another_name_states_which_it_is_and_may_extend_one(folder):
    eu = folder / "environments/production-eu.yaml"
    eu.write_text("extends: production\nengine: {name: eu}\n")
    assert problems(folder, environment="production-eu") == [("environment", "production-eu.yaml", 1)]
    eu.write_text("extends: production\nenvironment: production\nengine: {name: eu}\n")
    cfg = load_file(folder, environment="production-eu")
    assert (cfg.environment, cfg.engine.name, cfg.engine.idle) == ("production", "eu", "spin")
    eu.write_text("extends: production-eu\nenvironment: production\n")
    assert ("extends", "production-eu.yaml", 1) in problems(folder, environment="production-eu")
    eu.write_text("extends: nowhere\nenvironment: production\n")
    assert ("extends", "production-eu.yaml", 1) in problems(folder, environment="production-eu")


def test_base_and_desk_do_not_say_which_environment_it_is(folder):
    for file in ("base.yaml", "desks/rates.yaml"):
        path = folder / file
        text = path.read_text()
        path.write_text("environment: development\n" + text)
        assert ("environment", path.name, 1) in problems(folder, environment="production", desk="rates")
        path.write_text(text)
    staging = folder / "environments/staging.yaml"
    staging.write_text("environment: production\n" + staging.read_text())
    assert ("environment", "staging.yaml", 1) in problems(folder, environment="staging")


def test_a_base_may_extend_a_profile_and_a_plain_file_may_still(tmp_path):
    (tmp_path / "c/environments").mkdir(parents=True)
    (tmp_path / "c/base.yaml").write_text("extends: laptop\nname: mine\n")
    (tmp_path / "c/environments/development.yaml").write_text("venue: {seed: 9}\n")
    view = load_view(parse_name(f"{tmp_path}/c#development"))
    assert (view.config.name, view.config.venue.seed, view.config.venue.rate_per_s) == ("mine", 9, 2000)
    assert origin_of(view.tree, ("venue", "rate_per_s")).text().startswith("profile laptop:")
    (tmp_path / "c/base.yaml").write_text("extends: lapto\n")
    with pytest.raises(ConfigError, match="did you mean `laptop`"):
        load_file(f"{tmp_path}/c#development")


def test_every_value_tells_where_it_came_from(folder):
    environ = {"PEREGRINE__ENGINE__NAME": "from-shell", "PEREGRINE__RISK__BY_SYMBOL__BOND__MAX_LONG_LOTS": "400"}
    view = load_view(parse_name(folder, "staging", "rates"), ["instruments[BOND].multiplier=3"], environ=environ)
    origins = {s.place: (s.value, s.origin) for s in settings(view)}
    line = {f: {t.split(":")[0].strip(" -"): n for n, t in enumerate((folder / f).read_text().splitlines(), 1)} for f in
            ("base.yaml", "environments/staging.yaml", "desks/rates.yaml")}  # fmt: skip

    def told(place: str) -> tuple:
        value, origin = origins[place]
        return value, origin.kind, Path(origin.source).name, origin.line

    assert told("risk.max_loss_units") == (15_000_000, "file", "rates.yaml", line["desks/rates.yaml"]["max_loss_units"])
    assert told("risk.max_drawdown_units") == (10_000_000, "file", "base.yaml", line["base.yaml"]["max_drawdown_units"])
    assert told("venue.seed") == (11, "file", "staging.yaml", line["environments/staging.yaml"]["seed"])
    assert told("engine.name") == ("from-shell", "variable", "PEREGRINE__ENGINE__NAME", None)
    assert told("risk.by_symbol.BOND.max_long_lots")[:3] == (400, "variable", "PEREGRINE__RISK__BY_SYMBOL__BOND__MAX_LONG_LOTS")
    assert told("instruments[BOND].multiplier") == (3, "set", "", None)
    assert told("account.currency") == ("USD", "default", "", None)
    assert set(origins) == {s.place for s in settings(view)} and len(origins) > 150


def test_a_variable_or_option_that_leads_nowhere_names_itself(folder):
    with pytest.raises(ConfigError) as err:
        load_view(parse_name(folder, "staging"), environ={"PEREGRINE__RISK__MAX_LONG_LOT": "5", "PEREGRINE__ENGINE__IDLE": "spn"})
    assert {(p.path, p.source) for p in err.value.problems} == {
        ("risk.max_long_lot", "PEREGRINE__RISK__MAX_LONG_LOT"), ("engine.idle", "PEREGRINE__ENGINE__IDLE")}  # fmt: skip


def test_the_merged_view_as_yaml_loads_to_the_same_configuration(folder, tmp_path):
    view = load_view(parse_name(folder, "staging", "rates"), ["name='1e3'", "venue.faults='0x10'"])
    file = tmp_path / "merged.yaml"
    file.write_text(merged_text(view))
    assert effective(load_file(file)) == effective(view.config)
    assert from_effective(json.loads(json.dumps(effective(view.config)))) == view.config


def test_the_commands_take_folders_by_option_word_variable_and_place(folder, peregrine, read_json, tmp_path):
    shown = read_json(peregrine("config", "show", "conf", "--env", "staging", "--desk", "rates", "--json"))
    assert shown["name"] == "rates" and shown == read_json(peregrine("config", "show", "conf#staging/rates", "--json"))
    assert shown == read_json(peregrine("config", "show", "--env", "staging", "--desk", "rates", "--json", env={"PEREGRINE_CONFIG": "conf"}))
    origins = read_json(peregrine("config", "show", "conf#staging/rates", "--origin", "--json"))["settings"]
    assert origins["venue.seed"]["origin"]["source"].endswith("staging.yaml") and origins["venue.seed"]["value"] == 11
    lines = peregrine("config", "show", "conf#staging/rates", "--origin").stdout.splitlines()
    assert ["venue.seed", "11", "conf/environments/staging.yaml:4"] in [line.split() for line in lines]
    assert read_json(peregrine("config", "check", "conf", "--env", "production", "--json"))["environment"] == "production"
    changed = read_json(peregrine("config", "diff", "conf#staging", "conf#staging/rates", "--json", code=1))["changes"]
    assert {"setting": "name", "before": "desk", "after": "rates"} in changed
    assert peregrine("config", "diff", "conf#staging", "conf#staging").stdout == "no difference\n"
    peregrine("config", "init", "conf", code=78)
    peregrine("config", "init", "other")
    assert (tmp_path / "other/base.yaml").read_text() == (folder / "base.yaml").read_text()
