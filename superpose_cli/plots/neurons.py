"""`neurons`: what each hidden unit carries, as a stack of its weights."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from superpose_cli.plots.cells import Panels, panels
from superpose_cli.plots.panels import label_rows, panel_figure, tell, write_note
from superpose_cli.plots.stored import best_cells, best_weights, refuse_if_all_diverged
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, note_sentence, number, shown_restart, span
from superpose_cli.results.run import Run
from superpose_cli.toy_model.neurons import MONOSEMANTIC, neuron_kinds

F64 = npt.NDArray[np.float64]

MOST_SEAMED = 64
"""Units whose segments are set apart by a seam."""
MOST_BROAD = 150
"""Segments of a panel up to which the seams are broad."""
PART = 0.6
"""Of the height of a row of panels that is not headings and labels."""
MOST_NUMBERED = 40
"""Units that have their number below them."""


@dataclass(frozen=True, kw_only=True)
class Neurons:
    """What `neurons` draws: one panel per cell."""

    panels: Panels
    W: tuple[F64, ...]
    """(n, m) per shown cell, units in `order`; empty where it diverged."""
    W_dec: tuple[F64, ...]
    """Likewise the output weights; () where all are the input weights."""
    order: tuple[npt.NDArray[np.intp], ...]
    """(m,) per shown cell: the unit that each bar stands for."""
    privileged: bool
    """Whether in all models a ReLU or an L1 penalty on the hidden layer sets its units apart."""
    restarts: int


def select(run: Run) -> Neurons:
    """The best restart of each cell."""
    layout = panels(run)
    weights = best_weights(run, layout.shown)
    refuse_if_all_diverged("neurons", run, [w.W for w in weights.values()])
    best = best_cells(run, ["hidden_activation", "hidden_l1"])
    shown = [weights[cell] for cell in layout.shown.tolist()]
    orders = tuple(ordered(w.W) for w in shown)
    tied = all(w.tied for w in shown)
    return Neurons(
        panels=layout,
        W=tuple(w.W[:, order].astype(np.float64) for w, order in zip(shown, orders, strict=True)),
        W_dec=()
        if tied
        else tuple(w.decoder[:, order].astype(np.float64) for w, order in zip(shown, orders, strict=True)),
        order=orders,
        privileged=bool(((best["hidden_activation"] == "relu") | (best["hidden_l1"] > 0)).all()),
        restarts=run.restarts,
    )


def ordered(W: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """The columns of W (n, m) by kind (mono-, polysemantic, silent), then by their largest feature.

    Empty where W is not finite.
    """
    W = np.asarray(W, np.float64)
    if not np.isfinite(W).all():
        return np.empty(0, dtype=np.intp)
    kind = neuron_kinds(W)
    return np.lexsort((np.abs(W).argmax(axis=0), np.where(kind == 0, 3, kind)))


def draw(data: Neurons, style: Style, title: str) -> Figure:
    """A bar a unit: its weights stacked away from 0 in feature order, coloured by what it carries."""
    layout = _two_rows(data.panels) if data.W_dec else data.panels
    aspect = 0.75 if data.W_dec else 1.25
    figure, axes = panel_figure(layout, style, title, aspect=aspect, bar=False, equal=False)
    columns = data.panels.cells.shape[1]
    places = [k for row in layout.cells for k in _numbers_of(row, data.panels)]
    outputs = [bool(data.W_dec) and r % 2 == 1 for r, row in enumerate(layout.cells) for _ in row[row >= 0]]
    stacks = [(data.W_dec if out else data.W)[k] for k, out in zip(places, outputs, strict=True)]
    sums = [np.maximum(sign * W, 0).sum(axis=0).max() for sign in (1, -1) for W in stacks if W.size]
    depth, reach = -max(sums[len(sums) // 2 :]), max(sums[: len(sums) // 2])
    colours = (style.faint, style.dedicated, style.superposed)
    wide = 72 * figure.get_figwidth() * 0.85 / columns
    tall = 72 * figure.get_figheight() * PART / len(layout.cells)
    room = style.small * (reach - depth) / tall
    for ax, k, out, W in zip(axes, places, outputs, stacks, strict=True):
        if not W.size:
            ax.text(0.5, 0.5, "diverged", ha="center", va="center", color=style.muted,
                    fontsize=style.small, transform=ax.transAxes)  # fmt: skip
            continue
        _panel(ax, W, [colours[kind] for kind in neuron_kinds(data.W[k])], room, style)
        ax.set(ylim=(1.06 * depth, 1.06 * reach))
        _number_units(ax, data.order[k], wide, style)
        ax.set_xlabel("output weights" if out else tally(W), fontsize=style.small, labelpad=3)
    if data.W_dec and not any(data.panels.row_labels):
        for r in range(len(layout.cells)):
            first = axes[int((layout.cells[:r] >= 0).sum())]
            first.set_ylabel(r"outputs $W_\mathrm{dec}$" if r % 2 else "inputs $W_{ik}$")
    else:
        weights = r"inputs $W_{ik}$, below them outputs $W_\mathrm{dec}$, stacked"
        label_rows(figure, axes, data.panels, weights if data.W_dec else "weights $W_{ik}$, stacked", style)
    handles = [Patch(color=colour) for colour in (*colours[1:], colours[0])]
    figure.legend(
        handles, ("one feature's neuron", "several features' neuron", "silent"),
        loc="outside lower right" if data.panels.note == "" else "outside upper right", ncols=3,
    )  # fmt: skip
    write_note(figure, data.panels.note, style)
    return figure


def _two_rows(panels: Panels) -> Panels:
    """Each row of panels with one more below it, without headings."""
    rows, columns = panels.cells.shape
    titles = np.full((2 * rows, columns), "", dtype=object)
    titles[::2] = np.reshape(np.array(panels.titles, dtype=object), (rows, columns))
    labels = tuple(label for row in panels.row_labels for label in (row, ""))
    return replace(
        panels, cells=np.repeat(panels.cells, 2, axis=0), titles=tuple(titles.ravel()), row_labels=labels
    )


def _numbers_of(row: npt.NDArray[np.int64], panels: Panels) -> list[int]:
    """Which of `panels.shown` the panels of a row are."""
    shown = panels.shown.tolist()
    return [shown.index(cell) for cell in row[row >= 0].tolist()]


def _number_units(ax: Axes, order: npt.NDArray[np.intp], wide: float, style: Style) -> None:
    """The units' numbers below their bars, while they fit into `wide` points."""
    size = min(style.small, 0.9 * wide / len(order) / (0.62 * len(str(len(order) - 1))))
    if len(order) <= MOST_NUMBERED and size > 0.45 * style.small:
        ax.set_xticks(range(len(order)), [str(k) for k in order], fontsize=size)
        ax.tick_params(axis="x", length=0, pad=1.5)


def _panel(ax: Axes, W: F64, colours: list[str], room: float, style: Style) -> None:
    """`room`: the height of a segment, in units of W, that a number fits into."""
    n, m = W.shape
    stacks = np.zeros((2, n + 1, m))
    stacks[0, 1:], stacks[1, 1:] = np.cumsum(np.maximum(W, 0), 0), np.cumsum(np.minimum(W, 0), 0)
    bars, faces = [], []
    for k, colour in enumerate(colours):
        for i in np.flatnonzero(np.abs(W[:, k]) > 0.02):
            low, high = stacks[int(W[i, k] < 0), i : i + 2, k]
            bars.append([(k - 0.42, low), (k + 0.42, low), (k + 0.42, high), (k - 0.42, high)])
            faces.append(colour)
    # A seam between segments would cover the bars of many units, which are thinner than it.
    thin = 0.5 if len(bars) <= MOST_BROAD else 0.15
    seams = {"edgecolors": style.background, "linewidths": thin * style.line}
    drawn = seams if m <= MOST_SEAMED else {"edgecolors": faces, "linewidths": 0.3 * style.line}
    ax.add_collection(PolyCollection(bars, facecolors=faces, **drawn))
    if m <= 12:
        for k in range(m):
            for i in np.flatnonzero(np.abs(W[:, k]) > max(0.25, room)):
                low, high = stacks[int(W[i, k] < 0), i : i + 2, k]
                ax.text(k, (low + high) / 2, str(i), ha="center", va="center", fontsize=0.8 * style.small,
                        color=style.background)  # fmt: skip
    ax.axhline(0, color=style.muted, lw=0.6 * style.line)
    ax.set(xlim=(-0.7, m - 0.3), xticks=[])
    ax.yaxis.set_major_locator(MaxNLocator(4))


def tally(W: F64) -> str:
    """'3 mono, 2 poly, 1 silent', without what there is none of."""
    counts = np.bincount(neuron_kinds(W), minlength=3)
    parts = [f"{counts[k]} {name}" for k, name in ((1, "mono"), (2, "poly"), (0, "silent")) if counts[k]]
    return ", ".join(parts)


def words(data: Neurons) -> Words:
    """How many units carry one feature, and how many several."""
    names = [tally(W) if W.size else "diverged" for W in data.W]
    told = tell(data.panels, names, lambda where, name, at: _tell(where, name, [data.W[i] for i in at]))
    counts = [np.bincount(neuron_kinds(W), minlength=3) for W in data.W if W.size]
    warning = "" if data.privileged else (
        " Not all of these models have a ReLU or an L1 penalty on the hidden layer: without either its units "
        "are arbitrary axes, and the stacks say nothing about the model."
    )  # fmt: skip
    return Words(
        title=f"What the neurons carry: {span([c[1] for c in counts])} monosemantic of "
        f"{span([c.sum() for c in counts])}",
        paragraphs=(f"{shown_restart(data.restarts)} {told}" + warning + note_sentence(data.panels.note),),
        reading=(
            "A bar is a hidden unit (its number is below it, while there is room), its segments the weights "
            "W_ik of the features, stacked away from 0 in their order and numbered where there is room. "
            + (
                "Below, the same units' output weights, coloured as their inputs: a neuron that reads "
                "feature 1 strongly and feature 4 weakly may write them the other way round. "
                if data.W_dec
                else ""
            )
            + "Blue: one feature has at least "
            f"{number(MONOSEMANTIC)} of the unit's squared weights (monosemantic, 'mono'); orange: several "
            "share it (polysemantic, 'poly'); a unit with squared weights of at most 0.25 in all is "
            "silent."
        ),
        source=(
            "“Superposition in a Privileged Basis” and “Computation in Superposition”: the neuron weight "
            "stack plots."
        ),
    )


def _tell(where: str, name: str, group: list[F64]) -> str:
    carried = np.concatenate([(np.abs(W) > 0.25).sum(axis=0) for W in group if W.size] or [np.zeros(0)])
    return f"{where}: {name}" + (
        f"; a unit has weights above 0.25 for {span(carried)} features." if len(carried) else "."
    )
