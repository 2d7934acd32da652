"""`trajectories`: each feature's share of a dimension over training, above the loss; snapshots between."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from matplotlib.ticker import StrMethodFormatter

from superpose_cli.plots.cells import Coordinate, evenly, over_one_axis
from superpose_cli.plots.curves import set_log_ticks
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.polyhedron import MOST_CORNERS, hull_edges
from superpose_cli.plots.sets import READING, set_colours, set_legend, sets_of
from superpose_cli.plots.snapshots import FEWEST, before_and_after, posed, snapshot, stretches
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
SNAPSHOTS = 6
"""Of a cell; four where more than two cells are shown."""


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
    sets: npt.NDArray[np.int64]
    """(n,): the set of each feature; empty where they come in none."""
    shown: tuple[int, ...]
    """The records that have a snapshot; none where m > 3."""
    names: tuple[str, ...]
    """The solutions at those, in words."""
    half: str
    """The solution at the middle record."""
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
    most = SNAPSHOTS if len(shown) <= 2 else FEWEST
    for (cell, row), sets in zip(starts.iterrows(), sets_of(run, shown), strict=True):
        mine = np.flatnonzero(rows["cell"] == cell)
        W = np.stack([flat[i] for i in mine]).astype(np.float64)
        W = W.reshape(len(W), int(row["n_features"]), int(row["n_hidden"]))
        loss = losses[mine] * row["loss_ratio"] / row["loss"]
        place = _place(lines.x, lines.labels, lines.cells, int(str(cell)))
        courses.append(_course(place, steps[mine], W, loss, sets, most))
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


def _course(
    place: str, steps: npt.NDArray[np.int64], W: F64, loss: F64, sets: npt.NDArray[np.int64], most: int
) -> Course:
    """The course of W (T, n, m) and the loss (T,), with at most `most` snapshots."""
    share = dimensionality(W)
    finite = bool(np.isfinite(W).all() and (np.isfinite(loss) & (loss > 0)).all())
    found = tuple(jumps(steps, share)) if finite and len(set(np.diff(steps)[:-1].tolist())) == 1 else ()
    shown = before_and_after(loss, in_jumps(found, len(steps)), most) if finite and W.shape[2] <= 3 else ()
    return Course(
        place=place,
        steps=steps,
        W=W,
        dimensionality=share,
        loss=loss,
        jumps=found,
        sets=sets,
        shown=shown,
        names=tuple(nearest_name(W[at] @ W[at].T) for at in shown),
        half=nearest_name(W[len(W) // 2] @ W[len(W) // 2].T) if finite else "diverged",
        last=nearest_name(W[-1] @ W[-1].T) if finite else "diverged",
    )


def draw(data: Trajectories, style: Style, title: str) -> Figure:
    """D_i of every feature above, the loss below, snapshots between them; shaded where some feature jumps."""
    count = len(data.courses)
    seen = max(len(course.shown) for course in data.courses)
    width = style.single * 1.3 if count == 1 else style.double
    figure = style.figure(width, style.single * (1.3 if seen else 1.05), title)
    heights = [2.1, 0.75, 1] if seen else [2.1, 1]
    layout = figure.add_gridspec(len(heights), count, height_ratios=heights)
    tops: list[Axes] = []
    bottoms: list[Axes] = []
    for k, course in enumerate(data.courses):
        tops.append(figure.add_subplot(layout[0, k], sharey=tops[0] if k else None))
        bottoms.append(figure.add_subplot(layout[-1, k], sharex=tops[k], sharey=bottoms[0] if k else None))
        _curves(tops[k], bottoms[k], course, style)
        tops[k].set_title(course.place, fontsize=style.text if count < 4 else style.small)
        for ax in (tops[k], bottoms[k]):
            ax.tick_params(labelleft=k == 0, labelbottom=ax is bottoms[k])
        if course.shown:
            room = figure.add_subplot(layout[1, k])  # as wide as the axes above and below
            room.set_axis_off()
            panels = [room.inset_axes((i / seen, 0, 1 / seen, 0.84)) for i in range(len(course.shown))]
            _snapshots(panels, tops[k], bottoms[k], course, style)
    losses = np.concatenate([course.loss for course in data.courses])
    losses = losses[np.isfinite(losses) & (losses > 0)]
    if len(losses) and losses.max() > 2 * losses.min():
        bottoms[0].set_yscale("log")
        set_log_ticks(bottoms[0].yaxis, float(losses.min()), float(losses.max()))
    tops[0].set_ylabel("share of a dimension $D_i$")
    bottoms[0].set_ylabel("loss ÷ that of the\nbest constant")
    figure.align_ylabels((tops[0], bottoms[0]))
    if seen:
        set_legend(figure, tuple(course.sets for course in data.courses), style)
    write_note(figure, data.note, style)
    return figure


def _curves(top: Axes, bottom: Axes, course: Course, style: Style) -> None:
    for ax in (top, bottom):
        for start, stop in stretches(course.covered):
            ax.axvspan(course.steps[start], course.steps[stop], color=style.faint, lw=0, zorder=0)
        ax.grid(axis="y")
    for own, colour in zip(course.dimensionality.T, feature_colours(course, -1, style), strict=True):
        top.plot(course.steps, own, color=colour, lw=0.55 * style.line, alpha=0.75)
    bottom.plot(course.steps, course.loss, color=style.ink, lw=style.line)
    top.set(ylim=(-0.02, 1.04), xlim=(course.steps[0], course.steps[-1]))
    bottom.set_xlabel("training step")
    bottom.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    bottom.locator_params(axis="x", nbins=4)


def _snapshots(panels: Sequence[Axes], top: Axes, bottom: Axes, course: Course, style: Style) -> None:
    """A small picture at each shown record, tied to the loss below; a line at its step above."""
    places = posed(course.W)
    reach = max(1e-9, float(np.abs(places[list(course.shown)]).max())) * 1.15
    solid = course.W.shape[2] == 3 and course.W.shape[1] <= MOST_CORNERS
    for ax, at in zip(panels, course.shown, strict=True):
        step = course.steps[at]
        edges = hull_edges(course.W[at]) if solid else ()
        snapshot(ax, places[at], feature_colours(course, at, style), style, edges)
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
        ax.spines[:].set_visible(False)
        ax.set_title(f"{step:,}", fontsize=style.small, pad=1)
        bottom.plot(step, course.loss[at], "o", ms=2.2 * style.line, color=style.ink, clip_on=False, zorder=4)
        top.axvline(step, color=style.muted, lw=0.5 * style.line, ls=(0, (1, 2.4)), zorder=1)
        tie = ConnectionPatch(
            (step, course.loss[at]), (0.5, 0), bottom.transData, ax.transAxes, color=style.muted,
            lw=0.5 * style.line, alpha=0.7,
        )  # fmt: skip
        tie.set_in_layout(False)
        ax.figure.add_artist(tie)


def feature_colours(course: Course, at: int, style: Style) -> list[Any]:
    """One per feature: its set's, else that of its share of a dimension at record `at`, grey without one."""
    if len(course.sets):
        return list(set_colours(course.sets, style))
    own = np.clip(course.dimensionality[at], 0, 1)
    return [style.sharing.reversed()(float(share)) if share > 0.05 else style.muted for share in own]


def words(data: Trajectories) -> Words:
    """How many jumps there are, and how much of the fall of the loss they hold."""
    told = [_tell(course) for course in data.courses]
    in_sets = any(len(course.sets) for course in data.courses)
    return Words(
        title="Shares of a dimension during training",
        paragraphs=(f"{_which(data.restarts)} " + " ".join(told) + note_sentence(data.note),),
        reading=(
            "Above, a line is one feature's share of a dimension D_i"
            + ("" if in_sets else ", coloured by where it ends (grey: nowhere)")
            + "; below, the loss on the first 4,096 evaluation rows. "
            + (
                "Between them the rows W_i at the steps that the lines lead to: the first, the last, before "
                "and after the jumps that hold most of the fall (where there are too few, after a third and "
                "two thirds of it, in logs), all turned as the last one is; of m = 3 a parallel projection, "
                "with the edges of the convex hull. "
                if any(course.shown for course in data.courses)
                else ""
            )
            + "Shaded: some feature is on its "
            f"way from one plateau to another, where a plateau is D_i within {number(FLAT)} for {LASTING} "
            f"steps and a jump joins two that are more than {number(APART)} apart."
            + (READING if in_sets else "")
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
    if course.shown:
        seen = zip(course.shown, course.names, strict=True)
        text += f" At step {', '.join(f'{course.steps[at]:,}: {name}' for at, name in seen)}."
    late = len(course.steps) // 8
    covered = course.covered[late:]
    if not course.jumps:
        return f"{text} No feature jumps between plateaus."
    held = share_of_fall(course.loss[late:], covered)
    before = share_of_fall(course.loss, np.arange(len(course.covered)) < late)
    return (
        f"{text} {counted(len(course.jumps), 'jump')}; after the first eighth of training, by when "
        f"{number(100 * before)} % of the whole fall are over, they cover "
        f"{number(100 * float(covered.mean()))} % of the time and hold {number(100 * held)} % of the rest."
    )
