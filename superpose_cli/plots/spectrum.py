"""`spectrum`: how many directions of the hidden space W uses, and how evenly."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from superpose_cli.plots.cells import Lines, over_one_axis
from superpose_cli.plots.curves import coordinate_key, set_horizontal, value_colours
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.stored import refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, note_sentence, number, sentence, shown_restart, span
from superpose_cli.results.run import Run

F64 = npt.NDArray[np.float64]

MOST_LINES = 4
MOST_CELLS = 40


@dataclass(frozen=True, kw_only=True)
class Spectra:
    """What `spectrum` draws: a row of panels for each line of `lines`."""

    lines: Lines
    singular_values: dict[int, F64]
    """By cell, (m,), largest first."""
    eigenvalue_shares: dict[int, F64]
    """By cell, (m,): eigenvalues of the covariance of h over their sum."""
    rank_W: dict[int, float]
    """Effective rank of W, by cell."""
    rank_h: dict[int, float]
    """Effective rank of the covariance of h, by cell."""
    restarts: int


def select(run: Run) -> Spectra:
    """The best restart of each cell that has finite spectra; RunError where none has."""
    lines = over_one_axis(run, most_lines=MOST_LINES, most_cells=MOST_CELLS)
    columns = ["cell", "singular_values", "hidden_eigenvalues", "effective_rank", "hidden_effective_rank"]
    rows = run.best(columns=columns)
    rows = rows[rows["cell"].isin(lines.cells[lines.cells >= 0].tolist())]
    data = Spectra(
        lines=lines, singular_values={}, eigenvalue_shares={}, rank_W={}, rank_h={}, restarts=run.restarts
    )
    for cell, singular, eigen, rank_W, rank_h in zip(*(rows[name].tolist() for name in columns), strict=True):
        if np.isfinite(singular).all() and np.sum(eigen) > 0:
            data.singular_values[cell] = np.asarray(singular, np.float64)
            data.eigenvalue_shares[cell] = np.asarray(eigen, np.float64) / np.sum(eigen)
            data.rank_W[cell], data.rank_h[cell] = rank_W, rank_h
    if not data.rank_W:
        refuse("spectrum", run, "no shown cell has finite, non-zero weights", "lower train.learning_rate")
    return data


def draw(data: Spectra, style: Style, title: str) -> Figure:
    """Per line: singular values of W, eigenvalue shares of cov(h), and the effective ranks along the axis."""
    rows, x = len(data.lines.cells), data.lines.x
    columns = 3 if len(x) > 1 else 2
    figure = style.figure(
        style.double * (1 if columns == 3 else 0.7), style.single * (0.1 + 0.6 * rows), title
    )
    grid = figure.subplots(rows, columns, squeeze=False, sharey="col")
    colours, mappable = value_colours(x, style)
    for row, (cells, label) in enumerate(zip(data.lines.cells.tolist(), data.lines.labels, strict=True)):
        for cell, colour in zip(cells, colours, strict=True):
            if cell in data.singular_values:
                _scree(grid[row, 0], data.singular_values[cell], colour, style)
                _scree(grid[row, 1], data.eigenvalue_shares[cell], colour, style)
        for ax, name in zip(grid[row], ("singular value of W", "share of the variance of h"), strict=False):
            ax.set(ylabel=name, xlabel="direction, by size")
        grid[row, 0].set_title(label, loc="left", fontsize=style.text)
        if columns == 3:
            _ranks(grid[row, 2], data, cells, style, legend=row == 0)
    for ax, values in zip(grid[0], (data.singular_values, data.eigenvalue_shares), strict=False):
        ax.set_ylim(0, 1.06 * max(float(value.max()) for value in values.values()))
    for ax in grid[:-1].ravel():
        ax.set_xlabel("")
    coordinate_key(figure, grid.ravel().tolist(), x, colours, mappable, style)
    write_note(figure, data.lines.note, style)
    return figure


def words(data: Spectra) -> Words:
    """How many of the dimensions carry something, along each line."""
    told = []
    for cells, label in zip(data.lines.cells.tolist(), data.lines.labels, strict=True):
        there = [
            (cell, place)
            for cell, place in zip(cells, data.lines.x.inline, strict=True)
            if cell in data.rank_W
        ]
        if not there:
            continue
        (first, start), (last, end) = there[0], there[-1]
        head = f"{label}: " if label else ""
        dims = span([len(data.singular_values[cell]) for cell, _ in there])
        if first == last:
            told.append(
                sentence(
                    f"{head}at {start} the effective rank of W is {number(data.rank_W[first])} of {dims} "
                    f"dimensions, that of the covariance of h {number(data.rank_h[first])}; singular values "
                    f"{span(data.singular_values[first])}."
                )
            )
            continue
        even = min(
            there,
            key=lambda pair: np.ptp(data.singular_values[pair[0]]) / data.singular_values[pair[0]].max(),
        )
        told.append(
            sentence(
                f"{head}from {start} to {end} the effective rank of W goes from {number(data.rank_W[first])} "
                f"to {number(data.rank_W[last])} of {dims} dimensions, that of the covariance of h from "
                f"{number(data.rank_h[first])} to {number(data.rank_h[last])}; singular values are most even "
                f"at {even[1]} ({span(data.singular_values[even[0]])})."
            )
        )
    return Words(
        title="The spectrum of W and of the hidden layer",
        paragraphs=(f"{shown_restart(data.restarts)} {' '.join(told)}" + note_sentence(data.lines.note),),
        reading=(
            "Left: the singular values of W, largest first; equal ones are a tight frame, in which the "
            "features fill the hidden space evenly. Middle: the eigenvalues of the covariance of h over "
            "their sum, the share of the hidden variance along each principal direction. The effective rank "
            "is exp of the entropy of the singular values (of the eigenvalues) over their sum (Roy & "
            "Vetterli 2007): the number of directions that are used."
        ),
        source=(
            "Not a figure of the paper; compare “The Geometry of Superposition”, where regular arrangements "
            "(tight frames) have equal singular values, and correlated features that collapse to PCA."
        ),
    )


def _scree(ax: Axes, values: F64, colour: tuple[float, float, float], style: Style) -> None:
    marker = {"marker": "o", "ms": 2.2 * style.line} if len(values) <= 12 else {}
    ax.plot(np.arange(1, len(values) + 1), values, color=colour, **marker)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _ranks(ax: Axes, data: Spectra, cells: list[int], style: Style, *, legend: bool) -> None:
    x = data.lines.x
    for ranks, colour, marker, name in (
        (data.rank_W, style.ink, "o", "W"),
        (data.rank_h, style.muted, "s", "cov(h)"),
    ):
        values = [ranks.get(cell, np.nan) for cell in cells]
        line = "none" if x.named else "-"
        ax.plot(x.positions, values, marker, ls=line, ms=2.2 * style.line, color=colour, label=name)
    own = {len(data.singular_values[cell]) for cell in cells if cell in data.rank_W}
    for dims in own:
        ax.axhline(dims, color=style.muted, lw=0.6 * style.line, ls=(0, (4, 3)), zorder=1)
    most = max(len(values) for values in data.singular_values.values())
    ax.set(ylabel="effective rank", ylim=(0, most * 1.08))
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    set_horizontal(ax, x)
    if legend:
        ax.legend(loc="lower right")
