"""Configuration: strict models, shipped profiles, errors that name path, found, expected and fix."""

from orchestrator.config.load import (
    PROFILES,
    canonical,
    check_file,
    config_hash,
    effective,
    from_effective,
    load_file,
    load_profile,
    profile_text,
)
from orchestrator.config.models import Config
from orchestrator.config.problems import ConfigError, Problem

__all__ = [
    "PROFILES",
    "Config",
    "ConfigError",
    "Problem",
    "canonical",
    "check_file",
    "config_hash",
    "effective",
    "from_effective",
    "load_file",
    "load_profile",
    "profile_text",
]
