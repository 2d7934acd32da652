"""`dims`: D* and D_i, the fraction lines, and what is told where nothing is represented."""

import itertools

import numpy as np
import pytest

from superpose_cli.errors import RunError
from superpose_cli.plots.dims import jittered
from superpose_cli.plots.registry import PLOTS
from superpose_cli.plots.style import find_style
from superpose_cli.results.run import load_run
from superpose_cli.toy_model.theory import polygon
from tests.synthetic import write_run

P = "data.feature_probability"
STYLE = find_style("light")


def panel_axes(figure):
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def pentagons(count: int) -> np.ndarray:
    """(5 * count, 2 * count): pentagons in orthogonal planes, every D_i = 2/5."""
    return np.kron(np.eye(count), polygon(5))


def dims_run(tmp_path):
    """D* and D_i of 1 (two axes), 1/2 (antipodal pairs), 2/5 (pentagons); n = 20, m = 8."""
    dedicated = np.eye(20, 8)
    pairs = np.vstack([np.eye(8), -np.eye(8), np.zeros((4, 8))])
    return load_run(
        write_run(tmp_path / "run", np.stack([dedicated, pairs, pentagons(4)]), axes={P: [1.0, 0.3, 0.05]})
    )


def test_dims_draws_both_measures_against_one_over_one_minus_s(tmp_path) -> None:
    figure = PLOTS["dims"](dims_run(tmp_path), STYLE).figure
    top, bottom = panel_axes(figure)
    (line,) = [line for line in top.lines if len(line.get_xdata()) == 3 and line.get_marker() == "o"]
    np.testing.assert_allclose(line.get_xdata(), [1, 1 / 0.3, 20])
    np.testing.assert_allclose(line.get_ydata(), [1, 0.5, 0.4], rtol=1e-6)
    (scatter,) = bottom.collections
    x, y = scatter.get_offsets().T
    np.testing.assert_allclose(np.asarray(y), [1] * 8 + [0.5] * 16 + [0.4] * 20, rtol=1e-6)
    assert (np.abs(np.log(x[:8])) < 0.5).all()
    assert (np.abs(np.log(x[-20:] / 20)) < 0.5).all()
    assert len(np.unique(x)) == 44  # jittered
    assert bottom.get_xscale() == "log"
    assert bottom.get_xlabel() == "sparsity 1/(1−S)"


def test_dims_labels_every_fraction_line_without_overlap(tmp_path) -> None:
    figure = PLOTS["dims"](dims_run(tmp_path), STYLE).figure
    with STYLE.active():
        figure.draw_without_rendering()
    top, bottom = panel_axes(figure)
    assert [text.get_text() for text in top.texts] == ["1  dedicated", "1/2  antipodal pair"]
    labels = sorted(bottom.texts, key=lambda text: text.get_position()[1])
    assert [text.get_text().split()[0] for text in labels] == ["3/8", "2/5", "1/2", "2/3", "3/4", "1"]
    boxes = [text.get_window_extent() for text in labels]
    assert all(low.y1 <= high.y0 for low, high in itertools.pairwise(boxes))
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)


def test_dims_words(tmp_path) -> None:
    words = PLOTS["dims"](dims_run(tmp_path), STYLE).words
    assert words.title == "Dimensions per feature: D* from 1 down to 0.4"
    assert "D* goes from 1 at 1/(1−S) = 1, p = 1 to 0.4 at 1/(1−S) = 20, p = 0.05" in words.paragraphs[0]
    assert "in 1 cell (1/(1−S) = 3.33, p = 0.3), where 100 % (16 of 16)" in words.paragraphs[0]
    assert "Of 44 represented features" in words.paragraphs[1]
    assert "16 that are not represented are left out" in words.paragraphs[1]
    assert "1/2 (antipodal pair) 16, a line, 2/5 (pentagon) 20, a line" in words.paragraphs[1]
    assert "1 (dedicated) 8, 3/4 (tetrahedron) 0," in words.paragraphs[1]  # 8 points are no line


def test_a_share_of_two_fifths_is_no_pentagon_in_a_tight_frame_of_ten_in_four_dimensions(tmp_path) -> None:
    turns = 2 * np.pi * np.arange(10)[:, None] * [1, 2] / 10
    frame = np.hstack([np.cos(turns), np.sin(turns)]) / np.sqrt(2)
    np.testing.assert_allclose(frame.T @ frame, 2.5 * np.eye(4), atol=1e-12)

    def told(path, *W) -> tuple[str, str]:
        run = load_run(write_run(path, np.stack(W), axes={P: [0.1, 0.05][: len(W)]}))
        plotted = PLOTS["dims"](run, STYLE)
        labels = [text.get_text() for text in panel_axes(plotted.figure)[1].texts]
        return labels[-2], plotted.words.paragraphs[1].split("antipodal pair) 0, ")[1]

    label, text = told(tmp_path / "both", frame, pentagons(2))
    assert label == "2/5  pentagon: 10 of 20"
    assert text == "2/5 20, a line (10 of them in pentagons) and 3/8 (square antiprism) 0."
    label, text = told(tmp_path / "frame", frame, frame)
    assert label.strip() == "2/5"
    assert text == "2/5 20, a line (none of them in pentagons) and 3/8 (square antiprism) 0."
    label, text = told(tmp_path / "pentagons", pentagons(2), pentagons(2))
    assert label == "2/5  pentagon"
    assert text == "2/5 (pentagon) 20, a line and 3/8 (square antiprism) 0."


def test_dims_makes_a_line_for_each_combination_of_other_axes(tmp_path) -> None:
    W = np.tile(np.eye(4, 2), (6, 1, 1))
    axes = {"model": ["linear", "relu_output"], P: [1.0, 0.3, 0.1]}
    figure = PLOTS["dims"](load_run(write_run(tmp_path / "run", W, axes=axes)), STYLE).figure
    with STYLE.active():
        figure.draw_without_rendering()
    top, bottom = panel_axes(figure)
    assert [text.get_text() for text in top.get_legend().get_texts()] == ["linear", "ReLU output"]
    assert [text.get_text() for text in top.texts] == ["1  dedicated", "1/2  antipodal pair"]
    legend = top.get_legend().get_window_extent()
    assert not any(legend.overlaps(text.get_window_extent()) for text in top.texts)
    assert len(bottom.collections) == 2


def test_dims_is_hollow_where_no_feature_is_represented(tmp_path) -> None:
    spread = np.full((8, 2), 0.354)  # ||W||_F^2 = 2 = m, but every ||W_i||^2 = 1/4: D* = 1 without a feature
    pairs = np.vstack([np.eye(2), -np.eye(2), np.zeros((4, 2))])
    faint = np.vstack([np.full((8, 2), 0.5 - 1e-3)])  # D* = 1/2, with every feature represented
    axes = {P: [1.0, 0.3, 0.1]}
    run = load_run(write_run(tmp_path / "run", np.stack([spread * 0.99, pairs, faint]), axes=axes))
    plotted = PLOTS["dims"](run, STYLE)
    (hollow,) = [
        line for line in panel_axes(plotted.figure)[0].lines if line.get_markerfacecolor() == STYLE.background
    ]
    assert hollow.get_xdata().tolist() == [1.0]
    text = plotted.words.paragraphs[0]
    assert "No feature is represented in 1 cell (1/(1−S) = 1, p = 1), so that D* counts none there" in text
    assert "D* goes from 0.5 at 1/(1−S) = 3.33" in text, "the first that counts a feature"
    assert plotted.words.title == "Dimensions per feature: D* from 0.5 up to 0.502"


def test_dims_that_rise_stay_in_the_frame_and_are_told_so(tmp_path) -> None:
    """D* grows as features die, and says nothing where none is left: 1e16 of them are no dimensions."""
    W = np.stack([np.vstack([np.eye(2), -np.eye(2)]), np.eye(4, 2) * [1, 0.1], np.full((4, 2), 1e-8)])
    W[1] *= 0.52
    axes = {"model.hidden_l1": [0.001, 0.01, 0.1]}
    plotted = PLOTS["dims"](load_run(write_run(tmp_path / "run", W, axes=axes)), STYLE)
    top = panel_axes(plotted.figure)[0]
    assert top.get_yscale() == "log"
    shown = np.concatenate([line.get_ydata() for line in top.lines if line.get_marker() == "o"])
    low, high = top.get_ylim()
    assert np.nanmax(shown) == pytest.approx(2 / (0.2704 * 1.01))
    assert low < np.nanmin(shown) <= np.nanmax(shown) < high
    assert plotted.words.title == "Dimensions per feature: D* = 0.5", "there are no 7.32 dimensions"
    assert [text.get_text() for text in top.texts][2:] == ["2  all dimensions"]
    text = plotted.words.paragraphs[0]
    assert "D* goes from 0.5 at λ = 0.001 to 7.32 at λ = 0.01." in text
    assert "left out of the title: λ = 0.01: D* = 7.32 of m = 2, as ‖W‖_F² = 0.273 is less than one" in text
    assert "e16" not in text


def test_dots_stay_near_their_cell_and_none_is_denser_than_p_1(tmp_path) -> None:
    x = PLOTS["dims"].select(dims_run(tmp_path)).lines.x
    at = np.repeat(np.arange(3), 500)
    spread = jittered(x, at)
    assert spread.min() >= 1
    assert np.abs(np.log(spread / x.positions[at])).max() < 0.07
    assert len(np.unique(spread)) == 1500


def test_dims_needs_a_represented_feature(tmp_path) -> None:
    run = load_run(write_run(tmp_path / "run", np.zeros((1, 3, 2))))
    with pytest.raises(RunError, match=r"plot dims .*no feature is represented"):
        PLOTS["dims"](run, STYLE)
