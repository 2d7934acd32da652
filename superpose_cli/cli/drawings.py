"""Pictures made of characters: grids of colour, and plain characters where there is no colour.

All functions take NumPy arrays and give rich `Text`; none reads a run. Blue stands for positive numbers and
for a feature with a dimension of its own, vermilion for negative numbers and for a shared one, as in the
figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

F64 = npt.NDArray[np.float64]
Colours = npt.NDArray[np.uint8]
"""(rows, columns, 3): red, green, blue."""
Glyphs = npt.NDArray[np.str_]
"""(rows, columns): one character each."""

DARK = (30, 30, 34)
BLUE, PALE_BLUE = (0, 114, 178), (150, 215, 255)
VERMILION, PALE_VERMILION = (213, 94, 0), (255, 205, 150)
GREY = (110, 110, 116)
VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
RAMP = np.array(list(".:-=+*#%@"))
MOST_LINES = 48
NUMBER_WIDTH = 6


@dataclass(frozen=True)
class Scale:
    """How values become colours, and characters where there is no colour."""

    colours: Colours
    glyphs: Glyphs


def has_colour(console: Console) -> bool:
    """Whether colours reach the reader: a terminal that has them, and no NO_COLOR."""
    return console.color_system is not None and not console.no_color


def signed(values: F64, largest: float) -> Scale:
    """Values in [-largest, largest] on vermilion - dark - blue; characters = - . + #."""
    share = np.clip(np.nan_to_num(values / (largest or 1.0)), -1, 1)
    anchors = (PALE_VERMILION, VERMILION, DARK, BLUE, PALE_BLUE)
    steps = np.searchsorted([-0.5, -0.1, 0.1, 0.5], share)
    return Scale(_blend(anchors, (share + 1) / 2), np.array(list("=-.+#"))[steps])


def sequential(values: F64, low: float, high: float) -> Scale:
    """Values from `low` to `high` on a dark-to-light ramp; NaN is grey, and `?` where there is no colour."""
    share = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    known = np.isfinite(share)
    share = np.where(known, share, 0.0)
    colours = np.where(known[..., None], _blend(VIRIDIS, share), np.array(GREY, np.uint8))
    glyphs = np.where(known, RAMP[np.rint(share * (len(RAMP) - 1)).astype(np.int64)], "?")
    return Scale(colours, glyphs)


def regimes(names: npt.NDArray[np.object_]) -> Scale:
    """`ignored` is dark (.), `superposed` vermilion (o), `dedicated` blue (#), anything else grey (?)."""
    table = {"ignored": (DARK, "."), "superposed": (VERMILION, "o"), "dedicated": (BLUE, "#")}
    looks = [table.get(str(name), (GREY, "?")) for name in names.ravel()]
    colours = np.array([colour for colour, _ in looks], np.uint8).reshape(*names.shape, 3)
    return Scale(colours, np.array([glyph for _, glyph in looks]).reshape(names.shape))


def _blend(anchors: Sequence[tuple[int, int, int]], share: F64) -> Colours:
    """Linear interpolation between evenly spaced anchors at `share` in [0, 1]."""
    grid = np.linspace(0, 1, len(anchors))
    channels = [np.interp(share, grid, [anchor[c] for anchor in anchors]) for c in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def number_matrix(values: F64, scale: Scale, *, colour: bool) -> list[Text]:
    """A matrix as numbers with two decimals, on their colours."""
    lines = []
    for row, colours in zip(values, scale.colours, strict=True):
        line = Text(no_wrap=True)
        for value, cell in zip(row, colours, strict=True):
            style = Style(color="white", bgcolor=_rgb(cell)) if colour else Style.null()
            line.append(f"{value:{NUMBER_WIDTH}.2f}", _readable(style, cell))
        lines.append(line)
    return lines


def picture(scale: Scale, *, width: int, colour: bool) -> list[Text]:
    """A grid of cells as lines of at most `width` characters, if it has no more columns than that.

    A cell takes two characters where there is room, else one; with colour, else half of one.
    """
    rows, columns = scale.glyphs.shape
    roomy = 2 * columns <= width and rows <= MOST_LINES
    if not colour:
        repeat = 2 if roomy else 1
        return [Text("".join(glyph * repeat for glyph in row), no_wrap=True) for row in scale.glyphs]
    if roomy:
        return [_line([("  ", None, cell) for cell in row]) for row in scale.colours]
    bottom = np.concatenate([scale.colours[1::2], np.zeros_like(scale.colours[:1])])
    return [
        _line(
            [
                ("▀", above, below if 2 * k + 1 < rows else None)
                for above, below in zip(upper, lower, strict=True)
            ]
        )
        for k, (upper, lower) in enumerate(zip(scale.colours[::2], bottom, strict=False))
    ]


def labelled(
    lines: Sequence[Text], labels: Sequence[str], footer: tuple[str, str] | None = None
) -> list[Text]:
    """`lines` with row labels on the left, and the labels of the first and the last column below."""
    margin = max((len(label) for label in labels), default=0)
    per_line = -(-len(labels) // len(lines))
    drawn = []
    for k, line in enumerate(lines):
        text = Text(f"{labels[k * per_line]:>{margin}} ", no_wrap=True)
        drawn.append(text.append_text(line))
    if footer is None:
        return drawn
    gap = max(1, lines[0].cell_len - len(footer[0]) - len(footer[1]))
    return [*drawn, Text(" " * (margin + 1) + footer[0] + " " * gap + footer[1], no_wrap=True)]


def thin(count: int, most: int) -> npt.NDArray[np.int64]:
    """At most `most` of the indices 0..count-1, evenly spaced, both ends kept."""
    return np.unique(np.linspace(0, count - 1, min(count, max(most, 1))).round().astype(np.int64))


def _line(cells: Sequence[tuple[str, Colours | None, Colours | None]]) -> Text:
    line = Text(no_wrap=True)
    for characters, front, back in cells:
        style = Style(
            color=None if front is None else _rgb(front), bgcolor=None if back is None else _rgb(back)
        )
        line.append(characters, style)
    return line


def _rgb(cell: Colours) -> Color:
    return Color.from_rgb(*(int(channel) for channel in cell))


def _readable(style: Style, cell: Colours) -> Style:
    """`style` with black ink on a light cell."""
    light = float(cell @ np.array([0.299, 0.587, 0.114])) > 140
    return style + Style(color="black") if style.bgcolor and light else style
