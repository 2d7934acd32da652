"""`neurons`: what each hidden unit carries, as a stack of its weights."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from superpose_cli.plots.cells import Panels
from superpose_cli.plots.panels import label_rows, panel_figure, tell, write_note
from superpose_cli.plots.style import Style
from superpose_cli.plots.units import UnitPanels, Units, unit_panels
from superpose_cli.plots.words import Words, note_sentence, number, shown_restart, span
from superpose_cli.results.run import Run
from superpose_cli.toy_model.neurons import MONOSEMANTIC

F64 = npt.NDArray[np.float64]

MOST_SEAMED = 64
"""Units whose segments are set apart by a seam."""
MOST_BROAD = 150
"""Segments of a panel up to which the seams are broad."""
PART = 0.6
"""Of the height of a row of panels that is not headings and labels."""
MOST_NUMBERED = 40
"""Units that have their number below them."""


def select(run: Run) -> UnitPanels:
    """The best restart of each cell; RunError where all diverged."""
    return unit_panels("neurons", run)


def draw(data: UnitPanels, style: Style, title: str) -> Figure:
    """A bar a unit: its weights stacked away from 0 in feature order, coloured by what it carries."""
    layout = data.panels if data.tied else _two_rows(data.panels)
    aspect = 1.25 if data.tied else 0.75
    figure, axes = panel_figure(layout, style, title, aspect=aspect, bar=False, equal=False)
    columns = data.panels.cells.shape[1]
    shown = [data.units[k] for row in layout.cells for k in _numbers_of(row, data.panels)]
    outputs = [not data.tied and r % 2 == 1 for r, row in enumerate(layout.cells) for _ in row[row >= 0]]
    stacks = [one.W_dec if out else one.W for one, out in zip(shown, outputs, strict=True)]
    finite = [W for one, W in zip(shown, stacks, strict=True) if not one.diverged]
    depth, reach = (max(np.maximum(sign * W, 0).sum(axis=0).max() for W in finite) for sign in (-1, 1))
    colours = (style.faint, style.dedicated, style.superposed)
    wide = 72 * figure.get_figwidth() * 0.85 / columns
    tall = 72 * figure.get_figheight() * PART / len(layout.cells)
    room = style.small * (reach + depth) / tall
    for ax, one, out, W in zip(axes, shown, outputs, stacks, strict=True):
        if one.diverged:
            ax.text(0.5, 0.5, "diverged", ha="center", va="center", color=style.muted,
                    fontsize=style.small, transform=ax.transAxes)  # fmt: skip
            continue
        _panel(ax, W, [colours[kind] for kind in one.kinds], room, style)
        ax.set(ylim=(-1.06 * depth, 1.06 * reach))
        _number_units(ax, one.order, wide, style)
        ax.set_xlabel("output weights" if out else tally(one.kinds), fontsize=style.small, labelpad=3)
    if not data.tied and not any(data.panels.row_labels):
        for r in range(len(layout.cells)):
            first = axes[int((layout.cells[:r] >= 0).sum())]
            first.set_ylabel(r"outputs $W_\mathrm{dec}$" if r % 2 else "inputs $W_{ik}$")
    else:
        weights = r"inputs $W_{ik}$, below them outputs $W_\mathrm{dec}$, stacked"
        label_rows(figure, axes, data.panels, "weights $W_{ik}$, stacked" if data.tied else weights, style)
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


def tally(kinds: npt.NDArray[np.int8]) -> str:
    """'3 mono, 2 poly, 1 silent', without what there is none of."""
    counts = np.bincount(kinds, minlength=3)
    parts = [f"{counts[k]} {name}" for k, name in ((1, "mono"), (2, "poly"), (0, "silent")) if counts[k]]
    return ", ".join(parts)


def words(data: UnitPanels) -> Words:
    """How many units carry one feature, and how many several."""
    names = ["diverged" if one.diverged else tally(one.kinds) for one in data.units]
    told = tell(data.panels, names, lambda where, name, at: _tell(where, name, [data.units[i] for i in at]))
    counts = [np.bincount(one.kinds, minlength=3) for one in data.units if not one.diverged]
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
                ""
                if data.tied
                else "Below, the same units' output weights: a neuron that reads feature 1 strongly and "
                "feature 4 weakly may write them the other way round. "
            )
            + f"Blue: one feature has at least {number(MONOSEMANTIC)} of "
            + (
                "the unit's squared weights"
                if data.tied
                else "what the unit reads and writes (the geometric mean of its shares of the squared input "
                "weights and of the squared output weights times importance)"
            )
            + " (monosemantic, 'mono'); orange: several share it (polysemantic, 'poly'); a unit with squared "
            "weights of at most 0.25 in all is silent."
        ),
        source=(
            "“Superposition in a Privileged Basis” and “Computation in Superposition”: the neuron weight "
            "stack plots."
        ),
    )


def _tell(where: str, name: str, group: list[Units]) -> str:
    carried = [(np.abs(one.W) > 0.25).sum(axis=0) for one in group if not one.diverged]
    many = f"; a unit has weights above 0.25 for {span(np.concatenate(carried))} features" if carried else ""
    return f"{where}: {name}{many}."
