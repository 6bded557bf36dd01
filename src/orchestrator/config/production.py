"""What `environment: production` refuses: settings that are for paper, and settings a desk must not trade real money with.

One table, a rule a line: what is looked at, why it is refused, how it is put right. A rule yields (path, found, expected) for
each place that breaks it. The rules look at the configuration, at where its values came from, and at the files it names on
this machine; a file that is not here is said nothing about: whoever needs it will.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath

from orchestrator.config.models import Config, ExternalVenue
from orchestrator.config.paths import flat
from orchestrator.config.problems import Problem
from orchestrator.config.yaml_tree import Path, Tree, dotted

Break = tuple[Path, str, str]
Look = Callable[[Config, Tree], Iterator[Break]]

DEMO_ACCOUNTS = ("DEMO01", "DEMO02", "DROP01")
_DAY_NS = 86_400_000_000_000
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Rule:
    """One thing production does not take."""

    name: str
    why: str
    fix: str
    look: Look


def refusals(config: Config, tree: Tree) -> list[Problem]:
    """Every breach of every rule, with the place it was written at."""
    found = []
    for rule in RULES:
        for path, value, expected in rule.look(config, tree):
            found.append(
                Problem(dotted(path), f"{value}: {rule.why}", f"in production, {expected}", rule.fix, tree.line_of(path), tree.source_of(path))
            )
    return found


def _is(path: str, refused: object, expected: str) -> Look:
    """The setting at `path` may not have this value."""

    def look(config: Config, tree: Tree) -> Iterator[Break]:
        parts = tuple(path.split("."))
        value: object = config
        for part in parts:
            value = getattr(value, part)
        if value == refused and type(value) is type(refused):
            said = {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
            yield parts, "none" if value is None else said, expected

    return look


def _venue(name: str, refused: object, expected: str) -> Look:
    """The same for a setting only an external venue has."""

    def look(config: Config, tree: Tree) -> Iterator[Break]:
        if isinstance(config.venue, ExternalVenue) and getattr(config.venue, name) == refused:
            yield ("venue", name), "none" if refused is None else str(refused).lower(), expected

    return look


def _logins(config: Config) -> Iterator[tuple[Path, str, str | None]]:
    """Path, user name and password file of each login."""
    if isinstance(config.venue, ExternalVenue):
        yield ("venue", "account"), config.venue.account.username, config.venue.account.password_file
        for i, login in enumerate(config.venue.shard_logins):
            yield ("venue", "shard_logins", i), login.username, login.password_file
        if config.day.reconcile.enabled:
            yield ("day", "reconcile", "login"), config.day.reconcile.login.username, config.day.reconcile.login.password_file


def _demo_accounts(config: Config, tree: Tree) -> Iterator[Break]:
    for path, username, _ in _logins(config):
        if username in DEMO_ACCOUNTS:
            yield (*path, "username"), username, "an account of your own"


def _open_password_files(config: Config, tree: Tree) -> Iterator[Break]:
    for path, _, file in _logins(config):
        if file is not None and _mode(file) & _OTHERS:
            yield (*path, "password_file"), f"{file} (mode {_mode(file):o})", "a file only its owner may read"


def _builtin_policies(config: Config, tree: Tree) -> Iterator[Break]:
    for i, member in enumerate(config.policies.members):
        if member.file.startswith("builtin:"):
            yield ("policies", "members", i, "file"), member.file, "an artifact of your own"


def _simulated_device(config: Config, tree: Tree) -> Iterator[Break]:
    if config.policies.placement != "cpu" and config.device.backend == "sim":
        yield ("device", "backend"), "sim", "vfio or cpu"


def _journal_in_memory(config: Config, tree: Tree) -> Iterator[Break]:
    kind = filesystem(FilePath(config.journal.dir))
    if kind in ("tmpfs", "ramfs", "devtmpfs"):
        yield ("journal", "dir"), f"{config.journal.dir} on {kind}", "a folder on a disk"


def _restart_stated(config: Config, tree: Tree) -> Iterator[Break]:
    if not any(path[:2] == ("supervise", "restart") for path in tree.origins):
        yield ("supervise", "restart"), "nothing stated", "a restart policy somebody decided on"


def _no_restarts(config: Config, tree: Tree) -> Iterator[Break]:
    if config.supervise.restart.max_restarts == 0:
        yield ("supervise", "restart", "max_restarts"), "0", "at least 1"


def _tcp_without(name: str, expected: str) -> Look:
    def look(config: Config, tree: Tree) -> Iterator[Break]:
        if config.control.tcp is not None and getattr(config.control, name) is None:
            yield ("control", name), "none", expected

    return look


def _open_control_files(config: Config, tree: Tree) -> Iterator[Break]:
    for name, refused, expected in (
        ("key_file", _OTHERS, "a file only its owner may read"),
        ("clients_file", stat.S_IWGRP | stat.S_IWOTH, "a file only its owner may write"),
    ):
        file = getattr(config.control, name)
        if file is not None and _mode(file) & refused:
            yield ("control", name), f"{file} (mode {_mode(file):o})", expected


def _writable_sources(config: Config, tree: Tree) -> Iterator[Break]:
    for file in sorted({o.source for o in tree.origins.values() if o.kind == "file"}):
        if _mode(file) & stat.S_IWOTH:
            yield (), f"{file} (mode {_mode(file):o})", "files others cannot write"


def _limits_from(kind: str) -> Look:
    """Limits of one kind of origin."""

    def look(config: Config, tree: Tree) -> Iterator[Break]:
        for path, origin in sorted(tree.origins.items(), key=lambda item: dotted(item[0])):
            leaf = not any(len(p) > len(path) and p[: len(path)] == path for p in tree.origins)
            if path[:1] == ("risk",) and len(path) > 1 and leaf and origin.kind == kind:
                yield path, f"from {origin.text()}", "a limit stated in a file of this configuration"

    return look


def _profile_instruments(config: Config, tree: Tree) -> Iterator[Break]:
    origin = tree.origins.get(("instruments",))
    if origin is not None and origin.kind == "profile":
        yield ("instruments",), f"those of {origin.text()}", "instruments of your own"


def _unbounded(config: Config, tree: Tree) -> Iterator[Break]:
    money = 10**9 * config.account.units_per_currency
    bounds = {"collar_bps": 2_000, "max_order_lots": 999_999, "max_long_lots": 10**8, "max_short_lots": 10**8,
              "max_quote_age_ns": 60_000_000_000, "execution_window_ns": _DAY_NS, "message_window_ns": _DAY_NS,
              "max_working_orders": 100_000, "max_account_orders": 1_000_000}  # fmt: skip
    for _, (path, value) in flat(config.risk.model_dump(mode="json"), ("risk",), "risk").items():
        name = str(path[-1])
        bound = money if name.endswith("_units") else bounds.get(name)
        if bound is not None and isinstance(value, int) and value > bound:
            yield path, str(value), f"at most {bound}"


def _checks_off(config: Config, tree: Tree) -> Iterator[Break]:
    for _, (path, value) in flat(config.risk.model_dump(mode="json"), ("risk",), "risk").items():
        if path[-1] == "duplicate_window_ns" and value == 0:
            yield path, "0", "a window in which the same order again is refused"
    if config.risk.soft_permille == 1000:
        yield ("risk", "soft_permille"), "1000", "less than 1000"


RULES: tuple[Rule, ...] = (
    Rule("embedded venue", "the embedded exchange makes its fills up", "venue: {kind: external, …}", _is("venue.kind", "embedded", "kind external")),
    Rule("demo account", "its password is public", "the account your venue gave you", _demo_accounts),
    Rule("open password file", "others can read the password", "chmod 600 FILE", _open_password_files),
    Rule("one feed line", "a packet lost on the only line is a gap", "itch_b: the second line", _venue("itch_b", None, "both lines")),
    Rule("no snapshots", "books cannot be rebuilt after a gap", "glimpse: the venue's snapshot service", _venue("glimpse", None, "a snapshot service")),
    Rule("orders outlive the session", "orders nobody watches stay at the venue when the line drops",
         "have the venue set the port so, then cancel_on_disconnect: true", _venue("cancel_on_disconnect", False, "true")),
    Rule("demo policy", "the shipped policy is a demonstration", "file: an artifact that was reviewed", _builtin_policies),
    Rule("simulated device", "it computes slower than the kernels it stands for", "device.backend: vfio, or policies.placement: cpu", _simulated_device),
    Rule("instruments of a profile", "PRGN is listed nowhere", "instruments: [{symbol: …}]", _profile_instruments),
    Rule("limits of a profile", "they were chosen for the simulated exchange", "state it in base.yaml or the desk's file", _limits_from("profile")),
    Rule("limits from --set", "nobody reviewed it and the next start forgets it", "write it into a file", _limits_from("set")),
    Rule("limits from a variable", "nobody reviewed it and another shell has another", "write it into a file", _limits_from("variable")),
    Rule("unbounded limit", "a limit nothing can reach is none", "the largest value you mean to allow", _unbounded),
    Rule("positions without number", "nothing would stop a thousand open positions", "risk.max_positions: 500", _is("risk.max_positions", 0, "more than 0")),
    Rule("check switched off", "it would never act", "duplicate_window_ns: 100_000, soft_permille: 800", _checks_off),
    Rule("journal not synced", "a power cut loses what was traded", "journal.sync: interval or always", _is("journal.sync", "none", "interval, segment or always")),
    Rule("journal in memory", "it is gone with the machine's power", "journal.dir: a folder on a disk", _journal_in_memory),
    Rule("no snapshots of the state", "recovery would read the whole day", "journal.snapshot_records: 200_000", _is("journal.snapshot_records", 0, "more than 0")),
    Rule("memory not locked", "a page fault stalls an order", "engine.mlock: true, and the memlock limit `peregrine doctor` tells", _is("engine.mlock", False, "true")),
    Rule("shared cores", "two hot threads on a core wait for each other", "engine.refuse_shared_cores: true", _is("engine.refuse_shared_cores", False, "true")),
    Rule("sleeping engine", "a sleeping thread wakes late", "engine.idle: spin", _is("engine.idle", "sleep", "spin or yield")),
    Rule("trades on alone", "an engine nobody watches goes on trading", "supervise.engine_loss_policy: cancel",
         _is("supervise.engine_loss_policy", "trade", "stop, cancel or kill")),
    Rule("no restart policy", "what happens after a crash must be somebody's decision", "supervise.restart: {max_restarts: 3, window_s: 300}", _restart_stated),
    Rule("no restarts", "the first crash leaves orders at the venue and nobody to cancel them", "supervise.restart.max_restarts: 3", _no_restarts),
    Rule("stalled for ever", "an engine that stands still is never ended", "supervise.stall_kill_ms: 10_000", _is("supervise.stall_kill_ms", 0, "more than 0")),
    Rule("leaks unseen", "memory that grows ends in a kill by the kernel", "supervise.leak_mb_per_hour: 64", _is("supervise.leak_mb_per_hour", 0, "more than 0")),
    Rule("no reconciler", "a fill the venue has and we have not would be seen by nobody",
         "day: {reconcile: {enabled: true, login: {username: …, password_env: …}}}, with the drop copy your venue gave you",
         _is("day.reconcile.enabled", False, "true")),
    Rule("difference only told", "trading would go on with numbers the venue denies", "day.reconcile.on_break: cancel",
         _is("day.reconcile.on_break", "tell", "halt, cancel or kill")),
    Rule("control without clients", "nobody is named who may connect", "control.clients_file: FILE", _tcp_without("clients_file", "a list of who may connect")),
    Rule("control without a key", "callers could not tell this server from another", "control.key_file: FILE", _tcp_without("key_file", "the server's key")),
    Rule("open control files", "others could read the key or add themselves", "chmod 600 FILE", _open_control_files),
    Rule("no audit", "nobody could say who changed what", "control.audit: true", _is("control.audit", False, "true")),
    Rule("not observed", "no alert could fire", "observe.metrics: 127.0.0.1:9464", _is("observe.metrics", None, "an endpoint")),
    Rule("files others can write", "anybody on this machine could change a limit", "chmod o-w FILE", _writable_sources),
)  # fmt: skip


def filesystem(path: FilePath) -> str:
    """Kind of the file system a path lies on, or will once it is made; "" where the kernel does not say."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    path = path.resolve()
    best, kind = "", ""
    try:
        text = FilePath("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    for line in text.splitlines():
        fields = line.split(" ")
        point = fields[1].replace("\\040", " ")
        if len(point) >= len(best) and (point == "/" or path == FilePath(point) or FilePath(point) in path.parents):
            best, kind = point, fields[2]
    return kind


def _mode(file: str) -> int:
    try:
        return stat.S_IMODE(FilePath(file).stat().st_mode)
    except OSError:
        return 0
