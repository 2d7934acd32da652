"""What the plots over one axis share: the axis itself, colours of lines, and how a line is named."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
)

from superpose_cli.plots.cells import Coordinate
from superpose_cli.plots.panels import colour_bar
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import number

F64 = npt.NDArray[np.float64]

WIDE = 0.55
"""A letter's width over its size."""
FEW = 8
"""Up to so many values of a linear axis are its ticks."""
MOST_LISTED = 6
"""Up to so many values are a legend's entries, more have a colour bar."""


def set_horizontal(ax: Axes, x: Coordinate) -> None:
    """Scale, limits, ticks and label of the x axis."""
    set_scale(ax, x, "x")
    ax.set_xlabel(x.label)
    if x.named:
        labels = ax.get_xticklabels()
        letters = max(len(line) for text in x.texts for line in text.splitlines())
        room = ax.get_window_extent().width * 72 / ax.figure.dpi / len(x)
        if letters * WIDE * float(labels[0].get_fontsize()) > room:
            ax.tick_params(axis="x", labelrotation=20)
            for label in labels:
                label.set(horizontalalignment="right", rotation_mode="anchor")


def set_scale(ax: Axes, coordinate: Coordinate, side: str) -> None:
    """Log or linear scale with plain numbers, or the names, on side "x" or "y"."""
    axis = {"x": ax.xaxis, "y": ax.yaxis}[side]
    if coordinate.log and len(coordinate) > 1:
        ax.set(**{f"{side}scale": "log"})
    set_ticks(axis, coordinate)
    low, high = edges(coordinate)[[0, -1]]
    ax.set(**{f"{side}lim": (low, high)})


def set_ticks(axis: Axis, coordinate: Coordinate) -> None:
    """Names, or the values themselves while they are few, or round numbers in between."""
    values = coordinate.positions
    if coordinate.named or len(values) == 1 or (len(values) <= FEW and not coordinate.log):
        labels = coordinate.texts if coordinate.named else [number(float(value)) for value in values]
        axis.set_major_locator(FixedLocator(values.tolist()))
        axis.set_major_formatter(FixedFormatter(labels))
        axis.set_minor_locator(NullLocator())
    elif coordinate.log:
        set_log_ticks(axis, float(values.min()), float(values.max()))


def set_log_ticks(axis: Axis, low: float, high: float) -> None:
    """Ticks at 1, 2, 5, 10, ... (powers of ten only over more than 2.5 decades), written as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 300 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axis.set_minor_formatter(NullFormatter())


def edges(coordinate: Coordinate) -> F64:
    """(k + 1,): borders half way between the positions, in the scale of the axis; ascending positions."""
    shown = np.log(coordinate.positions) if coordinate.log else coordinate.positions
    if len(shown) == 1:
        half = np.log(1.5) if coordinate.log else 0.5
        borders = np.array([shown[0] - half, shown[0] + half])
    else:
        middle = (shown[1:] + shown[:-1]) / 2
        borders = np.concatenate([[2 * shown[0] - middle[0]], middle, [2 * shown[-1] - middle[-1]]])
    return np.exp(borders) if coordinate.log else borders


def line_colours(count: int, style: Style) -> list[str]:
    """Colours of unordered lines; more than there are colours repeat."""
    return [style.series[i % len(style.series)] for i in range(count)]


def value_colours(
    coordinate: Coordinate, style: Style
) -> tuple[list[tuple[float, float, float]], ScalarMappable | None]:
    """Colours of a coordinate's values, with the mappable of a colour bar for many on a scale."""
    if coordinate.named or coordinate.name == "seed" or len(coordinate) == 1:
        return [to_rgb(colour) for colour in line_colours(len(coordinate), style)], None
    low, high = float(coordinate.positions.min()), float(coordinate.positions.max())
    scale = (LogNorm if coordinate.log else Normalize)(low, high)
    colours = [to_rgb(colour) for colour in style.ordered(scale(coordinate.positions))]
    return colours, ScalarMappable(scale, style.ordered) if len(coordinate) > MOST_LISTED else None


def coordinate_key(
    figure: Figure,
    axes: Sequence[Axes],
    coordinate: Coordinate,
    colours: Sequence[tuple[float, float, float]],
    mappable: ScalarMappable | None,
    style: Style,
    marks: Sequence[Line2D] = (),
) -> None:
    """What the colours of `value_colours` mean: a colour bar, a legend of values, or nothing for one.

    `marks` are labelled lines that the legend has as well.
    """
    if mappable is not None:
        bar = colour_bar(figure, mappable, axes, style, label=coordinate.label)
        set_ticks(bar.ax.yaxis, coordinate)
    elif len(coordinate) > 1:
        lines = zip(colours, coordinate.inline, strict=True)
        marks = [*(Line2D([], [], color=colour, label=text) for colour, text in lines), *marks]
    if marks and mappable is None:
        figure.legend(handles=list(marks), loc="outside right upper")
    elif marks:
        figure.legend(handles=list(marks), loc="outside upper right", ncols=len(marks))


def spread_labels(values: Sequence[float], gap: float) -> list[float]:
    """Positions for labels of `values`, at least `gap` apart, moved as little as their crowding asks.

    Values of one crowded group are centred on the group's mean.
    """
    order = np.argsort(values, kind="stable")
    groups: list[list[int]] = []
    for i in order:
        groups.append([int(i)])
        while (
            len(groups) > 1 and _top(values, groups[-2], gap) + gap > _bottom(values, groups[-1], gap) + 1e-12
        ):
            crowded = groups.pop()
            groups[-1].extend(crowded)
    placed = [0.0] * len(values)
    for group in groups:
        for k, i in enumerate(group):
            placed[i] = _bottom(values, group, gap) + k * gap
    return placed


def _bottom(values: Sequence[float], group: list[int], gap: float) -> float:
    return float(np.mean([values[i] for i in group])) - gap * (len(group) - 1) / 2


def _top(values: Sequence[float], group: list[int], gap: float) -> float:
    return _bottom(values, group, gap) + gap * (len(group) - 1)
