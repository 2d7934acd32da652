"""How a grid is cut into shards: contiguous ranges of instances, a pure function of the resolved grid.

Nothing of the machine enters (memory, device, engine), nor what is already stored, so that a resumed or a
repeated shard is the same shard everywhere.
"""

from collections.abc import Sequence
from typing import overload

import numpy as np

from superpose_cli.experiment.config import HistoryConfig
from superpose_cli.experiment.instances import F64, I64
from superpose_cli.experiment.leaves import Codes, Leaves

MAX_INSTANCES = 16_384
"""Instances of a shard."""
MAX_BYTES = 64 * 2**20
"""Stored results of a shard."""
MAX_FLOPS = 10**13
"""Arithmetic of a shard: seconds to minutes, the work that a lost worker costs at most."""
POPULATION_ROWS = 4096
"""Rows whose arithmetic stands for one step of the population objective."""
COST_KEYS = ("model.n_features", "model.n_hidden", "model.tied", "data.kind", "data.n_rows",
             "train.steps", "train.n_batch", "train.objective")  # fmt: skip
"""The fields that decide what an instance costs."""

_WINDOW = 4 * MAX_INSTANCES


def instance_bytes(leaves: Leaves, codes: Codes, history: HistoryConfig) -> F64:
    """Stored bytes of one instance in each cell: its rows of the three tables, little compressed."""
    n, m = leaves["model.n_features"].number(codes), leaves["model.n_hidden"].number(codes)
    matrix = 4 * m * (2 - leaves["model.tied"].number(codes))
    records = np.ceil(leaves["train.steps"].number(codes) / history.every) + 1 if history.every else 0.0
    return 400 + n * (90 + matrix) + records * (60 + history.weights * n * (4 + matrix))


def instance_flops(leaves: Leaves, codes: Codes) -> F64:
    """Floating-point operations that train one instance in each cell, about: forward, backward, sampling."""
    n, m = leaves["model.n_features"].number(codes), leaves["model.n_hidden"].number(codes)
    table = np.where(
        leaves["data.kind"].among(("finite",), codes), leaves["data.n_rows"].number(codes), np.nan
    )
    rows = leaves["train.n_batch"].number(codes)
    rows = np.where(leaves["train.objective"].among(("population",), codes), POPULATION_ROWS, rows)
    rows = np.where(np.isnan(rows), table, rows)
    return (10 * n * m + 60 * n) * rows * leaves["train.steps"].number(codes)


def table_bytes(leaves: Leaves, restarts: int, history: HistoryConfig) -> int:
    """Estimated bytes of all tables of the run."""
    total, combinations = 0.0, 0
    for codes in leaves.combinations(COST_KEYS):
        each = instance_bytes(leaves, codes, history)
        total += float(each.sum())
        combinations += len(each)
    return round(total * (leaves.n_cells // combinations) * restarts)


class Shards(Sequence[tuple[int, int]]):
    """The shards of a grid as (start, stop) ranges of instance numbers."""

    def __init__(self, bounds: I64) -> None:
        self.bounds = bounds

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, index: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[int, int]]: ...
    def __getitem__(self, index: int | slice) -> tuple[int, int] | list[tuple[int, int]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return int(self.bounds[number]), int(self.bounds[number + 1])


def cut(leaves: Leaves, restarts: int, history: HistoryConfig) -> Shards:
    """The shards: each as long as the limits allow from where the one before stops, at least one instance."""
    n_instances = leaves.n_cells * restarts
    bounds, start = [0], 0
    if (length := _even_length(leaves, history)) is not None:
        return Shards(np.append(np.arange(0, n_instances, length), n_instances))
    while start < n_instances:
        stop = min(start + _WINDOW, n_instances)
        used = _running_costs(leaves, restarts, history, start, stop)
        at = 0
        while at < stop - start and (at + MAX_INSTANCES <= stop - start or stop == n_instances):
            ends = [np.searchsorted(u, u[at] + limit, "right") - 1
                    for u, limit in zip(used, (MAX_BYTES, MAX_FLOPS), strict=True)]  # fmt: skip
            at = max(at + 1, min(int(min(ends)), at + MAX_INSTANCES, stop - start))
            bounds.append(start + at)
        start += at
    return Shards(np.array(bounds, np.int64))


def _even_length(leaves: Leaves, history: HistoryConfig) -> int | None:
    """Instances of each shard where all instances cost the same, else None."""
    costs: set[tuple[float, float]] = set()
    for codes in leaves.combinations(COST_KEYS, at_once=_WINDOW):
        pairs = np.stack([instance_bytes(leaves, codes, history), instance_flops(leaves, codes)], axis=1)
        costs |= {tuple(pair) for pair in np.unique(pairs, axis=0).tolist()}
        if len(costs) > 1:
            return None
    n_bytes, flops = costs.pop()
    return max(1, min(MAX_INSTANCES, int(MAX_BYTES // n_bytes), int(MAX_FLOPS // flops)))


def _running_costs(
    leaves: Leaves, restarts: int, history: HistoryConfig, start: int, stop: int
) -> tuple[I64, I64]:
    """Bytes and FLOPs of the instances start..stop-1, summed from `start`: (stop - start + 1,) each."""
    cells = np.arange(start // restarts, -(-stop // restarts))
    codes = leaves.codes(cells, COST_KEYS)
    of_instance = np.arange(start, stop) // restarts - cells[0]
    sums = []
    for cost, limit in ((instance_bytes(leaves, codes, history), MAX_BYTES),
                        (instance_flops(leaves, codes), MAX_FLOPS)):  # fmt: skip
        each = np.ceil(np.minimum(cost, limit)).astype(np.int64)  # whole numbers: the sums are exact
        sums.append(np.concatenate([[0], np.cumsum(each[of_instance])]))
    return sums[0], sums[1]
