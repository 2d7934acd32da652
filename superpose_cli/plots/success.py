"""`success`: how many restarts reach the best solution found."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from superpose_cli.plots.cells import Coordinate, Lines, coordinates, over_one_axis
from superpose_cli.plots.curves import edges, line_colours, set_horizontal, set_scale
from superpose_cli.plots.panels import colour_bar, write_note
from superpose_cli.plots.stored import refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, counted, note_sentence, number, share
from superpose_cli.results.run import Run
from superpose_cli.toy_model.metrics import best_restart, success_fraction

F64 = npt.NDArray[np.float64]

TOLERANCE = 1.10
"""A restart succeeds if its objective is at most this times the best one's of its cell ..."""
SOLVED = 1e-6
"""... or this share of the best constant output's loss: below it only rounding tells solutions apart."""
MOST_LINES = 6


@dataclass(frozen=True, kw_only=True)
class Success:
    """What `success` draws: a map if there is a `y`, else lines, or the restarts of the only cell."""

    lines: Lines
    y: Coordinate | None
    """The second of two axes; its positions are the rows of `fraction`, ascending."""
    fraction: F64
    """(lines, x): share of the restarts that succeed; NaN where nothing is stored."""
    ratio: F64
    """Objective / the cell's best, of every stored restart that did not diverge, ascending; both no less than
    the solved task's."""
    n_solved: int
    """Restarts below `SOLVED`."""
    n_diverged: int
    noise: float
    """Largest standard error of a best restart's loss over that loss; 0 where losses are exact."""
    restarts: int


def select(run: Run) -> Success:
    """All restarts; RunError where each cell has only one."""
    if run.restarts < 2:
        refuse("success", run, "each cell was trained once", "train with restarts=8 or more")
    axes = coordinates(run)
    lines = over_one_axis(run, most_lines=None if len(axes) == 2 else MOST_LINES)
    rows = run.instances(columns=["cell", "objective", "status", "loss", "loss_ratio"])
    cell, objective, loss, ratio = (
        rows[name].to_numpy(dtype=np.float64) for name in ("cell", "objective", "loss", "loss_ratio")
    )
    cell, diverged = cell.astype(np.int64), (rows["status"] == "diverged").to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        solved = np.nan_to_num(SOLVED * loss / ratio)
    n_solved = int((objective[~diverged] < solved[~diverged]).sum())
    objective = np.maximum(objective, solved)  # NaN stays NaN
    fraction, best = np.full(run.n_cells, np.nan), np.full(run.n_cells, np.nan)
    fraction[np.unique(cell)] = success_fraction(objective, cell, diverged, TOLERANCE)
    best[np.unique(cell)] = objective[best_restart(objective, cell, diverged)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (objective / best[cell])[~diverged]
    shown, y = np.where(lines.cells >= 0, fraction[lines.cells], np.nan), None
    if len(axes) == 2:
        y = next(axis for axis in axes if axis.name != lines.x.name)
        order = np.argsort(y.positions, kind="stable")
        y, shown = y[order], shown[order]
    chosen = run.best(columns=["loss", "loss_stderr"])
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = (chosen["loss_stderr"] / chosen["loss"]).to_numpy(dtype=np.float64)
    return Success(
        lines=lines,
        y=y,
        fraction=shown,
        ratio=np.sort(ratio[np.isfinite(ratio)]),
        n_solved=n_solved,
        n_diverged=int(diverged.sum()),
        noise=float(noise[np.isfinite(noise)].max(initial=0.0)),
        restarts=run.restarts,
    )


def draw(data: Success, style: Style, title: str) -> Figure:
    """The share of successful restarts over the grid, 0 to 1."""
    if data.y is not None:
        figure = _draw_map(data, data.y, style, title)
    elif data.fraction.size == 1:
        figure = _draw_cell(data, style, title)
    else:
        figure = _draw_lines(data, style, title)
    write_note(figure, data.lines.note, style)
    return figure


def words(data: Success) -> Words:
    """How reliable one training is, and where it is least so."""
    there = data.fraction[np.isfinite(data.fraction)]
    n_good = int((data.ratio <= TOLERANCE).sum())
    total = len(data.ratio) + data.n_diverged
    text = (
        f"A restart succeeds if its objective is at most {number(TOLERANCE)} times the best one of its cell"
        f"{_solved(data)}. {share(n_good, total)} of the restarts do"
    )
    if data.fraction.size == 1:
        text += f"; the median restart is at {number(float(np.median(data.ratio)))} times the best."
    else:
        hard = int((there < 0.5).sum())
        text += (
            f".{_hardest(data, there)} In {share(hard, len(there))} of the shown cells fewer than half "
            "succeed."
        )
    chance = float(there.min())
    if 0 < chance < 1:
        needed = int(np.ceil(np.log(0.01) / np.log(1 - chance)))
        text += (
            f" At the lowest share {counted(needed, 'restart')} find such a solution with 99 % probability."
        )
    if data.noise > 0:
        text += f" The standard error of a best restart's loss is up to {number(100 * data.noise)} % of it"
        text += ", so noise alone can decide who succeeds." if data.noise > TOLERANCE - 1 else "."
    lost = (
        f" {counted(data.n_diverged, 'restart')} diverged and count as failures." if data.n_diverged else ""
    )
    return Words(
        title=f"How many of {data.restarts} restarts reach the best",
        paragraphs=(text + lost + note_sentence(data.lines.note),),
        reading=(
            f"The share of the restarts of a cell whose objective is at most {number(TOLERANCE)} times the "
            "best one's. The limit is a convention, no border between classes of solutions; where the "
            "objective was measured on drawn rows, at sparse p noise alone can exceed it. A share near 1 "
            "also results where all restarts share one local minimum: a better solution that none found is "
            "not seen."
        ),
        source=(
            "Not a figure of the paper, whose authors train many models a point and keep the one of lowest "
            "loss, as the other plots do."
        ),
    )


def _solved(data: Success) -> str:
    """The other way to succeed, where some restart takes it."""
    if not data.n_solved:
        return ""
    return (
        f", or below {number(SOLVED)} of the loss of the best constant output, where only rounding is left "
        f"({counted(data.n_solved, 'restart')})"
    )


def _hardest(data: Success, there: F64) -> str:
    """The cell of the lowest share, or how many cells have it; '' where all are equal."""
    lowest = float(there.min())
    percent = f"{number(100 * lowest)} %"
    if lowest == there.max():
        return f" All shown cells have the same share, {percent}." if len(there) > 1 else ""
    tied = np.argwhere(data.fraction == lowest)
    if len(tied) > 1:
        return f" The lowest share, {percent}, is that of {len(tied)} cells."
    line, k = tied[0]
    label = data.y.inline[line] if data.y else data.lines.labels[line]
    return f" The hardest cell is {', '.join(filter(None, (data.lines.x.inline[k], label)))}: {percent}."


def _draw_map(data: Success, y: Coordinate, style: Style, title: str) -> Figure:
    x = data.lines.x
    height = style.single * min(1.0, 0.5 + 0.06 * len(y))
    figure = style.figure(style.single * 1.25, height, title)
    ax = figure.subplots()
    scale = Normalize(0, 1)
    ax.pcolormesh(
        edges(x),
        edges(y),
        np.ma.masked_invalid(data.fraction),
        cmap=style.ordered,
        norm=scale,
        rasterized=True,
    )
    set_horizontal(ax, x)
    set_scale(ax, y, "y")
    ax.set_ylabel(y.label)
    if y.named:
        ax.invert_yaxis()
    if max(data.fraction.shape) <= 10:
        for (i, k), value in np.ndenumerate(data.fraction):
            if np.isfinite(value):
                colour = style.background if value > 0.4 else style.ink
                ax.text(
                    float(x.positions[k]), float(y.positions[i]), f"{value:.2f}", color=colour,
                    ha="center", va="center", fontsize=style.small,
                )  # fmt: skip
    colour_bar(figure, ScalarMappable(scale, style.ordered), [ax], style, label=_label())
    return figure


def _draw_lines(data: Success, style: Style, title: str) -> Figure:
    x = data.lines.x
    wide = x.named and max(map(len, x.texts)) > 12
    figure = style.figure(style.double if wide else style.single * 1.25, style.single * 0.7, title)
    ax = figure.subplots()
    for values, label, colour in zip(
        data.fraction, data.lines.labels, line_colours(len(data.fraction), style), strict=True
    ):
        ax.plot(x.positions, values, "o" if x.named else "o-", ms=3 * style.line, color=colour, label=label)
    ax.grid(axis="y")
    ax.set(ylim=(-0.03, 1.03), ylabel=_label())
    set_horizontal(ax, x)
    if len(data.lines.labels) > 1:
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), borderaxespad=0)
    return figure


def _draw_cell(data: Success, style: Style, title: str) -> Figure:
    figure = style.figure(style.single, style.single * 0.6, title)
    ax = figure.subplots()
    good = data.ratio <= TOLERANCE
    rank = np.arange(1, len(data.ratio) + 1)
    for mask, colour in ((good, style.dedicated), (~good, style.superposed)):
        ax.plot(rank[mask], data.ratio[mask], "o", ms=3 * style.line, color=colour)
    ax.axhline(TOLERANCE, color=style.muted, lw=0.6 * style.line, ls=(0, (4, 3)))
    ax.set(xlabel="restart, by objective", ylabel="objective ÷ best")
    ax.set_title(
        f"{good.sum()} of {data.restarts} within {number(100 * (TOLERANCE - 1))} %", fontsize=style.text
    )
    if data.ratio.max(initial=1.0) > 20:
        ax.set_yscale("log")
    return figure


def _label() -> str:
    return f"share of restarts\nwithin {number(100 * (TOLERANCE - 1))} % of the best"
