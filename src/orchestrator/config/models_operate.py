"""Sections of the configuration about running the engine: its supervisor, the control API, what is shown of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.config.base import Address, NotNegative, Positive, Section


class Restart(Section):
    """What happens when a process of the tree dies by itself."""

    max_restarts: int = Field(default=5, ge=0, le=1000, description="restarts within `window_s` before it is given up")
    window_s: Positive = Field(default=300, description="length of that window")
    backoff_ms: Positive = Field(default=200, description="wait before the first restart; doubled each time")
    backoff_max_ms: Positive = Field(default=10_000, description="and never longer than this")


class Supervise(Section):
    """The process tree of an engine under supervision."""

    engine_loss_policy: Literal["trade", "stop", "cancel", "kill"] = Field(
        default="stop",
        description="what the engine does without a supervisor: trade on, no new orders, those and cancel all, or kill",
    )
    after_both_died: Literal["ask", "cancel", "resume"] | None = Field(
        default=None,
        description="`up` where engine and supervisor both died at an external venue: refuse until told, recover and cancel all and stay held, "
        "or recover and trade on; none = ask on a terminal, else cancel",
    )
    heartbeat_ms: Positive = Field(default=100, description="the supervisor's heartbeat into the engine's shared memory")
    lost_after_ms: Positive = Field(default=2_000, description="heartbeat missing this long: the supervisor is lost")
    hung_after_ms: Positive = Field(
        default=10_000, description="the supervisor's own main loop standing still this long: its heartbeat stops, as if it were dead"
    )
    ready_timeout_s: Positive = Field(default=60, description="longest wait for each process to become ready")
    stop_timeout_s: Positive = Field(default=15, description="longest wait for a clean end before a process is killed")
    stall_ms: Positive = Field(default=2_000, description="an engine whose own heartbeat stands still this long is stalled")
    stall_kill_ms: NotNegative = Field(default=10_000, description="and is killed and restarted after this; 0 = never")
    nice: int = Field(default=5, ge=0, le=19, description="scheduling of everything but the engine")
    numa: Literal["auto", "off"] = Field(default="auto", description="keep the engine's memory on the node of its cores")
    leak_mb_per_hour: NotNegative = Field(default=64, description="growth of a process that raises the leak alarm; 0 = off")
    restart: Restart = Field(default=Restart(), description="restarts of what died")


class Control(Section):
    """The control API; without `tcp` only a socket file of this user's."""

    tcp: Address | None = Field(default=None, description="also listen here, CURVE only; host:port")
    key_file: str | None = Field(default=None, description="the server's secret key file; needed with `tcp`")
    clients_file: str | None = Field(default=None, description="public keys that may connect, each with its name and role")
    max_requests_per_s: Positive = Field(default=2_000, description="a caller beyond this is answered `try again`; kill never")
    revive_token_s: Positive = Field(default=60, description="life of the token between the two steps of a revival")
    audit: bool = Field(default=True, description="keep every change and every refused attempt in control.log")


class AlertRule(Section):
    """Thresholds the shipped alert rules are made with."""

    stale_after_s: Positive = Field(default=5, description="books stale this long")
    heartbeat_after_s: Positive = Field(default=2, description="engine without a heartbeat this long")
    tick_to_order_p99_us: Positive = Field(default=100, description="99th percentile of tick to order over the window")
    round_p99_us: Positive = Field(default=1_000, description="99th percentile of the time between two looks at a shard")
    reject_ratio_permille: int = Field(default=50, ge=1, le=1000, description="orders refused by the venue, of 1,000 sent")
    journal_free_permille: int = Field(default=200, ge=1, le=1000, description="room left in the journal's ring, of 1,000")
    exposure_permille: int = Field(default=800, ge=1, le=1000, description="use of a limit, of 1,000")
    risk_rejects: Positive = Field(default=100, description="orders the gate refused for one reason within `window_s`")
    reconnects: Positive = Field(default=3, description="new connections of an order session within `window_s`")
    refused_attempts: Positive = Field(default=10, description="attempts the control API refused within `window_s`")
    fallback_permille: int = Field(default=50, ge=1, le=1000, description="decisions the device did not answer, of 1,000")
    run_delay_permille: int = Field(default=200, ge=1, le=1000, description="time an engine thread waits for a core, of 1,000")
    reconciler_silent_s: Positive = Field(default=10, description="nothing heard of the reconciler this long")
    reconciler_behind_s: Positive = Field(default=30, description="an execution that one side alone has told for so long")
    window_s: Positive = Field(default=300, description="over which rates and increases are taken")
    hold_s: NotNegative = Field(default=15, description="most alerts wait so long before they fire; pages do not")
    leak_window_s: Positive = Field(default=3_600, description="over which growth of memory is taken")


class Observe(Section):
    """Metrics, health, logs."""

    metrics: Address | None = Field(default="127.0.0.1:9464", description="Prometheus and health endpoint; none = off")
    publish_ms: int = Field(default=250, ge=50, le=60_000, description="between two published readings")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="how much is logged")
    otlp: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = Field(
        default="", description="OpenTelemetry collector for traces of commands; empty = off; needs the [otel] extra"
    )
    alerts: AlertRule = Field(default=AlertRule(), description="thresholds of the shipped alert rules")
