"""`norms`: how long each feature's direction is, and how much it shares it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from superpose_cli.plots.cells import Panels, panels
from superpose_cli.plots.panels import colour_bar, label_rows, panel_figure, tell, write_note
from superpose_cli.plots.stored import best_cells, best_features, by_cell, refuse_if_all_diverged
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, note_sentence, number, shown_restart, span
from superpose_cli.results.run import Run
from superpose_cli.toy_model.metrics import represented

F64 = npt.NDArray[np.float64]

COLUMNS = ("norm", "interference")
SHARED = 0.25
"""A represented feature with more interference than this is told as one that shares its direction."""


@dataclass(frozen=True, kw_only=True)
class Norms:
    """What `norms` draws: one panel per cell, arrays (n,) in order of the features."""

    panels: Panels
    norm: tuple[F64, ...]
    interference: tuple[F64, ...]
    linear: tuple[bool, ...]
    """Whether the model has no ReLU at its output."""
    restarts: int


def select(run: Run) -> Norms:
    """The best restart of each cell."""
    layout = panels(run)
    rows = best_features(run, list(COLUMNS), layout.shown)
    norm, interference = (by_cell(rows["cell"], rows[name].astype(np.float64)) for name in COLUMNS)
    refuse_if_all_diverged("norms", run, norm.values())
    best = best_cells(run, ["output_activation"])
    linear = dict(zip(best["cell"].tolist(), best["output_activation"] == "identity", strict=True))
    cells = layout.shown.tolist()
    return Norms(
        panels=layout,
        norm=tuple(norm[cell] for cell in cells),
        interference=tuple(interference[cell] for cell in cells),
        linear=tuple(bool(linear[cell]) for cell in cells),
        restarts=run.restarts,
    )


def draw(data: Norms, style: Style, title: str) -> Figure:
    """Horizontal bars, feature 0 at the top as in `wtw`; colour is the interference, full at 1 and above."""
    most = max(len(norm) for norm in data.norm)
    aspect = float(np.clip(most / 16, 0.95, 1.5 if data.panels.cells.size > 1 else 1.1))
    figure, axes = panel_figure(data.panels, style, title, aspect=aspect, bar=True, equal=False)
    scale = Normalize(0, 1)
    reach = max(1.0, *(float(np.nanmax(norm, initial=0.0)) for norm in data.norm)) * 1.06
    last_row = {int(cell) for cell in _lowest(data.panels)}
    for ax, cell, norm, interference in zip(
        axes, data.panels.shown.tolist(), data.norm, data.interference, strict=True
    ):
        _panel(ax, norm, style.sharing(scale(np.nan_to_num(interference))), reach, style)
        if cell in last_row:
            ax.set_xlabel(r"$\Vert W_i\Vert$", fontsize=style.small if len(axes) > 6 else style.text)
        else:
            ax.tick_params(labelbottom=False, bottom=False)
    label_rows(figure, axes, data.panels, "feature i", style)
    bar = colour_bar(
        figure, ScalarMappable(scale, style.sharing), axes, style,
        label="interference\n" r"$\Sigma_{j\neq i}\,(\hat W_i\cdot W_j)^2$", extend="max", extendfrac=0.03,
    )  # fmt: skip
    bar.set_ticks([0, 0.5, 1], labels=["0", "0.5", "≥ 1"])
    write_note(figure, data.panels.note, style)
    return figure


def words(data: Norms) -> Words:
    """How many features are represented, and how many of these share."""
    kinds = [_kind(*cell) for cell in zip(data.norm, data.interference, data.linear, strict=True)]

    def sentence(where: str, kind: str, cells: list[int]) -> str:
        norm = np.concatenate([data.norm[i] for i in cells])
        norm = norm[represented(norm)]
        return f"{where}: {kind}, with norms {span(norm)}." if len(norm) else f"{where}: {kind}."

    told = tell(data.panels, kinds, sentence)
    counts = [int(represented(norm).sum()) for norm in data.norm]
    sizes = span([len(norm) for norm in data.norm])
    caution = (
        " In the linear model W Wᵀ is a projector, whose interference is 1 − ‖W_i‖² by geometry: colour "
        "there is no sign of superposition."
        if any(data.linear)
        else ""
    )
    return Words(
        title=f"Length and sharing of {sizes} features: {span(counts)} represented",
        paragraphs=(
            f"{shown_restart(data.restarts)} A feature counts as represented if ‖W_i‖² > 0.25, and as "
            "sharing if "
            f"its interference exceeds {number(SHARED)}. " + told,
            "Interference is the sum over the other features j of (Ŵ_i · W_j)²: how much of them lies along "
            "feature i." + caution + note_sentence(data.panels.note),
        ),
        reading=(
            "A bar is a feature, the most important one at the top where importance falls with i; its length "
            "is ‖W_i‖, about 1 for a represented feature where the model is tied; with output weights of its "
            "own a neuron's scale is free, and with it the length. Blue bars have a direction of their own, "
            "orange ones share theirs with others (interference 1 or more: as much as the feature itself)."
        ),
        source=(
            "“Demonstrating Superposition”, basic results: the bars of ‖W_i‖ beside Wᵀ W, coloured by "
            "superposition."
        ),
    )


def _kind(norm: F64, interference: F64, linear: bool) -> str:
    if not np.isfinite(norm).all():
        return "diverged"
    seen = represented(norm)
    if linear:
        return f"{seen.sum()} of {len(norm)} features represented (linear)"
    sharing = int((seen & (interference > SHARED)).sum())
    return f"{seen.sum()} of {len(norm)} features represented, {sharing} of them sharing"


def _lowest(layout: Panels) -> npt.NDArray[np.int64]:
    """The lowest shown cell of each column."""
    there = layout.cells >= 0
    last = there.shape[0] - 1 - there[::-1].argmax(axis=0)
    lowest = layout.cells[last, np.arange(there.shape[1])]
    return lowest[lowest >= 0]


def _panel(ax: Axes, norm: F64, colours: npt.NDArray[np.float64], reach: float, style: Style) -> None:
    n = len(norm)
    half = 0.41 if n <= 40 else 0.5
    y, zero, length = np.arange(n), np.zeros(n), np.nan_to_num(norm)
    corners = np.array([[zero, length, length, zero], [y - half, y - half, y + half, y + half]])
    ax.add_collection(
        PolyCollection(list(corners.transpose(2, 1, 0)), facecolors=colours, linewidths=0, zorder=2)
    )
    ax.axvline(1, color=style.faint, lw=0.8 * style.line, zorder=1)
    ax.set(xlim=(0, reach), ylim=(n - 0.4, -0.6), xticks=[0, 1])
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.tick_params(axis="y", length=0)
    ax.spines["bottom"].set_visible(False)
    if not np.isfinite(norm).all():
        ax.text(
            reach / 2, n / 2, "diverged", ha="center", va="center", color=style.muted, fontsize=style.small
        )
