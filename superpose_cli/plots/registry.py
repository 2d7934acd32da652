"""The plots by name, and drawing some of them into a run's folder."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from matplotlib.figure import Figure

from superpose_cli.errors import ConfigError
from superpose_cli.plots import (
    analogy,
    arrows,
    branches,
    capacity,
    collapse,
    dims,
    double_descent,
    explainers,
    graphs,
    history,
    incidental,
    matrices,
    moving,
    neurons,
    norms,
    penalty,
    phase,
    polyhedron,
    probing,
    recovery,
    scaling,
    spectrum,
    success,
    trajectories,
    vulnerability,
    weights,
)
from superpose_cli.plots.names import NAMES, check_name
from superpose_cli.plots.sources import source_of
from superpose_cli.plots.stored import Lacks
from superpose_cli.plots.style import FORMATS, Style, replacing, save_figure
from superpose_cli.plots.words import Words
from superpose_cli.results.run import Run


@dataclass(frozen=True, kw_only=True)
class Plotted:
    """A figure and its text."""

    figure: Figure
    words: Words


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A way to show a run: select arrays from it, draw them, tell them."""

    name: str
    description: str
    needs: str
    """What a run must have."""
    select: Callable[[Run], Any]
    """The run's data for this plot; RunError where it lacks something."""
    draw: Callable[[Any, Style, str], Figure]
    """The selected data as a figure with a title; nothing else goes in."""
    words: Callable[[Any], Words]
    frames: Callable[[Any, Style, str], Iterator[Figure]] | None = None
    """The same as an animation, of plots that move."""
    asked_only: bool = False
    """Drawn where an experiment lists it or a user names it only: an analysis, some of them seconds long."""

    def told(self, run: Run, data: Any) -> Words:
        """The words about the selected data of a run, with the figure of the paper that it is for."""
        words = self.words(data)
        return replace(words, source=source_of(self.name, run.name, words.source))

    def __call__(self, run: Run, style: Style) -> Plotted:
        """Figure and text; RunError where the run lacks what the plot needs."""
        data = self.select(run)
        words = self.told(run, data)
        with style.active():
            return Plotted(figure=self.draw(data, style, words.title), words=words)


class _Drawer(Protocol):
    """What a file of this folder that draws a plot has."""

    def select(self, run: Run, /) -> Any: ...
    def draw(self, data: Any, style: Style, title: str, /) -> Figure: ...
    def words(self, data: Any, /) -> Words: ...


def _plot(file: _Drawer, name: str, description: str, needs: str, **more: Any) -> Plot:
    return Plot(
        name=name, description=description, needs=needs,
        select=file.select, draw=file.draw, words=file.words, **more,
    )  # fmt: skip


MOVING = "gif"
"""The format of animations."""

PLOTS = {
    plot.name: plot
    for plot in (
        _plot(arrows, "arrows", "rows of W as arrows in the plane, a panel for each cell", "n_hidden = 2"),
        _plot(
            matrices,
            "wtw",
            "W^T W and the bias, or responses behind a hidden ReLU, a panel for each cell",
            "any run",
        ),
        _plot(norms, "norms", "bars of ||W_i|| coloured by interference, a panel for each cell", "any run"),
        _plot(
            dims,
            "dims",
            "dimensions per feature, D* and D_i, against 1/(1-S), with the fraction lines",
            "a represented feature",
        ),
        _plot(
            phase,
            "phase",
            "what becomes of an extra feature, trained beside theory",
            "axes feature_probability and last_importance; n=2 m=1 or n=3 m=2",
        ),
        _plot(
            success, "success", "share of the restarts that reach the best, over the grid", "restarts >= 2"
        ),
        _plot(
            history,
            "history",
            "loss during training, and on the training rows of a table, a line for each cell",
            "a recorded history",
        ),
        _plot(spectrum, "spectrum", "singular values of W, variances of h, and effective ranks", "any run"),
        _plot(
            graphs,
            "geometry_graph",
            "who interferes with whom: factors as rings of features, named by shape",
            "any run",
        ),
        _plot(
            polyhedron,
            "polyhedron",
            "rows of W as points in three dimensions with their convex hull",
            "n_hidden = 3",
        ),
        _plot(
            trajectories,
            "trajectories",
            "shares of a dimension and the loss over training",
            "a history with weights",
            frames=moving.frames,
        ),
        _plot(
            neurons, "neurons", "weights of each hidden unit as a stack, mono- and polysemantic", "any run"
        ),
        _plot(
            weights,
            "weights",
            "W itself: features down, hidden units across, a panel for each cell",
            "any run",
        ),
        _plot(collapse, "collapse", "correlated features that merge as they get denser", "data=correlated"),
        _plot(
            double_descent,
            "double_descent",
            "test and training loss over the rows of the data set",
            "an axis n_rows",
        ),
        _plot(
            explainers,
            "explainers",
            "the words of superposition drawn with the numbers of one small model",
            "n_hidden = 2, at most 8 features, tied",
        ),
        _plot(
            vulnerability,
            "vulnerability",
            "what an attack on the inputs adds to the loss, beside features per dimension",
            "evaluation.attack",
        ),
        _plot(
            capacity,
            "capacity",
            "the last feature's share of a dimension over its importance, and all features' sum",
            "an axis last_importance",
        ),
        _plot(
            branches,
            "branches",
            "losses of the classes of solutions that compete, and where they cross",
            "restarts >= 2; n=5 m=2 over last_probability, or n=m+1 over both axes of phase",
        ),
        _plot(
            incidental,
            "incidental",
            "polysemantic neurons over the number of neurons, beside n^2/(4m)",
            "an axis n_hidden, all above n_features; rows with one feature on",
        ),
        _plot(
            penalty,
            "penalty",
            "loss, and features represented and in superposition, over an L1 penalty",
            "an axis hidden_l1",
        ),
        _plot(
            scaling,
            "scaling",
            "the number of features a model holds over its hidden dimensions",
            "an axis n_hidden",
        ),
        _plot(
            analogy,
            "analogy",
            "king - man + woman = queen, in h and in what is read from it",
            "three represented features",
            asked_only=True,
        ),
        _plot(
            probing,
            "probing",
            "how well k hidden neurons tell whether a feature is on",
            "scikit-learn (superpose[analysis])",
            asked_only=True,
        ),
        _plot(
            recovery,
            "recovery",
            "dictionary learning on h: cosines to the features' true directions",
            "scikit-learn (superpose[analysis])",
            asked_only=True,
        ),
    )
}
assert tuple(PLOTS) == NAMES, "the light list of names is the table's"


def find_plot(name: str) -> Plot:
    """The plot called `name`; ConfigError names those there are."""
    return PLOTS[check_name(name)]


def default_names(run: Run) -> tuple[list[str], list[str]]:
    """The plots of the experiment's own list, or else of all, that the run has what they need for.

    And why the others of its own list are left out: an axis may have been fixed, or much have failed.
    """
    names, reasons = [], []
    for name in run.manifest.plots or [plot.name for plot in PLOTS.values() if not plot.asked_only]:
        try:
            find_plot(name).select(run)
            names.append(name)
        except Lacks as lack:
            reasons.append(str(lack))
    return names, reasons if run.manifest.plots else []


def draw(
    run: Run,
    names: Sequence[str],
    style: Style,
    formats: Sequence[str] = ("png",),
    folder: Path | None = None,
) -> list[Path]:
    """Draw plots and write NAME.FORMAT and NAME.md into `folder` (default: the run's figures/).

    Returns the figures' paths. All names, formats and needs are checked before anything is written:
    ConfigError for an unknown name or format, RunError where the run lacks what a plot needs.
    """
    if unknown := [extension for extension in formats if extension not in (*FORMATS, MOVING)]:
        raise ConfigError(
            f"figures are not written as {unknown[0]!r}: use one of {', '.join(FORMATS)}, or {MOVING} for "
            "plots that move"
        )
    wanted = [find_plot(name) for name in names]
    if MOVING in formats and (still := [plot.name for plot in wanted if plot.frames is None]):
        movers = ", ".join(f"--plot {plot.name}" for plot in PLOTS.values() if plot.frames is not None)
        raise ConfigError(
            f"plot {still[0]} does not move, so it is not written as {MOVING!r}: use one of "
            f"{', '.join(FORMATS)}, or name what moves ({movers})"
        )
    ready = [(plot, plot.select(run)) for plot in wanted]
    folder = run.path / "figures" if folder is None else folder
    paths = []
    for plot, data in ready:
        words = plot.told(run, data)
        if MOVING in formats and plot.frames is not None:
            paths.append(folder / f"{plot.name}.{MOVING}")
            moving.save_animation(plot.frames(data, style, words.title), paths[-1], style)
        still_formats = [extension for extension in formats if extension != MOVING]
        if still_formats:
            with style.active():
                figure = plot.draw(data, style, words.title)
            for extension in still_formats:
                paths.append(folder / f"{plot.name}.{extension}")
                save_figure(figure, paths[-1], style)
        with replacing(folder / f"{plot.name}.md") as draft:
            draft.write_text(words.markdown(), encoding="utf-8")
    return paths
