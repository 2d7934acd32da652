"""From a run's grid to what a figure lays out: labelled axes, panels, and lines over one axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from superpose_cli.plots.words import counted, number
from superpose_cli.results.manifest import RunAxis
from superpose_cli.results.run import Run

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

MOST_PANELS = 40
MOST_COLUMNS = 8
DENSITY = "1/(1−S)"
UNSET = "no "
"""How the text of an unset value begins."""

_LABELS = {
    "feature_probability": ("feature probabilities", "p"),
    "last_probability": ("probability p of the last feature", "last p"),
    "last_importance": ("relative importance r of the last feature", "r"),
    "n_features": ("features n", "n"),
    "n_hidden": ("hidden dimensions m", "m"),
    "hidden_l1": ("weight λ of the L1 penalty", "λ"),
    "n_rows": ("rows T of the data set", "T"),
    "k": ("features on in each row, k", "k"),
    "steps": ("training steps", "steps"),
    "n_batch": ("rows a step", "batch"),
}
_NAMES = {"relu_output": "ReLU output", "relu_hidden": "ReLU hidden", "xavier_normal": "Xavier normal"}


@dataclass(frozen=True, kw_only=True)
class Coordinate:
    """One axis of a run as figures show it."""

    name: str
    """The leaf of its (first) key."""
    label: str
    """Axis label."""
    positions: F64
    """Shown numbers: 1/p for the feature probability, else the values; 0, 1, 2, ... for names."""
    texts: tuple[str, ...]
    """Each value as a panel's title says it, on one line or more."""
    log: bool
    named: bool
    """Whether the values are names, which have no scale."""

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: I64) -> "Coordinate":
        return replace(self, positions=self.positions[index], texts=tuple(self.texts[i] for i in index))

    @property
    def is_density(self) -> bool:
        """Whether the axis is 1/(1-S)."""
        return self.name == "feature_probability" and not self.named

    @property
    def inline(self) -> tuple[str, ...]:
        """Each value as a sentence says it."""
        return tuple(text.replace("\n", ", ") for text in self.texts)


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Cells as lines over one axis, one line for each combination of the other axes."""

    x: Coordinate
    cells: I64
    """(lines, len(x)); -1: not stored (yet)."""
    labels: tuple[str, ...]
    """One per line; ('',) where there is one line."""
    shape: tuple[int, ...]
    """Values of each of the other axes; (1,) without one. Their product is the number of lines before any are
    left out."""
    note: str
    """What is not shown, or ''."""


@dataclass(frozen=True, kw_only=True)
class Panels:
    """Cells laid out in rows and columns of small figures."""

    cells: I64
    """(rows, columns); -1: blank."""
    titles: tuple[str, ...]
    """One per panel, row by row; '' where the panel above has it."""
    row_labels: tuple[str, ...]
    places: dict[int, str]
    """Each shown cell's place along its row as a sentence names it, in the order shown."""
    ordered: bool
    """Whether neighbours in a row are neighbours on an axis with a scale."""
    note: str
    """What is not shown, or ''."""

    @property
    def shown(self) -> I64:
        """Cell numbers, row by row, without blanks."""
        return self.cells[self.cells >= 0]

    @property
    def named(self) -> list[str]:
        """Each shown cell's place with its row's, as a sentence names it."""
        heads = [self.row_labels[row] for row in (self.cells >= 0).nonzero()[0]]
        return [", ".join(filter(None, pair)) for pair in zip(heads, self.places.values(), strict=True)]


def density_coordinate(probability: F64) -> Coordinate:
    """The axis of p = 1 - S, shown as 1/(1-S) on a log scale."""
    return Coordinate(
        name="feature_probability",
        label=f"sparsity {DENSITY}",
        positions=1 / probability,
        texts=tuple(f"{DENSITY} = {number(1 / p)}\np = {number(p)}" for p in probability),
        log=True,
        named=False,
    )


def coordinates(run: Run) -> tuple[Coordinate, ...]:
    """The axes with more than one value, the slowest first."""
    axes = [axis for axis in run.axes if len(axis.values) > 1]
    return tuple(
        _starts(run, axis) if axis.keys == ("init",) else _coordinate(axis.keys, axis.values) for axis in axes
    )


def _starts(run: Run, axis: RunAxis) -> Coordinate:
    """Kinds of initialisation, which are said to be that, with their standard deviation where it is set."""
    plain = _coordinate(axis.keys, axis.values)
    rows = run.instances([*axis.columns, "init_std"])
    texts = []
    for (value,), text in zip(axis.values, plain.texts, strict=True):
        stds = np.unique(rows["init_std"].to_numpy(np.float64)[rows[axis.columns[0]] == value])
        known = len(stds) == 1 and np.isfinite(stds[0])
        texts.append(f"{text} start" + (f"\nstd = {number(float(stds[0]))}" if known else ""))
    return replace(plain, texts=tuple(texts))


def _coordinate(keys: Sequence[str], values: Sequence[tuple[Any, ...]]) -> Coordinate:
    """Keys that advance together share an axis; the density gives its scale if it is among them."""
    names = [key.rsplit(".", 1)[-1] for key in keys]
    columns = [_column(name, column) for name, column in zip(names, zip(*values, strict=True), strict=True)]
    columns.sort(key=lambda column: not column.is_density)
    if len(columns) == 1:
        return columns[0]
    # What some values of the axis leave unset is not named there: anticorrelated data has no `correlation`,
    # which does not make it uncorrelated.
    rows = zip(*(column.texts for column in columns), strict=True)
    texts = tuple("\n".join(text for text in row if not text.startswith(UNSET)) for row in rows)
    shared = replace(columns[0], texts=texts)
    if len(np.unique(shared.positions)) == len(shared):
        return shared
    # What is told apart by the other keys has no place of its own on this one's scale.
    return replace(
        shared, label="", positions=np.arange(len(shared), dtype=np.float64), log=False, named=True
    )


def _column(name: str, values: Sequence[Any]) -> Coordinate:
    named = any(isinstance(value, bool) or not isinstance(value, int | float) for value in values)
    if name == "feature_probability" and not named:
        return density_coordinate(np.array(values, dtype=np.float64))
    label, symbol = _LABELS.get(name, (name.replace("_", " "),) * 2)
    numbers = np.arange(len(values)) if named else np.array(values, dtype=np.float64)
    return Coordinate(
        name=name,
        label=label,
        positions=numbers.astype(np.float64),
        texts=tuple(_text(symbol, value) for value in values),
        log=not named and bool(numbers.min() > 0 and numbers.max() / numbers.min() >= 20),
        named=named,
    )


def _text(symbol: str, value: Any) -> str:
    if isinstance(value, str) and value.startswith("["):
        return f"{symbol} = {value.replace(',', ', ')}"
    if isinstance(value, str):
        return _NAMES.get(value, value.replace("_", " "))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{symbol} = {number(value)}"
    if value is None:
        return f"{UNSET}{symbol}"
    return f"{symbol} = {value}".replace("-", "−")


def only_cell(run: Run) -> Coordinate:
    """A run of one cell: its density as an axis with one value, or else an axis without a scale."""
    probability = run.best(columns=["feature_probability"])["feature_probability"].to_numpy(dtype=np.float64)
    if np.isfinite(probability[0]):
        return density_coordinate(probability[:1])
    return Coordinate(name="cell", label="", positions=np.zeros(1), texts=(run.name,), log=False, named=True)


def lines_over(
    axes: Sequence[Coordinate], *inner: str
) -> tuple[tuple[Coordinate, ...], I64, tuple[str, ...]]:
    """The axes called `inner`, the first one ascending, and the cells over them, (lines, len(inner[0]), ...).

    A line for each combination of the other axes, the slowest first, with its label ('' without others).
    """
    names = [axis.name for axis in axes]
    within = [names.index(name) for name in inner]
    others = [k for k in range(len(axes)) if k not in within]
    cells = np.arange(math.prod(map(len, axes))).reshape([len(axis) for axis in axes])
    cells = np.transpose(cells, [*others, *within]).reshape(-1, *(len(axes[k]) for k in within))
    first = axes[within[0]]
    order = np.argsort(first.positions, kind="stable")
    labels = tuple(", ".join(texts) for texts in product(*(axes[k].inline for k in others)))
    return (first[order], *(axes[k] for k in within[1:])), cells[:, order], labels


def evenly(count: int, most: int) -> I64:
    """At most `most` of the indices 0..count-1, evenly spaced, both ends kept."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def over_one_axis(run: Run, most_lines: int | None = None, most_cells: int | None = None) -> Lines:
    """Lines over the density (else the last axis with a scale, else the last), positions ascending.

    More than `most_lines` lines, or than `most_cells` cells in all, are thinned evenly, and the note says so.
    """
    axes = coordinates(run) or (only_cell(run),)
    scaled = [k for k, axis in enumerate(axes) if not axis.named]
    dense = [k for k in scaled if axes[k].is_density]
    across = (dense or scaled or [len(axes) - 1])[-1]
    others = axes[:across] + axes[across + 1 :]
    (x,), cells, labels = lines_over(axes, axes[across].name)
    missing = ~np.isin(cells, run.best(columns=["cell"])["cell"].to_numpy())
    down = evenly(len(cells), most_lines or len(cells))
    along = evenly(len(x), max(2, most_cells // len(down)) if most_cells else len(x))
    shown = np.where(missing, -1, cells)[np.ix_(down, along)]
    return Lines(
        x=x[along],
        cells=shown,
        labels=tuple(labels[i] for i in down),
        shape=tuple(len(axis) for axis in others) or (1,),
        note=_note(shown.size, cells.size, "cell", int(missing.sum())),
    )


def around(count: int, most: int, peak: int) -> I64:
    """`evenly`, with the inner index nearest to `peak` moved to it; most >= 3."""
    chosen = evenly(count, most)
    if peak not in chosen:
        chosen[1 + np.abs(chosen[1:-1] - peak).argmin()] = peak
    return chosen


def panels(run: Run, only: npt.NDArray[np.int64] | None = None) -> Panels:
    """A panel for each cell, or each of `only`: one axis wraps; of several, `over_one_axis` makes rows and
    columns.

    More than 40 cells are thinned evenly along rows and columns, and the note says so.
    """
    lines = over_one_axis(run)
    numbers = lines.cells if only is None else np.where(np.isin(lines.cells, only), lines.cells, -1)
    kept = [np.arange(size) for size in numbers.shape]
    if only is not None:
        kept = [np.flatnonzero((numbers >= 0).any(axis=axis)) for axis in (1, 0)]
    if len(lines.cells) == 1:
        chosen = kept[1][evenly(len(kept[1]), MOST_PANELS)]
        rows = -(-len(chosen) // MOST_COLUMNS)
        columns = -(-len(chosen) // rows)
        blank = rows * columns - len(chosen)
        cells = np.append(numbers[0, chosen], np.full(blank, -1)).reshape(rows, columns)
        titles = tuple(lines.x.texts[i] for i in chosen) + ("",) * blank
        row_labels = ("",) * rows
        places = {int(numbers[0, i]): lines.x.inline[i] for i in chosen}
    else:
        across = kept[1][evenly(len(kept[1]), MOST_COLUMNS)]
        down = kept[0][evenly(len(kept[0]), MOST_PANELS // len(across))]
        cells = numbers[np.ix_(down, across)]
        titles = tuple(lines.x.texts[i] for i in across) + ("",) * (cells.size - len(across))
        row_labels = tuple(lines.labels[i] for i in down)
        places = {int(numbers[r, c]): lines.x.inline[c] for r, c in product(down, across)}
    places.pop(-1, None)
    return Panels(
        cells=cells,
        titles=titles,
        row_labels=row_labels,
        places=places,
        ordered=not lines.x.named,
        note=_note(len(places), int((numbers >= 0).sum()), "cell", int((lines.cells < 0).sum())),
    )


def _note(shown: int, there: int, noun: str, missing: int) -> str:
    thinned = "" if shown == there else f"{shown} of {counted(there, noun)} shown, evenly spaced"
    gone = f"{counted(missing, 'cell')} not trained yet" if missing else ""
    return "; ".join(filter(None, (thinned, gone)))
