"""Secrets come from the environment or a file, at the moment they are needed, and are shown nowhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from orchestrator.config.models import Credentials, ExternalVenue, ShardLogin
from orchestrator.config.models_day import DropCopyLogin
from orchestrator.config.problems import ConfigError, Problem

_PASSWORD_BYTES = 10  # width of the field in a SoupBinTCP login


def venue_password(venue: ExternalVenue) -> str:
    """The password of the order session.

    Raises ConfigError when it is not there, is too long for the login message, or lies in a file that others
    can read. The value itself never appears in a message.
    """
    return _password(venue.account, "venue.account")


def shard_passwords(venue: ExternalVenue) -> list[str]:
    """The passwords of every shard's order session, in order. Raises ConfigError as `venue_password` does."""
    further = [_password(login, f"venue.shard_logins[{i}]") for i, login in enumerate(venue.shard_logins)]
    return [venue_password(venue), *further]


def drop_copy_password(login: DropCopyLogin) -> str:
    """The password of the drop copy. Raises ConfigError as `venue_password` does."""
    return _password(login, "day.reconcile.login")


def _password(account: Credentials | ShardLogin | DropCopyLogin, where: str) -> str:
    if account.password_env is not None:
        path, value = f"{where}.password_env", os.environ.get(account.password_env, "")
        if not value:
            _refuse(path, f"{account.password_env} is not set", "a password in it", f"export {account.password_env}=…")
    else:
        path = f"{where}.password_file"
        value = _read(path, Path(account.password_file or ""))
    if not value.isascii() or not value.isprintable() or len(value) > _PASSWORD_BYTES:
        _refuse(path, "a password the login cannot carry", f"1 to {_PASSWORD_BYTES} printable ASCII characters", "")
    return value


def _read(path: str, file: Path) -> str:
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as err:
        _refuse(path, f"{file}: {err.strerror}", "a readable file", "check the path")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        _refuse(path, f"{file} is open to others", "a file only you can read", f"chmod 600 {file}")
    value = text.splitlines()[0].strip() if text.strip() else ""
    if not value:
        _refuse(path, f"{file} is empty", "the password on its first line", "")
    return value


def _refuse(path: str, found: str, expected: str, hint: str) -> None:
    raise ConfigError([Problem(path, found, expected, hint)])
