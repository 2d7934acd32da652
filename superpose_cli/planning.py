"""What a run would take, told before it starts: instances, memory, disk, and seconds by measurement."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from superpose_cli.engines.base import Engine
from superpose_cli.engines.training import HISTORY_ROWS, history_steps
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.config import Config, DataKind
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.instances import Family, InstanceBatch

SAMPLED_SHARDS = 4
"""Shards that an estimate of the time looks at, evenly spread over the grid."""
MEASURED_SECONDS = 0.1
"""Training time after which a pace is believed."""
MEASURED_ROWS = 4096
"""Evaluation rows that are timed."""
STORING_SECONDS = 3e-5
"""Metrics and tables of one instance, measured on small models."""
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
    engine: str
    engine_reason: str
    memory_bytes: int
    """Working memory of the largest pack."""
    disk_bytes: int
    """Estimated size of all tables."""
    seconds: float
    """Estimated time for what is not stored yet."""
    warnings: tuple[str, ...]


def check_sizes(grid: Grid, engine: Engine, path: Path) -> None:
    """Raise ConfigError where one instance exceeds the free memory, or the tables the free disk."""
    memory = engine.free_memory()
    for family in grid.families():
        if (needed := engine.bytes_per_instance(family)) > memory:
            raise ConfigError(
                f"one instance of n_features={family.n_features}, n_hidden={family.n_hidden} needs "
                f"{in_bytes(needed)} of memory, {in_bytes(memory)} are free: lower train.n_batch, "
                f"data.n_rows, model.n_features or model.n_hidden"
            )
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    disk = shutil.disk_usage(there).free
    if (needed := grid.table_bytes()) > disk:
        raise ConfigError(
            f"the tables of {grid.n_instances:,} instances need about {in_bytes(needed)} on disk, "
            f"{in_bytes(disk)} are free at {there}: use fewer values on the axes, fewer restarts, "
            f"history.every=0 or another --out"
        )


def pack_bytes(grid: Grid, engine: Engine, memory: int) -> int:
    """Working memory of the largest pack that the run would train."""
    largest = 0
    for family in grid.families():
        size = min(engine.pack_instances(family, memory), grid.n_instances)
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
                paces[batch.family] = _seconds_per_instance(engine, batch, config, memory)
            seconds += len(batch) * paces[batch.family]
            instances += len(batch)
    return seconds * grid.n_instances / instances


def _seconds_per_instance(engine: Engine, batch: InstanceBatch, config: Config, memory: int) -> float:
    """Time to train, record, evaluate and store one instance of the batch, when a full pack is trained."""
    family = batch.family
    pack = batch.take(slice(engine.pack_instances(family, memory)))
    state = engine.advance(pack, engine.initialise(pack), 1)

    def evaluate(n_rows: int) -> None:
        engine.evaluate(pack, state, n_rows)
        if family.data is DataKind.finite:
            engine.evaluate_table(pack, state)

    evaluate(1)  # what is compiled or loaded once has been, now that the clock starts
    began, chunk = time.perf_counter(), 1
    while time.perf_counter() - began < MEASURED_SECONDS and state.step < family.steps:
        state = engine.advance(pack, state, min(state.step + chunk, family.steps))
        chunk *= 2
    step = (time.perf_counter() - began) / max(state.step - 1, 1)
    began = time.perf_counter()
    evaluate(MEASURED_ROWS)
    row = (time.perf_counter() - began) / MEASURED_ROWS
    rows = (config.evaluation.n_rows or 0) + HISTORY_ROWS * (
        1 + len(history_steps(config.history, family.steps))
    )
    return (family.steps * step + rows * row) / len(pack) + STORING_SECONDS


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
