"""Where a run's venue is reached and with which logins, as the compiled engine takes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from orchestrator.config.models import Config, EmbeddedVenue, ExternalVenue
from orchestrator.run.venue_process import VenueProcess

FEED_KEYS = ("itch_a", "itch_b", "retransmit", "glimpse")


@contextlib.contextmanager
def venue_addresses(cfg: Config, cores: set[int] | None) -> Iterator[dict[str, Any]]:
    """Addresses and logins of the configured venue; the embedded one lives as long as the context."""
    if isinstance(cfg.venue, EmbeddedVenue):
        with VenueProcess(cfg, cores=cores) as venue:
            yield of_embedded(venue.ready, venue.accounts)
        return
    yield of_external(cfg.venue)


def of_embedded(ready: dict[str, Any], accounts: list[dict[str, str]]) -> dict[str, Any]:
    """From the ready line of `peregrine venue` and the accounts, one a shard."""
    logins = [{"username": a["user"], "password": a["password"]} for a in accounts]
    return {
        **{key: ready[key] for key in FEED_KEYS},
        "interface": "127.0.0.1",
        **logins[0],
        "sessions": [{"ouch": ready["ouch"], **login} for login in logins],
    }


def of_external(v: ExternalVenue) -> dict[str, Any]:
    """From the configuration; passwords from where it says they are. Raises ConfigError."""
    from orchestrator.config.secrets import shard_passwords

    ports = [(v.account.username, v.ouch), *((login.username, login.ouch or v.ouch) for login in v.shard_logins)]
    sessions = [
        {"ouch": ouch, "username": username, "password": password}
        for (username, ouch), password in zip(ports, shard_passwords(v), strict=True)
    ]
    return {
        "itch_a": v.itch_a, "itch_b": v.itch_b, "retransmit": v.retransmit, "glimpse": v.glimpse,
        "interface": v.interface or "0.0.0.0",
        "username": sessions[0]["username"],
        "password": sessions[0]["password"],
        "sessions": sessions,
    }  # fmt: skip
