"""The fields of a configuration, one by one: type, range, and what to say about a wrong value."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from enum import StrEnum
from types import NoneType
from typing import Any, get_args, get_type_hints

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.config import Config

SMALLEST_PROBABILITY = 2.0**-20
"""Below it the 32-bit threshold of a feature's draw would be too coarse (design: numerical contract)."""
LARGEST_INT = 2**31 - 1
"""Sizes and step numbers are 32-bit counters of the random number generator."""
AXIS_GROUPS = ("model", "init", "data", "importance", "train")
"""The groups whose fields affect the trained weights; only these, and `seed`, can be axes."""


@dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """The type of a field: a plain type or an enum, whether null is allowed, whether a list is."""

    type: type
    optional: bool
    may_be_list: bool = False
    must_be_list: bool = False


def _field_specs() -> dict[str, FieldSpec]:
    specs = {}
    for top, hint in get_type_hints(Config).items():
        if not is_dataclass(hint):
            specs[top] = _spec_of(hint)
            continue
        specs |= {f"{top}.{name}": _spec_of(inner) for name, inner in get_type_hints(hint).items()}
    specs["data.feature_probability"] = FieldSpec(type=float, optional=True, may_be_list=True)
    specs["importance.values"] = FieldSpec(type=float, optional=True, must_be_list=True)
    specs["plots"] = FieldSpec(type=str, optional=False, must_be_list=True)
    del specs["grid"]
    return specs


def _spec_of(hint: Any) -> FieldSpec:
    options = [option for option in get_args(hint) if option is not NoneType] or [hint]
    return FieldSpec(type=options[0], optional=NoneType in get_args(hint))


FIELDS = _field_specs()
"""Dotted key -> type, of every field but `grid`, in the order of the dataclasses."""
GROUPS = {field.name: [f.name for f in fields(hint)] for field in fields(Config)
          if is_dataclass(hint := get_type_hints(Config)[field.name])}  # fmt: skip
"""Name of each group -> names of its fields."""
CHOICES = (*AXIS_GROUPS, "engine", "launcher", "experiment")
"""The groups that have options in conf/."""
AXIS_KEYS = frozenset(key for key in FIELDS if key.split(".")[0] in AXIS_GROUPS) | {"seed"}
"""The keys that an axis may vary (beside the groups themselves)."""


@dataclass(frozen=True)
class Range:
    """An interval of numbers, printed as mathematicians do."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, x: float) -> bool:
        return (x > self.low if self.low_open else x >= self.low) and (
            x < self.high if self.high_open else x <= self.high
        )

    def __str__(self) -> str:
        if math.isinf(self.high) or self.high >= LARGEST_INT:
            below = "" if math.isinf(self.high) else f" and below 2^{int(self.high).bit_length()}"
            return f"{'>' if self.low_open else '>='} {self.low}{below}"
        return f"in {'(' if self.low_open else '['}{self.low}, {self.high}{')' if self.high_open else ']'}"


_COUNT = Range(1, LARGEST_INT)
_POSITIVE = Range(0, low_open=True)
_NOT_NEGATIVE = Range(0)
_PROBABILITY = Range(SMALLEST_PROBABILITY, 1)
_DECAY_RATE = Range(0, 1, high_open=True)
RANGES = {
    "model.n_features": _COUNT,
    "model.n_hidden": _COUNT,
    "model.hidden_l1": _NOT_NEGATIVE,
    "init.std": _POSITIVE,
    "init.n_instances": _COUNT,
    "data.feature_probability": _PROBABILITY,
    "data.last_probability": _PROBABILITY,
    "data.power": _NOT_NEGATIVE,
    "data.high": _POSITIVE,
    "data.set_size": _COUNT,
    "data.correlation": Range(0, 1),
    "data.k": _COUNT,
    "data.n_rows": _COUNT,
    "importance.decay": _POSITIVE,
    "importance.last_importance": _NOT_NEGATIVE,
    "importance.values": _NOT_NEGATIVE,
    "train.learning_rate": _POSITIVE,
    "train.momentum": _DECAY_RATE,
    "train.beta1": _DECAY_RATE,
    "train.beta2": _DECAY_RATE,
    "train.eps": _POSITIVE,
    "train.warmup_steps": Range(0, LARGEST_INT),
    "train.steps": _COUNT,
    "train.n_batch": _COUNT,
    "evaluation.n_rows": Range(2, LARGEST_INT),
    "evaluation.attack": _POSITIVE,
    "history.every": Range(0, LARGEST_INT),
    "engine.memory_fraction": Range(0, 1, low_open=True),
    "launcher.cpus": _COUNT,
    "launcher.gpus": _NOT_NEGATIVE,
    "launcher.retries": Range(0, LARGEST_INT),
    "launcher.minutes": _COUNT,
    "launcher.memory_gb": _COUNT,
    "launcher.jobs": _COUNT,
    "restarts": _COUNT,
    "seed": Range(0, 2**63 - 1),
}
"""Allowed values. `train.weight_decay` has no range: scaling studies vary it below 0 as well."""

_WORD = re.compile(r"[A-Za-z0-9_][\w.,-]{0,99}", re.ASCII)
_PATTERNS = {
    "engine.device": (re.compile(r"auto|cpu|cuda(:\d{1,3})?"), "auto, cpu, cuda or cuda:N"),
    "launcher.address": (re.compile(r"[\w.:/\[\]-]{1,200}", re.ASCII), "auto or HOST:PORT"),
    "launcher.partition": (_WORD, "a name: letters, digits, '_', '-', '.', ','"),
    "launcher.account": (_WORD, "a name: letters, digits, '_', '-', '.', ','"),
    "experiment": (
        re.compile(r"[A-Za-z][\w.-]{0,99}", re.ASCII),
        "a letter, then letters, digits, '_', '-', '.'",
    ),
}


def shown(value: object, limit: int = 60) -> str:
    """`value` as text on one line, without control characters, cut to `limit` characters."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def did_you_mean(word: str, options: Sequence[str]) -> str:
    """A sentence with the nearest option, or an empty string; starts with a space."""
    near = get_close_matches(word, options, n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def check_key(key: str) -> None:
    """Raise ConfigError, with the nearest known key, unless `key` names a field."""
    if key in FIELDS:
        return
    group, _, leaf = key.partition(".")
    if group in GROUPS and not leaf:
        raise ConfigError(
            f"'{group}' is a group: set one of its fields, such as {group}.{GROUPS[group][0]}=..."
        )
    if group in GROUPS:
        near = get_close_matches(leaf, GROUPS[group], n=1, cutoff=0.6)
        hint = (
            f" Did you mean '{group}.{near[0]}'?"
            if near
            else f" Fields of {group}: {', '.join(GROUPS[group])}."
        )
        raise ConfigError(f"unknown key '{shown(key)}'.{hint}")
    # A leaf under a misspelt group, or without its group: look among all leaves, then among groups.
    leaves = {known.split(".")[-1]: known for known in FIELDS}
    near = get_close_matches(leaf or group, list(leaves), n=1, cutoff=0.75)
    hint = f" Did you mean '{leaves[near[0]]}'?" if near else did_you_mean(group, [*GROUPS, *FIELDS])
    raise ConfigError(f"unknown key '{shown(key)}'.{hint or ' Groups: ' + ', '.join(GROUPS) + '.'}")


def check_field(key: str, value: Any) -> Any:
    """The value of the field `key`, brought to its type (lists become tuples) and checked on its own.

    Raises ConfigError with the key, what is allowed and what was given. Integral floats are accepted for
    integers; booleans are no numbers.
    """
    check_key(key)
    spec = FIELDS[key]
    if value is None:
        if spec.optional:
            return None
        raise ConfigError(f"{key} cannot be null: {wanted(key)}")
    if isinstance(value, list | tuple):
        if not (spec.may_be_list or spec.must_be_list):
            raise ConfigError(f"{key} takes one value, {wanted(key)}; got the list {shown(value)}")
        if not value and key != "plots":
            raise ConfigError(f"{key} is an empty list: give one number per feature")
        return tuple(_check_scalar(key, spec.type, item) for item in value)
    if spec.must_be_list:
        raise ConfigError(f"{key} must be a list such as [a,b]; got {shown(repr(value))}")
    return _check_scalar(key, spec.type, value)


def _check_scalar(key: str, type_: type, value: Any) -> Any:
    converted = _converted(type_, value)
    if converted is None:
        if issubclass(type_, StrEnum):
            near = did_you_mean(str(value), [member.value for member in type_])
            raise ConfigError(f"{key} must be {wanted(key)}; got '{shown(value)}'.{near}")
        raise ConfigError(f"{key} must be {wanted(key)}; got {shown(repr(value))}")
    allowed = RANGES.get(key)
    if allowed is not None and converted not in allowed:
        raise ConfigError(f"{key} must be {wanted(key)}; got {shown(converted)}")
    if key in _PATTERNS and not _PATTERNS[key][0].fullmatch(converted):
        raise ConfigError(f"{key} must be {wanted(key)}; got {shown(repr(converted))}")
    return converted


def _converted(type_: type, value: Any) -> Any:
    """`value` as `type_`, or None where it is not one."""
    if issubclass(type_, StrEnum):
        return type_(value) if isinstance(value, str) and value in list(type_) else None
    if type_ in (bool, str):
        return value if isinstance(value, type_) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if type_ is int:
        return int(value) if math.isfinite(value) and value == int(value) else None
    try:
        value = float(value)
    except OverflowError:
        return None
    return (
        value + 0.0 if math.isfinite(value) else None
    )  # + 0.0 turns -0.0 into 0.0: equal values, equal bits


def wanted(key: str) -> str:
    """What the field takes, in words."""
    if key in _PATTERNS:
        return _PATTERNS[key][1]
    if RANGES.get(key) is _PROBABILITY:
        wanted = "a number in (0, 1], and no less than 2^-20"
        return wanted + ", or a list with one per feature" if FIELDS[key].may_be_list else wanted
    type_ = FIELDS[key].type
    if issubclass(type_, StrEnum):
        return "one of " + ", ".join(type_)
    noun = {int: "an integer", float: "a finite number", bool: "true or false", str: "a string"}[type_]
    noun = f"a list of {noun.split(' ', 1)[1]}s" if FIELDS[key].must_be_list else noun
    return f"{noun} {RANGES[key]}" if key in RANGES else noun
