"""`polyhedron`: the rows of W as points in three dimensions, for models with three hidden dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from superpose_cli.plots.cells import Panels, panels
from superpose_cli.plots.panels import colour_bar, panel_figure, tell, write_note
from superpose_cli.plots.sets import READING, Sets, set_colours, set_legend, sets_of, tell_angles
from superpose_cli.plots.stored import best_cells, best_weights, refuse, refuse_if_all_diverged
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, listed, note_sentence, shown_restart, span
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import canonical, nearest_name
from superpose_cli.toy_model.metrics import dimensionality, represented

F64 = npt.NDArray[np.float64]

MOST_CORNERS = 24
"""Of more points the surface is not drawn: its edges would be a thicket."""
FLAT = 1e-3
"""Points this near to a plane, over the largest norm, lie in it."""


@dataclass(frozen=True, kw_only=True)
class Solid:
    """One cell."""

    W: F64
    """(k, 3): the represented rows, turned alike."""
    features: npt.NDArray[np.intp]
    """(k,)."""
    dimensionality: F64
    """(k,)."""
    name: str


@dataclass(frozen=True, kw_only=True)
class Polyhedra:
    """What `polyhedron` draws: one panel per cell."""

    panels: Panels
    solids: tuple[Solid | None, ...]
    """Per shown cell; None where it diverged."""
    sets: Sets
    restarts: int


def select(run: Run) -> Polyhedra:
    """The best restart of each cell with m = 3; RunError unless some cell has."""
    best = best_cells(run, ["n_hidden"])
    three = best["n_hidden"] == 3
    if not three.any():
        refuse(
            "polyhedron",
            run,
            "it needs three hidden dimensions, and this run has n_hidden = "
            f"{listed([str(width) for width in sorted(set(best['n_hidden'].tolist()))])}",
            "train with model.n_hidden=3 (experiment=octahedron), or draw geometry_graph",
        )
    layout = panels(run, best["cell"][three])
    weights = best_weights(run, layout.shown)
    refuse_if_all_diverged("polyhedron", run, [w.W for w in weights.values()])
    shown = [weights[cell].W.astype(np.float64) for cell in layout.shown.tolist()]
    return Polyhedra(
        panels=layout,
        solids=tuple(solid_of(W) if np.isfinite(W).all() else None for W in shown),
        sets=sets_of(run, layout.shown),
        restarts=run.restarts,
    )


def solid_of(W: F64) -> Solid:
    """The represented rows of a finite W (n, 3) in their common pose."""
    seen = np.flatnonzero(represented(np.linalg.norm(W, axis=1)))
    return Solid(
        W=canonical(W)[seen],
        features=seen,
        dimensionality=dimensionality(W[None])[0][seen],
        name=nearest_name(W @ W.T),
    )


def hull_edges(points: F64) -> list[tuple[int, int]]:
    """The edges of the convex hull of points (k, 3), as pairs of indices; none where all lie in a plane.

    A plane through three points with all others on one side holds a face; two points that are in two such
    planes are the ends of an edge.
    """
    planes: list[tuple[F64, npt.NDArray[np.bool_]]] = []
    tolerance = FLAT * float(np.linalg.norm(points, axis=1).max(initial=1e-9))
    for a, b, c in combinations(range(len(points)), 3):
        normal = np.cross(points[b] - points[a], points[c] - points[a])
        length = np.linalg.norm(normal)
        if length <= tolerance**2:
            continue
        above = (points - points[a]) @ (normal / length)
        inside = np.abs(above) <= tolerance
        if inside.all():
            return []
        if (above <= tolerance).all() or (above >= -tolerance).all():
            planes.append((normal / length * (1 if (above <= tolerance).all() else -1), inside))
    faces = {tuple(np.flatnonzero(inside).tolist()) for _, inside in planes}
    shared = (sorted(set(one) & set(other)) for one, other in combinations(sorted(faces), 2))
    return sorted({(common[0], common[-1]) for common in shared if len(common) >= 2})


_AZIMUTH, _ELEVATION = np.radians(28.0), np.radians(18.0)
VIEW = np.array(
    [
        [-np.sin(_AZIMUTH), np.cos(_AZIMUTH), 0.0],
        [-np.sin(_ELEVATION) * np.cos(_AZIMUTH), -np.sin(_ELEVATION) * np.sin(_AZIMUTH), np.cos(_ELEVATION)],
        [np.cos(_ELEVATION) * np.cos(_AZIMUTH), np.cos(_ELEVATION) * np.sin(_AZIMUTH), np.sin(_ELEVATION)],
    ]
)
"""Rows: right, up and towards the reader. An oblique view that shows no two axes on one line."""


def draw(data: Polyhedra, style: Style, title: str) -> Figure:
    """Each panel seen from the same side, in parallel projection: points, arrows from 0, and the hull."""
    in_sets = any(map(len, data.sets))
    figure, axes = panel_figure(
        data.panels, style, title, aspect=1.12, bar=not in_sets, gap=0.04, legend=in_sets
    )
    lengths = [np.linalg.norm(solid.W, axis=1).max(initial=0.0) for solid in data.solids if solid]
    reach = max(1.0, *lengths) * 1.15 if lengths else 1.15
    colours = ScalarMappable(Normalize(0, 1), style.sharing.reversed())
    for ax, solid, sets in zip(axes, data.solids, data.sets, strict=True):
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
        ax.spines[:].set_visible(False)
        if solid is None:
            ax.text(0, 0, "diverged", ha="center", va="center", color=style.muted, fontsize=style.small)
            continue
        own = [style.muted] * len(solid.W) if in_sets else list(colours.to_rgba(solid.dimensionality))
        painted = set_colours(sets[solid.features], style) if len(sets) else own
        _panel(ax, solid, painted, reach, len(data.solids) > 12, style)
        ax.set_xlabel(solid.name, fontsize=style.small, labelpad=2)
    if in_sets:
        set_legend(figure, data.sets, style)
    else:
        colour_bar(figure, colours, axes, style, label="share of a dimension $D_i$", aspect=30, shrink=0.8)
    write_note(figure, data.panels.note, style)
    return figure


def _panel(ax: Axes, solid: Solid, colours: Sequence[Any], reach: float, crowded: bool, style: Style) -> None:
    x, y, depth = VIEW @ solid.W.T
    nearness = 0.5 + 0.5 * depth / reach
    for axis in np.eye(3):
        ends = np.outer([-0.95, 0.95], VIEW[:2] @ axis) * reach
        ax.plot(*ends.T, color=style.faint, lw=0.7 * style.line, zorder=0)
    if len(solid.W) <= MOST_CORNERS:
        for i, j in hull_edges(solid.W):
            strength = float(np.clip(nearness[[i, j]].mean(), 0.15, 1))
            ax.plot(
                x[[i, j]], y[[i, j]], color=style.muted, lw=style.line, alpha=strength, zorder=1 + strength
            )
    for i in np.argsort(depth):
        colour = colours[i]
        strength = float(np.clip(0.3 + 0.7 * nearness[i], 0, 1))
        ax.plot(
            [0, x[i]], [0, y[i]], color=colour, lw=1.1 * style.line, alpha=strength, zorder=2 + nearness[i]
        )
        ax.plot(x[i], y[i], "o", color=colour, ms=(2.2 + 2.6 * nearness[i]) * style.line,
                mec=style.background, mew=0.4 * style.line, zorder=4 + nearness[i])  # fmt: skip
        if not crowded and len(solid.W) <= 12:
            beyond = 1 + 0.13 * reach / max(float(np.hypot(x[i], y[i])), 1e-9)
            ax.text(float(x[i] * beyond), float(y[i] * beyond), str(solid.features[i]), ha="center",
                    va="center", fontsize=style.small, zorder=6)  # fmt: skip


def words(data: Polyhedra) -> Words:
    """Which solids the features make."""
    names = [solid.name if solid else "diverged" for solid in data.solids]
    told = tell(data.panels, names, lambda where, name, at: _tell(where, name, [data.solids[i] for i in at]))
    in_sets = any(map(len, data.sets))
    inside = tell_angles(
        data.panels.named,
        [solid.W if solid else np.empty((0, 3)) for solid in data.solids],
        tuple(
            sets[solid.features] if solid and len(sets) else sets[:0]
            for solid, sets in zip(data.solids, data.sets, strict=True)
        ),
    )
    counts = [len(solid.W) for solid in data.solids if solid]
    return Words(
        title=f"Features in three dimensions: {span(counts)} represented",
        paragraphs=(
            f"{shown_restart(data.restarts)} {told}",
            *filter(None, [inside]),
            "Rotating or mirroring the hidden space changes nothing in the model, so all panels are "
            "turned alike: the first represented feature lies on the first axis, the next that is off "
            "this line in the plane of "
            "the first two." + note_sentence(data.panels.note),
        ),
        reading=(
            "A point is a represented feature, a row W_i, "
            + ("" if in_sets else "coloured by its share of a dimension D_i, ")
            + "larger and darker the nearer it is to the reader; grey lines are the edges of their convex "
            f"hull (left out above {MOST_CORNERS} points and where all lie in a plane), faint ones the "
            "axes. The view is a parallel projection, the same in all panels." + (READING if in_sets else "")
        ),
        source="“The Geometry of Superposition” and “Superposition and Learning Dynamics”: polytopes in 3-D.",
    )


def _tell(where: str, name: str, group: list[Solid | None]) -> str:
    found = [solid for solid in group if solid is not None and len(solid.W)]
    if not found:
        return f"{where}: {name}."
    norms = np.concatenate([np.square(solid.W).sum(axis=1) for solid in found])
    shares = np.concatenate([solid.dimensionality for solid in found])
    return f"{where}: {name}; ‖W_i‖² = {span(norms)}, D_i = {span(shares)}."
