"""`branches`: the losses of the classes of solutions that compete, over the density, and where they cross."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from superpose_cli.plots.cells import Coordinate, coordinates, evenly, lines_over
from superpose_cli.plots.curves import set_horizontal
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.stored import refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, counted, listed, note_sentence, number, sentence, share
from superpose_cli.results.run import Run
from superpose_cli.toy_model.branches import Branch, crossing, fates, pentagon_or_digons

F64 = npt.NDArray[np.float64]

MOST_PANELS = 6
COLUMNS = 3
NAMES = {
    "pentagon": "pentagon of all five",
    "digons": "two digons, the last feature ignored",
    "ignored": "the last feature ignored",
    "dedicated": "the last feature dedicated, another ignored",
    "superposed": "the last feature and another in superposition",
    "others_superposed": "the last feature dedicated, two others in superposition",
}
ROOM = 0.3
"""Of a panel's width: what a density written beside its crossing takes."""
SHAPES, FATES = ("digons", "pentagon"), ("ignored", "dedicated", "superposed", "others_superposed")


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Where two classes cost the same, and no other costs less."""

    below: str
    """The class that is cheaper at lower densities."""
    above: str
    at: float
    """The density."""
    ratio: float
    """Loss over that of the best constant output."""
    slopes: tuple[float, float]
    """d ln loss / d ln density of both."""
    ends: dict[str, tuple[float, float]]
    """Of both: density and ratio of the last stored point where it is cheaper; what follows is fitted."""


@dataclass(frozen=True, kw_only=True)
class Branches:
    """What `branches` draws: a panel for each combination of the other axes."""

    x: Coordinate
    """The density, or the last feature's."""
    labels: tuple[str, ...]
    """One per panel; ('',) where there is one."""
    classes: tuple[str, ...]
    """Those that some restart is in; keys of `NAMES`."""
    ratio: F64
    """(panels, classes, x): lowest loss of the class's restarts over that of the best constant output; NaN
    where there are none."""
    meetings: tuple[tuple[Meeting, ...], ...]
    """Per panel, ascending by density."""
    others: float
    """The probability that all but the last feature share, where x is the last feature's; else NaN."""
    several: tuple[int, int]
    """Shown cells whose restarts are in more than one class, of how many."""
    unnamed: tuple[int, int]
    """Restarts in no class, of how many."""
    note: str


def select(run: Run) -> Branches:
    """All restarts; RunError unless it is known which solutions of the run's models compete."""
    if run.restarts < 2:
        refuse("branches", run, "each cell was trained once", "train with restarts=8 or more")
    axes = coordinates(run)
    rows = run.instances(["cell", "status", "n_features", "n_hidden", "loss", "loss_ratio"])
    usable = (rows["status"] != "diverged").to_numpy()
    rows = rows.loc[usable]
    shapes = set(zip(rows["n_features"].tolist(), rows["n_hidden"].tolist(), strict=True))
    density, found = _classes(run, [axis.name for axis in axes], shapes)
    (x,), cells, labels = lines_over(axes, density)
    shown = evenly(len(cells), MOST_PANELS)
    cells, found = cells[shown], found[usable]
    cell, loss = rows["cell"].to_numpy(), rows["loss"].to_numpy(np.float64)
    there = tuple(name for name in (*SHAPES, *FATES) if (found[np.isin(cell, cells)] == name).any())
    lowest, unit = np.full((run.n_cells, len(there)), np.inf), np.full(run.n_cells, np.nan)
    unit[cell] = loss / rows["loss_ratio"].to_numpy(np.float64)
    for k, name in enumerate(there):
        np.minimum.at(lowest[:, k], cell[found == name], loss[found == name])
    p = 1 / x.positions if x.is_density else x.positions
    each = np.where(np.isfinite(lowest), lowest, np.nan)[cells]
    others = run.features(["feature", "feature_probability"])
    others = np.unique(others["feature_probability"][others["feature"] == 0])
    return Branches(
        x=x,
        labels=tuple(labels[i] for i in shown),
        classes=there,
        ratio=np.moveaxis(each / unit[cells][..., None], 1, 2),
        meetings=tuple(
            meetings(p, dict(zip(there, own.T, strict=True)), units)
            for own, units in zip(each, unit[cells], strict=True)
        ),
        others=float(others[0]) if not x.is_density and len(others) == 1 else np.nan,
        several=(int((np.isfinite(each).sum(axis=2) > 1).sum()), cells.size),
        unnamed=(int((found == "").sum()), len(found)),
        note=f"{len(shown)} of {counted(len(labels), 'panel')} shown, evenly spaced"
        if len(shown) < len(labels)
        else "",
    )


def _classes(run: Run, axes: Sequence[str], shapes: set[tuple[int, int]]) -> tuple[str, npt.NDArray[np.str_]]:
    """The name of the density's axis, and the class of every stored instance, '' for none."""
    if shapes == {(5, 2)} and "last_probability" in axes:
        (block,) = run.weights(best=False)
        return "last_probability", np.array([pentagon_or_digons(W) for W in block.W])
    if {"feature_probability", "last_importance"} <= set(axes) and len(shapes) == 1:
        ((n, m),) = shapes
        if n == m + 1:
            columns = run.features(["regime", "norm", "row_sum"])
            return "feature_probability", fates(
                *(columns[name].to_numpy().reshape(-1, n) for name in columns)
            )
    refuse(
        "branches",
        run,
        "competing solutions are known for five features in the plane over data.last_probability, and for "
        "n = m + 1 over data.feature_probability and importance.last_importance",
        "sweep experiment=perturbed_pentagon or phase_2_in_1",
    )


def meetings(p: F64, losses: dict[str, F64], unit: F64) -> tuple[Meeting, ...]:
    """Where the cheapest of some classes changes: p, each of `losses` and unit (k,), NaN where not stored.

    Both are stored at one at least of the two densities around it.
    """
    order = np.argsort(p)
    p, unit = p[order], unit[order]
    branches = {}
    for name, loss in losses.items():
        there = np.isfinite(loss[order])
        branches[name] = Branch(p[there], loss[order][there], unit[there])
    found = []
    for below, above in permutations(branches, 2):
        cross = crossing(branches[below], branches[above])
        rest = [branch for name, branch in branches.items() if name not in (below, above)]
        if cross is None or any(_ratio(branch, cross.at) < cross.ratio for branch in rest):
            continue
        above_it = np.searchsorted(p, cross.at)
        if all(np.isin(p[above_it - 1 : above_it + 1], branches[k].density).any() for k in (below, above)):
            first = branches[below].density.searchsorted(cross.at) - 1
            second = branches[above].density.searchsorted(cross.at)
            ends = {
                name: (float(branches[name].density[i]), float(branches[name].ratio[i]))
                for name, i in ((below, first), (above, second))
            }
            slopes = (cross.slope, cross.other_slope)
            found.append(
                Meeting(below=below, above=above, at=cross.at, ratio=cross.ratio, slopes=slopes, ends=ends)
            )
    return tuple(sorted(found, key=lambda meeting: meeting.at))


def _ratio(branch: Branch, density: float) -> float:
    """The branch's loss ratio between its stored densities; infinite outside of them."""
    if not len(branch.density):
        return np.inf
    x, y = np.log(branch.density), np.log(branch.ratio)
    return float(np.exp(np.interp(np.log(density), x, y, left=np.inf, right=np.inf)))


def draw(data: Branches, style: Style, title: str) -> Figure:
    """A line for each class, a ring where the cheapest changes."""
    count = len(data.labels)
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    width = style.single * 1.25 if count == 1 else style.double
    figure = style.figure(width, style.single * (0.8 if count == 1 else 0.2 + 0.58 * rows), title)
    grid: Any = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for ax in grid.ravel()[count:]:
        ax.set_axis_off()
    colours = _colours(style)
    for ax, label, ratio, found in zip(grid.ravel(), data.labels, data.ratio, data.meetings, strict=False):
        for name, line in zip(data.classes, ratio, strict=True):
            ax.plot(data.x.positions, line, "o-", ms=2.2 * style.line, color=colours[name], zorder=3)
        for meeting in found:
            _mark(ax, data, meeting, colours, style)
        ax.set_title(label, fontsize=style.text)
        ax.grid(axis="y")
        set_horizontal(ax, data.x)
        ax.label_outer()
    grid[0, 0].set_ylim(0, None)
    if rows > 1:
        figure.supylabel("loss ÷ that of the best constant", fontsize=style.text)
    else:
        grid[0, 0].set_ylabel("loss ÷ that of the best constant")
    handles = [Line2D([], [], color=colours[name], marker="o", ms=2.2 * style.line, label=NAMES[name])
               for name in data.classes]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower right", ncols=1 if count == 1 else 2)
    write_note(figure, data.note, style)
    return figure


def _colours(style: Style) -> dict[str, str]:
    """By what becomes of the last feature."""
    return {
        **dict.fromkeys(("digons", "ignored"), style.muted),
        **dict.fromkeys(("pentagon", "superposed"), style.superposed),
        "dedicated": style.dedicated,
        "others_superposed": style.between,
    }


def _mark(ax: Axes, data: Branches, meeting: Meeting, colours: dict[str, str], style: Style) -> None:
    x = 1 / meeting.at if data.x.is_density else meeting.at
    for name, (density, ratio) in meeting.ends.items():
        end = 1 / density if data.x.is_density else density
        ax.plot([end, x], [ratio, meeting.ratio], color=colours[name], ls=(0, (2, 1.5)), zorder=2)
    ax.plot([x, x], [0, meeting.ratio], color=style.muted, lw=0.6 * style.line, ls=(0, (4, 3)), zorder=1)
    ax.plot(x, meeting.ratio, "o", ms=5.5 * style.line, mfc="none", mec=style.ink, mew=0.8 * style.line,
            zorder=4)  # fmt: skip
    # At the foot, on the side where both lines are higher, while that side has room.
    first, last = data.x.positions.min(), data.x.positions.max()
    before = data.x.is_density and np.log(x / first) > ROOM * np.log(last / first)
    ax.annotate(
        f"p = {number(meeting.at)}", (x, 0), (-3 if before else 3, 3), textcoords="offset points",
        fontsize=style.small, ha="right" if before else "left", zorder=5,
    )  # fmt: skip


def words(data: Branches) -> Words:
    """Where the cheapest class changes, how steeply, and how often both are among the restarts."""
    told = [
        _tell(data, label, found) for label, found in zip(data.labels, data.meetings, strict=True) if found
    ]
    silent = [label for label, found in zip(data.labels, data.meetings, strict=True) if not found]
    if silent:
        where = f" at {listed(silent)}" if any(silent) else ""
        told.append(f"No crossing lies beside stored points of both its classes{where}.")
    return Words(
        title=f"Losses of {counted(len(data.classes), 'class', 'classes')} of solutions and where they cross",
        paragraphs=(
            f"Of each class the restart of lowest loss is shown. {' '.join(told)}",
            f"Restarts of more than one class are stored in {share(*data.several)} of the shown cells; "
            f"{share(*data.unnamed)} of the restarts are in none." + note_sentence(data.note),
        ),
        reading=(
            "A line is the lowest loss of the restarts that end in one class of solutions, over that of the "
            "best constant output, with a dot at each density where one did. Rings: the cheapest class "
            "changes. Its place is found by bisection on fits through the stored points next to it where the "
            "class is the cheaper one (ln L is linear in ln p and in the logarithm of the best constant's "
            "loss), dashed. Beyond it a class may have ceased to exist; a dot that lies off the fit is a "
            "restart that was stuck on its way. Two lines that cross with different slopes make a kink in "
            "the best loss: a change of first order."
        ),
        source=(
            "“Superposition as a Phase Change” and non-uniform superposition in “The Geometry of "
            "Superposition”: loss curves of different solutions that cross."
        ),
    )


def _tell(data: Branches, label: str, found: tuple[Meeting, ...]) -> str:
    head = f"{sentence(label)}: " if label else ""
    parts = []
    for meeting in found:
        place = f"p = {number(meeting.at)}"
        if np.isfinite(data.others):
            place += f", {number(meeting.at / data.others)} times that of the others"
        parts.append(
            f"“{NAMES[meeting.below]}” costs as much as “{NAMES[meeting.above]}” at {place}, and less below; "
            f"the slopes d ln L / d ln p are {number(meeting.slopes[0])} and {number(meeting.slopes[1])}"
        )
    return f"{head}{'; '.join(parts)}."
