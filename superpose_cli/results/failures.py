"""What diverged in a run, cell by cell, and how to try again."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from superpose_cli.results.layout import CONFIG
from superpose_cli.results.run import Run

LEARNING_RATE = "train.learning_rate"
MOST_CHARACTERS = 40
"""Of a value that is told; lists of hundreds of numbers have more."""
GENTLER = 0.1
"""The learning rate of another attempt, in units of the one that diverged."""


@dataclass(frozen=True, kw_only=True)
class FailedCell:
    """A cell with diverged restarts. The same settings would diverge again: they decide every bit."""

    cell: int
    restarts: tuple[int, ...]
    failed_steps: tuple[int, ...]
    """Of each restart: the first step that left a weight not finite, or the last step; -1: unknown."""
    values: dict[str, Any]
    """Where the cell is: key -> value, for each axis of the grid."""
    learning_rate: float

    def told(self) -> str:
        """In words: `cell 3 (train.learning_rate=10), restart 0 at step 12`."""
        where = ", ".join(f"{key}={_shortened(_text(value))}" for key, value in self.values.items())
        steps = [
            f"{restart} at step {step:,}" if step >= 0 else f"{restart}"
            for restart, step in zip(self.restarts, self.failed_steps, strict=True)
        ]
        plural = "s" * (len(self.restarts) > 1)
        return f"cell {self.cell}{f' ({where})' if where else ''}, restart{plural} {', '.join(steps)}"

    def retry(self, run: Path) -> str:
        """The command that trains this cell alone, with a learning rate of a tenth, as a run of its own."""
        values = self.values | {LEARNING_RATE: float(f"{GENTLER * self.learning_rate:.12g}")}
        overrides = [f"{key}={_text(value)}" for key, value in values.items()]
        return shlex.join(["superpose", "sweep", "--config", str(run / CONFIG), *overrides])


def failed_cells(run: Run) -> list[FailedCell]:
    """The cells that have a diverged restart, in order."""
    rows = run.instances(["cell", "restart", "status", "failed_step", "learning_rate"])
    rows = rows.loc[rows["status"] == "diverged"]  # in order of cell and restart, as all is stored
    sizes = [len(axis.values) for axis in run.axes]
    found = []
    for cell, group in rows.groupby("cell"):
        number = int(cell)
        at = np.unravel_index(number, sizes) if sizes else ()
        values = {
            key: value
            for axis, position in zip(run.axes, at, strict=True)
            for key, value in zip(axis.keys, axis.values[int(position)], strict=True)
        }
        found.append(
            FailedCell(
                cell=number,
                restarts=tuple(group["restart"].tolist()),
                failed_steps=tuple(group["failed_step"].fillna(-1).astype(int).tolist()),
                values=values,
                learning_rate=float(group["learning_rate"].iloc[0]),
            )
        )
    return found


def _text(value: Any) -> str:
    """A value as an override has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(_text, value))}]"
    return "null" if value is None else str(value)


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."
