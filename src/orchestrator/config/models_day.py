"""Section of the configuration about the trading day: the venue's own record of it, and what the day was opened with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.config.base import Address, EnvName, NotNegative, Positive, Section

OnBreak = Literal["tell", "halt", "cancel", "kill"]


class DropCopyLogin(Section):
    """Where the venue tells what our ports did, on a login that can send nothing."""

    address: Address | None = Field(default=None, description="its address, SoupBinTCP; none: where orders go")
    username: str = Field(default="DROP01", min_length=1, max_length=6, description="account name of the drop copy")
    password_env: EnvName | None = Field(default=None, description="environment variable that holds the password")
    password_file: str | None = Field(default=None, description="file that holds the password, first line")


class Reconcile(Section):
    """The reconciler: a process beside the engine that compares its journals with the venue's drop copy as they grow."""

    enabled: bool = Field(default=False, description="run it; the engine trades only once it agrees")
    login: DropCopyLogin = Field(default=DropCopyLogin(), description="the drop copy; the embedded exchange's is known")
    on_break: OnBreak = Field(
        default="cancel", description="on a disagreement: only tell, halt new orders, cancel what works too, or kill"
    )
    on_lost: OnBreak = Field(default="halt", description="the same when the drop copy has been lost for `lost_after_ms`")
    grace_ms: Positive = Field(default=2_000, description="a fill may be known to one side alone for so long")
    lost_after_ms: Positive = Field(default=10_000, description="no drop copy for so long: it is lost")
    reconnect_ms: Positive = Field(default=500, description="wait before the next connection")
    silence_ms: Positive = Field(default=15_000, description="drop copy silent this long, heartbeats too: the connection is lost")
    whole_firm: bool = Field(default=True, description="this engine is all the firm trades: a fill it does not know is a break")
    start_positions: Literal["if_told", "required", "ignored"] = Field(
        default="if_told", description="compare what the venue says we held at the start of its session"
    )
    status_ms: Positive = Field(default=500, description="between two writings of its status")


class Opened(Section):
    """What `peregrine day open` found; written by it, not by hand. It stands in the journal with the rest."""

    carry: str = Field(default="", description="the carry-over file")
    carry_date: str = Field(default="", description="the day that was the close of")
    venue_session: str = Field(default="", description="the venue's session that confirmed the positions; empty: none did")
    overridden: list[str] = Field(default=[], description="what was found wrong and opened with all the same")
    who: str = Field(default="", description="who opened against what was found wrong")
    why: str = Field(default="", description="and why")
    opened_ns: NotNegative = Field(default=0, description="when, since the epoch")


class Day(Section):
    """The trading day around the engine."""

    reconcile: Reconcile = Field(default=Reconcile(), description="the reconciler beside the engine")
    opened: Opened = Field(default=Opened(), description="what the day was opened with")
