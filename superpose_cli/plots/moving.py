"""`trajectories` as an animation: where the features point while they are learnt, above the loss."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from superpose_cli.plots.snapshots import posed, snapshot
from superpose_cli.plots.style import Style, replacing
from superpose_cli.plots.trajectories import Trajectories, feature_colours

F64 = npt.NDArray[np.float64]

MOST_FRAMES = 48
MILLISECONDS = 90
LAST_MILLISECONDS = 1500
DPI, COLOURS = 80, 64
"""Of a frame: an animation of 48 stays below two megabytes."""


def frames(data: Trajectories, style: Style, title: str) -> Iterator[Figure]:
    """The figure at each of at most MOST_FRAMES records (see `moments`); always the same figure, redrawn.

    A model in two or three dimensions is shown as the rows of W, turned as its final state is; others as
    the matrix W W^T.
    """
    count = len(data.courses)
    panel = min(style.double / 3, style.double / count)
    figure = style.figure(max(style.single, count * panel), panel * 1.75, title)
    grid = figure.subplots(2, count, squeeze=False, height_ratios=[2.1, 1], sharey="row")
    for ax, course in zip(grid[1], data.courses, strict=True):
        ax.plot(course.steps, course.loss, color=style.faint, lw=1.6 * style.line)
        ax.set_xlabel("training step")
        ax.locator_params(axis="x", nbins=3)
    grid[1, 0].set(ylabel="loss ÷ that of\nthe best constant", ylim=(0, None))
    seen = [posed(course.W) for course in data.courses]
    reach = max(1.0, *(float(np.abs(W).max()) for W in seen)) * 1.08
    for ax, course, W in zip(grid[0], data.courses, seen, strict=True):
        ax.set(xticks=[], yticks=[], aspect="equal")
        ax.set_title(course.place, fontsize=style.text if count < 4 else style.small)
        if W.shape[2] == 2:
            ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
            ax.spines[:].set_visible(False)
    for frame, at in enumerate(moments([course.W for course in data.courses])):
        drawn: list[Artist] = []
        for (top, bottom), course, W in zip(grid.T, data.courses, seen, strict=True):
            drawn += snapshot(top, W[at], feature_colours(course, at, style), style)
            drawn += bottom.plot(course.steps[at], course.loss[at], "o", color=style.ink, ms=3 * style.line)
            drawn.append(top.text(0.02, 0.0, f"step {course.steps[at]:,}", fontsize=style.small,
                                  transform=top.transAxes, color=style.muted))  # fmt: skip
        if not frame:  # panels stay where they are from here on
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        yield figure
        for artist in drawn:
            artist.remove()


def moments(courses: list[F64]) -> list[int]:
    """Numbers of at most MOST_FRAMES records, the first and the last among them, of courses W (T, n, m).

    Half of them follow the time, half what moves: most of training little happens.
    """
    length = min(map(len, courses))
    clock = np.zeros(length)
    for W in courses:
        moved = np.abs(np.diff(np.nan_to_num(W[:length]), axis=0)).sum(axis=(1, 2))
        clock[1:] += moved / max(float(moved.sum()), 1e-300) + 1 / max(length - 1, 1)
    clock = np.cumsum(clock)
    wanted = np.linspace(0, clock[-1], MOST_FRAMES)
    return sorted({0, length - 1, *np.searchsorted(clock, wanted[1:-1]).tolist()})


def save_animation(moving: Iterator[Figure], path: Path, style: Style) -> None:
    """Write the frames to `path` as a GIF that repeats, in one step as `save_figure` does."""
    images: list[Image.Image] = []
    with style.active():
        for figure in moving:
            figure.set_dpi(DPI)
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            rgb = np.asarray(canvas.buffer_rgba())[..., :3]
            images.append(Image.fromarray(np.ascontiguousarray(rgb)).quantize(COLOURS))
    waits = [MILLISECONDS] * (len(images) - 1) + [LAST_MILLISECONDS]
    with replacing(path) as draft:
        images[0].save(draft, format="GIF", save_all=True, append_images=images[1:], duration=waits, loop=0)
