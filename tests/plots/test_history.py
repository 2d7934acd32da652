"""`history`: the loss during training, on fresh rows and on those of a table."""

import itertools

import numpy as np
import pytest

from superpose_cli.errors import RunError
from superpose_cli.plots.registry import PLOTS
from superpose_cli.plots.style import find_style
from superpose_cli.results.run import load_run
from tests.synthetic import write_run

P = "data.feature_probability"
STYLE = find_style("light")


def panel_axes(figure):
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def history_run(tmp_path, loss_ratio, restarts=1, steps=(0, 10, 100, 1000), cells=2):
    W = np.tile(np.eye(3, 2), (cells * restarts, 1, 1))
    return load_run(
        write_run(
            tmp_path / "run", W, axes={P: np.geomspace(1, 0.1, cells).tolist()}, restarts=restarts,
            steps=list(steps), columns={"loss_ratio": np.repeat(loss_ratio, restarts)}, feature_loss=0.02,
        )
    )  # fmt: skip


def test_history_is_the_plain_loss_where_cells_compare(tmp_path) -> None:
    plotted = PLOTS["history"](history_run(tmp_path, [0.5, 0.5]), STYLE)
    ax = panel_axes(plotted.figure)[0]
    assert ax.get_ylabel() == "loss"
    assert ax.get_xscale() == "symlog"
    assert ax.get_xlim() == (0, 1000)  # the beginning is shown
    assert ax.get_xticks().tolist() == [0, 10, 20, 50, 100, 200, 500, 1000]
    assert len(ax.lines) == 2
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [0, 10, 100, 1000])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 0.02 * (2 - np.linspace(0, 1, 4)))
    assert "first 4,096 evaluation rows" in plotted.words.paragraphs[0]
    assert (
        "The stored loss of the best restarts, of the whole evaluation, is 0.02."
        in plotted.words.paragraphs[0]
    )
    assert "falls from 0.04 to 0.02; 90 % of the fall is done by step 1000" in plotted.words.paragraphs[0]


def test_history_is_relative_where_the_data_differ(tmp_path) -> None:
    plotted = PLOTS["history"](history_run(tmp_path, [0.5, 0.1]), STYLE)
    ax = panel_axes(plotted.figure)[0]
    assert ax.get_ylabel() == "loss ÷ loss of the best constant output"
    np.testing.assert_allclose([line.get_ydata()[-1] for line in ax.lines], [0.5, 0.1])
    assert (
        "The stored loss_ratio of the best restarts, of the whole evaluation, is 0.1 to 0.5."
        in (plotted.words.paragraphs[0])
    )
    assert "lowest at 1/(1−S) = 10, p = 0.1 and highest at 1/(1−S) = 1, p = 1" in plotted.words.paragraphs[0]


@pytest.mark.parametrize(("restarts", "lines"), [(3, 6), (150, 2)])
def test_other_restarts_are_drawn_thinly_while_they_are_few(tmp_path, restarts: int, lines: int) -> None:
    ax = panel_axes(PLOTS["history"](history_run(tmp_path, [0.5, 0.5], restarts), STYLE).figure)[0]
    assert len(ax.lines) == lines
    assert sum(line.get_linewidth() > STYLE.line for line in ax.lines) == 2


def finite_history(tmp_path, **columns):
    """Two weight decays over T with two data seeds: the loss on fresh rows rises, most of all at T = 50."""
    axes = {"train.weight_decay": [0.01, 1.0], "data.n_rows": [5, 10, 20, 50, 500], "seed": [0, 1]}
    final = np.tile(np.repeat([1.1, 1.2, 1.3, 2.0, 0.5], 2), 2) + 0.01 * np.arange(20)
    fresh = np.stack([np.ones(20), final], axis=1)
    table = np.stack([np.ones(20), np.full(20, 1e-9)], axis=1)
    return load_run(
        write_run(
            tmp_path / "run", np.tile(np.eye(3, 2), (20, 1, 1)), axes=axes, steps=[0, 10],
            columns={"data_kind": "finite", "loss_ratio": final, **columns}, feature_loss=final[:, None],
            history_loss=fresh, history_train_loss=table,
        )
    )  # fmt: skip


def test_history_tells_a_loss_that_rises_as_rising(tmp_path) -> None:
    text = PLOTS["history"](finite_history(tmp_path), STYLE).words.paragraphs[0]
    assert "the recorded loss does not fall in 8 of 12 cells: there it goes from 1 to 1.1–2.17" in text
    assert "in the others it falls from 1 to 0.58–0.69; 90 % of the fall is done by step 10." in text
    assert "highest at weight decay = 1, T = 50, seed = 1." in text
    assert "On the rows of the table that is trained on it ends at 1e−9." in text


def test_where_rows_are_memorised_the_words_say_that_it_is_no_grokking(tmp_path) -> None:
    """In units of the output 0, whose loss is 1/n for rows of norm 1."""
    plotted = PLOTS["history"](finite_history(tmp_path, unit_norm=True), STYLE)
    axes = panel_axes(plotted.figure)
    np.testing.assert_allclose(np.asarray(axes[0].lines[0].get_ydata()), [3, 3.3])
    assert plotted.figure.get_supylabel() == "loss ÷ loss of the output 0"
    text = plotted.words.markdown()
    assert "goes from 3 to 3.3–6.51 times that of the output 0" in text
    assert "Where it rises, this is no grokking" in text
    assert "stair" not in text
    assert "“Superposition, Memorization, and Double Descent” (2023)" in text
    fresh = PLOTS["history"](history_run(tmp_path / "fresh", [0.5, 0.5]), STYLE).words.markdown()
    assert "A stair is a jump" in fresh
    assert "grokking" not in fresh


def test_history_has_the_ends_of_each_axis_and_the_peak(tmp_path) -> None:
    plotted = PLOTS["history"](finite_history(tmp_path), STYLE)
    with STYLE.active():
        plotted.figure.draw_without_rendering()
    axes = panel_axes(plotted.figure)
    titles = [ax.get_title().replace("\n", " ") for ax in axes]
    assert titles == [f"weight decay = {wd}, T = {T}" for wd in ("0.01", "1") for T in (5, 50, 500)]
    boxes = [ax.title.get_window_extent() for ax in axes]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    for ax in axes:
        dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert [line.get_ydata().tolist() for line in dashed] == [[1, 1e-9]] * 2
        assert len(ax.lines) == 4
    legends = [[text.get_text() for text in legend.get_texts()] for legend in plotted.figure.legends]
    assert legends == [["seed = 0", "seed = 1", "fresh rows", "training rows"]]
    assert "12 of 20 cells shown, the highest loss among them" in plotted.words.markdown()


def test_history_needs_records(tmp_path) -> None:
    with pytest.raises(RunError, match=r"plot history .*no losses were recorded.*history\.every=100"):
        PLOTS["history"](history_run(tmp_path, [0.5, 0.5], steps=()), STYLE)
