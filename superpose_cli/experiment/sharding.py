"""How a grid is cut into shards: contiguous ranges of instances, a pure function of the resolved grid.

Nothing of the machine enters (memory, device, engine), nor what is already stored, so that a resumed or a
repeated shard is the same shard everywhere.
"""

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from typing import overload

import numpy as np

from superpose_cli.experiment.config import EvaluationConfig, EvaluationMethod, HistoryConfig
from superpose_cli.experiment.instances import F64, I64
from superpose_cli.experiment.leaves import Codes, Leaves

MAX_INSTANCES = 16_384
"""Instances of a shard."""
MAX_BYTES = 64 * 2**20
"""Stored results of a shard."""
MAX_FLOPS = 10**12
"""Arithmetic of a shard: up to a minute on a core, against a twentieth of a second that storing it takes."""
MIN_INSTANCES = 16
"""Instances that a shard has however long they train, within the other limits: fewer leave cores idle."""
SHARD_BYTES = 47_000
"""Bytes that the three files of a shard take beside their rows."""
INTEGRAL_FLOPS = 30
"""Arithmetic of an integral over one feature's values, of which population objectives are made."""
MAX_STEP_INTEGRALS, MAX_EVALUATION_INTEGRALS = 1e6, 1e8
"""What takes more of them is refused as a population objective, and as an evaluation by it."""
HISTORY_ROWS = 4096
"""Rows on which a record of the history is measured."""
COST_KEYS = ("model.n_features", "model.n_hidden", "model.tied", "data.kind", "data.n_rows",
             "model.output_activation", "train.steps", "train.n_batch", "train.objective")  # fmt: skip
"""The fields that decide what an instance costs."""

_WINDOW = 4 * MAX_INSTANCES


def instance_bytes(leaves: Leaves, codes: Codes, history: HistoryConfig) -> F64:
    """Bytes of one instance in each cell that bound a shard: its rows of the tables in memory, about."""
    n, m = leaves["model.n_features"].number(codes), leaves["model.n_hidden"].number(codes)
    matrix = 4 * m * (2 - leaves["model.tied"].number(codes))
    return (
        400 + n * (90 + matrix) + _records(leaves, codes, history) * (60 + history.weights * n * (4 + matrix))
    )


def instance_flops(leaves: Leaves, codes: Codes, evaluation: EvaluationConfig, history: HistoryConfig) -> F64:
    """Floating-point operations of one instance in each cell, about.

    A row of training takes 10 n m + 60 n (forward, backward, sampling), one of the evaluation or of a record
    6 n m + 40 n (forward, sampling, sums). The population objective and evaluation take integrals instead, as
    many as where all features are often on together.
    """
    n, m = leaves["model.n_features"].number(codes), leaves["model.n_hidden"].number(codes)
    table = np.where(
        leaves["data.kind"].among(("finite",), codes), leaves["data.n_rows"].number(codes), np.nan
    )
    rows = leaves["train.n_batch"].number(codes)
    of_step = (10 * n * m + 60 * n) * np.where(np.isnan(rows), table, rows)
    with np.errstate(over="ignore"):
        # Over patterns of features that are on: 6 integrals for two of them, 8 times as many for each other.
        integrals = n * (1 + n + 6 / 64 * (9.0**n - 1 - 8 * n))
    by_population = leaves["train.objective"].among(("population",), codes)
    of_step = np.where(by_population, INTEGRAL_FLOPS * np.minimum(integrals, MAX_STEP_INTEGRALS), of_step)
    judged = HISTORY_ROWS * _records(leaves, codes, history)
    if evaluation.method == EvaluationMethod.sampled:
        judging = np.zeros_like(of_step)
        judged = judged + (evaluation.n_rows or 0)
    else:
        curved = leaves["model.output_activation"].among(("relu",), codes)
        judging = INTEGRAL_FLOPS * curved * np.minimum(integrals, MAX_EVALUATION_INTEGRALS)
    return leaves["train.steps"].number(codes) * of_step + (6 * n * m + 40 * n) * judged + judging


def _records(leaves: Leaves, codes: Codes, history: HistoryConfig) -> F64:
    """Records of the history of one instance in each cell, at most."""
    steps = leaves["train.steps"].number(codes)
    return np.ceil(steps / history.every) + 1 if history.every else np.zeros_like(steps)


def table_bytes(leaves: Leaves, restarts: int, history: HistoryConfig, n_shards: int) -> int:
    """Estimated bytes of all tables on disk: compressed, and with what each file says of itself."""
    total, combinations = 0.0, 0
    for codes in leaves.combinations(COST_KEYS):
        n, m = leaves["model.n_features"].number(codes), leaves["model.n_hidden"].number(codes)
        matrix = 4 * n * m * (2 - leaves["model.tied"].number(codes))
        record = 10 + history.weights * (matrix + 4 * n)
        each = 100 + 40 * n + matrix + _records(leaves, codes, history) * record
        total += float(each.sum())
        combinations += len(each)
    return round(total * (leaves.n_cells // combinations) * restarts) + SHARD_BYTES * n_shards


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

    @cached_property
    def digest(self) -> str:
        """8 hex digits of all bounds: equal for two grids that are cut alike."""
        return blake2b(self.bounds.astype("<i8").tobytes(), digest_size=4).hexdigest()


def cut(leaves: Leaves, restarts: int, evaluation: EvaluationConfig, history: HistoryConfig) -> Shards:
    """The shards: each as long as the limits allow from where the one before stops, at least one instance.

    The limit of arithmetic leaves every shard MIN_INSTANCES; the other limits do not.
    """
    n_instances = leaves.n_cells * restarts
    bounds, start = [0], 0
    if (length := _even_length(leaves, evaluation, history)) is not None:
        return Shards(np.append(np.arange(0, n_instances, length), n_instances))
    while start < n_instances:
        stop = min(start + _WINDOW, n_instances)
        n_bytes, flops = _running_costs(leaves, restarts, evaluation, history, start, stop)
        at = 0
        while at < stop - start and (at + MAX_INSTANCES <= stop - start or stop == n_instances):
            by_bytes = int(np.searchsorted(n_bytes, n_bytes[at] + MAX_BYTES, "right")) - 1
            by_flops = int(np.searchsorted(flops, flops[at] + MAX_FLOPS, "right")) - 1
            longest = min(at + MAX_INSTANCES, by_bytes, max(at + MIN_INSTANCES, by_flops), stop - start)
            at = max(at + 1, longest)
            bounds.append(start + at)
        start += at
    return Shards(np.array(bounds, np.int64))


def _even_length(leaves: Leaves, evaluation: EvaluationConfig, history: HistoryConfig) -> int | None:
    """Instances of each shard where all instances cost the same, else None."""
    costs: set[tuple[float, float]] = set()
    for codes in leaves.combinations(COST_KEYS, at_once=_WINDOW):
        pairs = np.stack([instance_bytes(leaves, codes, history),
                          instance_flops(leaves, codes, evaluation, history)], axis=1)  # fmt: skip
        costs |= {tuple(pair) for pair in np.unique(pairs, axis=0).tolist()}
        if len(costs) > 1:
            return None
    n_bytes, flops = costs.pop()
    return max(1, min(MAX_INSTANCES, int(MAX_BYTES // n_bytes), max(MIN_INSTANCES, int(MAX_FLOPS // flops))))


def _running_costs(
    leaves: Leaves, restarts: int, evaluation: EvaluationConfig, history: HistoryConfig, start: int, stop: int
) -> tuple[I64, I64]:
    """Bytes and FLOPs of the instances start..stop-1, summed from `start`: (stop - start + 1,) each."""
    cells = np.arange(start // restarts, -(-stop // restarts))
    codes = leaves.codes(cells, COST_KEYS)
    of_instance = np.arange(start, stop) // restarts - cells[0]
    sums = []
    for cost, limit in ((instance_bytes(leaves, codes, history), MAX_BYTES),
                        (instance_flops(leaves, codes, evaluation, history), MAX_FLOPS)):  # fmt: skip
        each = np.ceil(np.minimum(cost, limit)).astype(np.int64)  # whole numbers: the sums are exact
        sums.append(np.concatenate([[0], np.cumsum(each[of_instance])]))
    return sums[0], sums[1]
