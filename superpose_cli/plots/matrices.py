"""`wtw`: what each feature writes to each output, W^T W, beside the bias b."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from superpose_cli.plots.cells import Panels, panels
from superpose_cli.plots.panels import colour_bar, label_rows, panel_figure, tell, write_note
from superpose_cli.plots.stored import best_weights, refuse_if_all_diverged
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import (
    Words,
    note_sentence,
    number,
    share,
    shown_restart,
    span,
)
from superpose_cli.results.run import Run
from superpose_cli.toy_model.metrics import REPRESENTED_NORM_SQ, gram

F64 = npt.NDArray[np.float64]

ANTIPODAL = -0.5
"""An off-diagonal entry below this is counted as strong negative interference."""


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """What `wtw` draws: one panel per cell."""

    panels: Panels
    G: tuple[F64, ...]
    """(n, n) per shown cell: entry (i, j) is what one unit of feature i adds to output j, before b_j."""
    b: tuple[F64, ...]
    """(n,)."""
    n_hidden: tuple[int, ...]
    tied: bool
    restarts: int


def select(run: Run) -> Matrices:
    """The best restart of each cell."""
    layout = panels(run)
    weights = best_weights(run, layout.shown)
    refuse_if_all_diverged("wtw", run, [w.W for w in weights.values()])
    shown = [weights[cell] for cell in layout.shown.tolist()]
    return Matrices(
        panels=layout,
        G=tuple(gram(w.W[None], w.decoder[None])[0] for w in shown),
        b=tuple(w.b.astype(np.float64) for w in shown),
        n_hidden=tuple(w.W.shape[1] for w in shown),
        tied=all(w.tied for w in shown),
        restarts=run.restarts,
    )


def draw(data: Matrices, style: Style, title: str) -> Figure:
    """Each panel: the square matrix, a gap, the bias as a column; one colour scale, centred at 0, for all."""
    figure, axes = panel_figure(data.panels, style, title, aspect=0.87, bar=True, gap=0.06)
    finite = [np.abs(array[np.isfinite(array)]).max(initial=0.0) for array in (*data.G, *data.b)]
    limit = max(0.1, float(np.ceil(max(finite) * 10) / 10))
    scale = Normalize(-limit, limit)
    for ax, G, b in zip(axes, data.G, data.b, strict=True):
        _panel(ax, G, b, scale, style)
    label_rows(figure, axes, data.panels, "feature i", style)
    axes[0].set_xlabel("output j", fontsize=style.text)
    colour_bar(figure, ScalarMappable(scale, style.diverging), axes, style, label=_label(data.tied))
    write_note(figure, data.panels.note, style)
    return figure


def words(data: Matrices) -> Words:
    """How many features each model writes out, and how strongly they interfere."""
    kinds = [_kind(G, m) for G, m in zip(data.G, data.n_hidden, strict=True)]
    told = tell(
        data.panels,
        kinds,
        lambda where, kind, cells: f"{where}: {kind}{_numbers([data.G[i] for i in cells])}.",
    )
    bias = np.concatenate([b[np.isfinite(b)] for b in data.b])
    return Words(
        title=f"W^T W: {span([len(G) for G in data.G])} features in {span(data.n_hidden)} dimensions",
        paragraphs=(
            f"{shown_restart(data.restarts)} A feature is counted as written out if its diagonal entry "
            "exceeds "
            f"{REPRESENTED_NORM_SQ}. " + told,
            f"The bias b runs from {span([bias.min()])} to {span([bias.max()])}."
            + note_sentence(data.panels.note),
        ),
        reading=(
            "Row i, column j of "
            f"{'W W^T (the W^T W of the paper, whose W is ours transposed)' if data.tied else 'W W_dec^T'} "
            "is what one unit of feature i adds to output j before the bias; feature 0 is at the top left. "
            "Blue is positive, orange negative, blank zero; the narrow column at the right is b on the same "
            "scale. A blank diagonal entry is a feature that is not represented; coloured entries off the "
            "diagonal are interference."
        ),
        source=(
            "“Demonstrating Superposition”, basic results: a linear model keeps the most important features "
            "as orthogonal directions whatever the sparsity; with a ReLU at the output, sparsity brings "
            "superposition."
        ),
    )


def _kind(G: F64, n_hidden: int) -> str:
    if not np.isfinite(G).all():
        return "diverged"
    written = int((np.diag(G) > REPRESENTED_NORM_SQ).sum())
    more = " (more than dimensions)" if written > n_hidden else ""
    return f"{written} of {len(G)} features are written out{more}"


def _numbers(group: list[F64]) -> str:
    """The off-diagonal entries of some matrices, told."""
    if not all(np.isfinite(G).all() for G in group):
        return ""
    off = np.concatenate([G[~np.eye(len(G), dtype=bool)] for G in group])
    if not len(off):
        return ""
    strong = int((off < ANTIPODAL).sum())
    text = (
        f", largest interference {number(float(off.max()), 2)}, most negative {number(float(off.min()), 2)}"
    )
    return text + (
        f", {share(strong, len(off))} of the entries off the diagonal below −0.5" if strong else ""
    )


def _label(tied: bool) -> str:
    return r"$W^\mathrm{T}W$ and b" if tied else r"$W_{dec}^\mathrm{T}W$ and b"


def _panel(ax: Axes, G: F64, b: F64, scale: Normalize, style: Style) -> None:
    n = len(G)
    gap, width = max(0.45, 0.05 * n), max(0.8, 0.07 * n)
    right = n + gap + width
    for array, left, end in ((G, 0.0, float(n)), (b[:, None], n + gap, right)):
        ax.imshow(
            array, extent=(left, end, n, 0), cmap=style.diverging, norm=scale,
            interpolation="nearest", origin="upper", aspect="equal",
        )  # fmt: skip
        ax.plot(
            [left, end, end, left, left], [0, 0, n, n, 0],
            color=style.muted, lw=0.4 * style.line, clip_on=False, solid_joinstyle="miter",
        )  # fmt: skip
    ax.set(xlim=(0, right), ylim=(n, 0), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if not np.isfinite(G).all():
        ax.text(n / 2, n / 2, "diverged", ha="center", va="center", color=style.muted, fontsize=style.small)
