"""What plots read from a run beyond its tables: the best restarts, and refusals."""

from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from superpose_cli.errors import RunError
from superpose_cli.results.best import Weights, best_cells, best_features, best_weights, by_cell
from superpose_cli.results.run import Run

__all__ = [
    "Lacks",
    "Weights",
    "best_cells",
    "best_features",
    "best_weights",
    "by_cell",
    "refuse",
    "refuse_if_all_diverged",
]


class Lacks(RunError):
    """A run without what a plot needs."""


def refuse(plot: str, run: Run, lacks: str, remedy: str) -> NoReturn:
    """Raise `Lacks`: which plot, what the run lacks, what would give it."""
    raise Lacks(f"plot {plot} cannot show run {run.path}: {lacks}; {remedy}")


def refuse_if_all_diverged(plot: str, run: Run, arrays: Iterable[npt.NDArray[Any]]) -> None:
    """Raise `Lacks` unless one of the arrays is finite."""
    if not any(np.isfinite(array).all() for array in arrays):
        refuse(plot, run, "training diverged in every cell", "lower train.learning_rate")
