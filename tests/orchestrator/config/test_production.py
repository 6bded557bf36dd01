"""Production refuses what is for paper and what is unsafe: each rule broken by itself, and the template breaking none."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import ConfigError, load_file, load_profile, load_view, parse_name
from orchestrator.config.origin import write_template
from orchestrator.config.production import RULES, filesystem

DESK = "desks/rates.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped template."""
    write_template(tmp_path / "conf")
    return tmp_path / "conf"


def broken(folder: Path, text: str = "", overrides: list[str] | None = None, environ: dict[str, str] | None = None) -> dict[str, str]:
    """Path → message of every refusal, with `text` as the desk's file."""
    (folder / DESK).write_text(text or "name: rates\n")
    try:
        load_view(parse_name(folder, "production", "rates"), overrides or [], environ=environ)
    except ConfigError as err:
        return {p.path: f"{p.found} | {p.expected} | {p.hint} | {Path(p.source).name}:{p.line}" for p in err.problems}
    return {}


def test_the_template_of_production_breaks_no_rule(folder):
    assert broken(folder) == {}


#: rule → the desk's file that breaks it, and where
BREAKS: dict[str, tuple[str, str]] = {
    "embedded venue": ("venue: {kind: embedded}", "venue.kind"),
    "demo account": ("venue: {account: {username: DEMO01}}", "venue.account.username"),
    "one feed line": ("venue: {itch_b: null}", "venue.itch_b"),
    "no snapshots": ("venue: {glimpse: null}", "venue.glimpse"),
    "orders outlive the session": ("venue: {cancel_on_disconnect: false}", "venue.cancel_on_disconnect"),
    "demo policy": ("policies: {members: [{slot: 0, file: builtin:default}]}", "policies.members[0].file"),
    "simulated device": ("policies: {placement: device}\ndevice: {backend: sim}", "device.backend"),
    "unbounded limit": ("risk: {collar_bps: 9_000}", "risk.collar_bps"),
    "positions without number": ("risk: {max_positions: 0}", "risk.max_positions"),
    "check switched off": ("risk: {duplicate_window_ns: 0}", "risk.duplicate_window_ns"),
    "journal not synced": ("journal: {sync: none}", "journal.sync"),
    "journal in memory": ("journal: {dir: /dev/shm/runs}", "journal.dir"),
    "no snapshots of the state": ("journal: {snapshot_records: 0}", "journal.snapshot_records"),
    "memory not locked": ("engine: {mlock: false}", "engine.mlock"),
    "shared cores": ("engine: {refuse_shared_cores: false}", "engine.refuse_shared_cores"),
    "sleeping engine": ("engine: {idle: sleep}", "engine.idle"),
    "trades on alone": ("supervise: {engine_loss_policy: trade}", "supervise.engine_loss_policy"),
    "no restart policy": ("remove: [supervise.restart]", "supervise.restart"),
    "no restarts": ("supervise: {restart: {max_restarts: 0}}", "supervise.restart.max_restarts"),
    "stalled for ever": ("supervise: {stall_kill_ms: 0}", "supervise.stall_kill_ms"),
    "leaks unseen": ("supervise: {leak_mb_per_hour: 0}", "supervise.leak_mb_per_hour"),
    "control without clients": ("control: {tcp: 127.0.0.1:9600, key_file: k}", "control.clients_file"),
    "control without a key": ("control: {tcp: 127.0.0.1:9600, clients_file: c}", "control.key_file"),
    "no reconciler": ("day: {reconcile: {enabled: false}}", "day.reconcile.enabled"),
    "difference only told": ("day: {reconcile: {on_break: tell}}", "day.reconcile.on_break"),
    "no audit": ("control: {audit: false}", "control.audit"),
    "not observed": ("observe: {metrics: null}", "observe.metrics"),
}  # fmt: skip
#: rules with a test of their own below
BY_THEMSELVES = {"open password file", "open control files", "files others can write", "instruments of a profile",
                 "limits of a profile", "limits from --set", "limits from a variable"}  # fmt: skip


def test_every_rule_has_a_test_a_reason_and_a_fix():
    assert {rule.name for rule in RULES} == set(BREAKS) | BY_THEMSELVES
    assert all(rule.why and rule.fix for rule in RULES) and len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("name", list(BREAKS))
def test_production_refuses_and_says_where_why_and_what_to_do(name, folder):
    text, path = BREAKS[name]
    rule = next(r for r in RULES if r.name == name)
    found = broken(folder, text)
    assert list(found) == [path], found
    assert rule.why in found[path] and rule.fix in found[path] and ".yaml:" in found[path]


def test_the_same_settings_are_taken_elsewhere(folder):
    harmless = [text for name, (text, _) in BREAKS.items() if text.startswith(("journal", "engine", "observe", "risk", "control: {audit"))]
    for text in harmless:
        (folder / DESK).write_text(text)
        assert load_file(f"{folder}#staging/rates").environment == "staging"


def test_passwords_keys_and_files_open_to_others_are_refused(folder, tmp_path):
    secret, clients = tmp_path / "secret", tmp_path / "clients"
    for file in (secret, clients):
        file.write_text("x")
        file.chmod(0o600)
    text = (f"venue: {{account: {{password_env: null, password_file: {secret}}}}}\n"
            f"control: {{tcp: 127.0.0.1:9600, key_file: {secret}, clients_file: {clients}}}\n")  # fmt: skip
    assert broken(folder, text) == {}
    secret.chmod(0o640)
    clients.chmod(0o644)
    assert set(broken(folder, text)) == {"venue.account.password_file", "control.key_file"}
    clients.chmod(0o666)
    assert set(broken(folder, text)) == {"venue.account.password_file", "control.key_file", "control.clients_file"}
    (folder / "base.yaml").chmod(0o666)
    assert "base.yaml" in broken(folder)[""]


def test_production_that_says_nothing_of_a_reconciler_is_refused_and_so_are_the_demonstration_s_drop_copy_and_an_open_password(folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o644)
    login = f"username: DROP01, password_env: null, password_file: {secret}"
    assert set(broken(folder, f"day: {{reconcile: {{login: {{{login}}}}}}}")) == {"day.reconcile.login.username", "day.reconcile.login.password_file"}
    found = broken(folder, "remove: [day]")
    assert list(found) == ["day.reconcile.enabled"] and "login: {username: …" in found["day.reconcile.enabled"]
    (folder / DESK).write_text("name: rates\n")
    assert load_file(f"{folder}#staging/rates").day.reconcile.enabled is False


def test_limits_of_production_stand_in_its_files(folder, tmp_path):
    assert set(broken(folder, overrides=["risk.max_long_lots=900"])) == {"risk.max_long_lots"}
    assert set(broken(folder, environ={"PEREGRINE__RISK__MAX_LONG_LOTS": "900"})) == {"risk.max_long_lots"}
    assert broken(folder, overrides=["observe.log_level=debug"]) == {}
    with pytest.raises(ConfigError) as err:
        load_profile("laptop", {"environment": "production"})
    paths = [p.path for p in err.value.problems]
    assert {"instruments", "venue.kind", "risk.max_loss_units", "engine.refuse_shared_cores", "supervise.restart"} <= set(paths)
    assert len(paths) > 25


def test_limits_of_one_symbol_are_looked_at_too(folder):
    own = "\n".join(f"      {line}" for line in (
        "collar_ticks: 5", "collar_bps: 9000", "max_order_lots: 1", "max_order_notional_units: 1", "max_working_orders: 1",
        "max_working_notional_units: 1", "max_long_lots: 1", "max_short_lots: 1", "max_executions: 1", "execution_window_ns: 1",
        "duplicate_window_ns: 0", "max_quote_age_ns: 1"))  # fmt: skip
    assert set(broken(folder, f"risk:\n  by_symbol:\n    PRGN:\n{own}\n")) == {
        "risk.by_symbol.PRGN.collar_bps", "risk.by_symbol.PRGN.duplicate_window_ns"}  # fmt: skip


def test_the_file_system_is_that_of_the_nearest_folder_there_is():
    assert filesystem(Path("/dev/shm/a/b")) == "tmpfs" and filesystem(Path("/proc/self")) == "proc"


def test_check_tells_them_all_with_exit_code_78(folder, peregrine, read_json):
    (folder / DESK).write_text("journal: {sync: none}\nengine: {mlock: false}\n")
    report = read_json(peregrine("config", "check", "conf", "--env", "production", "--desk", "rates", "--json", code=78))
    assert [e["path"] for e in report["errors"]] == ["journal.sync", "engine.mlock"] and [e["line"] for e in report["errors"]] == [1, 2]
    said = peregrine("config", "check", "conf#production/rates", code=78).stderr
    assert "a power cut loses what was traded" in said and "rates.yaml:1: journal.sync" in said
