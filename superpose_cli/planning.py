"""What a run would take, told before it starts: instances, memory, disk, and seconds by measurement."""

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from superpose_cli.engines.base import Engine, State
from superpose_cli.engines.population import population_evaluation
from superpose_cli.engines.training import HISTORY_ROWS, history_steps
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.config import Config, DataKind, EvaluationMethod, Objective
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.instances import Family, InstanceBatch

SAMPLED_SHARDS = 4
"""Shards that an estimate of the time looks at, evenly spread over the grid."""
MEASURED_SECONDS = 0.2
"""Training time after which a pace is believed."""
MEASURED_FLOPS = 2 * 10**9
"""Arithmetic of a step that is timed; wider models are timed with fewer features."""
FEWEST_FEATURES = 64
"""What is timed has as many features at least: fewer would take another path through the engines."""
MEASURED_ROWS = (128, 1024)
"""Evaluation rows that are timed; the difference is the pace, what is left the cost of a call."""
MORE_INTEGRATED = 16
"""Factor between the numbers of instances whose exact evaluation is timed."""
STORING_SECONDS = 1e-5
"""Metrics and tables of an instance of few features."""
STORING_PAIR_SECONDS = 1e-10
"""Metrics of a pair of features, for each hidden dimension."""
COMMIT_SECONDS = 0.03
"""Writing and flushing the files of a shard."""
SLOW_SECONDS = 3600.0
"""A run estimated above this is worth a warning."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `superpose plan` tells."""

    path: Path
    n_cells: int
    restarts: int
    n_instances: int
    n_stored: int
    """In the run's own folder."""
    n_reused: int
    """In other runs, from where they are taken over."""
    n_evaluated: int
    """Those of them that are to be evaluated anew."""
    engine: str
    engine_reason: str
    memory_bytes: int
    """Working memory of the largest pack."""
    disk_bytes: int
    """Estimated size of all tables."""
    seconds: float
    """Estimated time for what is not stored yet."""
    warnings: tuple[str, ...]


def check_memory(grid: Grid, engine: Engine) -> None:
    """Raise ConfigError where one instance exceeds the free memory."""
    memory = engine.free_memory()
    for family in grid.families():
        if (needed := engine.bytes_per_instance(family)) > memory:
            raise ConfigError(
                f"one instance of n_features={family.n_features}, n_hidden={family.n_hidden} needs "
                f"{in_bytes(needed)} of memory, {in_bytes(memory)} are free: lower train.n_batch, "
                f"data.n_rows, model.n_features or model.n_hidden"
            )


def check_disk(grid: Grid, path: Path, n_stored: int) -> None:
    """Raise ConfigError where the tables to come exceed the free disk."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    disk = shutil.disk_usage(there).free
    left = grid.n_instances - n_stored
    if (needed := grid.table_bytes() * left / grid.n_instances) > disk:
        raise ConfigError(
            f"the tables of {left:,} instances need about {in_bytes(needed)} on disk, "
            f"{in_bytes(disk)} are free at {there}: make room, or use another --out, "
            f"fewer values on the axes, fewer restarts or history.every=0"
        )


def pack_bytes(grid: Grid, engine: Engine, memory: int) -> int:
    """Working memory of the largest pack that the run would train."""
    largest, shard = 0, max(stop - start for start, stop in grid.shards())
    for family in grid.families():
        together = min(max(shard, engine.fill(family)), grid.n_instances)
        size = min(engine.pack_instances(family, memory), together)
        largest = max(largest, size * engine.bytes_per_instance(family))
    return largest


def estimate_seconds(grid: Grid, config: Config, engine: Engine, memory: int) -> float:
    """Time to train the whole grid, from the paces of the families in a few shards of it."""
    shards = grid.shards()
    count = min(SAMPLED_SHARDS, len(shards))
    picked = [shards[i * len(shards) // count] for i in range(count)]
    paces: dict[Family, float] = {}
    seconds, instances = 0.0, 0
    for start, stop in picked:
        for batch in grid.batches(start, stop):
            if batch.family not in paces:
                paces[batch.family] = _seconds_per_instance(engine, batch, config, memory, grid.n_instances)
            seconds += len(batch) * paces[batch.family]
            if config.evaluation.method is EvaluationMethod.population:
                seconds += _integration_seconds(engine, batch)
            instances += len(batch)
    return seconds * grid.n_instances / instances + COMMIT_SECONDS * len(shards)


def _seconds_per_instance(
    engine: Engine, batch: InstanceBatch, config: Config, memory: int, n_instances: int
) -> float:
    """Time to train, record, evaluate and store one instance of the batch, when a full pack is trained.

    Shards of fewer instances than fill the engine are trained together, so here they stand for others too, up
    to the `n_instances` of the grid.
    Wide models are timed with fewer features, in proportion to which all but the storing grows.
    """
    whole = batch.family
    most = min(engine.pack_instances(whole, memory), max(len(batch), min(engine.fill(whole), n_instances)))
    pack = _narrowed(batch.take(np.arange(most) % len(batch)))
    family, records = pack.family, len(history_steps(config.history, whole.steps))
    state = engine.advance(pack, engine.initialise(pack), 1)
    start, step = _step_seconds(engine, pack, state)
    call, row = _evaluation_seconds(engine, pack, state)
    short = min(HISTORY_ROWS, config.evaluation.n_rows or HISTORY_ROWS)
    calls = max(records, 1) * (1 + math.log(whole.steps / max(records, 1) + 1, 8))
    seconds = whole.steps * step + calls * start + records * (call + short * row)
    if config.evaluation.method is EvaluationMethod.sampled:
        seconds += call + (config.evaluation.n_rows or 0) * row
    features = whole.n_features
    storing = STORING_SECONDS * (1 + features / 20) + features**2 * whole.n_hidden * STORING_PAIR_SECONDS
    return seconds / len(pack) * features / family.n_features + storing


def _narrowed(batch: InstanceBatch) -> InstanceBatch:
    """The batch with as few features as keep a step within MEASURED_FLOPS, but not with very few."""
    family = batch.family
    of_feature = 10 * family.n_hidden * max(family.n_batch or family.n_rows, 1) * len(batch)
    n = max(FEWEST_FEATURES, MEASURED_FLOPS // of_feature)
    if n >= family.n_features or family.objective is Objective.population:
        return batch
    narrow = replace(family, n_features=n, k=min(family.k, n), set_size=min(family.set_size, n))
    return replace(
        batch,
        family=narrow,
        feature_probability=batch.feature_probability[:, :n],
        importance=batch.importance[:, :n],
    )


def _step_seconds(engine: Engine, pack: InstanceBatch, state: State) -> tuple[float, float]:
    """What training the pack takes: for a call, and for each step; from calls of 1, 2, 4, ... steps."""
    steps, chunk, spent = pack.family.steps, 1, 0.0
    first, pace = math.inf, math.inf
    while spent < MEASURED_SECONDS and state.step < steps:
        before, began = state.step, time.perf_counter()
        state = engine.advance(pack, state, min(before + chunk, steps))
        taken = time.perf_counter() - began
        first = min(first, taken)
        pace, spent, chunk = min(pace, taken / (state.step - before)), spent + taken, 2 * chunk
    return (0.0, 0.0) if math.isinf(pace) else (first - pace, pace)


def _integration_seconds(engine: Engine, batch: InstanceBatch) -> float:
    """Time of an exact evaluation of a batch, from a few of its instances where that takes long."""

    def taken(count: int) -> float:
        part = batch.take(np.linspace(0, len(batch) - 1, count).astype(np.int64))
        state = engine.initialise(part)
        began = time.perf_counter()
        population_evaluation(part, state)
        return time.perf_counter() - began

    taken(1)  # it may compile
    count, seconds = 1, taken(1)
    while count < len(batch) and seconds < MEASURED_SECONDS:
        count = min(len(batch), MORE_INTEGRATED * count)
        seconds = taken(count)
    return seconds * len(batch) / count


def _evaluation_seconds(engine: Engine, pack: InstanceBatch, state: State) -> tuple[float, float]:
    """What an evaluation of the pack takes: for the call, and for each row."""

    def evaluate(n_rows: int) -> float:
        began = time.perf_counter()
        engine.evaluate(pack, state, n_rows)
        if pack.family.data is DataKind.finite:
            engine.evaluate_table(pack, state)
        return time.perf_counter() - began

    few, many = MEASURED_ROWS
    evaluate(1)  # what is compiled or loaded once has been, now that the clock starts
    short = evaluate(few)
    row = max(0.0, evaluate(many) - short) / (many - few)
    return max(0.0, short - few * row), row


def in_bytes(size: float) -> str:
    """A size with a unit that a person reads: "1.5 GB"."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.3g} {unit}" if unit != "bytes" else f"{size:.0f} bytes"


def warnings_of(seconds: float, others: Sequence[str]) -> tuple[str, ...]:
    """What the user should know before starting."""
    if seconds <= SLOW_SECONDS:
        return tuple(others)
    return (
        *others,
        f"this takes about {seconds / 3600:.1f} hours on this machine: a coarser grid shows the shape first",
    )
