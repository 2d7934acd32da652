"""`penalty`: what an L1 penalty on the hidden layer costs and removes, over its weight."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from superpose_cli.plots.cells import Coordinate, coordinates, evenly, lines_over
from superpose_cli.plots.curves import line_colours, set_horizontal
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.stored import best_cells, best_features, refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, counted, note_sentence, number, sentence, shown_restart
from superpose_cli.results.run import Run
from superpose_cli.toy_model.theory import random_alignment

F64 = npt.NDArray[np.float64]

MOST_LINES = 6


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """What `penalty` draws; arrays are (lines, x), NaN where a cell is not stored or diverged."""

    x: Coordinate
    """lambda; lambda / p where all features of all models have one p."""
    labels: tuple[str, ...]
    """One per line; ('',) where there is one."""
    loss_ratio: F64
    represented: F64
    superposed: F64
    """Features."""
    alignment: F64
    """Mean over the represented features of max_k W_ik^2 / ||W_i||^2; NaN where there are none."""
    chance: F64
    """(lines,): what directions drawn at random have of it; NaN where models differ in hidden dimensions."""
    dedicated: F64
    """(lines,): loss ratio of a feature for each hidden dimension, without a penalty; NaN where not known."""
    note: str
    restarts: int


def select(run: Run) -> Penalty:
    """The best restart of each cell; RunError without an axis over the penalty."""
    axes = coordinates(run)
    if "hidden_l1" not in [axis.name for axis in axes]:
        refuse("penalty", run, "it has no axis model.hidden_l1", "sweep experiment=remedies")
    (x,), cells, labels = lines_over(axes, "hidden_l1")
    shown = evenly(len(cells), MOST_LINES)
    best = best_cells(run, ["loss_ratio", "n_represented", "status", "n_hidden"])
    rows = best_features(run, ["regime", "importance", "feature_probability", "basis_alignment"])
    shared = np.bincount(rows["cell"], rows["regime"] == "superposed", run.n_cells)
    seen = np.isin(rows["regime"], ("dedicated", "superposed"))
    of_seen = [np.bincount(rows["cell"], seen * one, run.n_cells) for one in (rows["basis_alignment"], 1.0)]
    usable = best["cell"][best["status"] != "diverged"]
    found = np.full((4, run.n_cells), np.nan)
    for row, name in enumerate(("loss_ratio", "n_represented")):
        found[row, best["cell"]] = best[name]
    found[2] = shared
    found[3] = np.divide(*of_seen, out=np.full(run.n_cells, np.nan), where=of_seen[1] > 0)
    found[:, np.setdiff1d(np.arange(run.n_cells), usable)] = np.nan
    p = np.unique(rows["feature_probability"])
    least = np.full(run.n_cells, np.nan)
    if len(p) == 1:
        x = _over_density(x, float(p[0]))
        for cell, m in zip(best["cell"].tolist(), best["n_hidden"].tolist(), strict=True):
            importance = np.sort(rows["importance"][rows["cell"] == cell])[::-1]
            least[cell] = importance[m:].sum() / importance.sum()
    return Penalty(
        x=x,
        labels=tuple(labels[i] for i in shown),
        loss_ratio=found[0][cells[shown]],
        represented=found[1][cells[shown]],
        superposed=found[2][cells[shown]],
        alignment=found[3][cells[shown]],
        chance=np.array([_chance(best["n_hidden"][np.isin(best["cell"], own)]) for own in cells[shown]]),
        dedicated=least[cells[shown]].max(axis=1),
        note=f"{len(shown)} of {counted(len(labels), 'line')} shown" if len(shown) < len(labels) else "",
        restarts=run.restarts,
    )


def _over_density(x: Coordinate, p: float) -> Coordinate:
    """lambda / p: a penalty on features that are on in a share p of the rows weighs p times as much."""
    positions = x.positions / p
    texts = tuple(f"λ/p = {number(float(value))}" for value in positions)
    return replace(x, label=f"weight λ of the L1 penalty ÷ p = {number(p)}", positions=positions, texts=texts)


def _chance(n_hidden: npt.NDArray[np.int64]) -> float:
    widths = set(n_hidden.tolist())
    return random_alignment(widths.pop()) if len(widths) == 1 else np.nan


def draw(data: Penalty, style: Style, title: str) -> Figure:
    """The loss; features represented (hollow) and in superposition (filled); how they lie along the units."""
    figure = style.figure(style.single * 1.25, style.single * 1.4, title)
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    several = len(data.labels) > 1
    for k, colour in enumerate(line_colours(len(data.labels), style)):
        look = {"ms": 3 * style.line, "color": colour if several else style.ink, "lw": style.line}
        shared = look | {} if several else look | {"color": style.superposed}
        top.plot(data.x.positions, data.loss_ratio[k], "o-", label=data.labels[k], **look)
        top.axhline(data.dedicated[k], color=colour if several else style.dedicated, lw=0.7 * style.line,
                    ls=(0, (4, 3)), zorder=1)  # fmt: skip
        middle.plot(data.x.positions, data.represented[k], "o--", mfc=style.background, **look)
        middle.plot(data.x.positions, data.superposed[k], "o-", **shared)
        bottom.plot(data.x.positions, data.alignment[k], "o-", **look)
        bottom.axhline(data.chance[k], color=style.muted, lw=0.7 * style.line, ls=":", zorder=1)
    top.set(ylabel="loss ÷ that of the\nbest constant", ylim=(0, None))
    middle.set(ylabel="features", ylim=(-0.3, None))
    middle.yaxis.get_major_locator().set_params(integer=True)
    bottom.set(ylabel="alignment with\nsingle units", ylim=(0, 1.05))
    for ax in (top, middle, bottom):
        ax.grid(axis="y")
    set_horizontal(bottom, data.x)
    figure.align_ylabels((top, middle, bottom))
    marks = (
        ("represented", style.background, "--", style.ink),
        ("in superposition", None, "-", style.superposed),
    )
    handles = [
        Line2D([], [], marker="o", ms=3 * style.line, mfc=face, ls=ls, color=style.ink if several else colour,
               label=name)
        for name, face, ls, colour in marks
    ]  # fmt: skip
    middle.legend(handles=handles, loc="upper right")
    if np.isfinite(data.chance).any():
        chance = Line2D([], [], color=style.muted, lw=0.7 * style.line, ls=":", label="random directions")
        bottom.legend(handles=[chance], loc="lower right")
    if np.isfinite(data.dedicated).any():
        theory = Line2D([], [], color=style.muted if several else style.dedicated, lw=0.7 * style.line,
                        ls=(0, (4, 3)), label="theory: m features alone")  # fmt: skip
        top.legend(handles=[theory], loc="upper left")
    if several:
        handles, labels = top.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower right", ncols=min(3, len(labels)))
    write_note(figure, data.note, style)
    return figure


def words(data: Penalty) -> Words:
    """From which penalty no feature shares a dimension, and what the loss is there."""
    told = [_tell(data, line) for line in range(len(data.labels))]
    return Words(
        title="What an L1 penalty on the hidden layer removes, and costs",
        paragraphs=(f"{shown_restart(data.restarts)} {' '.join(told)}{note_sentence(data.note)}",),
        reading=(
            "Above, the loss without the penalty, over that of the best constant output"
            + (
                "; dashed: theory's for the m features of largest importance with a dimension each and the "
                "others ignored, at its best without superposition"
                if np.isfinite(data.dedicated).any()
                else ""
            )
            + ". In the middle, the features "
            "that are represented (‖W_i‖² > 0.25; hollow), and those among them that share their dimension "
            "(D_i < 0.9; filled): where these end, so does superposition. Below, the mean of "
            "max_k W_ik² / ‖W_i‖² over the represented features: 1 where each lies along one hidden unit."
        ),
        source=(
            "“The Strategic Picture of Superposition”: models without superposition, by an L1 penalty on the "
            "activations, perform worse."
        ),
    )


def _tell(data: Penalty, line: int) -> str:
    """One line: what the penalty frees of superposition, and what is left of the features."""
    loss, seen, shared = data.loss_ratio[line], data.represented[line], data.superposed[line]
    there, head = np.flatnonzero(np.isfinite(loss)), data.labels[line]
    head = f"{sentence(head)}: " if head else ""
    if not len(there):
        return f"{head}nothing is stored."
    first, end = there[0], there[-1]
    ends = f"{data.x.inline[first]} to {data.x.inline[end]}"
    text = (
        f"{head}{'from' if head else 'From'} {ends} the features represented go from {seen[first]:.0f} to "
        f"{seen[end]:.0f}, those in superposition from {shared[first]:.0f} to {shared[end]:.0f}, the loss "
        f"from {number(float(loss[first]))} to {number(float(loss[end]))} of the constant's"
    )
    turned = data.alignment[line][there]
    if np.isfinite(turned).any():
        shares = turned[np.isfinite(turned)]
        text += (
            f"; single units hold {number(float(shares[0]))} of their squared length in the mean at first, "
            f"{number(float(shares.max()))} at most"
        )
    still = there[shared[there] > 0]
    free = there[there > still[-1]] if len(still) else there
    if len(still) and len(free):
        at = free[0]
        left = f"{counted(int(seen[at]), 'feature')} {'is' if seen[at] == 1 else 'are'} left"
        text += (
            f"; from {data.x.inline[at]} on none is in superposition, where {left} at a loss "
            f"of {number(float(loss[at]))}"
        )
    return f"{text}."
