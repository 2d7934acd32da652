"""`incidental`: neurons that carry several features by accident, over their number, beside theory."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from superpose_cli.plots.cells import Coordinate, coordinates
from superpose_cli.plots.curves import FEW, line_colours, set_horizontal
from superpose_cli.plots.stored import best_cells, refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, listed, number, span
from superpose_cli.results.run import Run
from superpose_cli.toy_model.neurons import KINDS, MONOSEMANTIC, neuron_kinds
from superpose_cli.toy_model.theory import incidental_polysemanticity

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Width:
    """The models of one number of features and of neurons."""

    n: int
    m: int
    counts: F64
    """(restarts,): polysemantic neurons of each that did not diverge."""

    @property
    def expected(self) -> float:
        """n^2 / (4 m)."""
        return float(incidental_polysemanticity(self.n, self.m))

    @property
    def error(self) -> float:
        """Standard error of the mean count; NaN of one restart."""
        k = len(self.counts)
        return float(self.counts.std(ddof=1) / np.sqrt(k)) if k > 1 else np.nan


@dataclass(frozen=True, kw_only=True)
class Incidental:
    """What `incidental` draws."""

    widths: tuple[Width, ...]
    """Ascending by n, then by m."""

    @property
    def sizes(self) -> list[int]:
        """The numbers of features, ascending."""
        return sorted({width.n for width in self.widths})


def select(run: Run) -> Incidental:
    """All restarts; RunError unless m > n is an axis and rows have one feature on."""
    remedy = "sweep experiment=incidental"
    if "n_hidden" not in [axis.name for axis in coordinates(run)]:
        refuse("incidental", run, "it has no axis model.n_hidden", remedy)
    rows = best_cells(run, ["data_kind", "k", "n_features", "n_hidden"])
    if not ((rows["data_kind"] == "exactly_k") & (rows["k"] == 1)).all():
        refuse("incidental", run, "n^2/(4m) is known for rows with exactly one feature on", remedy)
    if not (rows["n_hidden"] > rows["n_features"]).all():
        refuse("incidental", run, "with fewer neurons than features sharing is no accident", remedy)
    found = []
    for block in run.weights(best=False):
        finite = block.W[np.isfinite(block.W).all(axis=(1, 2))]
        shared = [(neuron_kinds(W) == KINDS.index("polysemantic")).sum() for W in finite]
        if shared:
            n, m = block.W.shape[1:]
            found.append(Width(n=n, m=m, counts=np.array(shared, np.float64)))
    if not found:
        refuse("incidental", run, "training diverged in every cell", "lower train.learning_rate")
    return Incidental(widths=tuple(sorted(found, key=lambda width: (width.n, width.m))))


def draw(data: Incidental, style: Style, title: str) -> Figure:
    """Counts of single restarts, their means with standard errors, and the expected curve, over m."""
    figure = style.figure(style.single * 1.25, style.single * 0.8, title)
    ax = figure.subplots()
    axis = coordinate(data)
    handles = []
    for n, colour in zip(data.sizes, line_colours(len(data.sizes), style), strict=True):
        own = [width for width in data.widths if width.n == n]
        m = np.array([width.m for width in own], np.float64)
        fine = np.geomspace(m.min() / 1.3, m.max() * 1.3, 200)
        curve = incidental_polysemanticity(n, fine)
        ax.plot(fine, curve, color=colour, lw=style.line, ls=(0, (4, 3)), zorder=2)
        for width in own:
            ax.plot(width.m * _beside(width.counts), width.counts, "o", color=colour, ms=2 * style.line,
                    alpha=0.45, mew=0, zorder=3)  # fmt: skip
        ax.errorbar(
            m, [width.counts.mean() for width in own], yerr=[np.nan_to_num(width.error) for width in own],
            fmt="D", color=colour, ms=3.6 * style.line, mec=style.background, elinewidth=style.line,
            capsize=2.5 * style.line, zorder=4,
        )  # fmt: skip
        handles.append(Line2D([], [], color=colour, ls=(0, (4, 3)), label=f"$n^2/4m$, n = {n}"))
    set_horizontal(ax, axis)
    if len(axis) <= FEW:
        ax.set_xticks(axis.positions, [str(round(m)) for m in axis.positions])
        ax.minorticks_off()
    ax.set(ylim=(0, None), ylabel="polysemantic neurons")
    ax.grid(axis="y")
    marks = (("D", 3.6, 1.0, "mean, with its standard error"), ("o", 2.0, 0.45, "a restart"))
    for mark, size, alpha, name in marks:
        look = {"marker": mark, "ms": size * style.line, "mew": 0, "alpha": alpha}
        handles.append(Line2D([], [], ls="", color=style.ink, label=name, **look))
    ax.legend(handles=handles, loc="upper right")
    return figure


def coordinate(data: Incidental) -> Coordinate:
    """The axis of m."""
    m = sorted({width.m for width in data.widths})
    return Coordinate(
        name="n_hidden",
        label="neurons m",
        positions=np.array(m, np.float64),
        texts=tuple(f"m = {value}" for value in m),
        log=True,
        named=False,
    )


def _beside(counts: F64) -> F64:
    """(restarts,): factors on m that set equal counts side by side."""
    order = np.array([(counts[:i] == count).sum() for i, count in enumerate(counts)])
    last = np.array([(counts == count).sum() - 1 for count in counts])
    return 1.03 ** (order - last / 2)


def words(data: Incidental) -> Words:
    """How many there are, and how many theory expects."""
    told = [
        f"at n = {width.n}, m = {width.m}: {number(float(width.counts.mean()))}"
        f"{' ± ' + number(width.error, 2) if np.isfinite(width.error) else ''} "
        f"({span(width.counts)} in {len(width.counts)} restarts), n²/4m = {number(width.expected)}"
        for width in data.widths
    ]
    ratio = [float(width.counts.mean()) / width.expected for width in data.widths]
    return Words(
        title=f"Incidental polysemanticity: {span(ratio)} times n²/4m",
        paragraphs=(
            f"There are more neurons than features, m > n, and some carry several features all the same; "
            f"{listed(told)}.",
        ),
        reading=(
            "A dot is one restart: how many of its hidden units carry several features, none with "
            f"{number(MONOSEMANTIC)} or more of the unit's squared weights. Diamonds are means over the "
            "restarts, with their standard errors. Dashed: n²/4m, the number of pairs of features whose "
            "largest first weight is on the same neuron, with signs that let the two live together."
        ),
        source=(
            "Lecomte et al. 2023, “What Causes Polysemanticity?”: the number of polysemantic neurons over "
            "the number of neurons."
        ),
    )
