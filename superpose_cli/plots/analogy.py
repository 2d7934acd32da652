"""`analogy`: king - man + woman = queen, in the hidden layer and in what is read from it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from superpose_cli.plots.cells import Lines, over_one_axis
from superpose_cli.plots.curves import line_colours, set_horizontal
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.samples import stored_models
from superpose_cli.plots.stored import refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, note_sentence, number, sentence, shown_restart, span
from superpose_cli.results.run import Run
from superpose_cli.toy_model.analogy import Analogies, solve_analogies
from superpose_cli.toy_model.metrics import represented

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

MOST_LINES = 6
MOST_CELLS = 60
MOST_FEATURES = 24
"""Analogies grow as the third power of it."""
FEWEST = 3
"""Features that an analogy takes: royal, male, female."""


@dataclass(frozen=True, kw_only=True)
class Analogy:
    """What `analogy` draws; arrays are (lines, x), NaN where a cell has nothing to show."""

    lines: Lines
    solved: dict[str, F64]
    """By field of `Analogies`."""
    features: F64
    """Represented features, of which words are made."""
    restarts: int

    def __getitem__(self, field: str) -> F64:
        return self.solved[field]

    @property
    def stretches(self) -> list[list[I64]]:
        """By line, runs of neighbours with an analogy that have equally many features."""
        there = [
            np.flatnonzero(row >= FEWEST) for row in np.where(np.isfinite(self["error"]), self.features, 0)
        ]
        return [
            np.split(at, np.flatnonzero(np.diff(row[at])) + 1)
            for at, row in zip(there, self.features, strict=True)
        ]


def select(run: Run) -> Analogy:
    """The best restart of each cell; RunError unless one represents three features."""
    lines = over_one_axis(run, most_lines=MOST_LINES, most_cells=MOST_CELLS)
    shown = lines.cells[lines.cells >= 0]
    names = Analogies._fields
    found = np.full((len(names) + 1, run.n_cells + 1), np.nan)  # the last column is for blanks, cell -1
    for cell, stored in stored_models(run, shown).items():
        features = np.flatnonzero(represented(np.linalg.norm(stored.W, axis=1)))
        found[-1, cell] = len(features)
        if FEWEST <= len(features) <= MOST_FEATURES:
            found[:-1, cell] = solve_analogies(
                stored.W, stored.decoder, stored.b, stored.b_hidden, stored.model, features
            )
    if not np.isfinite(found[names.index("error")]).any():
        refuse(
            "analogy", run, f"no model represents {FEWEST} to {MOST_FEATURES} features",
            "sweep experiment=analogy",
        )  # fmt: skip
    return Analogy(
        lines=lines,
        solved={name: values[lines.cells] for name, values in zip(names, found, strict=False)},
        features=found[-1][lines.cells],
        restarts=run.restarts,
    )


def draw(data: Analogy, style: Style, title: str) -> Figure:
    """The error in h, and how well the answer is found again by the nearest word and by the outputs."""
    x = data.lines.x
    figure = style.figure(style.double, style.single * 0.62, title)
    axes = figure.subplots(1, 3)
    panels = (
        ("error", "king − man + woman\nis queen in h", "error over ‖queen‖"),
        ("lead", "queen is nearer\nthan other words", "lead in cosine"),
        ("decoded", "the largest outputs\nare queen's features", "share of the analogies"),
    )
    marks = {"ls": "none", "marker": "o", "clip_on": False, "zorder": 3}
    colours = line_colours(len(data.lines.labels), style)
    for ax, (field, heading, label) in zip(axes, panels, strict=True):
        for row, name, colour in zip(data[field], data.lines.labels, colours, strict=True):
            ax.plot(x.positions, row, color=colour, label=name, ms=2.4 * style.line, **marks)
        for row, stretches, colour in zip(data[field], data.stretches, colours, strict=True):
            for at in () if x.named else stretches:
                ax.plot(x.positions[at], row[at], color=colour, clip_on=False)
        ax.set_title(heading, fontsize=style.text)
        ax.set(ylabel=label, ylim=(None if field == "lead" else 0, 1 if field == "decoded" else None))
        ax.grid(axis="y")
        set_horizontal(ax, x)
    hollow = {"mfc": "none", "ms": 4.4 * style.line, **marks}
    for row, colour in zip(data["decoded_there"], colours, strict=True):
        axes[2].plot(x.positions, row, color=colour, **hollow)
    axes[0].set_ylim(0, max(0.1, axes[0].get_ylim()[1]))
    axes[1].set_ylim(min(0.0, axes[1].get_ylim()[0]), max(0.3, axes[1].get_ylim()[1]))
    handles, labels = axes[0].get_legend_handles_labels()
    shown = len(labels) if len(labels) > 1 else 0
    figure.legend(
        [*handles[:shown], Line2D([], [], color=style.ink, **hollow)],
        [*labels[:shown], "where queen does not vanish"],
        loc="outside lower center", ncols=shown + 1,
    )  # fmt: skip
    write_note(figure, data.lines.note, style)
    return figure


def words(data: Analogy) -> Words:
    """Where the analogy is exact, how many answers vanish, and where the others are found."""
    told = [_tell(data, line) for line in range(len(data.lines.labels))]
    there = data["error"][np.isfinite(data["error"])]
    return Words(
        title=f"King − man + woman = queen: exact in h in {(there < 1e-5).sum()} of {len(there)} models",
        paragraphs=(f"{shown_restart(data.restarts)} {' '.join(told)}" + note_sentence(data.lines.note),),
        reading=(
            "A word is one represented feature (man: male) or two (king: royal and male), each on at 1; an "
            "analogy is any choice of three features. Left: h(king) − h(man) + h(woman) against h(queen), "
            "root mean square over that of h(queen): 0 for every linear hidden layer, superposed or not. "
            "A word vanishes where ‖h‖² ≤ 0.25, the bound of a represented feature: antipodal features "
            "cancel, and a hidden ReLU cuts off what is negative. "
            "Middle: the cosine of that vector to queen less that to the nearest other word (the three given "
            "ones and vanished ones left out), on average over queens that do not vanish: the room that "
            "noise has. Right: how often queen's two features are the two largest outputs of that vector, "
            "full: of all analogies; hollow: of those whose queen does not vanish. Lines join neighbours "
            "with equally many features, of which equally many words are made."
        ),
        source=(
            "“Definitions and Motivation”: features as directions, with analogies of word embeddings as the "
            "example. The paper draws no such figure."
        ),
    )


def _tell(data: Analogy, line: int) -> str:
    """One line: the error, what is found where queen is there, its ends, and the lead over equal words."""
    x, label = data.lines.x, data.lines.labels[line]
    head = f"{sentence(label)}: " if label else ""
    there = np.flatnonzero(np.isfinite(data["error"][line]))
    if not len(there):
        return f"{head}no cell represents {FEWEST} to {MOST_FEATURES} features."
    error, nearest, right = (data[field][line][there] for field in ("error", "nearest", "decoded_there"))
    exact = "exact in h" if error.max() < 1e-5 else f"wrong in h by {span(error)} of ‖queen‖"
    text = f"{head}the analogies are {exact}."
    if np.isfinite(nearest).any():
        text += (
            f" Where queen does not vanish, she is the nearest word in {_percent(nearest)} of the analogies, "
            f"and the outputs are right in {_percent(right)}."
        )
    ends = [_tell_end(data, line, int(i)) for i in dict.fromkeys((there[0], there[-1]))]
    text += f" {sentence('; '.join(ends))}."
    most = max(data.stretches[line], key=len)
    if len(most) > 1:
        text += (
            f" Over the words of {int(data.features[line, most[0]])} features, from {x.inline[most[0]]} to "
            f"{x.inline[most[-1]]}, queen's lead in cosine is {span(data['lead'][line][most])}."
        )
    return text if head else sentence(text)


def _tell_end(data: Analogy, line: int, i: int) -> str:
    """'at p = 0.01, with 12 features, 9.09 % of the queens vanish (...) and the outputs are right in ...'."""
    vanished, apart = data["vanished"][line, i], data["apart"][line, i]
    gone = (
        f"{_percent(vanished)} of the queens vanish (her features are at least {number(float(apart))}° apart)"
        if vanished
        else "no queen vanishes"
    )
    return (
        f"at {data.lines.x.inline[i]}, with {int(data.features[line, i])} features, {gone} and the outputs "
        f"are right in {_percent(data['decoded'][line, i])} of all analogies"
    )


def _percent(shares: npt.ArrayLike) -> str:
    values = np.atleast_1d(np.asarray(shares, np.float64))
    return f"{span(100 * values[np.isfinite(values)])} %"
