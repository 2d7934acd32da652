"""Small multiples: the frame that the panel plots share."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from textwrap import fill
from typing import Any, cast

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from superpose_cli.plots.cells import Panels, evenly
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import listed, sentence

MOST_TOLD = 10


def panel_figure(
    panels: Panels,
    style: Style,
    title: str,
    *,
    aspect: float,
    bar: bool,
    equal: bool = True,
    gap: float = 0.02,
    legend: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure with one titled panel per shown cell, in the order of `panels.shown`.

    `aspect` is a panel's height over its width; `equal` says that panels keep it exactly; `bar` leaves room
    for a colour bar at the right, `legend` for one at the upper right, which a title has the room of; `gap`
    is the space between panels over a panel's width.
    """
    rows, columns = panels.cells.shape
    side = (7 * style.text / 72 if bar else 0.0) + 2 * style.text / 72 * any(panels.row_labels)
    panel = style.single - side if columns == 1 else min(style.double / 3, (style.double - side) / columns)
    crowded = columns > 4
    text = style.small if crowded else style.text
    lines = max(title.count("\n") + 1 for title in panels.titles)
    titled_rows = sum(any(panels.titles[r * columns : (r + 1) * columns]) for r in range(rows))
    height = (
        rows * panel * aspect
        + (titled_rows * lines * text * 1.5 + 2 * style.text * (style.titled or legend)) / 72
    )
    height += (2.5 * style.small / 72) * bool(panels.note)
    figure = style.figure(columns * panel + side, height, title, equal_panels=equal)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=not equal).ravel()
    if equal:
        cast(ConstrainedLayoutEngine, figure.get_layout_engine()).set(wspace=gap)
    for ax, cell, heading in zip(grid, panels.cells.ravel(), panels.titles, strict=True):
        if cell < 0:
            ax.set_axis_off()
        ax.set_title(heading, fontsize=text, pad=3)
    for row, label in enumerate(panels.row_labels):
        if label:
            # Letters times their size; lines break between settings, not inside one ("T = 5").
            room = min(panel * aspect, 0.75 * style.tallest / rows) * 72 / 0.6
            size = style.text if len(label) * style.text <= room else style.small
            whole = label.replace(" ", "\N{NO-BREAK SPACE}").replace(",\N{NO-BREAK SPACE}", ", ")
            lines_of = fill(whole, max(8, int(room / size)), break_long_words=False)
            grid[row * columns].set_ylabel(lines_of.replace("\N{NO-BREAK SPACE}", " "), fontsize=size)
    return figure, [ax for ax, cell in zip(grid, panels.cells.ravel(), strict=True) if cell >= 0]


def colour_bar(
    figure: Figure, mappable: ScalarMappable, axes: Sequence[Axes], style: Style, **more: Any
) -> Colorbar:
    """A slim shared colour bar without a frame."""
    bar = figure.colorbar(mappable, ax=axes, aspect=more.pop("aspect", 22), pad=0.02, **more)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(width=0.6 * style.line)
    return bar


def label_rows(figure: Figure, axes: Sequence[Axes], panels: Panels, label: str, style: Style) -> None:
    """What runs down every panel: beside the first one, or at the far left where the rows have labels."""
    if any(panels.row_labels):
        figure.supylabel(label, fontsize=style.text)
    else:
        axes[0].set_ylabel(label, fontsize=style.text)


def write_note(figure: Figure, note: str, style: Style) -> None:
    """A footnote at the lower left, wrapped to the figure's width."""
    if note:
        wide = int(figure.get_figwidth() * 72 / (0.56 * style.small))
        text = fill(f"{sentence(note)}.", wide)
        figure.supxlabel(text, x=0.012, ha="left", fontsize=style.small, color=style.muted)


def tell(panels: Panels, names: Sequence[str], sentence_of: Callable[[str, str, list[int]], str]) -> str:
    """A sentence for each of `stretches`; of more than `MOST_TOLD`, evenly spaced ones, which is said."""
    found = list(stretches(panels, names))
    told = [sentence_of(*found[i]) for i in evenly(len(found), MOST_TOLD)]
    if len(told) < len(found):
        told.append(f"({len(told)} of {len(found)} such stretches are told, evenly spaced.)")
    return " ".join(told)


def stretches(panels: Panels, names: Sequence[str]) -> Iterator[tuple[str, str, list[int]]]:
    """Neighbouring panels of the same name told together: (where, name, indices into `panels.shown`).

    `names` has one entry per shown panel. Rows that have a label are told one by one.
    """
    places = list(panels.places.values())
    row_of = (panels.cells >= 0).nonzero()[0]
    heads = [panels.row_labels[row] for row in row_of]
    for (head, name), group in groupby(range(len(names)), key=lambda i: (heads[i], names[i])):
        members = list(group)
        first, last, count = places[members[0]], places[members[-1]], len(members)
        if count == 1:
            where = f"at {first}"
        elif panels.ordered:
            where = f"from {first} to {last} ({count} cells)"
        else:
            where = f"at {listed([places[i] for i in members])}"
        where = f"{head}, {where}" if head else where
        yield sentence(where), name, members
