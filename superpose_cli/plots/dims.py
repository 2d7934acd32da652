"""`dims`: dimensions per feature, D* = m / ||W||_F^2, and each feature's own share of a dimension, D_i."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from superpose_cli.plots.cells import Coordinate, Lines, over_one_axis
from superpose_cli.plots.curves import line_colours, set_horizontal, set_log_ticks, spread_labels
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.stored import best_cells, best_features, best_weights, refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import (
    Words,
    counted,
    listed,
    note_sentence,
    number,
    sentence,
    share,
    shown_restart,
    span,
)
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import SINGLE, on_fraction, tegum_factors
from superpose_cli.toy_model.metrics import represented
from superpose_cli.toy_model.theory import FRACTION_LINES

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

MOST_LINES = 6
WIDEST = 0.02
"""Dots are spread by at most so much of the axis to either side of where they belong."""
_GOLDEN = 0.6180339887498949
_FACTORS = {"dedicated": SINGLE, "antipodal pair": "digon"}
"""What `tegum_factors` calls shapes that the fraction lines call otherwise."""


@dataclass(frozen=True, kw_only=True)
class Dims:
    """What `dims` draws."""

    lines: Lines
    dims_per_feature: F64
    """(lines, x): D* of the best restart; NaN where there is none."""
    empty: npt.NDArray[np.bool_]
    """(lines, x): no feature is represented, so D* counts none."""
    m: F64
    """(lines, x): hidden dimensions."""
    at: tuple[I64, ...]
    """Per line, (points,): index along x of each represented feature."""
    dimensionality: tuple[F64, ...]
    """Per line, (points,): its D_i."""
    shapes: tuple[npt.NDArray[np.str_], ...]
    """Per line, (points,): the name of its factor, by angles."""
    n_ignored: int
    """Features left out of the scatter because they are not represented."""
    restarts: int

    @property
    def beyond(self) -> npt.NDArray[np.bool_]:
        """(lines, x): D* exceeds m, so that ||W||_F^2 is below that of one feature of norm 1."""
        return ~self.empty & (self.dims_per_feature > self.m)

    def on_line(self, fraction: Fraction, name: str) -> tuple[int, int, bool]:
        """How many features lie on a fraction, how many of them in its shape, whether all form a line."""
        points, shapes = np.concatenate(self.dimensionality), np.concatenate(self.shapes)
        count, line = on_fraction(points, fraction)
        own, _ = on_fraction(points[shapes == _FACTORS.get(name, name)], fraction)
        return count, own, line


def select(run: Run) -> Dims:
    """The best restart of each cell; RunError where no feature of the run is represented."""
    lines = over_one_axis(run, most_lines=MOST_LINES)
    best = best_cells(run, ["dims_per_feature", "n_represented", "n_hidden", "status"])
    stars, m = np.full((2, run.n_cells + 1), np.nan)  # the last entry is for blanks, cell -1
    m[best["cell"]] = best["n_hidden"]
    stars[best["cell"]] = np.where(best["status"] == "diverged", np.nan, best["dims_per_feature"])
    stars[~np.isfinite(stars)] = np.nan
    empty = np.zeros(run.n_cells + 1, dtype=bool)
    empty[best["cell"]] = best["n_represented"] == 0
    empty &= np.isfinite(stars)
    rows = best_features(run, ["norm", "dimensionality"], lines.cells[lines.cells >= 0])
    seen = represented(rows["norm"])
    if not seen.any():
        refuse("dims", run, "no feature is represented in any cell", "train longer, or with other settings")
    along = np.full((len(lines.cells), run.n_cells + 1), -1)
    for row, cells in zip(along, lines.cells, strict=True):
        row[cells] = np.arange(len(cells))
        row[-1] = -1
    names = _names(run, rows)
    at, points, shapes = [], [], []
    for row in along:
        here = seen & (row[rows["cell"]] >= 0)
        at.append(row[rows["cell"][here]])
        points.append(rows["dimensionality"][here].astype(np.float64))
        shapes.append(names[here])
    return Dims(
        lines=lines,
        dims_per_feature=stars[lines.cells],
        empty=empty[lines.cells],
        m=m[lines.cells],
        at=tuple(at),
        dimensionality=tuple(points),
        shapes=tuple(shapes),
        n_ignored=int((~seen).sum()),
        restarts=run.restarts,
    )


def _names(run: Run, rows: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.str_]:
    """The name of each feature's factor, '' without; rows ascend in cell and feature."""
    names = np.full(len(rows["cell"]), "", dtype="U24")
    for cell, weights in best_weights(run, np.unique(rows["cell"])).items():
        first = int(np.searchsorted(rows["cell"], cell))
        W = weights.W.astype(np.float64)
        for factor in tegum_factors(W @ W.T) if np.isfinite(W).all() else ():
            names[first + np.array(factor.features)] = factor.name
    return names


def draw(data: Dims, style: Style, title: str) -> Figure:
    """D* above, the scatter of D_i below, over one shared axis."""
    x = data.lines.x
    wide = style.double * 0.78 if len(x) > 1 else style.single * 1.2
    figure = style.figure(wide, style.single * 1.35, title)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1, 2.1])
    colours = [style.dedicated] if len(data.at) == 1 else line_colours(len(data.at), style)
    lone = len(data.at) == 1
    top_end = _frame(data)
    look = {"ms": 2.6 * style.line, "ls": "none"}
    for i, (stars, empty, label, colour) in enumerate(
        zip(data.dims_per_feature, data.empty, data.lines.labels, colours, strict=True)
    ):
        counted_ones = np.where(empty, np.nan, stars)
        joined = look | {"ls": "none" if x.named else "-"}
        top.plot(x.positions, counted_ones, marker="o", color=colour, label=label, zorder=3, **joined)
        hollow = empty & (stars <= top_end[1])
        top.plot(
            x.positions[hollow],
            stars[hollow],
            marker="o",
            color=colour,
            mfc=style.background,
            zorder=4,
            **look,
        )
        bottom.scatter(
            jittered(x, data.at[i]), data.dimensionality[i], s=5 * style.line**2, lw=0, color=colour,
            alpha=opacity(len(data.at[i]) / len(x)), zorder=3, rasterized=len(data.at[i]) > 3000,
        )  # fmt: skip
    if not lone:
        columns = max(1, 60 // (6 + max(map(len, data.lines.labels))))
        top.legend(ncols=columns, loc="lower left", bbox_to_anchor=(0, 1.02), borderaxespad=0)
    if top_end[0] > 0:
        top.set_yscale("log")
        set_log_ticks(top.yaxis, *top_end)
    top.set(ylabel="dimensions per feature\nD* = m / ‖W‖$_F^2$", ylim=top_end)
    bottom.set(ylabel="share of a dimension $D_i$", ylim=(0, 1.05))
    sticky = [(fraction, name) for fraction, name in FRACTION_LINES if fraction in (1, Fraction(1, 2))]
    if data.beyond.any() and len(np.unique(data.m[data.beyond])) == 1:
        sticky.append((Fraction(int(data.m[data.beyond][0])), "all dimensions"))
    _fraction_lines(top, sticky, 0.3, style)
    _fraction_lines(bottom, [_label(data, *line) for line in FRACTION_LINES], 0.045, style)
    set_horizontal(bottom, x)
    top.tick_params(labelbottom=False)
    write_note(figure, data.lines.note, style)
    return figure


def _label(data: Dims, fraction: Fraction, name: str) -> tuple[Fraction, str]:
    """A fraction with its shape's name; how many are in that shape where not all on the line are."""
    count, own, _ = data.on_line(fraction, name)
    if own == count:
        return fraction, name
    return fraction, f"{name}: {own} of {count}" if own else ""


def _frame(data: Dims) -> tuple[float, float]:
    """What the upper axis spans, of D* that counts features: from 0, or logarithmic where it exceeds 2."""
    values = data.dims_per_feature[np.isfinite(data.dims_per_feature) & ~data.empty]
    low, high = float(values.min(initial=1.0)), float(values.max(initial=1.0))
    return (min(0.4, 0.9 * low), 1.15 * high) if high > 2 else (0.0, 1.08 * high)


def words(data: Dims) -> Words:
    """Where D* sticks, and on which fractions the features lie."""
    n_seen = sum(map(len, data.dimensionality))
    lines = [
        _tell_line(data.lines.x, label, stars, empty, at, own)
        for label, stars, empty, at, own in zip(
            data.lines.labels, data.dims_per_feature, data.empty, data.at, data.dimensionality, strict=True
        )
    ]
    return Words(
        title=_title(np.where(data.empty | data.beyond, np.nan, data.dims_per_feature)),
        paragraphs=(
            f"{shown_restart(data.restarts)} " + " ".join(lines) + _tell_beyond(data),
            f"Of {counted(n_seen, 'represented feature')} (‖W_i‖² > 0.25; {data.n_ignored} that "
            "are not represented are left out), these lie on the fractions, within 0.005: "
            f"{_tell_fractions(data)}." + note_sentence(data.lines.note),
        ),
        reading=(
            "Above: D* = m / ‖W‖_F², about the number of hidden dimensions for each represented feature; 1 "
            "is a dimension each, 1/2 two features a dimension; hollow where no feature is represented, so "
            "that there is none to count (left out where ‖W‖ is so small that it exceeds the frame). Below: "
            "a dot is one represented feature and its own share "
            "D_i = ‖W_i‖² / Σ_j (Ŵ_i · W_j)², jittered sideways inside its cell; the labelled "
            "lines are the shares in regular arrangements. A share is no shape yet: every tight frame of n "
            "features of one length in m dimensions has D_i = m / n. So, where not all features on a line "
            "are in its shape (interfere with one another alone, at its angles to within 10°), its label "
            "counts those that are, and drops the shape's name where none is."
        ),
        source="“The Geometry of Superposition”: uniform superposition above, feature dimensionality below.",
    )


def jittered(x: Coordinate, at: I64) -> F64:
    """Positions of the points, spread inside their cell's share of the axis, the same at every call."""
    shown = np.log(x.positions) if x.log else x.positions
    half = 0.12 if len(x) == 1 else float(min(0.32 * np.diff(shown).min(), WIDEST * np.ptp(shown)))
    offset = half * (2 * ((np.arange(len(at)) * _GOLDEN) % 1) - 1)
    if x.is_density:  # nothing is denser than p = 1
        offset = np.where(shown[at] + offset < 0, -offset, offset)
    spread = np.asarray(shown[at] + offset, dtype=np.float64)
    return np.exp(spread) if x.log else spread


def opacity(points_a_cell: float) -> float:
    """Fainter dots where there are more of them."""
    return float(np.clip(6 / max(points_a_cell, 1) ** 0.75, 0.12, 0.8))


def _fraction_lines(
    ax: Axes,
    lines: tuple[tuple[Fraction, str], ...] | list[tuple[Fraction, str]],
    gap: float,
    style: Style,
) -> None:
    """Horizontal lines with their labels at the right, moved apart where they crowd."""
    values = [float(fraction) for fraction, _ in lines]
    across = ax.get_yaxis_transform()
    for value, at, (fraction, name) in zip(values, spread_labels(values, gap), lines, strict=True):
        ax.axhline(value, color=style.muted, lw=0.5 * style.line, alpha=0.7, zorder=1)
        ax.plot(
            [1.0, 1.012, 1.02], [value, at, at], color=style.muted, lw=0.5 * style.line,
            transform=across, clip_on=False,
        )  # fmt: skip
        ax.text(
            1.026, at, f"{fraction}  {name}", va="center", fontsize=style.small,
            color=style.muted, transform=across,
        )  # fmt: skip


def _tell_line(x: Coordinate, label: str, stars: F64, empty: npt.NDArray[np.bool_], at: I64, own: F64) -> str:
    """D* along one line, and the features while it sticks at 1/2."""
    there = np.flatnonzero(np.isfinite(stars) & ~empty)
    head = f"{sentence(label)}: " if label else ""
    without = _tell_empty(x, empty)
    if not len(there):
        return f"{head}nothing is stored." if not without else f"{head}D* counts no feature.{without}"
    if len(there) < 2:
        place = f" at {x.inline[there[0]]}" if len(x) > 1 else ""
        shares = f" and D_i {span(own)}" if len(own) else ""
        return f"{head}D* is {span(stars[there])}{shares}{place}.{without}"
    text = (
        f"{head}D* goes from {number(float(stars[there[0]]))} at {x.inline[there[0]]} to "
        f"{number(float(stars[there[-1]]))} at {x.inline[there[-1]]}.{without}"
    )
    sticky = np.flatnonzero(~empty & (stars >= 0.48) & (stars <= 0.54))
    if not len(sticky):
        return (
            f"{text} Where features are represented, it is nowhere within 0.48 to 0.54, near the sticky 1/2."
        )
    inside = own[np.isin(at, sticky)]
    near = int(((inside >= 0.48) & (inside <= 0.52)).sum())
    return (
        f"{text} It stays within 0.48 to 0.54 in {_places(x, sticky)}, where "
        f"{share(near, len(inside))} of the represented features have D_i within 0.48 to 0.52."
    )


def _tell_empty(x: Coordinate, empty: npt.NDArray[np.bool_]) -> str:
    """At which cells D* counts no feature."""
    at = np.flatnonzero(empty)
    return f" No feature is represented in {_places(x, at)}, so that D* counts none there." if len(at) else ""


def _places(x: Coordinate, at: I64) -> str:
    """'2 cells (first ..., last ...)'."""
    place = x.inline[at[0]] if len(at) == 1 else f"first {x.inline[at[0]]}, last {x.inline[at[-1]]}"
    return f"{counted(len(at), 'cell')} ({place})"


def _tell_beyond(data: Dims) -> str:
    """Where D* is no number of dimensions, since there are not so many."""
    told = [
        f"{', '.join(filter(None, (label, data.lines.x.inline[i])))}: D* = {number(float(stars[i]))} of m = "
        f"{int(m[i])}, as ‖W‖_F² = {number(float(m[i] / stars[i]))} is less than one feature of norm 1 has"
        for label, stars, m, beyond in zip(
            data.lines.labels, data.dims_per_feature, data.m, data.beyond, strict=True
        )
        for i in np.flatnonzero(beyond)
    ]
    return (
        f" Beyond the dimensions that there are, and left out of the title: {'; '.join(told)}."
        if told
        else ""
    )


def _tell_fractions(data: Dims) -> str:
    told = []
    for fraction, name in FRACTION_LINES:
        count, own, line = data.on_line(fraction, name)
        shape = f" ({name})" if own == count else ""
        others = "" if own == count else f" ({own or 'none'} of them in {name}s)"
        told.append(f"{fraction}{shape} {count}{', a line' if line else ''}{others}")
    return listed(told)


def _title(stars: F64) -> str:
    """The extremes of D* (lines, x), NaN where it counts nothing; a lone line's in its order."""
    finite = stars[np.isfinite(stars)]
    if len(finite) < 2:
        return f"Dimensions per feature: D* = {span(finite)}" if len(finite) else "Dimensions per feature"
    low, high = number(float(finite.min())), number(float(finite.max()))
    if len(stars) > 1 or low == high:
        return f"Dimensions per feature: D* = {span(finite)}"
    rising = np.nanargmin(stars[0]) < np.nanargmax(stars[0])
    return f"Dimensions per feature: D* from {f'{low} up to {high}' if rising else f'{high} down to {low}'}"
