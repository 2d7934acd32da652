"""Overrides from the command line, sorted: chosen options of groups, single values, axes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from superpose_cli.errors import ConfigError
from superpose_cli.experiment._hydra import parse_value
from superpose_cli.experiment.fields import AXIS_GROUPS, AXIS_KEYS, CHOICES, check_key, shown
from superpose_cli.experiment.sweeps import Sweep


@dataclass
class Request:
    """What the overrides ask for."""

    options: dict[str, str] = field(default_factory=dict)
    """Group -> the one option chosen."""
    values: dict[str, Any] = field(default_factory=dict)
    """Dotted key -> its one value, not checked yet."""
    axes: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """Dotted key or group -> values, in the order typed."""


def parse_overrides(overrides: Sequence[str]) -> Request:
    """Read KEY=VALUE, KEY=SWEEP, GROUP=OPTION and GROUP=OPTION,OPTION; the last of several values wins.

    Raises ConfigError for syntax, unknown keys, keys that cannot be axes, and axes given twice.
    """
    request = Request()
    for text in overrides:
        key = _key(text)
        value = parse_value(key, text.partition("=")[2])
        if key in request.axes or (
            isinstance(value, Sweep) and (key in request.values or key in request.options)
        ):
            raise ConfigError(f"{key} is an axis and is given twice: keep one of the two")
        if isinstance(value, Sweep):
            check_axis_key(key)
            request.axes[key] = value.values
        elif key in CHOICES:
            if not isinstance(value, str) or not value:
                raise ConfigError(f"{key}={shown(value)}: '{key}' is a config group: name one of its options")
            request.options[key] = value
        else:
            request.values[key] = value
    return request


def _key(text: str) -> str:
    """The key of an override, known to exist."""
    key, equals, _ = text.partition("=")
    key = key.strip()
    if key[:1] in ("+", "~"):
        bare = shown(key.lstrip("+~"))
        raise ConfigError(
            f"'{shown(text)}': keys are fixed, so '+' and '~' have no meaning: write {bare}=VALUE"
        )
    if not equals:
        raise ConfigError(
            f"'{shown(text)}' is not KEY=VALUE: write for example model.n_hidden=3 or experiment=intro"
        )
    if "@" in key:
        raise ConfigError(f"'{shown(key)}': packages (@) are not supported: write GROUP=OPTION")
    if key == "grid" or key.startswith("grid."):
        raise ConfigError(
            "grid is written in files only: on the command line write the axis itself, KEY=A,B,C"
        )
    if key not in CHOICES:
        check_key(key)
    return key


def check_axis_key(key: str) -> None:
    """Raise ConfigError unless `key` is a field or a group that an axis may vary."""
    if key in AXIS_GROUPS or key in AXIS_KEYS:
        return
    if key == "experiment":
        raise ConfigError("experiment cannot be an axis: run one experiment at a time")
    if key not in CHOICES:
        check_key(key)
    hint = ": write plots=[NAME,NAME] for a list" if key == "plots" else ": give it one value"
    raise ConfigError(
        f"{key} cannot be an axis, since it does not affect the trained weights (axes vary fields of "
        f"{', '.join(AXIS_GROUPS)}, those groups, and seed){hint}"
    )
