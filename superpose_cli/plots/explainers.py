"""`explainers`: what the words mean, drawn with the numbers of one small trained model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from superpose_cli.plots.cells import over_one_axis
from superpose_cli.plots.stored import best_cells, best_weights, refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, counted, number, span
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import cosines, solution_name, tegum_factors
from superpose_cli.toy_model.metrics import represented

F64 = npt.NDArray[np.float64]

MOST_FEATURES = 8
HALF = 0.5
"""The strength of the second feature in the example; the first one's is 1."""
ASIDE = 0.1
"""A feature is on a unit that has more than so much of its length."""


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One tied model with two hidden dimensions, no ReLU there, and a ReLU at the output."""

    W: F64
    """(n, 2), as it is stored."""
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

    @property
    def seen(self) -> npt.NDArray[np.int64]:
        """The represented features, two and more."""
        return np.flatnonzero(represented(np.linalg.norm(self.W, axis=1)))

    @property
    def spread(self) -> int:
        """The represented feature that is shared most evenly by the two units."""
        rows = np.abs(self.W[self.seen])
        return int(self.seen[(rows.min(axis=1) / rows.max(axis=1)).argmax()])

    @property
    def turned(self) -> F64:
        """(n, 2): W in axes of which the first is the direction of `spread`; W W^T is the same."""
        x, y = self.W[self.spread] / np.linalg.norm(self.W[self.spread])
        return self.W @ np.array([[x, -y], [y, x]])

    def on_units(self, W: F64) -> npt.NDArray[np.bool_]:
        """(n, 2): whether a represented feature is on a unit, for W as stored or turned."""
        length = np.linalg.norm(W, axis=1, keepdims=True)
        return (np.abs(W) > ASIDE * length) & represented(length)


def select(run: Run) -> Explained:
    """The stored model of 2 to 8 features in two dimensions that represents most; RunError without one.

    Tied, with a ReLU at the output alone: a hidden one would part what a sum of features does from the sum of
    what they do, and make the units a basis of their own.
    """
    lines = over_one_axis(run)
    small = best_weights(run, lines.cells[lines.cells >= 0])
    kinds = best_cells(run, ["hidden_activation", "output_activation"])
    fitting = (kinds["hidden_activation"] == "identity") & (kinds["output_activation"] == "relu")
    fits = {
        cell: w
        for cell, w in small.items()
        if cell in kinds["cell"][fitting] and w.tied
        and w.W.shape[1] == 2 and 2 <= len(w.W) <= MOST_FEATURES and np.isfinite(w.W).all()
    }  # fmt: skip
    counts = {cell: int(represented(np.linalg.norm(w.W, axis=1)).sum()) for cell, w in fits.items()}
    if max(counts.values(), default=0) < 2:
        refuse(
            "explainers",
            run,
            f"it draws a tied ReLU output model of 2 to {MOST_FEATURES} features in two dimensions, two of "
            "them represented",
            "draw it from experiment=intro",
        )
    cell = max(counts, key=lambda c: (counts[c], c))
    W, b = fits[cell].W.astype(np.float64), fits[cell].b.astype(np.float64)
    seen = np.flatnonzero(represented(np.linalg.norm(W, axis=1)))
    others = seen[1:]
    second = int(others[(W @ W[seen[0]])[others].argmax()])
    line, k = np.argwhere(lines.cells == cell)[0]
    place = ", ".join(filter(None, (lines.labels[line], lines.x.inline[k])))
    return Explained(W=W, b=b, first=int(seen[0]), second=second, place=place)


def draw(data: Explained, style: Style, title: str) -> Figure:
    """Six steps from features to outputs, then what W W^T says, then what the axes alone say."""
    figure = style.figure(style.double, style.double * 0.95, title)
    axes = figure.subplots(3, 4)
    _steps(axes.ravel()[:6], data, style)
    _of_directions(axes.ravel()[6:9], data, style)
    _of_axes(axes.ravel()[9:], data, style)
    return figure


def _steps(axes: npt.NDArray[np.object_], data: Explained, style: Style) -> None:
    """x, h, W, one entry of W W^T, all of them, the output."""
    n, i, j = len(data.W), data.first, data.second
    x = np.zeros(n)
    x[[i, j]] = 1.0, HALF
    _bars(
        axes[0],
        x,
        ("feature", "strength $x_k$"),
        "1. decomposability: $x$ is a sum\nof features, on or off",
        style,
    )
    _sum_of_directions(axes[1], data, style)
    _matrix(axes[2], data.W, (range(2), range(n)), f"3. $W$: {n} features\nby 2 units", style)
    axes[2].set(xlabel="unit", ylabel="feature")
    _matrix(axes[3], _entry(data), (("unit 0", "unit 1", "sum"), (f"$W_{i}$", f"$W_{j}$", "product")),
            f"4. one entry: $W_{i}\\cdot W_{j}$,\nunit by unit", style)  # fmt: skip
    _matrix(axes[4], data.G, (range(n), range(n)), "5. $W\\,W^T$: all entries,\nfeatures by features", style)
    axes[4].set(xlabel="output", ylabel="feature")
    axes[4].add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, ec=style.ink, lw=1.6 * style.line))
    _outputs(axes[5], data, np.eye(n)[i], f"6. the output when\nfeature {i} is on", style)


def _entry(data: Explained) -> F64:
    """(3, 3): W_i, W_j and their products, unit by unit; in the last column the sum of these."""
    one, other = data.W[data.first], data.W[data.second]
    table = np.full((3, 3), np.nan)
    table[:, :2] = one, other, one * other
    table[2, 2] = one @ other
    return table


def _of_directions(axes: npt.NDArray[np.object_], data: Explained, style: Style) -> None:
    """Superposition, orthogonality and interference, which are the same in all axes."""
    i, n = data.first, len(data.W)
    near = 1.35 * max(1.0, float(np.linalg.norm(data.W, axis=1).max()))
    _plane(axes[0], near, style)
    for k, row in enumerate(data.W):
        _arrow(axes[0], row, style.superposed, style, str(k), near)
    count = len(data.seen)
    heading = (
        f"superposition: {count} directions,\nmore than the 2 units"
        if count > 2
        else "no superposition:\n2 directions, 2 units"
    )
    axes[0].set_title(heading, fontsize=style.small)
    others = data.seen[data.seen != i]
    angles = np.degrees(np.arccos(cosines(data.G)[i, others]))
    axes[1].plot(others, angles, "o", color=style.superposed, ms=3.5 * style.line, zorder=3)
    axes[1].axhline(90, color=style.muted, lw=0.8 * style.line, ls=(0, (4, 3)))
    axes[1].set(xticks=range(n), xlim=(-0.6, n - 0.4), yticks=[0, 45, 90, 135, 180], ylim=(0, 188),
                xlabel="feature", ylabel=f"degrees from $W_{i}$")  # fmt: skip
    heading = f"orthogonality would be 90°:\nhere {span(angles, joiner='° to ')}°"
    axes[1].set_title(heading, fontsize=style.small)
    added = data.G[i].copy()
    added[i] = 0.0
    heading = f"interference: what\nfeature {i} adds to others"
    _bars(axes[2], added, ("output", f"$W_{i}\\cdot W_k$"), heading, style)


def _of_axes(axes: npt.NDArray[np.object_], data: Explained, style: Style) -> None:
    """The same directions in other axes, and what depends on them: polysemanticity, distributed features."""
    f, turned = data.spread, data.turned
    near = 1.35 * max(1.0, float(np.linalg.norm(data.W, axis=1).max()))
    _plane(axes[0], near, style, "axis")
    for k, row in enumerate(turned):
        _arrow(axes[0], row, style.muted, style, str(k), near)
    axes[0].set_title(f"other axes, as good: turned\nso that feature {f} is on axis 0", fontsize=style.small)
    stored, other = (data.on_units(W)[:, 0].sum() for W in (data.W, turned))
    heading = f"polysemanticity, of axes:\n{stored} features on unit 0, turned {other}"
    _bars(axes[1], data.W[:, 0], ("feature", "weight $W_{k0}$"), heading, style, turned[:, 0])
    lies = counted(int(data.on_units(data.W)[f].sum()), "unit")
    heading = f"distributed representation, of\naxes: on {lies}, turned on 1"
    _bars(axes[2], data.W[f], ("unit", f"weight $W_{{{f}k}}$"), heading, style, turned[f])


def _plane(ax: Axes, reach: float, style: Style, name: str = "unit") -> None:
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.axhline(0, color=style.faint, lw=0.8 * style.line, zorder=0)
    ax.axvline(0, color=style.faint, lw=0.8 * style.line, zorder=0)
    ax.text(reach, -0.08 * reach, f"{name} 0", ha="right", va="top", fontsize=style.small, color=style.muted)
    ax.text(0.03 * reach, reach, f"{name} 1", ha="left", va="top", fontsize=style.small, color=style.muted)


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


def _sum_of_directions(ax: Axes, data: Explained, style: Style) -> None:
    """h = W_i + W_j / 2."""
    i, j = data.first, data.second
    one, other = data.W[i], HALF * data.W[j]
    reach = 1.3 * max(1.0, *(float(np.linalg.norm(v)) for v in (one, other, one + other)))
    _plane(ax, reach, style)
    _arrow(ax, one, style.dedicated, style, f"{i}", reach)
    _arrow(ax, other, style.superposed, style, f"½·{j}", reach)
    _arrow(ax, other, style.superposed, style, "", reach, start=one)
    _arrow(ax, one + other, style.ink, style, "h", reach)
    ax.set_title(f"2. linearity: directions add,\n$h = W_{i} + ½\\,W_{j}$", fontsize=style.small)


def _matrix(
    ax: Axes,
    values: F64,
    ticks: tuple[Sequence[object], Sequence[object]],
    title: str,
    style: Style,
) -> None:
    """`ticks`: of the columns and the rows; NaN: blank."""
    limit = max(1.0, float(np.nanmax(np.abs(values))))
    colours = style.diverging(Normalize(-limit, limit)(np.nan_to_num(values)))
    ax.imshow(colours, aspect="equal" if values.shape[0] == values.shape[1] else "auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        ink = style.background if abs(value) > 0.55 * limit else style.ink
        ax.text(column, row, f"{value:.2f}".replace("-", "−"), ha="center", va="center", color=ink,
                fontsize=style.small * min(1.0, 5.5 / len(values)))  # fmt: skip
    ax.set_xticks(range(values.shape[1]), list(map(str, ticks[0])))
    ax.set_yticks(range(len(values)), list(map(str, ticks[1])))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(title, fontsize=style.small)


def _bars(
    ax: Axes,
    values: F64,
    labels: tuple[str, str],
    title: str,
    style: Style,
    turned: F64 | None = None,
) -> None:
    """`turned`: the same in the turned axes, hollow."""
    at = np.arange(len(values))
    ax.bar(at, values, color=np.where(values >= 0, style.dedicated, style.superposed).tolist(), width=0.7)
    if turned is not None:
        ax.bar(at, turned, fill=False, ec=style.muted, width=0.7, lw=0.8 * style.line)
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
    n, i, j, f = len(data.W), data.first, data.second, data.spread
    G, kinds = data.G, solution_name(tegum_factors(data.G))
    output = np.maximum(G[i] + data.b, 0)
    wrong = float(np.delete(output, i).max())
    count = len(data.seen)
    several = " With more features than units some unit serves several in any axes." if count > 2 else ""
    stored, turned = (data.on_units(W) for W in (data.W, data.turned))
    others = data.seen[data.seen != i]
    angles = np.degrees(np.arccos(cosines(G)[i, others]))
    return Words(
        title=f"The words of superposition, in one model of {n} features and 2 units",
        paragraphs=(
            f"The model is the best one at {data.place}: {kinds}. W is drawn as it is stored.",
            "1. Decomposability: an input is a sum of features, each on or off on its own, here "
            f"x = feature {i} at 1 and feature {j} at ½. 2. Linearity: h = Wᵀx, so that each feature is a "
            f"direction and strengths add: h = W_{i} + ½ W_{j} = ({_pair(data.W[i] + HALF * data.W[j])}). 3. "
            f"The directions are the rows of W. 4. One entry of W Wᵀ: {_worked(data)}. 5. All entries, W Wᵀ "
            "(the Wᵀ W of the paper), say what each feature adds to each output: row "
            f"{i} is {', '.join(number(float(g), 2) for g in G[i])}. 6. When feature {i} alone is at 1, the "
            f"bias and the ReLU leave {number(float(output[i]))} at its own output and at most "
            f"{number(wrong)} elsewhere.",
            f"Of W Wᵀ, and so the same in all axes: superposition ({n} features, of which {count} are "
            "represented, in 2 dimensions), orthogonality (features at right angles, which add nothing to "
            f"one another; feature {i} is {span(angles, joiner='° to ')}° from the others) and interference "
            "(the entries off the diagonal, what features add to one another).",
            "Of the axes: the hidden layer has no ReLU, so that its units are arbitrary axes, and W turned "
            "gives the same outputs. Polysemanticity is one unit with weights for several features: unit 0 "
            f"serves {counted(int(stored[:, 0].sum()), 'feature')} as stored, and {int(turned[:, 0].sum())} "
            f"once the axes are turned so that feature {f} lies on it.{several} A distributed representation "
            f"is one feature on several units: feature {f} is on {int(stored[f].sum())} as stored, on "
            f"{int(turned[f].sum())} once turned, with the same superposition as before.",
        ),
        reading=(
            "Numbered: from features to outputs; dashed arrow: the second direction moved to the tip of the "
            "first; framed: the entry that is worked out, of rounded numbers; hollow there: before the ReLU. "
            "Then what W Wᵀ says, then what is said of axes: full bars as stored, hollow ones in the turned "
            f"axes. A feature is on a unit that has more than {number(100 * ASIDE)} % of its length. Blue is "
            "positive, orange negative."
        ),
        source="“Definitions and Motivation: Features, Directions, and Superposition”.",
    )


def _pair(values: F64) -> str:
    return ", ".join(f"{value:.2f}".replace("-", "−") for value in values)


def _worked(data: Explained) -> str:
    """W_0 · W_2 = 1.06 · 0.70 + (−0.41) · 0.90 = 0.37."""
    terms = " + ".join(
        f"({_pair(pair[:1])}) · ({_pair(pair[1:])})" for pair in data.W[[data.first, data.second]].T
    )
    return f"W_{data.first} · W_{data.second} = {terms} = {number(float(data.G[data.first, data.second]))}"
