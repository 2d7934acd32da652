"""What several test modules share."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from superpose_cli.engines.watch import SILENT
from superpose_cli.experiment.axes import Axis, Experiment
from superpose_cli.experiment.columns import Coded, Column, Value
from superpose_cli.experiment.config import Config
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.instances import InstanceBatch
from superpose_cli.experiment.rules import with_values


def axis(keys: str, *values: Any) -> Axis:
    """An axis over one key, or over several ("a,b") with a tuple of values for each position."""
    names = tuple(keys.split(","))
    return Axis(names, tuple(values) if len(names) > 1 else tuple((value,) for value in values))


def config_of(fields: Mapping[str, Any] | None = None) -> Config:
    """The default config with p = 0.1 and the given dotted fields."""
    return with_values(Config(), {"data.feature_probability": 0.1} | dict(fields or {}))


def cell_values(grid: Grid) -> dict[str, list[Any]]:
    """The configuration columns of all cells as plain values, text as text."""

    def values(column: Column | Value) -> list[Any]:
        if isinstance(column, Coded):
            return [None if code < 0 else column.names[code] for code in column.codes.tolist()]
        return column.tolist() if isinstance(column, np.ndarray) else [column] * grid.n_cells

    columns = grid.cell_columns(np.arange(grid.n_cells))
    return {name: values(column) for name, column in columns.items()}


def experiment_of(
    *axes: Axis, name: str = "custom", variants: Sequence[Config] = (), **fields: Any
) -> Experiment:
    """An experiment over `config_of` its fields (`data__k` for `data.k`), or over the given variants."""
    configs = tuple(variants) or (config_of({key.replace("__", "."): v for key, v in fields.items()}),)
    return Experiment(name, axes, configs)


def everything(grid: Grid) -> list[InstanceBatch]:
    """All instances of a grid, a batch for each family."""
    return grid.batches(0, grid.n_instances)


class Listener:
    """A watch that keeps what a run says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(SILENT, name)

    def said(self, message: str) -> None:
        self.lines.append(message)


def digests(run: Path) -> dict[str, str]:
    """The digest of every file of the stored tables."""
    files = sorted(run.glob("*.parquet/*"))
    return {str(f.relative_to(run)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def mostly_slow(table: Iterable[str], quick: Collection[str]) -> list[Any]:
    """The parameters of a test over a whole table: the quick ones run always, the others among the slow."""
    names = list(table)
    assert set(quick) <= set(names)
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]
