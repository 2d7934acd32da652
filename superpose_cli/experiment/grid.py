"""The grid: cells and restarts as numbers, made into batches of instances on demand.

Cells are numbered row-major over the axes in order of declaration, the first axis slowest; instance number
= cell * restarts + restart. There is no object per cell: fields are columns (`leaves.py`), and a range of
instances is resolved with whole-array operations.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.axes import Axis, Experiment
from superpose_cli.experiment.checked import checked
from superpose_cli.experiment.columns import CellColumns, Column, Value, axis_columns
from superpose_cli.experiment.consistency import check, uneven_sets, unused_batch
from superpose_cli.experiment.instances import F64, I64, U64, Family, InstanceBatch
from superpose_cli.experiment.keys import evaluation_keys, generator_keys, weight_keys
from superpose_cli.experiment.leaves import LEAF_KEYS, MAX_CELLS, Codes, Leaves
from superpose_cli.experiment.resolve import STRUCTURAL_KEYS, family_of, hash_records, resolve
from superpose_cli.experiment.sharding import Shards, cut, instance_bytes, table_bytes

LAW_KEYS = (*STRUCTURAL_KEYS, "model.hidden_l1", *(key for key in LEAF_KEYS if key.startswith("data.")))
"""What decides the family of an instance, the law of its data and its penalty."""
_NUMBERS = ("cell", "restart", "seed", "key", "generator_key", "table_key", "evaluation_key")
MANY_INSTANCES = 2_000_000
"""Whoever looks at every one of so many says so first: it takes ten seconds and more."""


class Grid:
    """The instances of an experiment. Raises ConfigError for wrong fields, alone or together."""

    def __init__(self, experiment: Experiment) -> None:
        experiment = checked(experiment)
        first = experiment.variants[0]
        self.axes: tuple[Axis, ...] = experiment.axes
        self.restarts = first.restarts
        self.experiment = experiment
        """What was given, with every value in the type of its field."""
        self._paired = first.paired
        self._leaves = Leaves(experiment)
        self.n_cells = self._leaves.n_cells
        self.n_instances = self.n_cells * self.restarts
        if self.n_instances > MAX_CELLS:
            raise ConfigError(
                f"the grid has {self.n_cells:,} cells of {self.restarts:,} restarts: use fewer of them"
            )
        self.validate()
        self._classes = _structural_classes(self._leaves)

    def validate(self) -> None:
        """Raise ConfigError, with the axis values of the first bad cell, unless all fields fit together."""
        check(self.experiment, self._leaves)

    @cached_property
    def warnings(self) -> list[str]:
        """What is allowed but may surprise, one line each."""
        said = (uneven_sets(self._leaves), unused_batch(self.experiment, self._leaves))
        return [warning for warning in said if warning]

    def families(self) -> list[Family]:
        """Every family of the grid, in order of first appearance."""
        return list(self._families)

    @cached_property
    def _families(self) -> dict[Family, None]:
        """The families as the keys of a dict, which keeps their order."""
        return {
            family_of(self._structure({source: code[rows] for source, code in codes.items()})): None
            for codes in self._leaves.combinations(STRUCTURAL_KEYS)
            for rows in self._blocks(codes)
        }

    def batches(self, start: int, stop: int) -> list[InstanceBatch]:
        """Instances start..stop-1, a batch per family in order of first appearance; cells in order inside."""
        assert 0 <= start <= stop <= self.n_instances, "a range of instance numbers"
        cells = np.arange(start // self.restarts, -(-stop // self.restarts))
        if start == stop:
            return []
        codes = self._leaves.codes(cells)
        parts: dict[Family, list[tuple[I64, dict[str, F64]]]] = {}
        inputs, training = np.empty(len(cells), np.uint64), np.empty(len(cells), np.uint64)
        for rows in self._blocks(codes):
            family, arrays = self._resolve({source: code[rows] for source, code in codes.items()})
            inputs[rows], training[rows] = hash_records(family, arrays)
            parts.setdefault(family, []).append((cells[rows], arrays))
        keys = self._keys(inputs, training, self._leaves["seed"].integer(codes), start, stop)
        return [self._batch(family, *_joined(blocks), keys, start) for family, blocks in parts.items()]

    def laws(self) -> Iterator[InstanceBatch]:
        """An instance for each combination of what decides families, data and penalties, not for each cell.

        A batch holds some of a family. Their keys are 0, and what else may differ is of no account.
        """
        for codes in self._leaves.combinations(LAW_KEYS):
            count = len(next(iter(codes.values())))
            codes = {**dict.fromkeys(range(len(self._leaves.sizes)), np.zeros(count, np.int64)), **codes}
            for rows in self._blocks(codes):
                family, arrays = self._resolve({source: code[rows] for source, code in codes.items()})
                columns: dict[str, Any] = dict.fromkeys(_NUMBERS, np.zeros(len(rows), np.int64))
                columns |= arrays
                yield InstanceBatch(family=family, **columns)

    def cell_columns(self, cells: I64) -> dict[str, Column | Value]:
        """The configuration columns of the instances table for some cells; see `CellColumns.of`."""
        return self._columns.of(cells)

    @cached_property
    def _columns(self) -> CellColumns:
        return CellColumns(self._leaves)

    def axis_columns(self) -> list[dict[str, Any]]:
        """The axes as the manifest tells them: `keys`, `columns`, `values`; see `columns.axis_columns`."""
        return axis_columns(self.axes)

    def shards(self) -> Shards:
        """The (start, stop) ranges of instances that are committed as one; see `sharding.cut`."""
        return self._shards

    @cached_property
    def _shards(self) -> Shards:
        first = self.experiment.variants[0]
        return cut(self._leaves, self.restarts, first.evaluation, first.history)

    def shard_bytes(self, shard: int) -> float:
        """What bounds a shard: bytes of its instances in memory, about; see `sharding.instance_bytes`."""
        start, stop = self.shards()[shard]
        cell = np.arange(start, stop) // self.restarts
        codes = self._leaves.codes(np.arange(cell[0], cell[-1] + 1))
        each = instance_bytes(self._leaves, codes, self.experiment.variants[0].history)
        return float(each[cell - cell[0]].sum())

    def table_bytes(self) -> int:
        """Estimated bytes of the run's tables on disk."""
        history = self.experiment.variants[0].history
        return table_bytes(self._leaves, self.restarts, history, len(self.shards()))

    def _blocks(self, codes: Codes) -> list[I64]:
        """Row numbers of the cells that agree on all structural fields, one array per group, by first row."""
        block = np.zeros(len(codes[0]), np.int64)
        for source, classes in self._classes.items():
            block = block * (int(classes.max()) + 1) + classes[codes[source]]
        _, first, which = np.unique(block, return_index=True, return_inverse=True)
        groups = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
        return [groups[i] for i in np.argsort(first)]

    def _structure(self, codes: Codes) -> dict[str, Any]:
        """The structural fields of cells that agree on them."""
        leaves = (self._leaves[key] for key in STRUCTURAL_KEYS)
        return {leaf.key: leaf.values[codes[leaf.source][0]] for leaf in leaves}

    def _resolve(self, codes: Codes) -> tuple[Family, dict[str, F64]]:
        leaves, structure = self._leaves, self._structure(codes)
        family = family_of(structure)
        return family, resolve(leaves, codes, structure, family)

    def _keys(self, inputs: U64, training: U64, seed: I64, start: int, stop: int) -> dict[str, np.ndarray]:
        """The seeds and keys of instances start..stop-1, from the hashes and seeds of their cells."""
        number = np.arange(start, stop)
        at, restart = number // self.restarts - start // self.restarts, number % self.restarts
        inputs, training, seed = inputs[at], training[at], seed[at]
        generator_key, table_key = generator_keys(inputs, seed, restart, self._paired)
        return {
            "seed": seed,
            "key": weight_keys(inputs, training, seed, restart, self._paired),
            "generator_key": generator_key,
            "table_key": table_key,
            "evaluation_key": evaluation_keys(seed),
        }

    def _batch(
        self, family: Family, cells: I64, arrays: dict[str, F64], keys: dict[str, np.ndarray], start: int
    ) -> InstanceBatch:
        """The instances of `cells` (ascending) among those which `keys` has, the first of them `start`."""
        stop = start + len(keys["key"])
        first = np.maximum(start - cells * self.restarts, 0)
        counts = np.minimum(stop - cells * self.restarts, self.restarts) - first
        at = np.repeat(np.arange(len(cells)), counts)
        restart = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts - first, counts)
        here = cells[at] * self.restarts + restart - start
        columns: dict[str, Any] = {name: array[here] for name, array in keys.items()}
        columns |= {name: array[at] for name, array in arrays.items()}
        return InstanceBatch(
            family=family,
            cell=cells[at],
            restart=restart.astype(np.int32),
            **columns,
        )


def _joined(blocks: list[tuple[I64, dict[str, F64]]]) -> tuple[I64, dict[str, F64]]:
    """The cells of several blocks of one family in ascending order, with their arrays."""
    if len(blocks) == 1:
        return blocks[0]
    cells = np.concatenate([cells for cells, _ in blocks])
    order = np.argsort(cells)
    names = blocks[0][1]
    return cells[order], {name: np.concatenate([a[name] for _, a in blocks])[order] for name in names}


def _structural_classes(leaves: Leaves) -> dict[int, I64]:
    """For each source that holds structural fields, a number per distinct combination of their values."""
    keys_of: dict[int, list[str]] = {}
    for key in STRUCTURAL_KEYS:
        keys_of.setdefault(leaves[key].source, []).append(key)
    classes = {}
    for source, keys in keys_of.items():
        numbers: dict[tuple[object, ...], int] = {}
        rows = zip(*(leaves[key].values for key in keys), strict=True)
        classes[source] = np.array([numbers.setdefault(row, len(numbers)) for row in rows], np.int64)
    return classes
