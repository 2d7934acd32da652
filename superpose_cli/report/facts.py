"""What a run was, in rows of text: settings, axes, counts, machine, failures, the best instances."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from superpose_cli.plots.words import counted, number, span
from superpose_cli.results.failures import failed_cells
from superpose_cli.results.layout import CONFIG
from superpose_cli.results.run import Run

MOST_CHARACTERS = 72
"""Of a value; lists of hundreds of numbers have more."""
MOST_ROWS = 24
"""Of the table of best instances."""
MOST_CELLS = 5
"""Diverged cells that are told one by one."""
GROUPS = ("model", "init", "data", "importance", "train", "evaluation", "history")
MEASURED = ("restart", "objective", "loss", "loss_ratio", "n_represented", "dims_per_feature", "status")

Rows = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A cell with diverged restarts, and the command that tries it again."""

    told: str
    retry: str


@dataclass(frozen=True, kw_only=True)
class BestTable:
    """The best restart of each cell: by column a heading, and whether it holds numbers."""

    caption: str
    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[str, ...], ...]


def summary(run: Run) -> Rows:
    """What was trained, how far it got, on what, and what came out."""
    manifest, best = run.manifest, run.best(["loss", "loss_ratio"])
    counts = run.instances(["status"])["status"].astype(str).value_counts()
    ends = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    return (
        ("Grid", f"{_many(run.n_cells, 'cell')} × {_many(run.restarts, 'restart')}"),
        ("Instances", f"{int(counts.sum()):,} of {manifest.n_instances:,} stored: {ends}"),
        ("Loss, best restarts", _range(best["loss"].to_numpy(np.float64))),
        ("Loss ratio", f"{_range(best['loss_ratio'].to_numpy(np.float64))} of the best constant output’s"),
        ("Time", duration(manifest.seconds)),
        ("Engine", f"{manifest.engine}, {manifest.dtype} on {manifest.device}"),
        ("Numerics", manifest.numerics),
        ("Machine", manifest.host),
        (
            "Versions",
            f"superpose {manifest.superpose}, Python {manifest.python}, NumPy {manifest.numpy}, "
            f"PyTorch {manifest.torch}",
        ),
        ("Begun, last written", f"{manifest.created}, {manifest.updated}"),
        ("Run", f"{manifest.run_id} in {run.path}"),
    )


def commands(run: Run) -> tuple[str, ...]:
    """What trains the run again: the overrides that were typed, and its own stored configuration."""
    stored = ["superpose", "sweep", "--config", str(run.path / CONFIG)]
    if not run.manifest.overrides:
        return (shlex.join(stored),)
    return (shlex.join(["superpose", "sweep", *run.manifest.overrides]), shlex.join(stored))


def axes(run: Run) -> Rows:
    """Keys and values of each axis, the slowest first."""
    return tuple(
        (
            ", ".join(axis.keys),
            f"{counted(len(axis.values), 'value')}: {shortened(', '.join(map(_position, axis.values)))}",
        )
        for axis in run.axes
    )


def settings(run: Run) -> tuple[tuple[str, Rows], ...]:
    """By group of the configuration: its fields that are set; those that an axis varies say so."""
    varied = {key for axis in run.axes for key in axis.keys}
    found = []
    for group in GROUPS:
        node = run.config.get(group)
        if group in varied or not isinstance(node, Mapping):
            rows = ((group, "an axis" if group in varied else _text(node)),)
        else:
            rows = tuple(
                (str(leaf), "an axis" if f"{group}.{leaf}" in varied else shortened(_text(value)))
                for leaf, value in node.items()
            )
        if group in run.config or group in varied:
            found.append((group, rows))
    run_wide = ("restarts", "seed", "paired")
    rows = tuple((name, _text(run.config[name])) for name in run_wide if name in run.config)
    return (*found, ("run", rows)) if rows else tuple(found)


def failures(run: Run) -> tuple[str, tuple[Failure, ...]]:
    """How many instances diverged or are dead, in words ('' where none), and the first cells to retry."""
    cells = failed_cells(run)
    status = run.instances(["status"])["status"]
    parts = []
    if cells:
        diverged = sum(len(cell.restarts) for cell in cells)
        parts.append(f"{_many(diverged, 'instance')} diverged, in {_many(len(cells), 'cell')}")
    if dead := int(np.count_nonzero(status == "dead")):
        parts.append(f"{_many(dead, 'instance')} dead: no gradient is left to learn from")
    shown = tuple(Failure(told=cell.told(), retry=cell.retry(run.path)) for cell in cells[:MOST_CELLS])
    return "; ".join(parts), shown


def best_table(run: Run) -> BestTable:
    """The restart of the lowest objective of each cell, evenly thinned to `MOST_ROWS` cells."""
    varied = [column for axis in run.axes if len(axis.values) > 1 for column in axis.columns]
    frame = run.best(list(dict.fromkeys((*varied, *MEASURED)))).dropna(axis="columns", how="all")
    shown = min(len(frame), MOST_ROWS)
    rows = frame.iloc[np.linspace(0, len(frame) - 1, shown).round().astype(np.int64)]
    caption = "The best restart of each cell, by its training objective"
    if shown < len(frame):
        caption += f" ({shown} of {len(frame):,} cells, evenly spaced)"
    return BestTable(
        caption=caption,
        columns=tuple(
            (str(name).replace("_", " "), pd.api.types.is_numeric_dtype(rows[name])) for name in rows
        ),
        rows=tuple(tuple(map(_cell, row)) for row in rows.itertuples(index=False)),
    )


def duration(seconds: float) -> str:
    """`8.3 s`, `105 s`, `12 min`, `3.4 h`."""
    if seconds < 180:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def shortened(text: str) -> str:
    """`text`, cut where it is longer than a table has room for."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1].rstrip(' ,')}…"


def _many(count: int, noun: str) -> str:
    """'3,200 cells'."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _range(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return span(known) if len(known) else "not finite"


def _position(values: Sequence[Any]) -> str:
    """The values of an axis at one position: one, or several where keys are zipped."""
    texts = [_text(value) for value in values]
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


def _cell(value: Any) -> str:
    """An entry of the table of best instances."""
    if isinstance(value, float | np.floating) and math.isnan(value):
        return "–"
    if isinstance(value, float | np.floating):
        return number(float(value))
    return f"{value:,}" if isinstance(value, int | np.integer) else shortened(_text(value))


def _text(value: Any) -> str:
    """A value as configurations have it."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return str(value)
