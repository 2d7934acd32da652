"""The plots with a panel for each cell: arrows, wtw, norms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.quiver import Quiver

from superpose_cli.errors import RunError
from superpose_cli.plots.arrows import antipodal_pairs, odd_feature, shape, turned
from superpose_cli.plots.registry import PLOTS
from superpose_cli.plots.style import STYLES, find_style
from superpose_cli.results.run import load_run
from superpose_cli.toy_model.theory import polygon
from tests.plots.test_registry import assert_fits
from tests.synthetic import write_run

P = "data.feature_probability"
STYLE = find_style("light")
NEST = np.diag([1.0, -1.0])


def two_axes() -> np.ndarray:
    W = np.zeros((5, 2))
    W[:2] = np.eye(2)
    return W


def rotated(W: np.ndarray, degrees: float, mirrored: bool = False) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return W @ np.array([[c, s], [-s, c]]) @ (NEST if mirrored else np.eye(2))


def intro(tmp_path, **more):
    """Two axes, square, pentagon; two restarts of which the second is better, each turned at random."""
    pentagon = 1.1 * polygon(5)
    square = np.vstack([polygon(4), np.zeros((1, 2))])
    W = [rotated(w, 40 + 31 * i, mirrored=i % 2 == 1) for i, w in enumerate((two_axes(), square, pentagon))]
    bad = [0.1 * w for w in W]
    return load_run(
        write_run(
            tmp_path / "run",
            np.stack([w for pair in zip(bad, W, strict=True) for w in pair]),
            axes={P: [1.0, 0.2, 0.05]},
            restarts=2,
            columns={"objective": np.array([2.0, 1.0] * 3)},
            importance=0.9 ** np.arange(5.0),
            b=-0.25,
            **more,
        )
    )


def panel_axes(figure):
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>" and ax.axison]


def bar_axes(figure):
    return [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]


# ---------------------------------------------------------------- arrows


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0, 360), st.booleans())
def test_turning_undoes_rotations_and_reflections(seed: int, degrees: float, mirrored: bool) -> None:
    W = np.random.default_rng(seed).normal(size=(5, 2))
    np.testing.assert_allclose(turned(rotated(W, degrees, mirrored)), turned(W), atol=1e-9)


def test_turned_points_the_first_represented_feature_right_and_the_next_up() -> None:
    W = turned(np.array([[0.1, 0.2], [0.0, -2.0], [0.0, 1.0], [-1.0, 0.5]]))
    np.testing.assert_allclose(W[1], [2, 0], atol=1e-12)
    np.testing.assert_allclose(W[2], [-1, 0], atol=1e-12)
    assert W[3, 1] > 0
    flat = turned(
        np.array([[1.0, 0.0], [-1.0, -0.05], [0.1, 0.02]])
    )  # all near the line: the furthest decides
    assert flat[1, 1] > 0 > flat[2, 1]
    assert turned(np.full((3, 2), np.nan)).shape == (0, 2)
    assert not turned(np.zeros((3, 2))).any()


@pytest.mark.parametrize(
    ("W", "name", "angle"),
    [
        (np.zeros((3, 2)), "no feature", None),
        (np.eye(1, 2), "one feature", None),
        (two_axes(), "two features at right angles", 90),
        (np.array([[1, 0], [-1, 0.05]]), "one antipodal pair", 180),
        (np.array([[1, 0], [1, 1]]), "two features askew", None),
        (polygon(3), "a triangle", 120),
        (polygon(4), "a square, two antipodal pairs", 90),
        (1.2 * polygon(5), "a pentagon", 72),
        (polygon(8), "a regular polygon of 8", 45),
        (np.array([[1, 0], [-1, 0], [0.6, 0.8]]), "3 features, 1 antipodal pair", None),
        (np.array([[1, 0], [0.9, 0.4], [0.6, 0.8]]), "3 features, no two antipodal", None),
    ],
)
def test_shapes_have_their_names(W: np.ndarray, name: str, angle: float | None) -> None:
    found = shape(rotated(W, 77))
    assert found.name == name
    np.testing.assert_allclose(found.angle, np.nan if angle is None else angle)


@pytest.mark.parametrize("k", [2, 4, 6, 8])
def test_even_polygons_are_antipodal_pairs(k: int) -> None:
    assert antipodal_pairs(polygon(k)) == k // 2
    assert antipodal_pairs(polygon(k + 1)) == 0


def test_arrows_draws_the_best_restart_of_each_cell(tmp_path) -> None:
    plot = PLOTS["arrows"]
    plotted = plot(intro(tmp_path), STYLE)
    axes = panel_axes(plotted.figure)
    assert [ax.get_title() for ax in axes] == [
        "1/(1−S) = 1\np = 1", "1/(1−S) = 5\np = 0.2", "1/(1−S) = 20\np = 0.05"
    ]  # fmt: skip
    for ax, W in zip(
        axes, (two_axes(), np.vstack([polygon(4), np.zeros((1, 2))]), 1.1 * polygon(5)), strict=True
    ):
        (arrows,) = [child for child in ax.collections if isinstance(child, Quiver)]
        np.testing.assert_allclose(np.stack([arrows.U, arrows.V], axis=1), W, atol=1e-6)
        assert ax.get_aspect() == 1
        assert ax.get_xlim() == ax.get_ylim() == axes[0].get_xlim()
        assert ax.get_xlim()[1] > 1.1
    (bar,) = bar_axes(plotted.figure)
    assert bar.get_ylabel() == "importance $I_i$"
    np.testing.assert_allclose(bar.get_ylim(), (0.9**4, 1))


def test_arrows_words_name_the_shapes_with_their_numbers(tmp_path) -> None:
    words = PLOTS["arrows"](intro(tmp_path), STYLE).words
    text = words.paragraphs[0]
    assert "best of 2 restarts" in text
    assert "At 1/(1−S) = 1, p = 1: two features at right angles" in text
    assert "At 1/(1−S) = 5, p = 0.2: a square, two antipodal pairs" in text
    assert "At 1/(1−S) = 20, p = 0.05: a pentagon" in text
    assert "° at most from 72° apart; ‖W_i‖² = 1.21." in text
    assert words.title == "5 features in the plane: 2 to 5 represented"
    assert "turned alike" in words.paragraphs[1]


def test_coinciding_tips_share_a_label_and_equal_importances_have_no_bar(tmp_path) -> None:
    W = np.array([[[1.0, 0.0], [1.0, 0.01], [-1.0, 0.0]]])
    figure = PLOTS["arrows"](load_run(write_run(tmp_path / "run", W)), STYLE).figure
    assert sorted(text.get_text() for text in panel_axes(figure)[0].texts) == ["0,1", "2"]
    assert not bar_axes(figure)


def test_the_feature_of_another_probability_is_marked_and_points_right(tmp_path) -> None:
    p = np.full((2, 5), 0.05)
    p[1, 4] = 0.2  # the first cell is that in which all are alike
    run = load_run(
        write_run(
            tmp_path / "run", np.stack([rotated(polygon(5), 50)] * 2),
            axes={"data.last_probability": [0.05, 0.2]}, feature_probability=p,
        )
    )  # fmt: skip
    plotted = PLOTS["arrows"](run, STYLE)
    for ax in panel_axes(plotted.figure):
        (arrows,) = [child for child in ax.collections if isinstance(child, Quiver)]
        colours = [to_hex(colour) for colour in arrows.get_facecolors()]
        assert colours == [STYLE.dedicated.lower()] * 4 + [STYLE.superposed.lower()]
        np.testing.assert_allclose([arrows.U[4], arrows.V[4]], [1, 0], atol=1e-6)
    assert "feature 4, whose probability differs" in plotted.words.paragraphs[1]
    assert odd_feature([np.full(5, 0.1)]) is None
    assert odd_feature([np.array([0.1, 0.2, 0.3])]) is None
    for style in STYLES:
        assert_fits(PLOTS["arrows"], run, find_style(style))


def test_arrows_needs_the_plane(tmp_path) -> None:
    run = load_run(write_run(tmp_path / "run", np.ones((1, 4, 3))))
    with pytest.raises(RunError, match=r"plot arrows .*n_hidden = 3.*model\.n_hidden=2"):
        PLOTS["arrows"](run, STYLE)


# ---------------------------------------------------------------- wtw


def test_wtw_draws_matrix_and_bias_on_one_scale_centred_at_zero(tmp_path) -> None:
    run = intro(tmp_path)
    figure = PLOTS["wtw"](run, STYLE).figure
    axes = panel_axes(figure)
    assert len(axes) == 3
    assert [ax.get_ylabel() for ax in axes] == ["feature i", "", ""]
    assert [ax.get_xlabel() for ax in axes] == ["output j", "", ""]
    pentagon = 1.21 * polygon(5) @ polygon(5).T
    matrix, bias = axes[2].images
    np.testing.assert_allclose(matrix.get_array(), pentagon, atol=1e-5)
    np.testing.assert_allclose(bias.get_array(), np.full((5, 1), -0.25))
    for image in (image for ax in axes for image in ax.images):
        assert image.get_clim() == pytest.approx((-1.3, 1.3))  # 1.21, rounded up
        assert image.get_extent()[3] == 0  # feature 0 on top
    assert bias.get_extent()[0] > matrix.get_extent()[1]


def test_wtw_words_count_and_measure(tmp_path) -> None:
    words = PLOTS["wtw"](intro(tmp_path), STYLE).words
    assert words.title == "Wᵀ W: 5 features in 2 dimensions"
    assert "p = 1: 2 of 5 features are written out, largest" in words.paragraphs[0]
    assert "5 of 5 features are written out (more than dimensions), largest interference 0.37, most negative −0.98, 50 % (10 of 20)" in words.paragraphs[0]  # fmt: skip  # noqa: E501
    assert "from −0.25 to −0.25" in words.paragraphs[1]


def test_wtw_of_an_untied_model_is_encoder_times_decoder(tmp_path) -> None:
    rng = np.random.default_rng(0)
    W, W_dec = rng.normal(size=(2, 1, 4, 3)).astype(np.float32)
    run = load_run(write_run(tmp_path / "run", W, W_dec=W_dec))
    plotted = PLOTS["wtw"](run, STYLE)
    matrix = panel_axes(plotted.figure)[0].images[0]
    np.testing.assert_allclose(matrix.get_array(), W[0] @ W_dec[0].T, rtol=1e-5)
    assert bar_axes(plotted.figure)[0].get_ylabel() == r"$W_{dec}^\mathrm{T}W$ and b"
    assert "W W_decᵀ is what" in plotted.words.reading


def test_wtw_of_a_hidden_relu_is_what_comes_out(tmp_path) -> None:
    """|x| = ReLU(x) + ReLU(-x) cancels in W W_dec^T, and comes out all the same."""
    W = np.array([[1.0, -1, 0, 0, 0], [0, 0, 1, -1, 0], [0, 0, 0, 0, 1]])[None]
    columns = {"hidden_activation": "relu", "target": "abs", "signed": True}
    b = np.array([[0, 0, 0.5]])  # the third comes out at 1 alone; what its bias does is not its doing
    run = load_run(write_run(tmp_path / "run", W, W_dec=np.abs(W), b=b, columns=columns))
    assert not (W[0] @ np.abs(W[0]).T)[:2].any()
    plotted = PLOTS["wtw"](run, STYLE)
    (ax,) = panel_axes(plotted.figure)
    plus, minus, none = (np.asarray(image.get_array()) for image in ax.images)
    np.testing.assert_allclose(none[:, 0], b[0])
    np.testing.assert_allclose(plus, np.eye(3) + b)
    np.testing.assert_allclose(minus, np.diag([1, 1, 0]) + b)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["$x_i$ = 1", "$x_i$ = −1", "0"]
    assert bar_axes(plotted.figure)[0].get_ylabel() == "output $y_j$"
    assert plotted.words.title == "Responses: 3 features in 5 neurons"
    assert "2 of 3 features are written out, largest interference 0" in plotted.words.paragraphs[0]
    for style in STYLES:
        assert_fits(PLOTS["wtw"], run, find_style(style))


@pytest.mark.parametrize("name", ["wtw", "norms"])
def test_group_axis_makes_rows(tmp_path, name: str) -> None:
    W = np.tile(np.eye(4, 2), (6, 1, 1))
    axes = {"model": ["linear", "relu_output"], P: [1.0, 0.3, 0.1]}
    run = load_run(write_run(tmp_path / "run", W, axes=axes))
    figure = PLOTS[name](run, STYLE).figure
    assert figure.get_supylabel() == "feature i"
    grid = panel_axes(figure)
    assert [ax.get_ylabel() for ax in grid] == ["linear", "", "", "ReLU output", "", ""]
    assert all(ax.get_title() for ax in grid[:3])
    assert not any(ax.get_title() for ax in grid[3:])


# ---------------------------------------------------------------- norms


def test_norms_are_bars_in_order_coloured_by_interference(tmp_path) -> None:
    figure = PLOTS["norms"](intro(tmp_path), STYLE).figure
    axes = panel_axes(figure)
    for ax, lengths, colour in zip(
        (axes[0], axes[2]),
        ([1, 1, 0, 0, 0], [1.1] * 5),
        (STYLE.sharing(0.0), STYLE.sharing(1.0)),
        strict=True,
    ):
        (bars,) = [child for child in ax.collections if isinstance(child, PolyCollection)]
        corners = np.stack([path.vertices[:4] for path in bars.get_paths()])
        np.testing.assert_allclose(corners[:, :, 0].max(axis=1), lengths, atol=1e-6)
        np.testing.assert_allclose(corners[:, :, 1].mean(axis=1), np.arange(5))
        np.testing.assert_allclose(bars.get_facecolors()[0], colour, atol=0.01)
        assert ax.yaxis_inverted()
        assert ax.get_xlabel() == r"$\Vert W_i\Vert$"
    assert bar_axes(figure)[0].get_ylabel().startswith("interference")


def test_norms_words(tmp_path) -> None:
    text = PLOTS["norms"](intro(tmp_path), STYLE).words.paragraphs
    assert "p = 1: 2 of 5 features represented, 0 of them sharing, with norms 1." in text[0]
    assert "p = 0.05: 5 of 5 features represented, 5 of them sharing, with norms 1.1." in text[0]
    assert "linear" not in text[1]


def test_norms_warns_of_the_linear_model(tmp_path) -> None:
    run = load_run(write_run(tmp_path / "run", np.eye(4, 2)[None], columns={"output_activation": "identity"}))
    words = PLOTS["norms"](run, STYLE).words
    assert "2 of 4 features represented (linear)" in words.paragraphs[0]
    assert "projector" in words.paragraphs[1]


# ---------------------------------------------------------------- all three


@pytest.mark.parametrize("name", ["arrows", "wtw", "norms"])
def test_a_diverged_cell_is_marked_and_the_others_are_shown(tmp_path, name: str) -> None:
    W = np.stack([np.full((4, 2), np.nan), np.eye(4, 2)])
    run = load_run(
        write_run(tmp_path / "run", W, axes={P: [1.0, 0.1]}, columns={"status": np.array(["diverged", "ok"])})
    )
    plotted = PLOTS[name](run, STYLE)
    first, second = panel_axes(plotted.figure)
    assert "diverged" in [text.get_text() for text in first.texts]
    assert "diverged" not in [text.get_text() for text in second.texts]
    assert "p = 1: diverged" in plotted.words.paragraphs[0]


@pytest.mark.parametrize("name", ["arrows", "wtw", "norms"])
def test_a_run_that_diverged_everywhere_is_refused(tmp_path, name: str) -> None:
    run = load_run(write_run(tmp_path / "run", np.full((1, 4, 2), np.nan), columns={"status": "diverged"}))
    with pytest.raises(RunError, match=rf"plot {name} .*diverged in every cell; lower train\.learning_rate"):
        PLOTS[name](run, STYLE)


@pytest.mark.parametrize("name", ["arrows", "wtw", "norms"])
@pytest.mark.parametrize(("count", "panels"), [(1, 1), (60, 40)])
def test_one_panel_and_forty(tmp_path, name: str, count: int, panels: int) -> None:
    W = np.tile(polygon(5), (count, 1, 1))
    run = load_run(write_run(tmp_path / "run", W, axes={P: np.geomspace(1, 0.01, count).tolist()}))
    plotted = PLOTS[name](run, STYLE)
    assert len(panel_axes(plotted.figure)) == panels
    notes = plotted.figure._supxlabel
    assert (notes is not None) == (count > panels)
    assert ("40 of 60 cells shown" in plotted.words.markdown()) == (count > panels)
