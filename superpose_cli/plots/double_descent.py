"""`double_descent`: test and training loss over the rows T of the data set, and the features in the plane."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from superpose_cli.plots.cells import Coordinate, coordinates, evenly, lines_over
from superpose_cli.plots.curves import line_colours, set_horizontal
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.stored import best_cells, best_weights, refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, counted, number, sentence, shown_restart
from superpose_cli.results.best import data_points
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import canonical

F64 = npt.NDArray[np.float64]

MOST_LINES = 8
MOST_PLANES = 8
PENTAGON = 5
"""T at which the note shows the data points as a pentagon."""
MOST_POINTS = 200
"""Data points that are drawn, the first of the table."""
MOST_LINES_TO_POINTS = 30
"""Of so many data points each is joined to the origin."""


@dataclass(frozen=True, kw_only=True)
class DoubleDescent:
    """What `double_descent` draws."""

    x: Coordinate
    labels: tuple[str, ...]
    """One per line; ('',) where there is one."""
    test: F64
    """(lines, T, seeds): test loss over that of the output 0; NaN where not stored."""
    train: F64
    """Likewise, on the table."""
    planes: tuple[F64, ...]
    """W (n, 2) at some of the T, turned alike; empty without a line of m = 2."""
    points: tuple[F64, ...]
    """h (rows, 2) of data points of each of these, turned as they are; empty where no table is known."""
    plane_texts: tuple[str, ...]
    n_seeds: int
    note: str
    restarts: int


def select(run: Run) -> DoubleDescent:
    """The best restart of each cell, by the objective; RunError without an axis over the rows of a table."""
    axes = coordinates(run)
    names = [axis.name for axis in axes]
    if "n_rows" not in names:
        refuse("double_descent", run, "it has no axis data.n_rows", "sweep experiment=double_descent_reduced")
    (x, *_), cells, labels = lines_over(axes, "n_rows", *(["seed"] if "seed" in names else []))
    cells = cells.reshape(len(labels), len(x), -1)
    shown = evenly(len(cells), MOST_LINES)
    cells = cells[shown]
    best = best_cells(run, ["loss", "train_loss", "unit_norm", "n_features", "n_hidden", "loss_ratio"])
    unit = best["n_features"] if (best["unit_norm"] == True).all() else best["loss_ratio"] / best["loss"]  # noqa: E712
    test, train = np.full((2, run.n_cells), np.nan)
    test[best["cell"]], train[best["cell"]] = best["loss"] * unit, best["train_loss"] * unit
    planar = set(best["cell"][best["n_hidden"] == 2].tolist())
    first = next((k for k, row in enumerate(cells[:, :, 0].tolist()) if planar.issuperset(row)), None)
    at = planes_at(x.positions, _mean(test[cells[first]])) if first is not None else []
    some = cells[first, at, 0].tolist() if first is not None else []
    weights = best_weights(run, np.array(some, dtype=np.int64)) if some else {}
    tables = data_points(run, np.array(some, dtype=np.int64), MOST_POINTS) if some else {}
    planes, points = [], []
    for cell in some:
        W = weights[cell].W.astype(np.float64)
        turn = pose(W)
        planes.append(W @ turn if turn.any() else np.empty((0, 2)))
        points.append(tables[cell] @ W @ turn if cell in tables and turn.any() else np.empty((0, 2)))
    return DoubleDescent(
        x=x,
        labels=tuple(labels[i] for i in shown),
        test=test[cells],
        train=train[cells],
        planes=tuple(planes),
        points=tuple(points),
        plane_texts=tuple(x.texts[i] for i in at),
        n_seeds=cells.shape[2],
        note=f"{len(shown)} of {counted(len(labels), 'line')} shown" if len(shown) < len(labels) else "",
        restarts=run.restarts,
    )


def planes_at(rows: F64, test: F64) -> list[int]:
    """Which of the T = `rows`, ascending, are shown in the plane.

    Evenly spaced, with the ends, the worst test loss and the pentagon of data points among them.
    """
    chosen = evenly(len(rows), MOST_PLANES).tolist()
    wanted = [
        *np.flatnonzero(rows == PENTAGON),
        *np.flatnonzero(test == np.nanmax(test, initial=-np.inf))[:1],
    ]
    for index in map(int, wanted):
        inner = [i for i in chosen[1:-1] if i not in wanted]
        if index not in chosen and inner:
            chosen[chosen.index(min(inner, key=lambda i: abs(i - index)))] = index
    return sorted(chosen)


def pose(W: F64) -> F64:
    """(2, 2): the rotation, with a reflection or not, that takes W (n, 2) to its `canonical` pose.

    0 where W is not finite.
    """
    if not np.isfinite(W).all():
        return np.zeros((2, 2))
    left, _, right = np.linalg.svd(W.T @ canonical(W))
    return left @ right


def draw(data: DoubleDescent, style: Style, title: str) -> Figure:
    """Losses over T above, the rows of W at some T below."""
    rows = bool(data.planes) + any(map(len, data.points))
    height = style.single * (0.8 + 0.29 * rows)
    figure = style.figure(style.double, height, title)
    if rows:
        parts: Any = figure.subfigures(2, 1, height_ratios=[2.6, rows])
        upper, lower = parts
        _planes(data, lower.subplots(rows, len(data.planes), squeeze=False), style)
    else:
        upper = figure
    left, right = upper.subplots(1, 2)
    for values, label, colour in zip(
        data.test, data.labels, line_colours(len(data.labels), style), strict=True
    ):
        mean = _mean(values)
        left.plot(data.x.positions, mean, "o-", color=colour, ms=2.4 * style.line, label=label, zorder=3)
        if data.n_seeds > 1:
            left.fill_between(data.x.positions, *_extent(values), color=colour, alpha=0.15, lw=0)
    for values, colour in zip(data.train, line_colours(len(data.labels), style), strict=True):
        right.plot(data.x.positions, _mean(values), "o-", color=colour, ms=2.4 * style.line)
    left.axhline(1, color=style.muted, lw=0.6 * style.line, ls=(0, (4, 3)), zorder=1)
    left.set_title("test", fontsize=style.text)
    right.set_title("training", fontsize=style.text)
    left.set_ylabel("loss ÷ loss of the output 0")
    for ax in (left, right):
        ax.grid(axis="y")
        set_horizontal(ax, data.x)
    right.set_ylim(0, None)
    if len(data.labels) > 1:
        handles, labels = left.get_legend_handles_labels()
        upper.legend(handles, labels, loc="outside upper left", ncols=4)
    write_note(figure, data.note, style)
    return figure


def _planes(data: DoubleDescent, axes: npt.NDArray[Any], style: Style) -> None:
    """Features, and below them the data points, each panel on a scale of its own."""
    names = ("features", "data points")
    for row, name, places in zip(axes, names, (data.planes, data.points), strict=False):
        for ax, W in zip(row, places, strict=True):
            reach = max(1e-9, np.linalg.norm(W, axis=1).max(initial=0)) * 1.1
            ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
            ax.spines[:].set_visible(False)
            for line in (ax.axhline, ax.axvline):
                line(0, color=style.faint, lw=0.6 * style.line, zorder=0)
            if name == "features":
                long = np.square(W).sum(axis=1) > 0.25
                for mask, colour in ((~long, style.muted), (long, style.superposed)):
                    ax.plot(*W[mask].T, "o", ms=1.5 * style.line, mew=0, color=colour, alpha=0.7, zorder=3,
                            rasterized=True)  # fmt: skip
            else:
                for x, y in W if len(W) <= MOST_LINES_TO_POINTS else ():
                    ax.plot([0, x], [0, y], color=style.dedicated, lw=0.7 * style.line)
                ax.plot(*W.T, "o", ms=2.0 * style.line, mew=0, color=style.dedicated, alpha=0.8, zorder=3)
        row[0].set_ylabel(name, fontsize=style.small)
    kinds = (("o", style.superposed, "feature, ‖W$_i$‖² > 0.25"), ("o", style.muted, "other feature"),
             ("o", style.dedicated, "data point"))[: 2 + (len(axes) > 1)]  # fmt: skip
    handles = [Line2D([], [], ls="", marker=mark, color=colour, label=name) for mark, colour, name in kinds]
    axes[0, 0].get_figure().legend(handles=handles, loc="outside lower right", ncols=len(handles))
    for ax, text in zip(axes[0], data.plane_texts, strict=True):
        ax.set_title(text, fontsize=style.small, pad=2)


def _extent(values: F64) -> tuple[F64, F64]:
    """(T,) and (T,): the least and the largest of the seeds that are stored; NaN where none is."""
    there = np.isfinite(values)
    low, high = np.where(there, values, np.inf).min(axis=1), np.where(there, values, -np.inf).max(axis=1)
    none = ~there.any(axis=1)
    return np.where(none, np.nan, low), np.where(none, np.nan, high)


def _mean(values: F64) -> F64:
    """(T,): over the seeds that are stored."""
    there = np.isfinite(values)
    total = np.where(there, values, 0).sum(axis=1)
    return np.divide(total, there.sum(axis=1), out=np.full(len(total), np.nan), where=there.any(axis=1))


def words(data: DoubleDescent) -> Words:
    """Where the test loss is worst, and whether it comes back."""
    told = [_tell(data.x, label, _mean(test)) for label, test in zip(data.labels, data.test, strict=True)]
    averaged = f", averaged over {counted(data.n_seeds, 'data set')}" if data.n_seeds > 1 else ""
    peaks = [float(np.nanmax(_mean(test))) for test in data.test if np.isfinite(test).any()]
    return Words(
        title=f"Test loss over the data set's size: at worst {number(max(peaks))} times that of the output 0",
        paragraphs=(
            f"{shown_restart(data.restarts)} Losses are over that of the output 0{averaged}. "
            + " ".join(told),
        ),
        reading=(
            "Left: the loss on fresh rows, right on the table that was trained on, over its number of "
            "rows T; bands span the data sets. Above the dashed line a model does worse than the output 0."
            + (
                " Below: the rows W_i of a model with m = 2 at some T (grey: ‖W_i‖² ≤ 0.25): many "
                "directions while data points are memorised, a few long ones once features are."
                if data.planes
                else ""
            )
            + (
                f" Below them: the hidden vectors of its data points (the first {MOST_POINTS} of more): a "
                "polygon while they are few. Each panel has a scale of its own."
                if any(map(len, data.points))
                else ""
            )
        ),
        source=(
            "“Superposition, Memorization, and Double Descent” (2023): test loss over the data set's "
            "size, with features and data points in the plane."
        ),
    )


def _tell(x: Coordinate, label: str, mean: F64) -> str:
    there = np.flatnonzero(np.isfinite(mean))
    head = f"{sentence(label)}: " if label else ""
    if not len(there):
        return f"{head}{'nothing' if head else 'Nothing'} is stored."
    worst, last = there[int(mean[there].argmax())], there[-1]
    text = (
        f"{head}{'the' if head else 'The'} test loss is worst, {number(float(mean[worst]))}, "
        f"at {x.inline[worst]}"
    )
    if worst == last:
        return f"{text}, the largest data set."
    return f"{text}, and {number(float(mean[last]))} at {x.inline[last]}."
