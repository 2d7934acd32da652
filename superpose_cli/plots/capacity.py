"""`capacity`: the last feature's share of a dimension, and that of all together, over its importance.

Capacity is D_i (Scherlis et al. 2022, "Polysemanticity and Capacity in Neural Networks").
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from superpose_cli.plots.cells import Coordinate, coordinates, evenly, lines_over
from superpose_cli.plots.curves import line_colours, set_horizontal
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.stored import best_cells, best_features, refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, counted, listed, number, sentence, shown_restart, span
from superpose_cli.results.run import Run
from superpose_cli.toy_model.metrics import represented

F64 = npt.NDArray[np.float64]

MOST_LINES = 8


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What `capacity` draws; NaN where a cell is not stored or diverged."""

    x: Coordinate
    """The importance of the last feature."""
    labels: tuple[str, ...]
    """One per line, a density each; ('',) where there is one."""
    last: F64
    """(lines, x): D_i of the last feature, 0 where it is not represented."""
    total: F64
    """(lines, x): the sum of D_i over all features, represented or not."""
    represented: F64
    """(lines, x): over those that are represented."""
    n_hidden: tuple[int, ...]
    note: str
    restarts: int


def select(run: Run) -> Capacity:
    """The best restart of each cell; RunError without an axis over the last feature's importance."""
    axes = coordinates(run)
    if "last_importance" not in [axis.name for axis in axes]:
        refuse("capacity", run, "it has no axis importance.last_importance", "sweep experiment=capacity")
    (x,), cells, labels = lines_over(axes, "last_importance")
    shown = evenly(len(cells), MOST_LINES)
    best = best_cells(run, ["status", "n_hidden"])
    rows = best_features(run, ["norm", "dimensionality"])
    share = np.where(represented(rows["norm"]), rows["dimensionality"], 0.0)
    last, total, seen = np.full((3, run.n_cells), np.nan)
    last[rows["cell"]] = share  # the rows of a cell ascend by feature: the last one stays
    for values, own in ((total, rows["dimensionality"]), (seen, share)):
        values[best["cell"]] = np.bincount(rows["cell"], own, run.n_cells)[best["cell"]]
    for values in (last, total, seen):
        values[best["cell"][best["status"] == "diverged"]] = np.nan
    return Capacity(
        x=x,
        labels=tuple(labels[i] for i in shown),
        last=last[cells[shown]],
        total=total[cells[shown]],
        represented=seen[cells[shown]],
        n_hidden=tuple(np.unique(best["n_hidden"]).tolist()),
        note=f"{len(shown)} of {counted(len(labels), 'line')} shown" if len(shown) < len(labels) else "",
        restarts=run.restarts,
    )


def draw(data: Capacity, style: Style, title: str) -> Figure:
    """The last feature's capacity at the left, the sum of all at the right, a line for each density."""
    figure = style.figure(style.double, style.single * 0.72, title)
    left, right = figure.subplots(1, 2)
    for ax, values, look in (
        (left, data.last, "o-"), (right, data.total, "o-"), (right, data.represented, "x:")
    ):  # fmt: skip
        for row, label, colour in zip(
            values, data.labels, line_colours(len(data.labels), style), strict=True
        ):
            ax.plot(data.x.positions, row, look, ms=2.4 * style.line, color=colour, label=label, zorder=3)
    kinds = (("o-", "all features"), ("x:", "represented ones"))
    handles = [Line2D([], [], marker=mark, ls=ls, color=style.ink, ms=2.4 * style.line, label=name)
               for (mark, ls), name in kinds]  # fmt: skip
    right.legend(handles=handles, loc="lower left")
    for ax in (left, right):
        ax.grid(axis="y")
        set_horizontal(ax, data.x)
    left.set(ylabel="capacity $D_i$ of the last feature", ylim=(-0.03, 1.05))
    right.set(ylabel=r"capacity of all together, $\Sigma_i\,D_i$", ylim=(0, 1.08 * max(data.n_hidden)))
    for m in data.n_hidden:
        right.axhline(m, color=style.muted, lw=0.6 * style.line, ls=(0, (4, 3)), zorder=1)
    if data.x.log and data.x.positions[0] < 1 < data.x.positions[-1]:
        left.axvline(1, color=style.muted, lw=0.6 * style.line, ls=(0, (4, 3)), zorder=1)
    if len(data.labels) > 1:
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    write_note(figure, data.note, style)
    return figure


def words(data: Capacity) -> Words:
    """From which importance the last feature has a share, and one to itself."""
    told = [_tell(data, i) for i in range(len(data.labels))]
    return Words(
        title="Capacity of the last feature over its importance",
        paragraphs=(f"{shown_restart(data.restarts)} {' '.join(told)}",),
        reading=(
            "A feature's capacity is its share of a dimension D_i, 0 where it is not represented "
            "(‖W_i‖² ≤ 0.25). Left: that of the last feature, over its importance r relative to the others' "
            "(dashed: as important as they are). Right: the sum of D_i over all features, which is at "
            f"most the number of hidden dimensions, m = {listed([str(m) for m in data.n_hidden])} (dashed); "
            "crosses: over the represented ones alone, less what short rows have."
        ),
        source=(
            "Scherlis et al. 2022, “Polysemanticity and Capacity in Neural Networks”: capacity goes to the "
            "feature whose next share of it lowers the loss most."
        ),
    )


def _tell(data: Capacity, line: int) -> str:
    """One density: where the last feature's capacity begins and ends, and what all have."""
    own, total, label = data.last[line], data.total[line], data.labels[line]
    there = np.flatnonzero(np.isfinite(own))
    head = f"{sentence(label)}: " if label else ""
    if not len(there):
        return f"{head}nothing is stored."
    first, end = there[0], there[-1]
    text = (
        f"{head}D_i goes from {number(float(own[first]))} at {data.x.inline[first]} to "
        f"{number(float(own[end]))} at {data.x.inline[end]}"
    )
    low = np.flatnonzero(own[there] < 0.9)
    alone = there[low[-1] + 1 :] if len(low) else there
    if 0 < len(alone) < len(there):
        text += f", 0.9 and more from {data.x.inline[alone[0]]} on"
    seen = span(data.represented[line][there])
    less = f", the represented ones {seen}" if seen != span(total[there]) else ""
    return sentence(f"{text}; all features together have {span(total[there])}{less}.")
