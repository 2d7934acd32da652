"""`trajectories`: each feature's share of a dimension over training, above the loss."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from superpose_cli.plots.cells import Coordinate, evenly, over_one_axis
from superpose_cli.plots.curves import set_log_ticks
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.stored import refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, counted, note_sentence, number, shown_restart, span
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import nearest_name
from superpose_cli.toy_model.levels import APART, FLAT, LASTING, Jump, in_jumps, jumps, share_of_fall
from superpose_cli.toy_model.metrics import dimensionality

F64 = npt.NDArray[np.float64]

MOST = 4
"""Cells that are shown."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """The restart of the median objective of one cell, record by record."""

    place: str
    steps: npt.NDArray[np.int64]
    """(T,)."""
    W: F64
    """(T, n, m)."""
    dimensionality: F64
    """(T, n)."""
    loss: F64
    """(T,), over that of the best constant output."""
    jumps: tuple[Jump, ...]
    half: str
    """The solution at the middle record, in words."""
    last: str

    @property
    def covered(self) -> npt.NDArray[np.bool_]:
        """(T - 1,): intervals in which some feature jumps."""
        return in_jumps(self.jumps, len(self.steps))


@dataclass(frozen=True, kw_only=True)
class Trajectories:
    """What `trajectories` draws: a column for each cell."""

    courses: tuple[Course, ...]
    note: str
    restarts: int


def select(run: Run) -> Trajectories:
    """Up to `MOST` cells, evenly spaced; RunError where the history has no weights."""
    lines = over_one_axis(run)
    cells = lines.cells[lines.cells >= 0]
    shown = cells[evenly(len(cells), MOST)]
    starts = median_starts(run).set_index("cell").loc[shown]
    rows = run.history(columns=["cell", "restart", "step", "loss", "W"], cells=shown)
    rows = rows.merge(starts.reset_index()[["cell", "restart"]], on=["cell", "restart"]).sort_values("step")
    if len(np.unique(rows["step"])) < 3 or any(W is None for W in rows["W"]):
        refuse(
            "trajectories",
            run,
            "no weights were recorded during training",
            "train with history.weights=true history.every=10 (experiment=energy_levels)",
        )
    steps, losses = rows["step"].to_numpy(dtype=np.int64), rows["loss"].to_numpy(dtype=np.float64)
    flat, courses = rows["W"].to_list(), []
    for cell, row in starts.iterrows():
        mine = np.flatnonzero(rows["cell"] == cell)
        W = np.stack([flat[i] for i in mine]).astype(np.float64)
        W = W.reshape(len(W), int(row["n_features"]), int(row["n_hidden"]))
        loss = losses[mine] * row["loss_ratio"] / row["loss"]
        place = _place(lines.x, lines.labels, lines.cells, int(str(cell)))
        courses.append(_course(place, steps[mine], W, loss))
    thinned = len(shown) < len(cells)
    return Trajectories(
        courses=tuple(courses),
        note=f"{len(shown)} of {counted(len(cells), 'cell')} shown, evenly spaced" if thinned else "",
        restarts=run.restarts,
    )


def median_starts(run: Run) -> pd.DataFrame:
    """One row per stored cell: its restart of the median objective, the lower of two.

    What most starts go through, the best one may have skipped. Diverged ones count where there is no other.
    """
    columns = ["cell", "restart", "objective", "status", "loss", "loss_ratio", "n_features", "n_hidden"]
    rows = run.instances(columns).sort_values(["cell", "objective", "restart"])
    cells, diverged = rows["cell"].to_numpy(), (rows["status"] == "diverged").to_numpy()
    chosen = []
    for cell in np.unique(cells):
        usable = np.flatnonzero((cells == cell) & ~diverged)
        ranked = usable if len(usable) else np.flatnonzero(cells == cell)
        chosen.append(int(ranked[(len(ranked) - 1) // 2]))
    return rows.take(chosen)


def _place(x: Coordinate, labels: tuple[str, ...], cells: npt.NDArray[np.int64], cell: int) -> str:
    line, k = np.argwhere(cells == cell)[0]
    return "\n".join(filter(None, (labels[line], x.texts[k])))


def _course(place: str, steps: npt.NDArray[np.int64], W: F64, loss: F64) -> Course:
    """The course of W (T, n, m) and the loss (T,)."""
    share = dimensionality(W)
    finite = bool(np.isfinite(W).all())
    return Course(
        place=place,
        steps=steps,
        W=W,
        dimensionality=share,
        loss=loss,
        jumps=tuple(jumps(steps, share)) if finite and len(set(np.diff(steps)[:-1].tolist())) == 1 else (),
        half=nearest_name(W[len(W) // 2] @ W[len(W) // 2].T) if finite else "diverged",
        last=nearest_name(W[-1] @ W[-1].T) if finite else "diverged",
    )


def draw(data: Trajectories, style: Style, title: str) -> Figure:
    """D_i of every feature above, the loss below; shaded where some feature jumps."""
    count = len(data.courses)
    width = style.single * 1.3 if count == 1 else style.double
    figure = style.figure(width, style.single * 1.05, title)
    grid = figure.subplots(2, count, squeeze=False, sharex="col", sharey="row", height_ratios=[2.1, 1])
    for (top, bottom), course in zip(grid.T, data.courses, strict=True):
        for ax in (top, bottom):
            _shade(ax, course, style)
            ax.grid(axis="y")
        final = np.clip(course.dimensionality[-1], 0, 1)
        for own, end in zip(course.dimensionality.T, final, strict=True):
            colour = style.sharing.reversed()(float(end)) if end > 0.05 else style.muted
            top.plot(course.steps, own, color=colour, lw=0.55 * style.line, alpha=0.75)
        bottom.plot(course.steps, course.loss, color=style.ink, lw=style.line)
        top.set(ylim=(-0.02, 1.04), xlim=(course.steps[0], course.steps[-1]))
        top.set_title(course.place, fontsize=style.text if count < 4 else style.small)
        bottom.set_xlabel("training step")
        bottom.locator_params(axis="x", nbins=4)
    losses = np.concatenate([course.loss for course in data.courses])
    losses = losses[np.isfinite(losses) & (losses > 0)]
    if len(losses) and losses.max() > 2 * losses.min():
        grid[1, 0].set_yscale("log")
        set_log_ticks(grid[1, 0].yaxis, float(losses.min()), float(losses.max()))
    grid[0, 0].set_ylabel("share of a dimension $D_i$")
    grid[1, 0].set_ylabel("loss ÷ that of the\nbest constant")
    figure.align_ylabels(grid[:, 0])
    write_note(figure, data.note, style)
    return figure


def _shade(ax: Axes, course: Course, style: Style) -> None:
    edges = np.diff(course.covered.astype(np.int8), prepend=0, append=0)
    for start, stop in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        ax.axvspan(course.steps[start], course.steps[stop], color=style.faint, lw=0, zorder=0)


def words(data: Trajectories) -> Words:
    """How many jumps there are, and how much of the fall of the loss they hold."""
    told = [_tell(course) for course in data.courses]
    return Words(
        title="Shares of a dimension during training",
        paragraphs=(f"{_which(data.restarts)} " + " ".join(told) + note_sentence(data.note),),
        reading=(
            "Above, a line is one feature's share of a dimension D_i, coloured by where it ends (grey: "
            "nowhere); below, the loss on the first 4,096 evaluation rows. Shaded: some feature is on its "
            f"way from one plateau to another, where a plateau is D_i within {number(FLAT)} for {LASTING} "
            f"steps and a jump joins two that are more than {number(APART)} apart."
        ),
        source=(
            "“Superposition and Learning Dynamics”: discrete energy level jumps, and learning as simple "
            "geometric transformations."
        ),
    )


def _which(restarts: int) -> str:
    if restarts < 3:
        return shown_restart(restarts)
    return f"Of each cell, the start of the median objective of {restarts} is shown."


def _tell(course: Course) -> str:
    place = course.place.replace("\n", ", ")
    text = f"{place}: " if place else ""
    first, last = number(float(course.loss[0])), number(float(course.loss[-1]))
    text += (
        f"the loss goes from {first} to {last} of the constant's; it ends in {course.last} "
        f"(half way: {course.half}), D_i = {span(course.dimensionality[-1])}."
    )
    late = len(course.steps) // 8
    covered = course.covered[late:]
    if not course.jumps:
        return f"{text} No feature jumps between plateaus."
    held = share_of_fall(course.loss[late:], covered)
    return (
        f"{text} {counted(len(course.jumps), 'jump')}; after the first eighth of training they cover "
        f"{number(100 * float(covered.mean()))} % of the time and hold {number(100 * held)} % of the fall."
    )
