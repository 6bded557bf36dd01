"""Configuration: strict models, shipped profiles, layers of environments and desks, errors that name path, found, expected and fix."""

from orchestrator.config.environments import PROFILES, Name, parse_name, profile_text
from orchestrator.config.load import (
    View,
    canonical,
    check_file,
    config_hash,
    effective,
    from_effective,
    load_file,
    load_profile,
    load_view,
)
from orchestrator.config.models import Config
from orchestrator.config.problems import ConfigError, Problem

__all__ = [
    "PROFILES",
    "Config",
    "ConfigError",
    "Name",
    "Problem",
    "View",
    "canonical",
    "check_file",
    "config_hash",
    "effective",
    "from_effective",
    "load_file",
    "load_profile",
    "load_view",
    "parse_name",
    "profile_text",
]
