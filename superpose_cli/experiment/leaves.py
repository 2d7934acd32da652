"""The fields of a grid as columns: each has a short table of values and a rule from cell to table entry.

A grid is the product of its axes, so the value of a field in a cell depends on one *source*: the position
on the axis that sets it, or the variant (the combination of the axes over groups), which is source 0. A
*code* is a position on a source. Nothing here is as long as the grid.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.axes import Axis, Experiment
from superpose_cli.experiment.fields import AXIS_GROUPS, AXIS_KEYS, FIELDS
from superpose_cli.experiment.instances import F64, I64
from superpose_cli.experiment.rules import KIND_FIELDS, value_of

MAX_CELLS = 2**40
"""Beyond it cell numbers and their products would leave 64 bits, and no machine would finish."""
LEAF_KEYS = tuple(key for key in FIELDS if key.split(".")[0] in AXIS_GROUPS or key == "seed")
"""The fields that affect the trained weights."""
USERS: Mapping[str, tuple[str, frozenset[str]]] = {
    key: (kind_key, frozenset(kind for kind, keys in kinds.items() if key in keys))
    for kind_key, kinds in KIND_FIELDS.items()
    for key in {key for keys in kinds.values() for key in keys}
} | {"train.n_batch": ("train.objective", frozenset({"sampled"}))}
"""Field -> the field that decides whether it is used, and the values for which it is."""

Codes = Mapping[int, I64]
"""Source -> a code for each of some cells."""


@dataclass(frozen=True)
class Leaf:
    """One field over the grid: `values[code]`, where code is the cell's position on `source`."""

    key: str
    source: int
    values: tuple[Any, ...]

    @cached_property
    def numbers(self) -> F64:
        """The values as floats, NaN where one is null or a list."""
        return np.array([v if isinstance(v, int | float) else math.nan for v in self.values], np.float64)

    @cached_property
    def integers(self) -> I64:
        """The values, all of them integers (a seed needs more bits than a float has)."""
        return np.array(self.values, np.int64)

    @cached_property
    def lengths(self) -> I64:
        """The number of entries of each value that is a list, 0 for the others."""
        return np.array([len(v) if isinstance(v, tuple | list) else 0 for v in self.values], np.int64)

    def number(self, codes: Codes) -> F64:
        """The value in each cell as a float, NaN where it is null or a list."""
        return self.numbers[codes[self.source]]

    def integer(self, codes: Codes) -> I64:
        """The value in each cell, an integer in all of them."""
        return self.integers[codes[self.source]]

    def among(self, choices: Collection[str], codes: Codes) -> npt.NDArray[np.bool_]:
        """Whether the value in each cell is one of `choices`."""
        return np.array([value in choices for value in self.values])[codes[self.source]]


class Leaves:
    """All fields of an experiment's grid. Raises ConfigError where the axes make no grid."""

    def __init__(self, experiment: Experiment) -> None:
        self.axes = experiment.axes
        _check_axes(self.axes)
        sizes = [len(axis) for axis in self.axes]
        self.n_cells = math.prod(sizes)
        if self.n_cells > MAX_CELLS:
            product = " x ".join(str(size) for size in sizes)
            raise ConfigError(
                f"the grid has {self.n_cells:,} cells ({product}): use fewer values on its axes"
            )
        self._strides = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
        self._group_axes = [i for i, axis in enumerate(self.axes) if not set(axis.keys) <= AXIS_KEYS]
        n_variants = math.prod(sizes[i] for i in self._group_axes)
        assert n_variants == len(experiment.variants), "one variant per combination of the group axes"
        self._value_axes = [i for i in range(len(sizes)) if i not in self._group_axes]
        self.sizes = (n_variants, *(sizes[i] for i in self._value_axes))
        """Number of codes of each source."""
        self._leaves = self._tables(experiment)

    def __getitem__(self, key: str) -> Leaf:
        return self._leaves[key]

    def _tables(self, experiment: Experiment) -> dict[str, Leaf]:
        leaves = {
            key: Leaf(key, 0, tuple(value_of(config, key) for config in experiment.variants))
            for key in LEAF_KEYS
        }
        positions = self._group_positions(np.arange(self.sizes[0]))
        for i, axis in enumerate(self.axes):
            for j, key in enumerate(axis.keys):
                values = tuple(row[j] for row in axis.values)
                if i in positions and key in AXIS_KEYS:  # a field zipped with a group goes with the variant
                    leaves[key] = Leaf(key, 0, tuple(values[p] for p in positions[i]))
                elif i not in positions:
                    leaves[key] = Leaf(key, 1 + self._value_axes.index(i), values)
        return leaves

    def positions(self, cells: I64, axis: int) -> I64:
        """The position on axis number `axis` of each cell."""
        return cells // self._strides[axis] % len(self.axes[axis])

    def codes(self, cells: I64, keys: Sequence[str] = LEAF_KEYS) -> Codes:
        """The code of each cell on the sources of the fields `keys` (default: on every source)."""
        codes = {}
        for source in sorted({self[key].source for key in keys}):
            axes = [self._value_axes[source - 1]] if source else self._group_axes
            codes[source] = np.zeros(len(cells), np.int64)
            for axis in axes:
                codes[source] = codes[source] * len(self.axes[axis]) + self.positions(cells, axis)
        return codes

    def combinations(self, keys: Sequence[str], at_once: int = 2**18) -> Iterator[Codes]:
        """Codes of every combination that the fields `keys` take, at most `at_once` at a time."""
        sources = sorted({self[key].source for key in keys})
        sizes = [self.sizes[source] for source in sources]
        total = math.prod(sizes)
        for start in range(0, total, at_once):
            index = np.arange(start, min(start + at_once, total))
            yield dict(zip(sources, np.unravel_index(index, sizes), strict=True))

    def used(self, key: str, codes: Codes) -> npt.NDArray[np.bool_]:
        """Whether each cell's kinds use the field."""
        if key not in USERS:
            return np.ones(len(codes[self[key].source]), np.bool_)
        kind_key, kinds = USERS[key]
        return self[kind_key].among(kinds, codes)

    def where(self, codes: Codes, index: int) -> str:
        """Which of the cells of `codes` is number `index`, by its axis values, as " (at a=1, b=2)"."""
        said = []
        for source, code in sorted((source, int(array[index])) for source, array in codes.items()):
            rows = (
                self._group_positions(np.array([code]))
                if source == 0
                else {self._value_axes[source - 1]: [code]}
            )
            for axis, row in rows.items():
                pairs = zip(self.axes[axis].keys, self.axes[axis].values[int(row[0])], strict=True)
                said += [f"{key}={as_text(value)}" for key, value in pairs]
        return f" (at {', '.join(said)})" if said else ""

    def _group_positions(self, variants: I64) -> dict[int, Sequence[int] | I64]:
        """Group axis -> its position for each variant number."""
        sizes = [len(self.axes[i]) for i in self._group_axes]
        if not sizes:
            return {}
        return dict(zip(self._group_axes, np.unravel_index(variants, sizes), strict=True))


def as_text(value: Any) -> str:
    """A value as a user would type it: lists in brackets, true, false and null in lower case."""
    if isinstance(value, list | tuple):
        return f"[{','.join(as_text(item) for item in value)}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_axes(axes: Sequence[Axis]) -> None:
    seen: set[str] = set()
    for axis in axes:
        if not len(axis):
            raise ConfigError(f"the axis over {', '.join(axis.keys)} has no values: the grid is empty")
        for key in axis.keys:
            if key not in AXIS_KEYS and key not in AXIS_GROUPS:
                raise ConfigError(
                    f"{key} cannot be an axis: it does not affect the trained weights, or is no field"
                )
            if key in seen:
                raise ConfigError(f"{key} is set by two axes: leave one of them out")
            seen.add(key)
