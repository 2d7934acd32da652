"""`history`: the loss during training."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from superpose_cli.plots.cells import Lines, over_one_axis
from superpose_cli.plots.curves import coordinate_key, set_log_ticks, value_colours
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.stored import refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, note_sentence, span
from superpose_cli.results.run import Run

F64 = npt.NDArray[np.float64]

MOST_LINES = 4
MOST_CELLS = 40
MOST_THIN = 200
"""Up to so many instances in all, every restart is drawn, thinly."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The recorded loss of one instance."""

    cell: int
    best: bool
    step: F64
    loss: F64
    """Divided by the loss of the best constant output where the plot compares cells in which that differs."""


@dataclass(frozen=True, kw_only=True)
class History:
    """What `history` draws: a panel for each line of `lines`, a trace for each cell in it."""

    lines: Lines
    traces: tuple[Trace, ...]
    relative: bool
    stored: F64
    """(cells,): stored losses of the shown cells' best restarts, in the unit of the traces."""
    restarts: int


def select(run: Run) -> History:
    """Recorded losses; RunError where the run recorded fewer than two steps."""
    lines = over_one_axis(run, most_lines=MOST_LINES, most_cells=MOST_CELLS)
    shown = lines.cells[lines.cells >= 0]
    best = run.best(columns=["cell", "restart", "loss", "loss_ratio"]).set_index("cell").loc[shown]
    rows = run.history(columns=["cell", "restart", "step", "loss"], cells=shown)
    if len(np.unique(rows["step"].to_numpy())) < 2:
        refuse("history", run, "no losses were recorded during training", "train with history.every=100")
    with np.errstate(divide="ignore", invalid="ignore"):
        constant = (best["loss"] / best["loss_ratio"]).to_numpy(dtype=np.float64)
    relative = bool(np.isfinite(constant).all() and np.ptp(constant) > 1e-3 * constant.max())
    unit = dict(zip(best.index.tolist(), constant if relative else np.ones(len(best)), strict=True))
    chosen = dict(zip(best.index.tolist(), best["restart"].tolist(), strict=True))
    all_restarts = len(shown) * run.restarts <= MOST_THIN
    rows = rows.sort_values(["cell", "restart", "step"])
    cell, restart = rows["cell"].to_numpy(), rows["restart"].to_numpy()
    step, loss = rows["step"].to_numpy(dtype=np.float64), rows["loss"].to_numpy(dtype=np.float64)
    starts = np.flatnonzero(np.r_[True, (np.diff(cell) != 0) | (np.diff(restart) != 0)])
    traces = []
    for start, stop in pairwise([*starts.tolist(), len(rows)]):
        own = int(cell[start])
        is_best = chosen[own] == restart[start]
        if is_best or all_restarts:
            record = slice(start, stop)
            traces.append(Trace(cell=own, best=is_best, step=step[record], loss=loss[record] / unit[own]))
    stored = best["loss"].to_numpy(dtype=np.float64) / (constant if relative else 1.0)
    return History(
        lines=lines,
        traces=tuple(traces),
        relative=relative,
        stored=stored[np.isfinite(stored)],
        restarts=run.restarts,
    )


def draw(data: History, style: Style, title: str) -> Figure:
    """Loss against step, both logarithmic where they span enough; best restarts bold, the others thin.

    A logarithmic step axis is linear below the first record after step 0, so that the beginning is shown.
    """
    count = len(data.lines.cells)
    x = data.lines.x
    width = min(style.double, style.single * (0.15 + count if count > 1 else 1.25))
    figure = style.figure(width, style.single * 0.8, title)
    axes = figure.subplots(1, count, squeeze=False, sharex=True, sharey=True)[0]
    colours, mappable = value_colours(x, style)
    steps = np.concatenate([trace.step for trace in data.traces])
    losses = np.concatenate([trace.loss for trace in data.traces])
    losses = losses[np.isfinite(losses) & (losses > 0)]
    early = steps[steps > 0].min(initial=np.inf)
    for ax, cells, label in zip(axes, data.lines.cells.tolist(), data.lines.labels, strict=True):
        for trace in data.traces:
            if trace.cell in cells:
                colour = colours[cells.index(trace.cell)]
                look = (
                    {"lw": 1.2 * style.line, "zorder": 3}
                    if trace.best
                    else {"lw": 0.4 * style.line, "alpha": 0.3}
                )
                ax.plot(trace.step, np.where(trace.loss > 0, trace.loss, np.nan), color=colour, **look)
        if steps.max() >= 30 * early:
            _set_steps(ax, float(steps.min()), float(early), float(steps.max()))
        ax.set_title(label, fontsize=style.text)
        ax.set_xlabel("training step")
        ax.grid(axis="y")
    if len(losses) and losses.max() >= 3 * losses.min():
        axes[0].set_yscale("log")
        set_log_ticks(axes[0].yaxis, float(losses.min()), float(losses.max()))
    axes[0].set_ylabel("loss ÷ loss of the best constant output" if data.relative else "loss")
    coordinate_key(figure, list(axes), x, colours, mappable, style)
    write_note(figure, data.lines.note, style)
    return figure


def _set_steps(ax: Axes, first: float, early: float, last: float) -> None:
    """A logarithmic axis from `first` to `last`, linear below `early` if it begins at 0."""
    if first > 0:
        ax.set(xscale="log", xlim=(first, last))
        set_log_ticks(ax.xaxis, first, last)
        return
    ax.set_xscale("symlog", linthresh=early, linscale=0.4)
    ax.set_xlim(0, last)
    set_log_ticks(ax.xaxis, early, last)
    ticks = np.asarray(ax.xaxis.get_major_locator().tick_values(early, last))
    ax.xaxis.set_major_locator(FixedLocator([0.0, *ticks[(ticks >= early) & (ticks <= last)]]))
    ax.xaxis.set_minor_locator(NullLocator())


def words(data: History) -> Words:
    """How far the loss falls, and when most of the fall is done."""
    best = [trace for trace in data.traces if trace.best and np.isfinite(trace.loss).all()]
    unit = " times that of the best constant output" if data.relative else ""
    told = "No best restart has finite losses."
    if best:
        halfway = [_settled(trace) for trace in best]
        steps = span([trace.step[-1] for trace in best])
        low, high = (pick(best, key=_final) for pick in (min, max))
        told = (
            f"Over {steps} steps the recorded loss falls from "
            f"{span([t.loss[0] for t in best], joiner='–')} to "
            f"{span([t.loss[-1] for t in best], joiner='–')}{unit}; 90 % of the fall is done by step "
            f"{span(halfway)}."
        )
        if len(best) > 1:
            places = _places(data.lines)
            told += f" It ends lowest at {places[low.cell]} and highest at {places[high.cell]}."
        name = "loss_ratio" if data.relative else "loss"
        told += f" The stored {name} of the best restarts, of the whole evaluation, is {span(data.stored)}."
    thin = any(not trace.best for trace in data.traces)
    return Words(
        title="The loss during training",
        paragraphs=(
            "Recorded losses are measured on the first 4,096 evaluation rows, which training does not see: "
            f"at sparse p they scatter by far more than the stored loss. {told}"
            + note_sentence(data.lines.note),
        ),
        reading=(
            "A bold line is the best restart of a cell"
            + (", thin lines of its colour the other restarts" if thin else "")
            + ". "
            + (
                "Losses are divided by that of the best constant output, since losses at different settings "
                "of the data do not compare. "
                if data.relative
                else ""
            )
            + "A logarithmic step axis is linear from step 0 to the first record after it. A stair is a "
            "jump from one arrangement of the features to a better one."
        ),
        source=(
            "“Superposition and Learning Dynamics”: there, too, the loss falls in steps as features change "
            "places."
        ),
    )


def _settled(trace: Trace) -> float:
    """The first recorded step at which 90 % of the fall from first to last is done."""
    target = trace.loss[0] - 0.9 * (trace.loss[0] - trace.loss[-1])
    return (
        float(trace.step[np.flatnonzero(trace.loss <= target)[0]]) if trace.loss[-1] < trace.loss[0] else 0.0
    )


def _final(trace: Trace) -> float:
    return float(trace.loss[-1])


def _places(lines: Lines) -> dict[int, str]:
    return {
        int(cell): ", ".join(filter(None, (label, lines.x.inline[k])))
        for label, cells in zip(lines.labels, lines.cells, strict=True)
        for k, cell in enumerate(cells)
    }
