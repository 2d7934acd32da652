"""The figures of a run, drawn in memory from what is stored: for a page, or to be kept in its folder."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from superpose_cli.errors import ConfigError, RunError
from superpose_cli.plots.registry import PLOTS, Plotted, find_plot
from superpose_cli.plots.stored import Lacks
from superpose_cli.plots.style import Style, replacing, save_figure
from superpose_cli.plots.words import Words
from superpose_cli.results.run import Run

ON_PAGE = 0.7
"""CSS pixels for each pixel of a figure."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure and its words. No larger than 9.6 x 12.5 inches at 160 dpi: 1,536 x 2,000 pixels."""

    name: str
    png: bytes
    words: Words

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on a page, in CSS pixels: letters are equally large in all figures."""
        width, height = struct.unpack(">II", self.png[16:24])  # the header chunk, which comes first
        return round(ON_PAGE * width), round(ON_PAGE * height)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What could be drawn of a run, and why the rest could not."""

    drawn: tuple[Figure, ...]
    left_out: tuple[str, ...]


def draw_figures(
    run: Run, style: Style, names: Sequence[str] = (), *, go_on: Callable[[], bool] = lambda: True
) -> Figures:
    """These plots, or those of the run's own list, or else all that it has what they need for.

    `go_on` is asked before each: the figures so far are returned once it says no.
    """
    drawn, left_out = [], []
    listed = names or run.manifest.plots
    for name in listed or [plot.name for plot in PLOTS.values() if not plot.asked_only]:
        if not go_on():
            break
        try:
            drawn.append(_drawn(find_plot(name)(run, style), name, style))
        except (Lacks, ConfigError) as lack:
            left_out.append(str(lack))
        except Exception as error:  # a mistake in one plot takes no page with it
            left_out.append(
                f"plot {name} could not be drawn ({type(error).__name__}: {error}): a mistake of superpose"
            )
    return Figures(drawn=tuple(drawn), left_out=tuple(left_out) if listed else ())


def _drawn(plotted: Plotted, name: str, style: Style) -> Figure:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        save_figure(plotted.figure, path, style)  # where Matplotlib lays out and sets what it was told
        return Figure(name=name, png=path.read_bytes(), words=plotted.words)


def keep_figures(figures: Sequence[Figure], run: Path) -> list[Path]:
    """Write NAME.png and NAME.md into the run's figures/, as `superpose plot` does; the pictures' paths.

    RunError where that folder is a link to somewhere else.
    """
    folder = figures_folder(run)
    paths = []
    for figure in figures:
        paths.append(folder / f"{figure.name}.png")
        with replacing(paths[-1]) as draft:
            draft.write_bytes(figure.png)
        with replacing(folder / f"{figure.name}.md") as draft:
            draft.write_text(figure.words.markdown(), encoding="utf-8")
    return paths


def figures_folder(run: Path) -> Path:
    """figures/ of a run; RunError where it is a link to somewhere else."""
    folder = run / "figures"
    if not folder.resolve().is_relative_to(run.resolve()):
        raise RunError(f"{folder} leads out of the run's folder: remove that link or choose another --out")
    return folder
