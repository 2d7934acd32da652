"""`weights`: W itself, features down and hidden units across, beside W_dec where that is another."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from superpose_cli.plots.panels import colour_bar, label_rows, panel_figure, tell, write_note
from superpose_cli.plots.style import Style
from superpose_cli.plots.units import UnitPanels, Units, unit_panels
from superpose_cli.plots.words import Words, note_sentence, number, shown_restart
from superpose_cli.results.run import Run
from superpose_cli.toy_model.metrics import basis_alignment, represented
from superpose_cli.toy_model.theory import random_alignment

F64 = npt.NDArray[np.float64]

GAP = 0.3
"""Between W and W_dec, over the width of one of them."""


def select(run: Run) -> UnitPanels:
    """The best restart of each cell; RunError where all diverged."""
    return unit_panels("weights", run)


def draw(data: UnitPanels, style: Style, title: str) -> Figure:
    """A heat map a panel, two where output weights are others; one colour scale around 0 for all."""
    maps = [[one.W] if data.tied else [one.W, one.W_dec] for one in data.units]
    tall = [len(own[0]) / (own[0].shape[1] * (len(own) + GAP * (len(own) - 1))) for own in maps]
    figure, axes = panel_figure(
        data.panels, style, title, aspect=float(np.clip(np.median(tall), 0.5, 1.4)), bar=True, gap=0.08
    )
    finite = [np.abs(W[np.isfinite(W)]).max(initial=0.0) for own in maps for W in own]
    limit = max(0.1, float(np.ceil(max(finite) * 10) / 10))
    scale = Normalize(-limit, limit)
    for ax, own in zip(axes, maps, strict=True):
        _panel(ax, own, scale, style)
    label_rows(figure, axes, data.panels, "feature i", style)
    if data.tied:
        axes[0].set_xlabel("hidden unit k", fontsize=style.text)
    bar = colour_bar(figure, ScalarMappable(scale, style.diverging), axes, style)
    bar.set_label("$W_{ik}$" if data.tied else r"$W_{ik}$ and $W_{\mathrm{dec},ik}$")
    write_note(figure, data.panels.note, style)
    return figure


def _panel(ax: Axes, maps: list[F64], scale: Normalize, style: Style) -> None:
    """The maps side by side, each one wide and one tall whatever its shape."""
    for k, W in enumerate(maps):
        left = k * (1 + GAP)
        ax.imshow(
            W, extent=(left, left + 1, 1, 0), cmap=style.diverging, norm=scale,
            interpolation="nearest", origin="upper", aspect="auto",
        )  # fmt: skip
        ax.plot(
            left + np.array([0, 1, 1, 0, 0]), [0, 0, 1, 1, 0],
            color=style.muted, lw=0.4 * style.line, clip_on=False, solid_joinstyle="miter",
        )  # fmt: skip
    ax.set(xlim=(0, len(maps) + GAP * (len(maps) - 1)), ylim=(1, 0), xticks=[], yticks=[])
    if len(maps) > 1:
        ax.set_xticks([0.5, 1.5 + GAP], ["$W$", r"$W_\mathrm{dec}$"])
        ax.tick_params(axis="x", length=0, labelsize=style.small)
    ax.spines[:].set_visible(False)
    if not np.isfinite(maps[0]).all():
        ax.text(0.5, 0.5, "diverged", ha="center", va="center", color=style.muted, fontsize=style.small)


def words(data: UnitPanels) -> Words:
    """How well the represented features lie along single hidden units."""
    names = [_name(one) for one in data.units]
    told = tell(data.panels, names, lambda where, name, _: f"{where}: {name}.")
    m = sorted({one.W.shape[1] for one in data.units})
    chance = ", ".join(
        f"{number(random_alignment(width))}{f' in {width} dimensions' if len(m) > 1 else ''}" for width in m
    )
    turned = "" if data.privileged else (
        " Without a ReLU or an L1 penalty on the hidden layer any rotation of h serves as well: which unit "
        "holds what is an accident."
    )  # fmt: skip
    return Words(
        title=f"{'W itself' if data.tied else 'W and W_dec'}: what each hidden unit holds of each feature",
        paragraphs=(
            f"{shown_restart(data.restarts)} {told} A random direction has {chance} of its square along one "
            f"unit.{turned}{note_sentence(data.panels.note)}",
        ),
        reading=(
            "Row i, column k is the weight W_ik from feature i to hidden unit k"
            + ("" if data.tied else ", at the right W_dec,ik from unit k to output i")
            + "; feature 0 is at the top. Units stand in the order of the plot neurons: first those of one "
            "feature. Blue is positive, orange negative, blank zero. One coloured entry in a row is a "
            "feature along an axis; several in a column are features that share a unit."
        ),
        source="“Superposition in a Privileged Basis”: W beside the stacks of its neurons.",
    )


def _name(one: Units) -> str:
    """How a model's features lie, in words."""
    if one.diverged:
        return "diverged"
    seen = represented(np.linalg.norm(one.W, axis=1))
    if not seen.any():
        return "no feature is represented"
    share = float(basis_alignment(one.W[None])[0][seen].mean())
    return (
        f"{int(seen.sum())} of {len(one.W)} features are represented; a single unit holds {number(share)} of "
        "their squared length in the mean"
    )
