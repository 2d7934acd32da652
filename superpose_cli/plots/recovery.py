"""`recovery`: whether dictionary learning on h finds the directions of the features again."""

from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from superpose_cli.plots.cells import Coordinate, Lines, over_one_axis
from superpose_cli.plots.curves import line_colours, set_horizontal
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.samples import Stored, fitted, stored_models
from superpose_cli.plots.stored import refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, note_sentence, number, sentence, shown_restart, span
from superpose_cli.results.run import Run
from superpose_cli.toy_model.metrics import represented

F64 = npt.NDArray[np.float64]

MOST_LINES = 3
MOST_CELLS = 15
"""A dictionary takes about a second."""
MOST_FEATURES = 100
DRAWN, ROWS = 1 << 16, 2000
"""Rows that are drawn, and how many of those with something on are learnt from, at most."""


class Scores(NamedTuple):
    """(lines, x) each; NaN where there is no model, or one without a represented feature."""

    cosine: F64
    """Mean over represented features of the largest cosine to an atom."""
    chance: F64
    """The same of as many random atoms."""
    dims_per_feature: F64
    """m over the number of represented features."""


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What `recovery` draws; the dictionaries are learnt when the scores are first asked for."""

    lines: Lines
    stored: dict[int, Stored]
    learner: ModuleType
    restarts: int

    @cached_property
    def scores(self) -> Scores:
        """Of each shown cell."""
        found = np.full((3, *self.lines.cells.shape), np.nan)
        for at, cell in np.ndenumerate(self.lines.cells):
            if cell in self.stored:
                found[(slice(None), *at)] = _score(self.stored[int(cell)], self.learner)
        return Scores(*found)


def select(run: Run) -> Recovery:
    """The best restart of each cell; RunError without scikit-learn or a represented feature."""
    lines = over_one_axis(run, most_lines=MOST_LINES, most_cells=MOST_CELLS)
    stored = {
        cell: model
        for cell, model in stored_models(run, lines.cells[lines.cells >= 0]).items()
        if len(model.W) <= MOST_FEATURES and represented(np.linalg.norm(model.W, axis=1)).any()
    }
    if not stored:
        refuse(
            "recovery", run, f"no model of at most {MOST_FEATURES} features represents one",
            "sweep experiment=recovery",
        )  # fmt: skip
    return Recovery(lines=lines, stored=stored, learner=fitted("recovery", run), restarts=run.restarts)


def _score(stored: Stored, learner: ModuleType) -> tuple[float, float, float]:
    n, m = stored.W.shape
    x = stored.rows(DRAWN)
    x = x[(x != 0).any(axis=1)][:ROWS]
    directions = stored.hidden(np.eye(n)) - stored.hidden(np.zeros((1, n)))
    kept = represented(np.linalg.norm(directions, axis=1))
    h = stored.hidden(x)
    if not kept.any() or not h.any():
        return np.nan, np.nan, np.nan
    directions = directions[kept] / np.linalg.norm(directions[kept], axis=1, keepdims=True)
    guesses = np.random.default_rng(0).normal(size=(n, m))
    guesses /= np.linalg.norm(guesses, axis=1, keepdims=True)
    found, chance = (
        float((directions @ atoms.T).max(axis=1).mean()) for atoms in (learner.dictionary(h, n), guesses)
    )
    return found, chance, m / len(directions)


def draw(data: Recovery, style: Style, title: str) -> Figure:
    """The cosines over the axis, with those of random atoms below."""
    x, scores = data.lines.x, data.scores
    figure = style.figure(style.single * 1.25, style.single * 0.75, title)
    ax = figure.subplots()
    marks = {"ms": 2.6 * style.line, "ls": "none" if x.named else "-"}
    for i, (label, colour) in enumerate(
        zip(data.lines.labels, line_colours(len(data.lines.labels), style), strict=True)
    ):
        ax.plot(x.positions, scores.cosine[i], marker="o", color=colour, label=label or "learnt", **marks)
        guess = {"ls": "none" if x.named else (0, (4, 3)), "marker": "_" if x.named else None}
        name = "random atoms" if i == 0 else None
        ax.plot(x.positions, scores.chance[i], color=style.muted, lw=0.8 * style.line, label=name, **guess)
    ax.set(ylabel="mean largest cosine of a feature\nto an atom", ylim=(0, 1.04))
    ax.grid(axis="y")
    set_horizontal(ax, x)
    figure.legend(loc="outside lower center", ncols=3)
    write_note(figure, data.lines.note, style)
    return figure


def words(data: Recovery) -> Words:
    """Where the directions are found again."""
    scores = data.scores
    told = [
        _tell(data.lines.x, label, *rows) for label, *rows in zip(data.lines.labels, *scores, strict=True)
    ]
    there = scores.cosine[np.isfinite(scores.cosine)]
    return Words(
        title=f"Dictionary learning on h: mean cosine to the features {span(there)}"
        if len(there)
        else "Dictionary learning on h",
        paragraphs=(f"{shown_restart(data.restarts)} {' '.join(told)}" + note_sentence(data.lines.note),),
        reading=(
            "Of each model, a dictionary of as many unit atoms as there are features is learnt from "
            f"{ROWS:,} hidden vectors (scikit-learn, codes not negative, L1 penalty). A dot is the cosine of "
            "a represented feature's direction in h to the nearest atom, averaged over features; 1: all "
            "directions are found. Dashed: the same of random atoms, which in few dimensions is far from 0."
        ),
        source=(
            "“The Strategic Picture of Superposition”: finding an overcomplete basis after training, and the "
            "hybrid way (an L1 penalty in training, then the same). The paper draws no such figure."
        ),
    )


def _tell(x: Coordinate, label: str, cosine: F64, chance: F64, dims: F64) -> str:
    head = f"{sentence(label)}: " if label else ""
    there = np.flatnonzero(np.isfinite(cosine))
    if not len(there):
        return f"{head}no shown cell represents a feature."
    best, worst = there[int(cosine[there].argmax())], there[int(cosine[there].argmin())]
    told = " and ".join(
        f"{number(float(cosine[i]))} at {x.inline[i]} (random atoms {number(float(chance[i]))}, "
        f"{number(float(dims[i]))} dimensions a feature)"
        for i in ([best] if best == worst else [best, worst])
    )
    return f"{head}{'the' if head else 'The'} mean cosine is {told}."
