"""Fields that no config file and no command line has checked: those of an experiment made by hand.

What `load_experiment` returns passes unchanged, and quickly: numbers are looked at a column at a time.
"""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.axes import Axis, Experiment
from superpose_cli.experiment.config import Config
from superpose_cli.experiment.fields import FIELDS, RANGES, Range, check_field, shown
from superpose_cli.experiment.rules import value_of, with_values


def checked(experiment: Experiment) -> Experiment:
    """The experiment with every value in the type of its field; itself where all of them are already.

    Raises ConfigError, as `fields.check_field` does, for the first wrong name, value of a variant or value of
    an axis.
    """
    check_field("experiment", experiment.name)
    variants = _checked_variants(experiment.variants)
    axes = tuple(_checked_axis(axis) for axis in experiment.axes)
    if variants is experiment.variants and all(map(_same, axes, experiment.axes)):
        return experiment
    return replace(experiment, axes=axes, variants=variants)


def _checked_variants(variants: tuple[Config, ...]) -> tuple[Config, ...]:
    if any(config.grid is not None for config in variants):
        raise ConfigError("grid is read from config files only: give the axes to Experiment(axes=...)")
    changed = {}
    for key in FIELDS:
        given = [value_of(config, key) for config in variants]
        if (column := _checked_column(key, given)) is not given:
            changed[key] = column
    if not changed:
        return variants
    rows = zip(*changed.values(), strict=True)
    return tuple(
        with_values(config, dict(zip(changed, row, strict=True)))
        for config, row in zip(variants, rows, strict=True)
    )


def _checked_axis(axis: Axis) -> Axis:
    if wrong := next((row for row in axis.values if len(row) != len(axis.keys)), None):
        raise ConfigError(
            f"the axis over {', '.join(axis.keys)} has the position {shown(repr(wrong))}: "
            f"give one value for each key, {len(axis.keys)} in all"
        )
    given = [[row[j] for row in axis.values] for j in range(len(axis.keys))]
    columns = [
        _checked_column(key, column) if key in FIELDS else column
        for key, column in zip(axis.keys, given, strict=True)
    ]
    return axis if all(map(_same, columns, given)) else Axis(axis.keys, tuple(zip(*columns, strict=True)))


def _checked_column(key: str, values: list[Any]) -> list[Any]:
    """The values of one field, checked; the same list where nothing needs another type."""
    spec = FIELDS[key]
    if set(map(type, values)) == {tuple} and (spec.may_be_list or spec.must_be_list) and all(values):
        entries = list(itertools.chain.from_iterable(values))
        if _as_numbers(key, entries) is entries:
            return values
    elif not spec.must_be_list and (numbers := _as_numbers(key, values)) is not None:
        return numbers
    column = [check_field(key, value) for value in values]
    if key == "plots":
        column = [list(names) for names in column]
    unchanged = all(type(a) is type(b) and repr(a) == repr(b) for a, b in zip(column, values, strict=True))
    return values if unchanged else column


def _as_numbers(key: str, values: list[Any]) -> list[Any] | None:
    """The values as numbers of the field's type, the same list where they are; None to look at each alone."""
    type_, types = FIELDS[key].type, set(map(type, values))
    kinds = {int: int, float: int | float}
    if (
        not values
        or type_ not in kinds
        or not all(issubclass(t, kinds[type_]) and t is not bool for t in types)
    ):
        return None
    try:
        numbers = np.array(values, np.int64 if type_ is int else np.float64)
    except OverflowError:
        return None
    low, high, allowed = numbers.min().item(), numbers.max().item(), RANGES.get(key, Range())
    if not (math.isfinite(low) and math.isfinite(high) and low in allowed and high in allowed):
        return None
    if types == {type_} and not (np.signbit(numbers) & (numbers == 0)).any():
        return values
    return (numbers + 0).tolist()  # -0.0 becomes 0.0


def _same(a: object, b: object) -> bool:
    return a is b
