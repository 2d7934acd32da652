"""`scaling`: how many features a model holds, over the number of its hidden dimensions."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from superpose_cli.plots.cells import Coordinate, coordinates, evenly, lines_over
from superpose_cli.plots.curves import FEW, line_colours, set_horizontal, set_log_ticks
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.stored import best_cells, refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import (
    Words,
    counted,
    listed,
    note_sentence,
    number,
    sentence,
    shown_restart,
    span,
)
from superpose_cli.results.run import Run

F64 = npt.NDArray[np.float64]

MOST_LINES = 7


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What `scaling` draws; arrays are (lines, x), NaN where a cell is not stored or diverged."""

    x: Coordinate
    """m."""
    labels: tuple[str, ...]
    """One per line; ('',) where there is one."""
    features: F64
    """||W||_F^2, the number of features of norm 1."""
    represented: F64
    n_features: F64
    note: str
    restarts: int

    @property
    def full(self) -> npt.NDArray[np.bool_]:
        """(lines, x): all n features are represented, so that more dimensions could not hold more."""
        return self.represented == self.n_features

    @property
    def slopes(self) -> F64:
        """(lines,): d ln features / d ln m, fitted to each line's points that are not full; NaN of fewer than
        two.
        """
        m, found = np.log(self.x.positions), []
        for row, full in zip(self.features, self.full, strict=True):
            there = np.isfinite(row) & (row > 0) & ~full
            found.append(np.polyfit(m[there], np.log(row[there]), 1)[0] if there.sum() > 1 else np.nan)
        return np.array(found)


def select(run: Run) -> Scaling:
    """The best restart of each cell; RunError without an axis over m."""
    axes = coordinates(run)
    if "n_hidden" not in [axis.name for axis in axes]:
        refuse("scaling", run, "it has no axis model.n_hidden", "sweep experiment=doubling")
    (x,), cells, labels = lines_over(axes, "n_hidden")
    shown = evenly(len(cells), MOST_LINES)
    best = best_cells(run, ["frobenius_norm_sq", "n_represented", "n_features", "status"])
    found = np.full((3, run.n_cells), np.nan)
    for row, name in enumerate(("frobenius_norm_sq", "n_represented", "n_features")):
        found[row, best["cell"]] = np.where(best["status"] == "diverged", np.nan, best[name])
    return Scaling(
        x=replace(x, log=True),
        labels=tuple(labels[i] for i in shown),
        features=found[0][cells[shown]],
        represented=found[1][cells[shown]],
        n_features=found[2][cells[shown]],
        note=f"{len(shown)} of {counted(len(labels), 'line')} shown" if len(shown) < len(labels) else "",
        restarts=run.restarts,
    )


def draw(data: Scaling, style: Style, title: str) -> Figure:
    """Features over m, both logarithmic, with the slope of each line; dashed: one feature a dimension."""
    figure = style.figure(style.single * 1.25, style.single * 0.85, title)
    ax = figure.subplots()
    m = data.x.positions
    for row, seen, full, label, slope, colour in zip(
        data.features, data.represented, data.full, data.labels, data.slopes,
        line_colours(len(data.labels), style), strict=True,
    ):  # fmt: skip
        fitted = f"slope {number(float(slope))}" if np.isfinite(slope) else "no slope"
        ax.plot(m, row, "o-", ms=3 * style.line, color=colour, zorder=3,
                label=", ".join(filter(None, (label, fitted))))  # fmt: skip
        ax.plot(m, np.where(seen > 0, seen, np.nan), "x", ms=3.4 * style.line, color=colour, zorder=4)
        ax.plot(m[full], row[full], "o", ms=3 * style.line, color=colour, mfc=style.background, zorder=3)
    ax.plot(m, m, color=style.muted, lw=0.6 * style.line, ls=(0, (4, 3)), label="one a dimension")
    ax.plot([], [], "x", ms=3.4 * style.line, color=style.ink, label="represented")
    if data.full.any():
        ax.plot([], [], "o", ms=3 * style.line, color=style.ink, mfc=style.background,
                label="all represented: not fitted")  # fmt: skip
    ax.set(yscale="log", ylabel=r"features $\Vert W\Vert_F^2$")
    shown = np.concatenate([data.features.ravel(), data.represented.ravel(), m])
    shown = shown[np.isfinite(shown) & (shown > 0)]
    set_log_ticks(ax.yaxis, float(shown.min()), float(shown.max()))
    set_horizontal(ax, data.x)
    if len(m) <= FEW:
        ax.set_xticks(m, [f"{value:g}" for value in m])
        ax.minorticks_off()
    ax.grid(axis="y")
    ax.legend(loc="upper left")
    write_note(figure, data.note, style)
    return figure


def words(data: Scaling) -> Words:
    """By what a doubling of m multiplies the features."""
    told = []
    for label, row, seen, n, full, slope in zip(
        data.labels, data.features, data.represented, data.n_features, data.full, data.slopes, strict=True
    ):
        there = np.flatnonzero(np.isfinite(row))
        head = f"{sentence(label)}: " if label else ""
        if not len(there):
            told.append(f"{head}nothing is stored.")
            continue
        held = [f"{number(float(row[i]))} at {data.x.inline[i]}" for i in there]
        fitted = np.isfinite(slope)
        grows = (
            f"{number(float(2**slope))} times as many a doubling of m" if fitted else "too few for a slope"
        )
        without = listed([data.x.inline[i] for i in np.flatnonzero(full)])
        notes = [f"a slope of {number(float(slope))}"] if fitted else []
        notes += [f"without {without}, where all features are represented"] if without else []
        grows += f" ({', '.join(notes)})" if notes else ""
        told.append(
            f"{head}‖W‖_F² is {listed(held)}: {grows}; represented are {span(seen[there])} of "
            f"{span(n[there])}."
        )
    slopes = data.slopes[np.isfinite(data.slopes)]
    return Words(
        title="Features over hidden dimensions" + (f": slope {span(slopes, 3)}" if len(slopes) else ""),
        paragraphs=(f"{shown_restart(data.restarts)} {' '.join(told)}{note_sentence(data.note)}",),
        reading=(
            "A dot is one model: ‖W‖_F², the number of features it holds where each has norm 1, over its "
            "hidden dimensions m, both on logarithmic scales; crosses are the features with ‖W_i‖² > 0.25. "
            "A slope of 1 says that twice the dimensions hold twice the features; it is fitted to the full "
            "dots: at hollow ones all n features are represented, and there are no more to hold. Dashed: as "
            "many features as dimensions."
        ),
        source=(
            "“The Geometry of Superposition”, uniform superposition, draws m / ‖W‖_F²; over m it is ours."
        ),
    )
