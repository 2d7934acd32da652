"""`geometry_graph`: who interferes with whom, each factor of the solution drawn as a ring of its features."""

from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from superpose_cli.plots.cells import Panels, panels
from superpose_cli.plots.panels import colour_bar, panel_figure, tell, write_note
from superpose_cli.plots.sets import READING, Sets, set_colours, set_legend, sets_of, tell_angles
from superpose_cli.plots.stored import best_weights, refuse_if_all_diverged
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, counted, note_sentence, number, share, shown_restart, span
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import (
    ANGLE,
    NEARLY,
    Factor,
    interference_graph,
    nearest_name,
    tegum_factors,
)
from superpose_cli.toy_model.metrics import dimensionality, gram, represented

F64 = npt.NDArray[np.float64]

SPACING = 0.8
"""Distance of neighbours on a ring; rings are 1 apart."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One cell's features as nodes and their interference as edges."""

    factors: tuple[Factor, ...]
    dimensionality: F64
    """(nodes,): D_i in the whole model, the features of the first factor first."""
    places: F64
    """(nodes, 2), in a box whose lower left corner is the origin."""
    edges: npt.NDArray[np.intp]
    """(edges, 2) indices of nodes."""
    weights: F64
    """(edges,): |W_i . W_j|."""
    n_ignored: int
    name: str
    """The solution in words."""

    @property
    def features(self) -> npt.NDArray[np.intp]:
        """(nodes,)."""
        return np.array([i for factor in self.factors for i in factor.features], dtype=np.intp)


@dataclass(frozen=True, kw_only=True)
class Graphs:
    """What `geometry_graph` draws: one panel per cell."""

    panels: Panels
    graphs: tuple[Graph | None, ...]
    """Per shown cell; None where it diverged."""
    sets: Sets
    inside: str
    """On the angles inside the sets, or ''."""
    restarts: int


def select(run: Run) -> Graphs:
    """The best restart of each cell."""
    layout = panels(run)
    weights = best_weights(run, layout.shown)
    refuse_if_all_diverged("geometry_graph", run, [w.W for w in weights.values()])
    shown = [weights[cell].W.astype(np.float64) for cell in layout.shown.tolist()]
    sets = sets_of(run, layout.shown)
    finite = [W if np.isfinite(W).all() else np.empty((0, 2)) for W in shown]
    return Graphs(
        panels=layout,
        graphs=tuple(graph_of(W) if np.isfinite(W).all() else None for W in shown),
        sets=sets,
        inside=tell_angles(layout.named, finite, sets),
        restarts=run.restarts,
    )


def graph_of(W: npt.ArrayLike) -> Graph:
    """The graph of the represented rows of a finite W (n, m)."""
    W = np.asarray(W, np.float64)
    G = gram(W[None])[0]
    factors = tegum_factors(G)
    nodes = np.array([i for factor in factors for i in factor.features], dtype=np.intp)
    rings = [_ring(G[np.ix_(factor.features, factor.features)]) for factor in factors]
    linked = np.triu(interference_graph(G)[np.ix_(nodes, nodes)])
    edges = np.argwhere(linked)
    return Graph(
        factors=factors,
        dimensionality=dimensionality(W[None])[0][nodes],
        places=_packed(rings),
        edges=edges,
        weights=np.abs(G[np.ix_(nodes, nodes)])[edges[:, 0], edges[:, 1]],
        n_ignored=int((~represented(np.linalg.norm(W, axis=1))).sum()),
        name=nearest_name(G),
    )


def _ring(block: F64) -> F64:
    """(k, 2): k features on a circle about the origin, ordered as in the factor's main plane."""
    k = len(block)
    if k == 1:
        return np.zeros((1, 2))
    vectors = np.linalg.eigh(block)[1][:, ::-1]
    order = np.argsort(np.arctan2(vectors[:, 1], vectors[:, 0]), kind="stable")
    angle = np.empty(k)
    angle[order] = np.pi / 2 - 2 * np.pi * np.arange(k) / k
    radius = SPACING / (2 * np.sin(np.pi / k))
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _packed(rings: list[F64]) -> F64:
    """The rings side by side on shelves, the largest first, in a box that is about square."""
    if not rings:
        return np.empty((0, 2))
    sizes = np.array([np.ptp(ring, axis=0).max() + 1.0 for ring in rings])
    width = max(float(sizes.max()), float(np.sqrt(np.square(sizes).sum()) * 1.1))
    placed, x, y, shelf = [], 0.0, 0.0, 0.0
    for ring, size in zip(rings, sizes, strict=True):
        if x + size > width + 1e-9:
            x, y, shelf = 0.0, y - shelf, 0.0
        middle = (ring.max(axis=0) + ring.min(axis=0)) / 2
        placed.append(ring - middle + [x + size / 2, y - size / 2])
        x, shelf = x + size, max(shelf, size)
    places = np.concatenate(placed)
    return places - places.min(axis=0)


def draw(data: Graphs, style: Style, title: str) -> Figure:
    """One square panel per cell: nodes coloured by set, else by D_i; edges as dark as they are strong."""
    in_sets = any(map(len, data.sets))
    figure, axes = panel_figure(
        data.panels, style, title, aspect=1.3, bar=not in_sets, gap=0.06, legend=in_sets
    )
    strongest = max([1e-9, *(graph.weights.max(initial=0.0) for graph in data.graphs if graph)])
    side = 0.8 * 72 * figure.get_figwidth() / data.panels.cells.shape[1]
    colours = ScalarMappable(Normalize(0, 1), style.sharing.reversed())
    for ax, graph, sets in zip(axes, data.graphs, data.sets, strict=True):
        ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], aspect="equal")
        ax.spines[:].set_visible(False)
        if graph is None or not len(graph.places):
            text = "diverged" if graph is None else "no feature"
            ax.text(0.5, 0.5, text, ha="center", va="center", color=style.muted, fontsize=style.small)
            continue
        own = colours.to_rgba(graph.dimensionality) if not in_sets else style.muted
        _panel(
            ax, graph, strongest, side, set_colours(sets[graph.features], style) if len(sets) else own, style
        )
        wide = max(12, int(side / (0.5 * style.small)))
        ax.set_xlabel(fill(graph.name, wide), fontsize=style.small, labelpad=2)
    if in_sets:
        set_legend(figure, data.sets, style)
    else:
        colour_bar(figure, colours, axes, style, label="share of a dimension $D_i$", aspect=30, shrink=0.7)
    write_note(figure, data.panels.note, style)
    return figure


def _panel(ax: Axes, graph: Graph, strongest: float, side: float, colours: Any, style: Style) -> None:
    """The graph in the unit square; where edges are many, each is fainter."""
    extent = max(2.4, float(np.ptp(graph.places, axis=0).max()) + 1.0)
    middle = (graph.places.max(axis=0) + graph.places.min(axis=0)) / 2
    places = (graph.places - middle) / extent + 0.5
    point = side / extent  # points per unit of the layout
    if len(graph.edges):
        crowd = np.clip(200 / len(graph.edges), 0.02, 1.0)
        lines = LineCollection(
            [places[edge] for edge in graph.edges],
            colors=style.ink,
            linewidths=float(np.clip(0.09 * point, 0.25, 1.3 * style.line)),
            alpha=np.clip(crowd * (0.08 + 0.92 * graph.weights / strongest), 0, 1),
            zorder=2,
            rasterized=len(graph.edges) > 1000,
        )
        ax.add_collection(lines)
    ax.scatter(
        *places.T, color=colours, zorder=3, lw=0,
        s=float(np.clip(0.36 * point, 1.2, 9.0)) ** 2,
    )  # fmt: skip


def words(data: Graphs) -> Words:
    """Which factors there are, and how regular."""
    in_sets = any(map(len, data.sets))
    names = ["diverged" if graph is None else graph.name for graph in data.graphs]
    told = tell(data.panels, names, lambda where, name, at: _tell(where, name, [data.graphs[i] for i in at]))
    factors = [factor for graph in data.graphs if graph for factor in graph.factors]
    named = [factor for factor in factors if np.isfinite(factor.expected)]
    regular = sum(factor.regular for factor in named)
    ignored = span([graph.n_ignored for graph in data.graphs if graph])
    return Words(
        title=f"Who interferes with whom: {len(factors)} factors in {counted(len(names), 'model')}",
        paragraphs=(
            f"{shown_restart(data.restarts)} {told}",
            *filter(None, [data.inside]),
            f"Of {counted(len(factors), 'factor')}, {share(len(named), len(factors))} have the angles of a "
            f"regular shape, to within {number(ANGLE)}°, and {regular} of those also its share of a "
            f"dimension for each feature, to within 0.02; “nearly” "
            f"says that it takes {number(NEARLY)}°. {ignored} features a model are not represented "
            "and left out." + note_sentence(data.panels.note)
            if factors
            else "No feature is represented in any of the models." + note_sentence(data.panels.note),
        ),
        reading=(
            "A dot is a represented feature"
            + ("" if in_sets else ", coloured by its share of a dimension D_i")
            + f"; a line joins two that are not at right angles (to within {number(ANGLE)}°), the darker "
            "the larger |W_i · W_j|. Features that hang together are drawn as a ring: a factor of the "
            "tegum product, which lives in dimensions of its own. Two dots are a digon (an antipodal pair), "
            "three a triangle, and so on; two digons that fill a plane are a square. Only G = W Wᵀ enters: "
            "rotating the hidden space changes nothing." + (READING if in_sets else "")
        ),
        source=(
            "“The Geometry of Superposition”: the graphs beside the scatter of feature dimensionality, "
            "and the tegum products into which solutions fall apart."
        ),
    )


def _tell(where: str, name: str, group: list[Graph | None]) -> str:
    found = [graph for graph in group if graph is not None]
    shares = [graph.dimensionality for graph in found if len(graph.dimensionality)]
    return f"{where}: {name}" + (f", D_i = {span(np.concatenate(shares))}." if shares else ".")
