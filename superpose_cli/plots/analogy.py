"""`analogy`: king - man + woman = queen, in the hidden layer and in what is read from it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from superpose_cli.plots.cells import Coordinate, Lines, over_one_axis
from superpose_cli.plots.curves import line_colours, set_horizontal
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.samples import stored_models
from superpose_cli.plots.stored import refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, note_sentence, number, sentence, shown_restart, span
from superpose_cli.results.run import Run
from superpose_cli.toy_model.analogy import solve_analogies
from superpose_cli.toy_model.metrics import represented

F64 = npt.NDArray[np.float64]

MOST_LINES = 6
MOST_CELLS = 60
MOST_FEATURES = 24
"""Analogies grow as the third power of it."""
FEWEST = 3
"""Features that an analogy takes: royal, male, female."""


@dataclass(frozen=True, kw_only=True)
class Analogy:
    """What `analogy` draws; NaN where a cell has nothing to show."""

    lines: Lines
    error: F64
    """(lines, x): how far king - man + woman lies from queen in h, over the size of queen."""
    lead: F64
    """(lines, x): mean cosine to queen less that to the nearest other word."""
    decoded: F64
    """(lines, x): share of them whose two largest outputs are queen's features."""
    features: F64
    """(lines, x): represented features, of which words are made."""
    restarts: int


def select(run: Run) -> Analogy:
    """The best restart of each cell; RunError unless one represents three features."""
    lines = over_one_axis(run, most_lines=MOST_LINES, most_cells=MOST_CELLS)
    shown = lines.cells[lines.cells >= 0]
    found = np.full((4, run.n_cells + 1), np.nan)  # the last entry is for blanks, cell -1
    for cell, stored in stored_models(run, shown).items():
        features = np.flatnonzero(represented(np.linalg.norm(stored.W, axis=1)))
        found[3, cell] = len(features)
        if FEWEST <= len(features) <= MOST_FEATURES:
            solved = solve_analogies(
                stored.W, stored.decoder, stored.b, stored.b_hidden, stored.model, features
            )
            found[:3, cell] = solved.error, solved.lead, solved.decoded
    if not np.isfinite(found[0]).any():
        refuse(
            "analogy", run, f"no model represents {FEWEST} to {MOST_FEATURES} features",
            "sweep experiment=analogy",
        )  # fmt: skip
    error, lead, decoded, features = (values[lines.cells] for values in found)
    return Analogy(
        lines=lines,
        error=error,
        lead=lead,
        decoded=decoded,
        features=features,
        restarts=run.restarts,
    )


def draw(data: Analogy, style: Style, title: str) -> Figure:
    """The error in h, and the shares that are found again by the nearest word and by the outputs."""
    x = data.lines.x
    figure = style.figure(style.double, style.single * 0.62, title)
    axes = figure.subplots(1, 3)
    panels = (
        (data.error, "king − man + woman\nis queen in h", "error over ‖queen‖"),
        (data.lead, "queen is nearer\nthan other words", "lead in cosine"),
        (data.decoded, "the largest outputs\nare queen's features", "share of the analogies"),
    )
    marks = {"ms": 2.4 * style.line, "ls": "none" if x.named else "-", "marker": "o", "clip_on": False}
    for ax, (values, heading, label) in zip(axes, panels, strict=True):
        for row, name, colour in zip(
            values, data.lines.labels, line_colours(len(values), style), strict=True
        ):
            ax.plot(x.positions, row, color=colour, label=name, zorder=3, **marks)
        ax.set_title(heading, fontsize=style.text)
        ax.set(ylabel=label, ylim=(None if values is data.lead else 0, 1 if values is data.decoded else None))
        ax.grid(axis="y")
        set_horizontal(ax, x)
    axes[0].set_ylim(0, max(0.1, axes[0].get_ylim()[1]))
    axes[1].set_ylim(min(0.0, axes[1].get_ylim()[0]), max(0.3, axes[1].get_ylim()[1]))
    if len(data.lines.labels) > 1:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    write_note(figure, data.lines.note, style)
    return figure


def words(data: Analogy) -> Words:
    """Where the analogy is exact, and where the answer is still found."""
    told = [
        _tell(data.lines.x, label, *rows)
        for label, *rows in zip(
            data.lines.labels, data.error, data.lead, data.decoded, data.features, strict=True
        )
    ]
    there = data.error[np.isfinite(data.error)]
    return Words(
        title=f"King − man + woman = queen: exact in h in {(there < 1e-5).sum()} of {len(there)} models",
        paragraphs=(f"{shown_restart(data.restarts)} {' '.join(told)}" + note_sentence(data.lines.note),),
        reading=(
            "A word is one represented feature (man: male) or two (king: royal and male), each on at 1; an "
            "analogy is any choice of three features. Left: h(king) − h(man) + h(woman) against h(queen), "
            "root mean square over that of h(queen): 0 for every linear hidden layer, superposed or not. "
            "Middle: the cosine of that vector to queen less that to the nearest other word (the three given "
            "ones left out), on average: the room that noise has. "
            "Right: how often queen's two features are the two largest outputs of that vector. Superposition "
            "costs the latter two: other words lie in the same direction."
        ),
        source=(
            "“Definitions and Motivation”: features as directions, with analogies of word embeddings as the "
            "example. The paper draws no such figure."
        ),
    )


def _tell(x: Coordinate, label: str, error: F64, lead: F64, decoded: F64, features: F64) -> str:
    head = f"{sentence(label)}: " if label else ""
    there = np.flatnonzero(np.isfinite(error))
    if not len(there):
        return f"{head}no cell represents {FEWEST} to {MOST_FEATURES} features."
    first, last = there[0], there[-1]
    largest = float(error[there].max())
    exact = "exact in h" if largest < 1e-5 else f"wrong in h by {span(error[there])} of ‖queen‖"
    ends = [first] if first == last else [first, last]
    found = "; ".join(
        f"at {x.inline[i]}, with {int(features[i])} features, queen leads the next word by "
        f"{number(float(lead[i]))} in cosine and the outputs are right in {number(float(100 * decoded[i]))} %"
        for i in ends
    )
    return (
        f"{head}the analogies are {exact}; {found}."
        if head
        else sentence(f"the analogies are {exact}; {found}.")
    )
