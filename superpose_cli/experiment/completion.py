"""Completion of overrides in the shell. Imports nothing heavy: it runs at every press of Tab."""

from enum import StrEnum

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.config_dir import group_options
from superpose_cli.experiment.fields import CHOICES, FIELDS, GROUPS


def complete_override(incomplete: str) -> list[str]:
    """The overrides that `incomplete` may become: keys first, then the options or words that a key takes.

    In a comma list the last entry is completed. Never raises.
    """
    key, equals, value = incomplete.partition("=")
    if not equals:
        return _keys(key)
    before, comma, last = value.rpartition(",")
    return [f"{key}={before}{comma}{word}" for word in _words(key) if word.startswith(last)]


def _keys(start: str) -> list[str]:
    """Groups with options, group prefixes while no dot is typed, and then the fields."""
    if "." in start:
        return [f"{key}=" for key in FIELDS if key.startswith(start)]
    prefixes = [f"{group}=" for group in CHOICES] + [f"{group}." for group in GROUPS]
    single = [f"{key}=" for key in FIELDS if "." not in key and key not in CHOICES]
    return [word for word in prefixes + single if word.startswith(start)]


def _words(key: str) -> list[str]:
    if key in CHOICES:
        try:
            return list(group_options(key))
        except ConfigError:
            return []
    if key not in FIELDS:
        return []
    type_ = FIELDS[key].type
    if issubclass(type_, StrEnum):
        return [member.value for member in type_]
    return ["true", "false"] if type_ is bool else []
