"""`explainers`: what the words mean, drawn with the numbers of one small trained model."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from superpose_cli.plots.cells import over_one_axis
from superpose_cli.plots.stored import best_weights, refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, number
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import canonical, solution_name, tegum_factors
from superpose_cli.toy_model.metrics import represented

F64 = npt.NDArray[np.float64]

MOST_FEATURES = 8


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One tied model with two hidden dimensions."""

    W: F64
    """(n, 2), turned so that the first represented feature points right."""
    b: F64
    """(n,)."""
    first: int
    """A represented feature, which is on in the example."""
    second: int
    """The one whose output it pushes up most, or the next represented one."""
    place: str

    @property
    def G(self) -> F64:
        """(n, n): W W^T."""
        return self.W @ self.W.T


def select(run: Run) -> Explained:
    """The stored model, tied, with m = 2 and n <= 8, that represents most features; RunError without one."""
    lines = over_one_axis(run)
    small = best_weights(run, lines.cells[lines.cells >= 0])
    fits = {
        cell: w
        for cell, w in small.items()
        if w.tied and w.W.shape[1] == 2 and 2 <= len(w.W) <= MOST_FEATURES and np.isfinite(w.W).all()
    }
    counts = {cell: int(represented(np.linalg.norm(w.W, axis=1)).sum()) for cell, w in fits.items()}
    if max(counts.values(), default=0) < 2:
        refuse(
            "explainers",
            run,
            f"it draws a tied model of 2 to {MOST_FEATURES} features in two dimensions, two of them "
            "represented",
            "draw it from experiment=intro",
        )
    cell = max(counts, key=lambda c: (counts[c], c))
    W, b = canonical(fits[cell].W), fits[cell].b.astype(np.float64)
    seen = np.flatnonzero(represented(np.linalg.norm(W, axis=1)))
    others = seen[1:]
    second = int(others[(W @ W[seen[0]])[others].argmax()])
    line, k = np.argwhere(lines.cells == cell)[0]
    place = ", ".join(filter(None, (lines.labels[line], lines.x.inline[k])))
    return Explained(W=W, b=b, first=int(seen[0]), second=second, place=place)


def draw(data: Explained, style: Style, title: str) -> Figure:
    """Above, from directions to outputs, step by step; below, four words side by side."""
    figure = style.figure(style.double, style.double * 0.62, title)
    axes = figure.subplots(2, 4)
    reach = 1.25 * max(1.0, float(np.linalg.norm(data.W[data.first] + data.W[data.second])),
                       float(np.linalg.norm(data.W, axis=1).max()))  # fmt: skip
    n, i, j = len(data.W), data.first, data.second
    _sum_of_directions(axes[0, 0], data, reach, style)
    _matrix(axes[0, 1], data.W, ("unit", "feature"), f"2. $W$: {n} features\nby 2 units", style)
    _matrix(axes[0, 2], data.G, ("output", "feature"), "3. $W\\,W^T$: features\nby features", style)
    x = np.zeros(n)
    x[i] = 1.0
    _outputs(axes[0, 3], data, x, f"4. the output when\nfeature {i} is on", style)
    heading = "polysemanticity:\nunit 0 serves many features"
    _bars(axes[1, 0], data.W[:, 0], ("feature", "weight $W_{k0}$"), heading, style)
    near = 1.35 * max(1.0, float(np.linalg.norm(data.W, axis=1).max()))
    _plane(axes[1, 1], near, style)
    for k, row in enumerate(data.W):
        _arrow(axes[1, 1], row, style.superposed, style, str(k), near)
    more = represented(np.linalg.norm(data.W, axis=1)).sum() > 2
    heading = (
        "superposition:\nmore directions than units"
        if more
        else "no superposition:\ntwo directions, two units"
    )
    axes[1, 1].set_title(heading, fontsize=style.small)
    own = data.W[j]
    heading = f"distributed representation:\nfeature {j} lies on both units"
    _bars(axes[1, 2], own, ("unit", f"weight $W_{{{j}k}}$"), heading, style)
    others = data.G[i].copy()
    others[i] = 0.0
    heading = f"interference: what\nfeature {i} adds to others"
    _bars(axes[1, 3], others, ("output", f"$W_{i}\\cdot W_k$"), heading, style)
    return figure


def _plane(ax: Axes, reach: float, style: Style) -> None:
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.axhline(0, color=style.faint, lw=0.8 * style.line, zorder=0)
    ax.axvline(0, color=style.faint, lw=0.8 * style.line, zorder=0)
    ax.text(reach, -0.08 * reach, "unit 0", ha="right", va="top", fontsize=style.small, color=style.muted)
    ax.text(0.03 * reach, reach, "unit 1", ha="left", va="top", fontsize=style.small, color=style.muted)


def _arrow(
    ax: Axes, to: F64, colour: str, style: Style, label: str, reach: float, start: F64 | None = None
) -> None:
    begin = np.zeros(2) if start is None else start
    ax.annotate(
        "", xy=(float(begin[0] + to[0]), float(begin[1] + to[1])), xytext=(float(begin[0]), float(begin[1])),
        arrowprops={"arrowstyle": "-|>", "color": colour, "lw": style.line, "shrinkA": 0, "shrinkB": 0,
                    "ls": "-" if start is None else (0, (2, 2))},
    )  # fmt: skip
    length = float(np.linalg.norm(to))
    if label and length > 0.25:
        tip = to * (1 + 0.13 * reach / length)
        ax.text(float(tip[0]), float(tip[1]), label, ha="center", va="center", fontsize=style.small)


def _sum_of_directions(ax: Axes, data: Explained, reach: float, style: Style) -> None:
    """h = x_i W_i + x_j W_j, with both at 1."""
    i, j = data.first, data.second
    _plane(ax, reach, style)
    one, other = data.W[i], data.W[j]
    _arrow(ax, one, style.dedicated, style, f"{i}", reach)
    _arrow(ax, other, style.superposed, style, f"{j}", reach)
    _arrow(ax, other, style.superposed, style, "", reach, start=one)
    _arrow(ax, one + other, style.ink, style, "h", reach)
    ax.set_title(f"1. features are directions:\n$h = W_{i} + W_{j}$, both on", fontsize=style.small)


def _matrix(ax: Axes, values: F64, names: tuple[str, str], title: str, style: Style) -> None:
    """`names`: of the columns and the rows."""
    limit = max(1.0, float(np.abs(values).max()))
    colours = style.diverging(Normalize(-limit, limit)(values))
    ax.imshow(colours, aspect="equal" if values.shape[0] == values.shape[1] else "auto")
    for (row, column), value in np.ndenumerate(values):
        ink = style.background if abs(value) > 0.55 * limit else style.ink
        ax.text(column, row, f"{value:.2f}".replace("-", "−"), ha="center", va="center", color=ink,
                fontsize=style.small * min(1.0, 5.5 / len(values)))  # fmt: skip
    ax.set(xticks=range(values.shape[1]), yticks=range(len(values)), xlabel=names[0], ylabel=names[1])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(title, fontsize=style.small)


def _bars(ax: Axes, values: F64, labels: tuple[str, str], title: str, style: Style) -> None:
    at = np.arange(len(values))
    ax.bar(at, values, color=np.where(values >= 0, style.dedicated, style.superposed).tolist(), width=0.7)
    ax.axhline(0, color=style.muted, lw=0.6 * style.line)
    ax.set(xticks=at, xlabel=labels[0], ylabel=labels[1])
    ax.margins(y=0.12)
    ax.set_title(title, fontsize=style.small)


def _outputs(ax: Axes, data: Explained, x: F64, title: str, style: Style) -> None:
    """Before the ReLU hollow, after it full."""
    before = x @ data.G + data.b
    at = np.arange(len(before))
    ax.bar(at, np.maximum(before, 0), color=style.dedicated, width=0.7, label="output")
    ax.bar(at, before, fill=False, ec=style.muted, width=0.7, lw=0.8 * style.line, label="before the ReLU")
    ax.axhline(0, color=style.muted, lw=0.6 * style.line)
    ax.set(xticks=at, xlabel="output", ylabel="value")
    low, high = min(float(before.min()), 0.0), max(float(before.max()), 0.2)
    ax.set_ylim(low - 0.1, high + 0.45 * (high - low))
    ax.legend(loc="upper right", fontsize=0.9 * style.small)
    ax.set_title(title, fontsize=style.small)


def words(data: Explained) -> Words:
    """The same, told."""
    n, i, j = len(data.W), data.first, data.second
    G, kinds = data.G, solution_name(tegum_factors(data.G))
    output = np.maximum(G[i] + data.b, 0)
    wrong = float(np.delete(output, i).max())
    return Words(
        title=f"The words of superposition, in one model of {n} features and 2 units",
        paragraphs=(
            f"The model is the best one at {data.place}: {kinds}.",
            f"1. Each feature is a direction: with features {i} and {j} both at 1 the hidden vector is "
            f"W_{i} + W_{j}, of length {number(float(np.linalg.norm(data.W[i] + data.W[j])))}. 2. The "
            "directions are the rows of W. 3. Their products, W Wᵀ (the Wᵀ W of the paper), say what "
            f"each feature adds to each output: row {i} is {', '.join(number(float(g), 2) for g in G[i])}. "
            f"4. When feature {i} alone is at 1, the bias and the ReLU leave {number(float(output[i]))} at "
            f"its own output and at most {number(wrong)} elsewhere.",
            "Polysemanticity is seen from a unit: one unit has weights for several features. "
            f"Superposition is seen from the whole: {n} features, of which "
            f"{int(represented(np.linalg.norm(data.W, axis=1)).sum())} are represented, in 2 dimensions. A "
            "distributed representation is seen from a feature: its direction is on several units, which "
            "a rotation alone can bring about, without any superposition. Interference is what features "
            "in superposition do to one another: the off-diagonal entries of W Wᵀ.",
        ),
        reading=(
            "Top: from directions to outputs, left to right; dashed: the second direction moved to the "
            "tip of the first; hollow: before the ReLU. Bottom: the four words, each with this model's "
            "own numbers; blue is positive, orange negative."
        ),
        source="“Definitions and Motivation: Features, Directions, and Superposition”.",
    )
