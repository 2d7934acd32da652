"""The look of every figure: colours that mean the same thing everywhere, sizes, fonts, and how it is saved.

One colour language for all plots, safe for colour-blind readers: blue is a feature with a dimension of its
own (or a positive number), vermilion one that shares (or a negative number), the background is absence.
Figures are plain `matplotlib.figure.Figure` objects: pyplot and its global state are never touched, and the
same data gives the same SVG and PDF bytes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from superpose_cli.errors import ConfigError, SuperposeError

FORMATS = ("png", "svg", "pdf")


@dataclass(frozen=True, kw_only=True)
class Style:
    """Colours, sizes in inches and points, and resolution of one look."""

    name: str
    background: str
    ink: str
    muted: str
    """Secondary text and axes."""
    faint: str
    """Grid and guide lines."""
    dedicated: str
    """A feature with a dimension of its own; positive numbers."""
    between: str
    """Half way from `dedicated` to `superposed`."""
    superposed: str
    """A feature that shares its dimension; negative numbers."""
    deep: tuple[str, str]
    """The far ends of the diverging map: below `superposed`, above `dedicated`."""
    ramp: tuple[str, ...]
    """Anchors of the sequential map, weakest on this background first."""
    series: tuple[str, ...]
    """Colours of unordered series."""
    single: float
    """Width of a one-column figure."""
    double: float
    """Width of a two-column figure."""
    tallest: float
    """Greatest height of a figure."""
    text: float
    """Font size of labels."""
    small: float
    """Font size of ticks, notes and crowded panels."""
    line: float
    dpi: int
    titled: bool
    """Whether the figure carries its own title (a paper's caption does that instead)."""

    @property
    def ordered(self) -> Colormap:
        """Sequential: from weak to strong against the background."""
        return LinearSegmentedColormap.from_list("ordered", self.ramp)

    @property
    def diverging(self) -> Colormap:
        """Vermilion below 0, background at 0, blue above."""
        low, high = self.deep
        anchors = [low, self.superposed, self.background, self.dedicated, high]
        return LinearSegmentedColormap.from_list(
            "diverging", list(zip([0, 0.2, 0.5, 0.8, 1], anchors, strict=True))
        )

    @property
    def sharing(self) -> Colormap:
        """From a dimension of its own (0) to a shared one (1)."""
        return LinearSegmentedColormap.from_list("sharing", [self.dedicated, self.between, self.superposed])

    def sharing_and_norm(
        self, superposition: npt.NDArray[np.float64], norm: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """RGB of the 2-D colour map of the paper's phase diagrams, (..., 3).

        `norm` runs from the background (0: not represented) to full colour (1 and above), `superposition`
        from `dedicated` (0) to `superposed` (1 and above). Not-a-number gives the muted colour.
        """
        strength = np.clip(np.nan_to_num(norm), 0, 1)[..., None]
        hue = self.sharing(np.clip(np.nan_to_num(superposition), 0, 1))[..., :3]
        # A mixture of two colours, yet rounding may leave the range that Matplotlib insists on.
        colour = np.clip(strength * hue + (1 - strength) * np.array(to_rgb(self.background)), 0, 1)
        lost = ~(np.isfinite(norm) & np.isfinite(superposition))
        colour[lost] = to_rgb(self.muted)
        return colour

    @contextmanager
    def active(self) -> Iterator[None]:
        """Matplotlib's settings of this style, for drawing and for saving; restored afterwards."""
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_settings(self))
            yield

    def figure(self, width: float, height: float, title: str, *, equal_panels: bool = False) -> Figure:
        """An empty figure, no taller than `tallest`, titled where the style has titles.

        `equal_panels` closes the gaps that panels of fixed aspect would leave.
        """
        layout = "compressed" if equal_panels else "constrained"
        figure = Figure(figsize=(width, min(height, self.tallest)), layout=layout)
        if self.titled:
            size = self.text * 1.25
            lines = fill(title, int(width * 72 / (0.68 * size)))
            figure.suptitle(lines, x=0.012, ha="left", fontsize=size, fontweight="bold")
        return figure


def _settings(style: Style) -> dict[Any, Any]:
    return {
        "font.family": "DejaVu Sans",
        "mathtext.fontset": "dejavusans",
        "font.size": style.text,
        "axes.titlesize": style.text,
        "axes.labelsize": style.text,
        "xtick.labelsize": style.small,
        "ytick.labelsize": style.small,
        "legend.fontsize": style.small,
        "legend.frameon": False,
        "figure.facecolor": style.background,
        "savefig.facecolor": style.background,
        "axes.facecolor": style.background,
        "text.color": style.ink,
        "axes.labelcolor": style.ink,
        "axes.titlecolor": style.ink,
        "axes.edgecolor": style.muted,
        "xtick.color": style.muted,
        "ytick.color": style.muted,
        "xtick.labelcolor": style.ink,
        "ytick.labelcolor": style.ink,
        "grid.color": style.faint,
        "grid.linewidth": 0.6 * style.line,
        "axes.linewidth": 0.6 * style.line,
        "xtick.major.width": 0.6 * style.line,
        "ytick.major.width": 0.6 * style.line,
        "xtick.minor.width": 0.4 * style.line,
        "ytick.minor.width": 0.4 * style.line,
        "xtick.major.size": 3.0,
        "ytick.major.size": 3.0,
        "xtick.minor.size": 1.6,
        "ytick.minor.size": 1.6,
        "lines.linewidth": style.line,
        "lines.solid_capstyle": "round",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.constrained_layout.h_pad": 0.03,
        "figure.constrained_layout.w_pad": 0.03,
        "savefig.dpi": style.dpi,
        "svg.hashsalt": "superpose",
        "svg.fonttype": "path",
        "pdf.fonttype": 42,
    }


_LIGHT = Style(
    name="light",
    background="#ffffff",
    ink="#1b1f24",
    muted="#6a7178",
    faint="#dfe3e7",
    dedicated="#0072b2",
    between="#a0699c",
    superposed="#d55e00",
    deep=("#6b2a00", "#00304f"),
    ramp=("#b5d65a", "#4fb477", "#258b8d", "#315f8c", "#3f2f72", "#2b0f4a"),
    series=("#0072b2", "#d55e00", "#009e73", "#b05c92", "#c98a00", "#3f9fd4", "#5b5f66"),
    single=4.8,
    double=9.6,
    tallest=12.5,
    text=9.0,
    small=7.5,
    line=1.3,
    dpi=160,
    titled=True,
)
_DARK = Style(
    name="dark",
    background="#12151a",
    ink="#e9ecef",
    muted="#959ca4",
    faint="#2c323a",
    dedicated="#3fa2e6",
    between="#b386c0",
    superposed="#f58231",
    deep=("#ffc898", "#a9dbff"),
    ramp=("#413a78", "#3b6493", "#2e9190", "#56b878", "#b9d65a", "#fbef8c"),
    series=("#4aa8e8", "#f58231", "#2fc79a", "#d58fbc", "#e6b73d", "#9bd2f5", "#aeb4bb"),
    single=4.8,
    double=9.6,
    tallest=12.5,
    text=9.0,
    small=7.5,
    line=1.3,
    dpi=160,
    titled=True,
)
_PAPER = Style(
    name="paper",
    background="#ffffff",
    ink="#000000",
    muted="#555555",
    faint="#dddddd",
    dedicated=_LIGHT.dedicated,
    between=_LIGHT.between,
    superposed=_LIGHT.superposed,
    deep=_LIGHT.deep,
    ramp=_LIGHT.ramp,
    series=_LIGHT.series,
    single=3.5,
    double=7.2,
    tallest=9.4,
    text=7.0,
    small=6.0,
    line=0.9,
    dpi=300,
    titled=False,
)
STYLES = {style.name: style for style in (_LIGHT, _DARK, _PAPER)}


def find_style(name: str) -> Style:
    """The style called `name`; ConfigError names those there are."""
    if name not in STYLES:
        raise ConfigError(f"there is no style {name!r}: use one of {', '.join(STYLES)}")
    return STYLES[name]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft beside `path` to write; it takes the place of `path` at the end, unless an error came up.

    Folders are made on the way. SuperposeError where the disk refuses.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        draft.replace(path)
    except OSError as error:
        raise SuperposeError(
            f"cannot write {path}: {error.strerror or error}; free the disk or choose another folder"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink()


def save_figure(figure: Figure, path: Path, style: Style) -> None:
    """Write `figure` to `path` (.png, .svg or .pdf) in one step: a reader sees the old file or the new one.

    The same figure gives the same bytes: no dates, and a fixed salt for the identifiers in SVG.
    """
    undated: dict[str, dict[str, Any]] = {
        "png": {},
        "svg": {"Date": None},
        "pdf": {"CreationDate": None, "ModDate": None},
    }
    extension = path.suffix[1:]
    if extension not in undated:
        raise ConfigError(f"figures are not written as {extension!r}: use one of {', '.join(FORMATS)}")
    with replacing(path) as draft, style.active():
        figure.savefig(draft, format=extension, dpi=style.dpi, metadata=undated[extension])
