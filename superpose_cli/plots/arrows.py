"""`arrows`: the rows of W as arrows in the plane, for models with two hidden dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch

from superpose_cli.plots.cells import Panels, panels
from superpose_cli.plots.panels import colour_bar, panel_figure, tell, write_note
from superpose_cli.plots.sets import READING, Sets, set_colours, set_legend, sets_of, tell_angles, tell_starts
from superpose_cli.plots.stored import (
    best_cells,
    best_features,
    best_weights,
    by_cell,
    refuse,
    refuse_if_all_diverged,
)
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, counted, listed, note_sentence, number, shown_restart, span
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import canonical
from superpose_cli.toy_model.metrics import represented

F64 = npt.NDArray[np.float64]

CLOSE = 10.0
"""Degrees: directions this near to a regular arrangement are called by its name."""
_POLYGONS = {3: "a triangle", 4: "a square, two antipodal pairs", 5: "a pentagon", 6: "a hexagon"}


@dataclass(frozen=True, kw_only=True)
class Arrows:
    """What `arrows` draws: one panel per cell."""

    panels: Panels
    W: tuple[F64, ...]
    """(n, 2) per shown cell, turned alike; empty where the cell diverged."""
    importance: tuple[F64, ...]
    """(n,) per shown cell."""
    odd: int | None
    """The one feature whose probability differs from that of all others, in every shown cell but a few."""
    sets: Sets
    starts: str
    """How many starts end with the angles that are shown inside the sets, or ''."""
    restarts: int

    @property
    def varied(self) -> bool:
        """Whether importances differ."""
        values = np.concatenate(self.importance)
        return bool(np.ptp(values) > 1e-9 * values.max())


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How the represented features of one W lie in the plane."""

    name: str
    angle: float
    """Degrees between neighbours in a regular arrangement; NaN where there is none."""
    gaps: F64
    """Degrees between neighbouring directions that are compared with `angle`."""
    norms: F64
    """||W_i||^2 of the represented features."""


def select(run: Run) -> Arrows:
    """The best restart of each cell; RunError unless every shown cell has m = 2."""
    layout = panels(run)
    best = best_cells(run, ["n_hidden"])
    widths = np.unique(best["n_hidden"][np.isin(best["cell"], layout.shown)]).tolist()
    if widths != [2]:
        refuse(
            "arrows",
            run,
            f"it needs two hidden dimensions, and this run has n_hidden = {listed([str(w) for w in widths])}",
            "train with model.n_hidden=2 (experiment=intro), or draw wtw",
        )
    weights = best_weights(run, layout.shown)
    refuse_if_all_diverged("arrows", run, [w.W for w in weights.values()])
    rows = best_features(run, ["importance", "feature_probability"], layout.shown)
    importance = by_cell(rows["cell"], rows["importance"])
    sets, best_W = sets_of(run, layout.shown), [weights[cell].W for cell in layout.shown.tolist()]
    finite = [W.astype(np.float64) if np.isfinite(W).all() else np.empty((0, 2)) for W in best_W]
    odd = odd_feature(list(by_cell(rows["cell"], rows["feature_probability"]).values()))
    return Arrows(
        panels=layout,
        W=tuple(turned(W, odd) for W in best_W),
        importance=tuple(importance[cell] for cell in layout.shown.tolist()),
        odd=odd,
        sets=sets,
        starts=tell_starts(run, layout.shown, layout.named, finite, sets),
        restarts=run.restarts,
    )


def odd_feature(probability: Sequence[npt.NDArray[Any]]) -> int | None:
    """The feature whose probability alone differs from the others', the same in all cells that have one."""
    found = set()
    for p in probability:
        off = np.flatnonzero(~np.isclose(p, np.median(p), rtol=1e-6))
        if len(p) < 3 or len(off) > 1:
            return None
        found.update(off.tolist())
    return found.pop() if len(found) == 1 else None


def turned(W: npt.ArrayLike, first: int | None = None) -> F64:
    """W (n, 2) in the pose of `geometry.canonical`, of feature `first` before the others where one is given.

    Empty (0, 2) where W is not finite.
    """
    W = np.asarray(W, dtype=np.float64)
    if not np.isfinite(W).all():
        return np.empty((0, 2))
    order = np.argsort(np.arange(len(W)) != first, kind="stable")
    posed = np.empty_like(W)
    posed[order] = canonical(W[order])
    return posed


def shape(W: F64) -> Shape:
    """Name the arrangement of the represented rows of W (n, 2)."""
    norms = np.square(W).sum(axis=1)
    seen = represented(np.sqrt(norms))
    rows, norms = W[seen], norms[seen]
    angles = np.sort(np.degrees(np.arctan2(rows[:, 1], rows[:, 0])) % 360)
    gaps = np.diff(angles, append=angles[:1] + 360)
    count = len(rows)
    if count == 2:
        between = np.minimum(gaps[:1], 360 - gaps[:1])
        for angle, name in ((90.0, "two features at right angles"), (180.0, "one antipodal pair")):
            if abs(between[0] - angle) <= CLOSE:
                return Shape(name=name, angle=angle, gaps=between, norms=norms)
        return Shape(name="two features askew", angle=np.nan, gaps=between, norms=norms)
    if count >= 3 and np.abs(gaps - 360 / count).max() <= CLOSE:
        name = _POLYGONS.get(count, f"a regular polygon of {count}")
        return Shape(name=name, angle=360 / count, gaps=gaps, norms=norms)
    if count < 2:
        name = "one feature" if count else "no feature"
        return Shape(name=name, angle=np.nan, gaps=gaps[:0], norms=norms)
    pairs = antipodal_pairs(rows)
    name = f"{count} features, {counted(pairs, 'antipodal pair') if pairs else 'no two antipodal'}"
    return Shape(name=name, angle=np.nan, gaps=gaps, norms=norms)


def antipodal_pairs(rows: F64) -> int:
    """How many disjoint pairs of rows point opposite ways, to within `CLOSE` degrees."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = unit @ unit.T
    free, pairs = np.ones(len(rows), dtype=bool), 0
    for i in range(len(rows)):
        partner = int(np.where(free, cosine[i], 1.0).argmin())
        if free[i] and cosine[i, partner] <= -np.cos(np.radians(CLOSE)):
            free[[i, partner]] = False
            pairs += 1
    return pairs


def draw(data: Arrows, style: Style, title: str) -> Figure:
    """One square panel per cell, the same scale in all, with the unit circle."""
    colours = _colours(data, style)
    legend = colours is None and (data.odd is not None or any(map(len, data.sets)))
    figure, axes = panel_figure(data.panels, style, title, aspect=1.0, bar=colours is not None, legend=legend)
    reach = max([1.0, *(np.linalg.norm(W, axis=1).max() for W in data.W if len(W))]) * 1.17
    thickness = 0.0085 * style.line * float(np.sqrt(figure.get_figwidth() / data.panels.cells.shape[1]))
    crowded = len(data.W) > 12 or max(len(W) for W in data.W) > 10
    for ax, W, importance, sets in zip(axes, data.W, data.importance, data.sets, strict=True):
        _plane(ax, reach, style)
        if not len(W):
            ax.text(0, 0, "diverged", ha="center", va="center", color=style.muted, fontsize=style.small)
            continue
        colour: Any = style.dedicated if colours is None else colours[1](colours[0](importance))
        if colours is None and len(sets):
            colour = set_colours(sets, style)
        elif data.odd is not None and colours is None:
            colour = [style.superposed if i == data.odd else style.dedicated for i in range(len(W))]
        ax.quiver(
            *np.zeros((2, len(W))), *W.T, color=colour, zorder=3,
            angles="xy", scale_units="xy", scale=1, units="inches",
            width=thickness, headwidth=4.6, headlength=5.5, headaxislength=4.8,
        )  # fmt: skip
        if not crowded:
            _name_tips(ax, W, reach, style)
    if colours is None and data.odd is not None:
        names = {"as frequent as one another": style.dedicated, f"feature {data.odd}": style.superposed}
        handles = [Patch(color=colour, label=name) for name, colour in names.items()]
        figure.legend(handles=handles, loc="outside upper right", ncols=2)
    if colours is None:
        set_legend(figure, data.sets, style)
    else:
        colour_bar(figure, ScalarMappable(*colours), axes, style, label="importance $I_i$")
    write_note(figure, data.panels.note, style)
    return figure


def words(data: Arrows) -> Words:
    """Which shapes the features make, and how regular they are."""
    shapes = [shape(W) for W in data.W]
    names = [s.name if len(W) else "diverged" for s, W in zip(shapes, data.W, strict=True)]
    told = tell(data.panels, names, lambda where, name, cells: _tell(where, name, [shapes[i] for i in cells]))
    inside = tell_angles(data.panels.named, data.W, data.sets)
    n = sorted({len(W) for W in data.W if len(W)})
    counts = [len(s.norms) for s, W in zip(shapes, data.W, strict=True) if len(W)]
    return Words(
        title=f"{listed([str(k) for k in n])} features in the plane: {span(counts)} represented",
        paragraphs=(
            f"{shown_restart(data.restarts)} A feature counts as represented if ‖W_i‖² > 0.25. " + told,
            *filter(None, [inside, data.starts]),
            "Rotating or mirroring the hidden plane changes nothing in the model, so all panels are turned "
            f"alike: {_first(data.odd)} points right, and the next one that is off this line points up. "
            "Features that are alike in the data may change places from panel to panel."
            + note_sentence(data.panels.note),
        ),
        reading=(
            "An arrow is a row W_i: the direction and length that feature i has in the two hidden "
            "dimensions; "
            + ("colour is its importance, and " if data.varied else "")
            + ("" if data.odd is None else f"orange is the one other probability, feature {data.odd}'s; ")
            + "the dotted circle has radius 1. Arrows at right "
            "angles leave one another alone. Opposite arrows share a dimension, which the ReLU can undo as "
            "long as the two are rarely on together."
            + (READING if any(map(len, data.sets)) and not data.varied else "")
        ),
        source=(
            "The introduction's figure of five features in two dimensions: there dense features leave the "
            "two most important ones orthogonal and the rest out; sparse ones become antipodal pairs, then a "
            "pentagon."
        ),
    )


def _first(odd: int | None) -> str:
    if odd is None:
        return "the first represented feature (feature 0 wherever it is represented)"
    return f"feature {odd}, whose probability differs from the others' (else the first represented one),"


def _tell(where: str, name: str, group: list[Shape]) -> str:
    start = f"{where}: {name}"
    if name == "diverged":
        return f"{start}."
    gaps, norms = np.concatenate([s.gaps for s in group]), np.concatenate([s.norms for s in group])
    angle = group[0].angle
    if np.isfinite(angle):
        start += f", {number(np.abs(gaps - angle).max(), 2)}° at most from {number(angle)}° apart"
    elif len(gaps):
        start += f", neighbours {span(gaps)}° apart"
    return f"{start}; ‖W_i‖² = {span(norms)}." if len(norms) else f"{start}."


def _colours(data: Arrows, style: Style) -> tuple[Normalize, Colormap] | None:
    """Norm and map of the importances, or None where all are equal."""
    values = np.concatenate(data.importance)
    low, high = values[values > 0].min(initial=values.max()), values.max()
    if not data.varied:
        return None
    return (LogNorm if high / low >= 20 else Normalize)(float(low), float(high)), style.ordered


def _plane(ax: Axes, reach: float, style: Style) -> None:
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.axhline(0, color=style.faint, lw=0.6 * style.line, zorder=0)
    ax.axvline(0, color=style.faint, lw=0.6 * style.line, zorder=0)
    ax.add_patch(
        Circle((0, 0), 1, fill=False, ec=style.muted, lw=0.6 * style.line, ls=(0, (1, 2.4)), zorder=1)
    )


def _name_tips(ax: Axes, W: F64, reach: float, style: Style) -> None:
    """The features' numbers beyond the tips; tips that nearly coincide share a label."""
    tips = W * (1 + 0.09 * reach / np.maximum(np.linalg.norm(W, axis=1, keepdims=True), 1e-9))
    free = set(np.flatnonzero(represented(np.linalg.norm(W, axis=1))).tolist())
    for i in sorted(free):
        if i in free:
            near = [j for j in sorted(free) if np.linalg.norm(tips[j] - tips[i]) < 0.16 * reach]
            free.difference_update(near)
            text = ",".join(map(str, near))
            x, y = tips[near].mean(axis=0).tolist()
            ax.text(x, y, text, ha="center", va="center", fontsize=style.small)
