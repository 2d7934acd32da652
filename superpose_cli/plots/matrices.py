"""`wtw`: what each feature writes to each output, W^T W, beside the bias b; responses behind a hidden ReLU.

There a product of matrices says nothing: the two neurons of |x| = ReLU(x) + ReLU(-x) cancel in W W_dec^T.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from superpose_cli.plots.cells import Panels, panels
from superpose_cli.plots.panels import colour_bar, label_rows, panel_figure, tell, write_note
from superpose_cli.plots.samples import Stored, stored_models
from superpose_cli.plots.sets import READING, Sets, set_colours, set_legend, sets_of
from superpose_cli.plots.stored import best_cells, best_weights, refuse_if_all_diverged
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import (
    Words,
    counted_span,
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
    G: tuple[tuple[F64, ...], ...]
    """Per shown cell one or two (n, n): entry (i, j) is what one unit of feature i adds to output j, before
    b_j; as a response, output j where feature i alone is on, at 1 (and at -1 in the second)."""
    b: tuple[F64, ...]
    """(n,): the bias; beside responses the outputs where no feature is on."""
    n_hidden: tuple[int, ...]
    tied: bool
    response: bool
    sets: Sets
    restarts: int


def select(run: Run) -> Matrices:
    """The best restart of each cell; responses where a model has a ReLU on its hidden layer."""
    layout = panels(run)
    weights = best_weights(run, layout.shown)
    refuse_if_all_diverged("wtw", run, [w.W for w in weights.values()])
    shown = [weights[cell] for cell in layout.shown.tolist()]
    best = best_cells(run, ["hidden_activation", "signed"])
    here = np.isin(best["cell"], layout.shown)
    response = bool((best["hidden_activation"][here] == "relu").any())
    if response:
        models = stored_models(run, layout.shown)
        signs = (1.0, -1.0) if best["signed"][here].any() else (1.0,)
        found = [
            responses(models.get(cell), len(w.W), signs)
            for cell, w in zip(layout.shown.tolist(), shown, strict=True)
        ]
    else:
        found = [((gram(w.W[None], w.decoder[None])[0],), w.b.astype(np.float64)) for w in shown]
    return Matrices(
        panels=layout,
        G=tuple(G for G, _ in found),
        b=tuple(b for _, b in found),
        n_hidden=tuple(w.W.shape[1] for w in shown),
        tied=all(w.tied for w in shown),
        response=response,
        sets=sets_of(run, layout.shown),
        restarts=run.restarts,
    )


def responses(model: Stored | None, n: int, signs: tuple[float, ...]) -> tuple[tuple[F64, ...], F64]:
    """(n, n) for each sign: y where feature i alone is on at 1 times it; (n,): y where none is.

    NaN without a model.
    """
    if model is None:
        return (np.full((n, n), np.nan),) * len(signs), np.full(n, np.nan)
    return tuple(model.outputs(sign * np.eye(n)) for sign in signs), model.outputs(np.zeros((1, n)))[0]


def draw(data: Matrices, style: Style, title: str) -> Figure:
    """Each panel: the square matrix or two, and the bias as a column; one colour scale around 0 for all."""
    in_sets = any(map(len, data.sets))
    aspect = 0.87 if not data.response else 1.0 if len(data.G[0]) == 1 else 0.6
    figure, axes = panel_figure(data.panels, style, title, aspect=aspect, bar=True, gap=0.06, legend=in_sets)
    arrays = [array for G, b in zip(data.G, data.b, strict=True) for array in (*G, b)]
    finite = [np.abs(array[np.isfinite(array)]).max(initial=0.0) for array in arrays]
    limit = max(0.1, float(np.ceil(max(finite) * 10) / 10))
    scale = Normalize(-limit, limit)
    smallest = min(map(len, data.b))
    for ax, G, b, sets in zip(axes, data.G, data.b, data.sets, strict=True):
        _panel(ax, G, b, scale, style, data.response, smallest)
        if in_sets:
            _name_sets(ax, sets, len(b), style)
    set_legend(figure, data.sets, style)
    label_rows(figure, axes, data.panels, "feature i", style)
    if not data.response:
        axes[0].set_xlabel("output j", fontsize=style.text)
    colour_bar(figure, ScalarMappable(scale, style.diverging), axes, style, label=_label(data))
    write_note(figure, data.panels.note, style)
    return figure


def words(data: Matrices) -> Words:
    """How many features each model writes out, and how strongly they interfere."""
    # What comes out with nothing on is no feature's doing.
    rest = data.b if data.response else [np.zeros_like(b) for b in data.b]
    added = [tuple(G - b for G in own) for own, b in zip(data.G, rest, strict=True)]
    kinds = [_kind(G, m) for G, m in zip(added, data.n_hidden, strict=True)]
    told = tell(
        data.panels,
        kinds,
        lambda where, kind, cells: f"{where}: {kind}{_numbers([G for i in cells for G in added[i]])}.",
    )
    bias = np.concatenate([b[np.isfinite(b)] for b in data.b])
    features = counted_span([len(b) for b in data.b], "feature")
    hidden = counted_span(data.n_hidden, "neuron" if data.response else "dimension")
    signs = "at 1 and at −1 " if len(data.G[0]) > 1 else "at 1 "
    counted_if = (
        f"it alone, {signs}moves its own output by more than {REPRESENTED_NORM_SQ}"
        if data.response
        else f"its diagonal entry exceeds {REPRESENTED_NORM_SQ}"
    )
    column = "With no feature on, the outputs are" if data.response else "The bias b runs from"
    return Words(
        title=f"{'Responses' if data.response else 'Wᵀ W'}: {features} in {hidden}",
        paragraphs=(
            f"{shown_restart(data.restarts)} A feature is counted as written out if {counted_if}. {told}",
            f"{column} {span([bias.min()])} to {span([bias.max()])}." + note_sentence(data.panels.note),
        ),
        reading=_reading(data),
        source=(
            "“Computation in Superposition” draws the weights of such models; their responses to single "
            "features are ours."
            if data.response
            else "“Demonstrating Superposition”, basic results: a linear model keeps the most important "
            "features as orthogonal directions whatever the sparsity; with a ReLU at the output, sparsity "
            "brings superposition."
        ),
    )


def _reading(data: Matrices) -> str:
    colours = "Blue is positive, orange negative, blank zero; the narrow column at the right is "
    if data.response:
        both = " at the left, at −1 at the right" if len(data.G[0]) > 1 else ""
        return (
            f"Row i, column j is output j of the whole model where feature i alone is on, at 1{both}; "
            f"feature 0 is at the top left. {colours}the output where no feature is on. Behind a hidden ReLU "
            "this depends on the sign, and W W_decᵀ, in which the neurons of the two signs cancel, does not "
            "show it. Off the diagonal is interference."
        )
    product = "W Wᵀ (the Wᵀ W of the paper, whose W is ours transposed)" if data.tied else "W W_decᵀ"
    in_sets = any(map(len, data.sets))
    strips = READING.replace("Features of one colour", "Rows with one colour at their left")
    return (
        f"Row i, column j of {product} is what one unit of feature i adds to output j before the bias; "
        f"feature 0 is at the top left. {colours}b on the same scale. A blank diagonal entry is a feature "
        "that is not represented; coloured entries off the diagonal are interference."
        + (strips if in_sets else "")
    )


def _kind(G: tuple[F64, ...], n_hidden: int) -> str:
    if not np.isfinite(G).all():
        return "diverged"
    own = np.diag(G[0]) if len(G) == 1 else np.abs([np.diag(one) for one in G]).min(axis=0)
    written = int((own > REPRESENTED_NORM_SQ).sum())
    more = " (more than dimensions)" if written > n_hidden else ""
    return f"{written} of {len(own)} features are written out{more}"


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


def _label(data: Matrices) -> str:
    if data.response:
        return "output $y_j$"
    return r"$W^\mathrm{T}W$ and b" if data.tied else r"$W_{dec}^\mathrm{T}W$ and b"


def _name_sets(ax: Axes, sets: npt.NDArray[np.int64], n: int, style: Style) -> None:
    """Strips in the colours of the sets at the left of the matrix, in room that every panel gets."""
    ax.set_xlim(left=-0.08 * n)
    colours = set_colours(sets, style)
    for first in np.flatnonzero(np.diff(sets, prepend=-1)).tolist():
        ends = [first, first + int((sets == sets[first]).sum())]
        ax.plot([-0.05 * n] * 2, ends, color=colours[first], lw=1.8 * style.line, solid_capstyle="butt")


def _panel(
    ax: Axes, G: tuple[F64, ...], b: F64, scale: Normalize, style: Style, response: bool, smallest: int
) -> None:
    """`smallest`: the fewest features of a panel; the shares of a panel are the same in all."""
    n = len(b)
    gap, width = n * max(0.45 / smallest, 0.05), n * max(0.8 / smallest, 0.07)
    lefts = [k * (n + gap) for k in range(len(G) + 1)]
    right = lefts[-1] + width
    ends = [*(left + n for left in lefts[:-1]), right]
    for array, left, end in zip((*G, b[:, None]), lefts, ends, strict=True):
        ax.imshow(
            array, extent=(left, end, n, 0), cmap=style.diverging, norm=scale,
            interpolation="nearest", origin="upper", aspect="equal",
        )  # fmt: skip
        ax.plot(
            [left, end, end, left, left], [0, 0, n, n, 0],
            color=style.muted, lw=0.4 * style.line, clip_on=False, solid_joinstyle="miter",
        )  # fmt: skip
    ax.set(xlim=(0, right), ylim=(n, 0), xticks=[], yticks=[])
    if response:
        names = [*(f"$x_i$ = {sign}" for sign, _ in zip(("1", "−1"), G, strict=False)), "0"]
        ax.set_xticks([(left + end) / 2 for left, end in zip(lefts, ends, strict=True)], names)
        ax.tick_params(axis="x", length=0, labelsize=style.small)
    ax.spines[:].set_visible(False)
    if not np.isfinite(G).all():
        ax.text(n / 2, n / 2, "diverged", ha="center", va="center", color=style.muted, fontsize=style.small)
