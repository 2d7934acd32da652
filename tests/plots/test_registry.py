"""Plots by name, and what `draw` leaves in a run's folder."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from superpose_cli.errors import ConfigError, RunError
from superpose_cli.experiment.config_dir import list_experiments
from superpose_cli.plots.registry import PLOTS, default_names, draw
from superpose_cli.plots.sources import SOURCES
from superpose_cli.plots.style import STYLES, find_style
from superpose_cli.results.run import load_run
from superpose_cli.toy_model.theory import polygon
from tests.synthetic import write_run

AXES = {"data.feature_probability": [1.0, 0.3, 0.05]}
LIGHT = find_style("light")
CANNOT = {
    *("phase", "polyhedron", "trajectories", "collapse", "double_descent", "vulnerability", "capacity"),
    *("branches", "incidental", "penalty", "scaling"),
}
"""Plots that want something else than `run`."""
SHOWN = [name for name, plot in PLOTS.items() if name not in CANNOT and not plot.asked_only]


@pytest.fixture
def run(tmp_path):
    W = np.stack([scale * polygon(5) for scale in (0.9, 1.0, 1.0, 1.1, 1.1, 1.2)])
    return load_run(
        write_run(
            tmp_path / "run",
            W,
            axes=AXES,
            restarts=2,
            steps=[0, 10, 100, 1000],
            importance=0.9 ** np.arange(5),
        )
    )


def test_every_plot_says_what_it_is_and_needs() -> None:
    assert list(PLOTS)[:8] == ["arrows", "wtw", "norms", "dims", "phase", "success", "history", "spectrum"]
    assert all(plot.description and plot.needs for plot in PLOTS.values())


def test_default_is_the_experiments_list_or_all_that_can_be_shown(tmp_path, run) -> None:
    assert default_names(run) == (SHOWN, [])
    listed = write_run(tmp_path / "listed", np.ones((1, 3, 2)), plots=("wtw", "phase", "arrows"))
    names, left_out = default_names(load_run(listed))
    assert names == ["wtw", "arrows"]
    assert len(left_out) == 1
    assert left_out[0].startswith("plot phase cannot show run")


def test_draw_writes_figures_and_words(run) -> None:
    paths = draw(run, ["arrows", "success"], LIGHT, ("png", "svg", "pdf"))
    folder = run.path / "figures"
    names = [f"{name}.{end}" for name in ("arrows", "success") for end in ("png", "svg", "pdf")]
    assert paths == [folder / name for name in names]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "arrows.md", "success.md"])
    assert (folder / "arrows.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "arrows.pdf").read_bytes().startswith(b"%PDF")
    assert "<svg" in (folder / "arrows.svg").read_text()
    assert (folder / "arrows.md").read_text().startswith("# 5 features in the plane")
    assert plt.get_fignums() == []


def test_the_same_run_gives_the_same_bytes(tmp_path, run) -> None:
    names = ["arrows", "dims", "history"]
    first = draw(run, names, LIGHT, ("svg",), tmp_path / "a")
    second = draw(run, names, LIGHT, ("svg",), tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


@pytest.mark.parametrize(
    ("names", "formats", "error", "message"),
    [
        (["arrows", "arrow"], ("png",), ConfigError, r"no plot 'arrow'.*arrows, wtw"),
        (
            ["arrows"],
            ("png", "gif"),
            ConfigError,
            r"arrows does not move.*'gif'.*png, svg, pdf.*trajectories",
        ),
        (["arrows"], ("png", "mp4"), ConfigError, r"'mp4'.*png, svg, pdf, or gif for plots that move"),
        (["arrows", "phase"], ("png",), RunError, r"plot phase cannot show run .*two axes"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_written(
    run, names, formats, error, message
) -> None:
    with pytest.raises(error, match=message) as caught:
        draw(run, names, LIGHT, formats)
    assert "\n" not in str(caught.value)
    assert not (run.path / "figures").exists()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", SHOWN)
def test_every_plot_fits_its_figure_in_every_style(run, name: str, style: str) -> None:
    assert_fits(PLOTS[name], run, find_style(style))


@pytest.mark.parametrize("name", ["wtw", "norms", "dims", "success", "history", "spectrum"])
def test_every_plot_fits_with_two_axes_of_which_one_is_short(tmp_path, name: str) -> None:
    axes = {"model": ["linear", "relu_output"], "data.feature_probability": np.geomspace(1, 0.01, 7).tolist()}
    W = np.tile(polygon(5), (28, 1, 1))
    path = write_run(tmp_path / "run", W, axes=axes, restarts=2, steps=[0, 100, 1000])
    assert_fits(PLOTS[name], load_run(path), find_style("paper"))


def assert_fits(plot, run, look) -> None:
    figure = plot(run, look).figure
    assert figure.get_figwidth() <= look.double + 1e-9
    assert figure.get_figheight() <= look.tallest + 1e-9
    with look.active():
        figure.draw_without_rendering()
        box, room = figure.get_tightbbox(), 0.02
    assert -room <= box.x0
    assert -room <= box.y0
    assert box.x1 <= figure.get_figwidth() + room
    assert box.y1 <= figure.get_figheight() + room


def test_general_plots_name_the_figure_that_their_experiment_is_for(tmp_path) -> None:
    """The arrows of a deformed pentagon are not the introduction's."""
    named = {
        name: PLOTS["arrows"](
            load_run(write_run(tmp_path / name, polygon(5)[None], experiment=name)), LIGHT
        ).words.source
        for name in ("intro", "perturbed_pentagon", "somebodys_own")
    }
    assert "introduction" in named["intro"]
    assert "non-uniform superposition" in named["perturbed_pentagon"]
    assert named["somebodys_own"] == named["intro"]
    shipped = {name for name, _ in list_experiments()}
    assert set(SOURCES) <= shipped
