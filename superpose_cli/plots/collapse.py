"""`collapse`: correlated features that merge, set by set, as they get denser."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from superpose_cli.plots.cells import Lines, over_one_axis
from superpose_cli.plots.curves import line_colours, set_horizontal
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.stored import best_cells, best_weights, refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, note_sentence, number, sentence, shown_restart, span
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import MERGED, set_cosines

F64 = npt.NDArray[np.float64]

MOST_LINES = 6


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """What `collapse` draws: a line for each combination of the other axes."""

    lines: Lines
    cosine: tuple[tuple[F64, ...], ...]
    """Per line and x: the least cosine inside each set, ascending; empty where nothing is stored."""
    loss_ratio: F64
    """(lines, x)."""
    restarts: int

    @property
    def merged(self) -> F64:
        """(lines, x): sets that count as one direction; NaN where nothing is stored."""
        return np.array(
            [[float((at > MERGED).sum()) if len(at) else np.nan for at in line] for line in self.cosine]
        )


def select(run: Run) -> Collapse:
    """The best restart of each cell; RunError unless features come in correlated sets."""
    lines = over_one_axis(run, most_lines=MOST_LINES)
    best = best_cells(run, ["data_kind", "set_size", "loss_ratio", "status"])
    shown = lines.cells[lines.cells >= 0]
    if not (best["data_kind"][np.isin(best["cell"], shown)] == "correlated").all():
        refuse("collapse", run, "its features do not come in correlated sets", "train with data=correlated")
    size = dict(zip(best["cell"].tolist(), best["set_size"].astype(int).tolist(), strict=True))
    weights = best_weights(run, shown)
    ratio = np.full(run.n_cells + 1, np.nan)
    ratio[best["cell"]] = np.where(best["status"] == "diverged", np.nan, best["loss_ratio"])
    return Collapse(
        lines=lines,
        cosine=tuple(
            tuple(set_cosines(weights[c].W, size[c]) if c >= 0 else np.empty(0) for c in row)
            for row in lines.cells.tolist()
        ),
        loss_ratio=ratio[lines.cells],
        restarts=run.restarts,
    )


def draw(data: Collapse, style: Style, title: str) -> Figure:
    """Cosines inside the sets above, the loss below, over one axis."""
    figure = style.figure(style.double * 0.72, style.single * 1.2, title)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1.5, 1])
    x, marks = data.lines.x, "osD^vP"
    for k, (line, ratio, colour) in enumerate(
        zip(data.cosine, data.loss_ratio, line_colours(len(data.cosine), style), strict=True)
    ):
        most = max((len(at) for at in line), default=0)
        own = np.array([np.r_[at, np.full(most - len(at), np.nan)] for at in line])
        label = data.lines.labels[k] or None
        look = {
            "color": colour,
            "marker": marks[k],
            "ms": 3.2 * style.line,
            "mfc": colour if k == 0 else "none",
        }
        for nth in range(most):
            top.plot(x.positions, own[:, nth], lw=0.7 * style.line, label=label if nth == 0 else None, **look)
        bottom.plot(x.positions, ratio, lw=style.line, **look)
    top.axhline(MERGED, color=style.muted, lw=0.6 * style.line, ls=(0, (4, 3)))
    top.text(1.01, MERGED, "one\ndirection", transform=top.get_yaxis_transform(), va="center",
             fontsize=style.small, color=style.muted)  # fmt: skip
    low = min((float(at.min()) for line in data.cosine for at in line if len(at)), default=0.0)
    top.set(ylabel="cosine inside each set", ylim=(min(-0.05, low - 0.1), 1.06))
    bottom.set(ylabel="loss ÷ that of the\nbest constant", ylim=(0, None))
    for ax in (top, bottom):
        ax.grid(axis="y")
    if len(data.cosine) > 1:
        top.legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncols=3, borderaxespad=0)
    set_horizontal(bottom, x)
    top.tick_params(labelbottom=False)
    figure.align_ylabels((top, bottom))
    write_note(figure, data.lines.note, style)
    return figure


def words(data: Collapse) -> Words:
    """How many sets have merged where, and how far the loss is from that of the lines' lowest."""
    merged = data.merged
    told = [_tell(data, k, merged[k]) for k in range(len(merged))]
    return Words(
        title=f"Correlated features merge: {span(merged[np.isfinite(merged)])} sets have one direction",
        paragraphs=(f"{shown_restart(data.restarts)} " + " ".join(told) + note_sentence(data.lines.note),),
        reading=(
            "Above, a mark is one set of correlated features in one model: the least cosine between two "
            f"of its members. Above {number(MERGED)} they count as one direction; in a hexagon partners "
            "are 60° apart, cosine 1/2. Below, the loss of the same models over that of the best constant "
            "output: where the ReLU model meets the linear one, superposition has become PCA."
        ),
        source="“The Geometry of Superposition”, collapsing of correlated features, and its relation to PCA.",
    )


def _tell(data: Collapse, k: int, merged: F64) -> str:
    x, label = data.lines.x, data.lines.labels[k]
    there = np.flatnonzero(np.isfinite(merged))
    head = f"{sentence(label)}: " if label else ""
    if not len(there):
        return f"{head}nothing is stored."
    steps = [there[0], *(j for i, j in pairwise(there) if merged[i] != merged[j])]
    stairs = ", ".join(f"{int(merged[j])} from {x.inline[j]}" for j in steps)
    monotone = bool(
        (np.diff(merged[there][np.argsort(_towards_dense(x.positions[there], x.is_density))]) >= 0).all()
    )
    ratios = data.loss_ratio[k][there]
    return (
        f"{head}sets that have one direction: {stairs}"
        f"{' (never fewer in denser data)' if monotone and len(steps) > 1 else ''}; "
        f"loss {span(ratios)} of the constant's."
    )


def _towards_dense(positions: F64, is_density: bool) -> F64:
    """Ascending p: the axis of the density shows 1 / p."""
    return -positions if is_density else positions
