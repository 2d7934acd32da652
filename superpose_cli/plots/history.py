"""`history`: the loss during training."""

from dataclasses import dataclass, replace
from itertools import pairwise
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from superpose_cli.plots.cells import Lines, around, over_one_axis
from superpose_cli.plots.curves import coordinate_key, set_log_ticks, value_colours
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.stored import best_cells, refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, counted, note_sentence, span
from superpose_cli.results.run import Run

F64 = npt.NDArray[np.float64]

MOST_PANELS = 4
"""Beside one another, where one axis has a panel for each value."""
MOST_ROWS = 3
"""And columns, where several have."""
MOST_CELLS = 40
MOST_THIN = 200
"""Up to so many instances in all, every restart is drawn, thinly."""


DASHED = (0, (3.2, 1.6))
BEST_CONSTANT, ZERO = "the best constant output", "the output 0"


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The recorded loss of one instance."""

    cell: int
    best: bool
    step: F64
    loss: F64
    """In the unit of `History.over`."""
    train_loss: F64
    """Likewise, on the table that is trained on; NaN where data are drawn anew in each step."""


@dataclass(frozen=True, kw_only=True)
class History:
    """What `history` draws: a panel for each line of `lines`, a trace for each cell in it."""

    lines: Lines
    columns: int
    """Panels in a row."""
    traces: tuple[Trace, ...]
    over: str
    """The output whose loss all losses are divided by, or '': the best constant one where that differs
    between cells, 0 where data have norm 1, as in `double_descent`."""
    stored: F64
    """(cells,): stored losses of the shown cells' best restarts, in the unit of the traces."""
    restarts: int

    @property
    def trained(self) -> bool:
        """Whether a table is trained on, whose loss was recorded too."""
        return any(np.isfinite(trace.train_loss).any() for trace in self.traces)


def select(run: Run) -> History:
    """Recorded losses; RunError where the run recorded fewer than two steps."""
    ratios = best_cells(run, ["loss_ratio"])
    highest = np.where(np.isfinite(ratios["loss_ratio"]), ratios["loss_ratio"], -np.inf).argmax()
    lines, columns = laid_out(over_one_axis(run), int(ratios["cell"][highest]))
    shown = lines.cells[lines.cells >= 0]
    columns_of_best = ["cell", "restart", "loss", "loss_ratio", "unit_norm", "n_features"]
    best = run.best(columns=columns_of_best).set_index("cell").loc[shown]
    rows = run.history(columns=["cell", "restart", "step", "loss", "train_loss"], cells=shown)
    if len(np.unique(rows["step"].to_numpy())) < 2:
        refuse("history", run, "no losses were recorded during training", "train with history.every=100")
    over, units = _units(best)
    unit = dict(zip(best.index.tolist(), units.tolist(), strict=True))
    chosen = dict(zip(best.index.tolist(), best["restart"].tolist(), strict=True))
    all_restarts = len(shown) * run.restarts <= MOST_THIN
    rows = rows.sort_values(["cell", "restart", "step"])
    cell, restart = rows["cell"].to_numpy(), rows["restart"].to_numpy()
    step, loss, train = (rows[name].to_numpy(dtype=np.float64) for name in ("step", "loss", "train_loss"))
    starts = np.flatnonzero(np.r_[True, (np.diff(cell) != 0) | (np.diff(restart) != 0)])
    traces = []
    for start, stop in pairwise([*starts.tolist(), len(rows)]):
        own = int(cell[start])
        is_best = chosen[own] == restart[start]
        if is_best or all_restarts:
            at = slice(start, stop)
            own_unit = unit[own]
            traces.append(
                Trace(
                    cell=own,
                    best=is_best,
                    step=step[at],
                    loss=loss[at] / own_unit,
                    train_loss=train[at] / own_unit,
                )
            )
    stored = best["loss"].to_numpy(dtype=np.float64) / units
    return History(
        lines=lines,
        columns=columns,
        traces=tuple(traces),
        over=over,
        stored=stored[np.isfinite(stored)],
        restarts=run.restarts,
    )


def _units(best: pd.DataFrame) -> tuple[str, F64]:
    """`History.over`, and the loss of that output in the cell of each row."""
    if bool((best["unit_norm"].to_numpy() == True).all()):  # noqa: E712 - None where there is no table
        return ZERO, 1 / best["n_features"].to_numpy(dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        constant = (best["loss"] / best["loss_ratio"]).to_numpy(dtype=np.float64)
    if np.isfinite(constant).all() and np.ptp(constant) > 1e-3 * constant.max():
        return BEST_CONSTANT, constant
    return "", np.ones(len(best))


def laid_out(lines: Lines, peak: int) -> tuple[Lines, int]:
    """The lines that get a panel, and how many are in a row: the ends of every axis, and the cell `peak`.

    The last of the axes that are not x makes the columns, the ones before it make the rows.
    """
    columns = lines.shape[-1]
    grid = np.arange(len(lines.cells)).reshape(-1, columns)
    line, at = (int(i[0]) for i in np.nonzero(lines.cells == peak))
    row, column = divmod(line, columns)
    across = around(columns, MOST_PANELS if len(grid) == 1 else MOST_ROWS, column)
    chosen = grid[np.ix_(around(len(grid), MOST_ROWS, row), across)].ravel()
    along = around(len(lines.x), max(3, MOST_CELLS // len(chosen)), at)
    cells = lines.cells[np.ix_(chosen, along)]
    stored, shown = (int((some >= 0).sum()) for some in (lines.cells, cells))
    left_out = f"{shown} of {counted(stored, 'cell')} shown, the highest loss among them"
    return replace(
        lines,
        x=lines.x[along],
        cells=cells,
        labels=tuple(lines.labels[i] for i in chosen),
        note="; ".join(filter(None, (left_out if shown < stored else "", lines.note))),
    ), len(across)


def draw(data: History, style: Style, title: str) -> Figure:
    """Loss against step, both logarithmic where they span enough; best restarts bold, the others thin.

    The loss axis begins at 0 beside a loss on training rows, which may vanish. A logarithmic step axis is
    linear below the first record after step 0, so that the beginning is shown.
    """
    x = data.lines.x
    rows = -(-len(data.lines.cells) // data.columns)
    width = min(style.double, style.single * (0.15 + data.columns if data.columns > 1 else 1.25))
    figure = style.figure(width, style.single * (0.8 if rows == 1 else 0.12 + 0.56 * rows), title)
    grid = figure.subplots(rows, data.columns, squeeze=False, sharex=True, sharey=True)
    axes: list[Axes] = grid.ravel().tolist()
    colours, mappable = value_colours(x, style)
    room = int(0.8 * width / data.columns * 72 / (0.56 * style.small))
    for ax, cells, label in zip(axes, data.lines.cells.tolist(), data.lines.labels, strict=True):
        for trace in data.traces:
            if trace.cell in cells:
                _line(ax, trace, colours[cells.index(trace.cell)], style)
        ax.set_title(fill(label, room), fontsize=style.small if data.columns > 1 else style.text)
        ax.grid(axis="y")
    _set_axes(axes[0], data)
    for ax in grid[-1]:
        ax.set_xlabel("training step")
        ax.locator_params(axis="x", nbins=5) if ax.get_xscale() == "linear" else None
    label = f"loss ÷ loss of {data.over}" if data.over else "loss"
    if rows > 1:
        figure.supylabel(label, fontsize=style.text)
    else:
        axes[0].set_ylabel(label)
    kinds = [("fresh rows", "-"), ("training rows", DASHED)] if data.trained else []
    marks = [Line2D([], [], color=style.ink, ls=ls, label=kind) for kind, ls in kinds]
    coordinate_key(figure, axes, x, colours, mappable, style, marks)
    write_note(figure, data.lines.note, style)
    return figure


def _line(ax: Axes, trace: Trace, colour: tuple[float, float, float], style: Style) -> None:
    width = (1.2 if trace.best else 0.4) * style.line
    look: dict[str, Any] = {"zorder": 3} if trace.best else {"alpha": 0.3}
    ax.plot(trace.step, np.where(trace.loss > 0, trace.loss, np.nan), color=colour, lw=width, **look)
    if trace.best and np.isfinite(trace.train_loss).any():
        ax.plot(trace.step, trace.train_loss, color=colour, lw=0.7 * width, ls=DASHED, **look)


def _set_axes(ax: Axes, data: History) -> None:
    """Scales and limits, which all panels share."""
    steps = np.concatenate([trace.step for trace in data.traces])
    early = steps[steps > 0].min(initial=np.inf)
    if steps.max() >= 30 * early:
        _set_steps(ax, float(steps.min()), float(early), float(steps.max()))
    losses = np.concatenate([trace.loss for trace in data.traces])
    losses = losses[np.isfinite(losses) & (losses > 0)]
    if data.trained:  # down to nothing where rows are memorised
        ax.set_ylim(0, None)
    elif len(losses) and losses.max() >= 3 * losses.min():
        ax.set_yscale("log")
        set_log_ticks(ax.yaxis, float(losses.min()), float(losses.max()))


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
    told = "No best restart has finite losses."
    if best:
        name = "loss_ratio" if data.over == BEST_CONSTANT else "loss"
        told = (
            f"{_course(data, best)} The stored {name} of the best restarts, of the whole evaluation, is "
            f"{span(data.stored)}{_times(data)}."
        )
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
                if data.over == BEST_CONSTANT
                else "Losses are divided by that of the output 0. "
                if data.over
                else ""
            )
            + (
                "Dashed: the loss on the table that is trained on, of the best restarts. "
                if data.trained
                else ""
            )
            + "A logarithmic step axis is linear from step 0 to the first record after it."
            + (
                ""
                if data.trained
                else " A stair is a jump from one arrangement of the features to a better one."
            )
        ),
        source=(
            "“Superposition, Memorization, and Double Descent” (2023): losses on the table and on fresh "
            "rows, there at the end of training."
            if data.trained
            else "“Superposition and Learning Dynamics”: losses of models whose features change places while "
            "they fall, there in steps."
        ),
    )


def _times(data: History) -> str:
    return " times that of the output 0" if data.over == ZERO else ""


def _course(data: History, best: list[Trace]) -> str:
    """Where the losses of the best restarts go: those that fall, and those that end no lower."""
    unit = f" times that of {data.over}" if data.over else ""
    falls = [trace for trace in best if trace.loss[-1] < trace.loss[0]]
    rises = [trace for trace in best if trace.loss[-1] >= trace.loss[0]]
    over = f"Over {span([trace.step[-1] for trace in best])} steps the recorded loss"
    ends = ("; in the others it" if rises else over, f"in {len(rises)} of {counted(len(best), 'cell')}")
    told = ""
    if rises:
        told = f"{over} does not fall {ends[1]}: there it goes {_from_to(rises)}{unit}"
        told += "" if falls else "."
    if falls:
        told += (
            f"{ends[0]} falls {_from_to(falls)}{unit}; 90 % of the fall is done by step "
            f"{span([_settled(trace) for trace in falls])}."
        )
    if len(best) > 1:
        low, high = (pick(best, key=_final) for pick in (min, max))
        places = _places(data.lines)
        told += f" It ends lowest at {places[low.cell]} and highest at {places[high.cell]}."
    table = [trace for trace in best if np.isfinite(trace.train_loss).all()]
    if table:
        last = span([trace.train_loss[-1] for trace in table])
        told += f" On the rows of the table that is trained on it ends at {last}{unit}."
        if any(trace.train_loss[-1] < trace.train_loss[0] for trace in rises if trace in table):
            told += (
                " Where it rises, this is no grokking (a loss on fresh rows that falls long after the one on "
                "the table) but the reverse: the rows are learnt at the expense of fresh ones."
            )
    return told


def _from_to(traces: list[Trace]) -> str:
    first, last = (span([trace.loss[i] for trace in traces], joiner="–") for i in (0, -1))
    return f"from {first} to {last}"


def _settled(trace: Trace) -> float:
    """The first recorded step at which 90 % of a loss's fall from first to last is done."""
    target = trace.loss[0] - 0.9 * (trace.loss[0] - trace.loss[-1])
    return float(trace.step[np.flatnonzero(trace.loss <= target)[0]])


def _final(trace: Trace) -> float:
    return float(trace.loss[-1])


def _places(lines: Lines) -> dict[int, str]:
    return {
        int(cell): ", ".join(filter(None, (label, lines.x.inline[k])))
        for label, cells in zip(lines.labels, lines.cells, strict=True)
        for k, cell in enumerate(cells)
    }
