"""`penalty` over lambda and `scaling` over m: small plots of one axis."""

import numpy as np
import pytest

from superpose_cli.plots.registry import PLOTS
from superpose_cli.plots.stored import Lacks
from superpose_cli.plots.style import STYLES, find_style
from superpose_cli.results.run import load_run
from superpose_cli.toy_model.theory import polygon, random_alignment
from tests.plots.test_registry import assert_fits
from tests.synthetic import write_run

LIGHT = find_style("light")
PAIRS = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
ALONE = np.array([[1.0, 0], [0, 1], [0, 0], [0, 0]])
NONE = np.zeros((4, 2))


def test_penalty_counts_features_and_superposition(tmp_path) -> None:
    lost = np.full((4, 2), np.nan)
    run = load_run(
        write_run(
            tmp_path / "run", [NONE, ALONE, PAIRS, lost, PAIRS, PAIRS],
            axes={"seed": [0, 1], "model.hidden_l1": [0.1, 0.01, 0.001]},
            columns={
                "loss_ratio": np.array([1.0, 0.5, 0.1, np.nan, 0.1, 0.1]),
                "status": np.array([*["ok"] * 3, "diverged", "ok", "ok"]),
            },
        )
    )  # fmt: skip
    plot = PLOTS["penalty"]
    data = plot.select(run)
    np.testing.assert_allclose(data.x.positions, [0.01, 0.1, 1], err_msg="over p = 0.1")
    np.testing.assert_allclose(data.dedicated, 0.5, err_msg="two of four equal features")
    np.testing.assert_array_equal(data.represented, [[4, 2, 0], [4, 4, np.nan]])
    np.testing.assert_array_equal(data.superposed, [[4, 0, 0], [4, 4, np.nan]])
    np.testing.assert_array_equal(data.loss_ratio, [[0.1, 0.5, 1], [0.1, 0.1, np.nan]])
    plotted = plot(run, LIGHT)
    np.testing.assert_array_equal(data.alignment, [[1, 1, np.nan], [1, 1, np.nan]])
    np.testing.assert_allclose(data.chance, random_alignment(2))
    top, middle, bottom = plotted.figure.axes
    np.testing.assert_array_equal(top.lines[0].get_ydata(), [0.1, 0.5, 1])
    np.testing.assert_array_equal(top.lines[1].get_ydata(), [0.5, 0.5])
    np.testing.assert_array_equal(middle.lines[1].get_ydata(), [4, 0, 0])
    np.testing.assert_array_equal(bottom.lines[0].get_ydata(), [1, 1, np.nan])
    first, second = plotted.words.paragraphs[0].split("Seed = 1:")
    assert "from λ/p = 0.1 on none is in superposition, where 2 features are left at a loss of 0.5" in first
    assert "on none is in superposition" not in second
    for style in STYLES:
        assert_fits(plot, run, find_style(style))


def test_a_penalty_at_several_densities_is_not_divided_by_one_of_them(tmp_path) -> None:
    axes = {"data.feature_probability": [0.1, 0.2], "model.hidden_l1": [0.001, 0.01]}
    run = load_run(write_run(tmp_path / "run", np.stack([PAIRS] * 4), axes=axes))
    plotted = PLOTS["penalty"](run, LIGHT)
    data = PLOTS["penalty"].select(run)
    np.testing.assert_allclose(data.x.positions, [0.001, 0.01])
    assert np.isnan(data.dedicated).all()
    assert plotted.figure.axes[2].get_xlabel() == "weight λ of the L1 penalty"
    assert "theory" not in plotted.words.markdown()


def test_twice_the_dimensions_twice_the_features(tmp_path) -> None:
    """Pentagons in planes of their own: ||W||_F^2 is 5/2 of m; at the other density it goes as m^2."""

    def planes(m: int, scale: float) -> np.ndarray:
        W = np.zeros((24, m))
        for k in range(m // 2):
            W[5 * k : 5 * k + 5, 2 * k : 2 * k + 2] = scale * polygon(5)
        return W

    W = [planes(m, scale) for m in (8, 2, 4) for scale in (1.0, np.sqrt(m / 2))]
    axes = {"model.n_hidden": [8, 2, 4], "data.feature_probability": [0.3, 0.1]}
    run = load_run(write_run(tmp_path / "run", W, axes=axes))
    plot = PLOTS["scaling"]
    data = plot.select(run)
    np.testing.assert_allclose(data.x.positions, [2, 4, 8])
    np.testing.assert_allclose(data.features, [[5, 10, 20], [5, 20, 80]], rtol=1e-6)
    np.testing.assert_allclose(data.slopes, [1, 2], rtol=1e-6)
    plotted = plot(run, LIGHT)
    (ax,) = plotted.figure.axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2", "4", "8"]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [5, 10, 20], err_msg="crosses: represented features")
    assert (
        "2 times as many a doubling of m (a slope of 1); represented are 5 to 20 of 24"
        in (plotted.words.paragraphs[0])
    )
    for style in STYLES:
        assert_fits(plot, run, find_style(style))


def test_models_that_represent_all_features_say_nothing_of_their_growth(tmp_path) -> None:
    """Twice the features a doubling of m, until there are no more."""
    W = [np.vstack([np.eye(m), np.zeros((5 - m, m))]) for m in (1, 2, 4)]
    W += [np.vstack([np.eye(m), -np.eye(m), np.zeros((9, m))])[:5] for m in (1, 2)]
    W += [np.vstack([np.eye(4), [0.5, 0.5, 0.5, 0.5]])]
    axes = {"data.feature_probability": [0.3, 0.1], "model.n_hidden": [1, 2, 4]}
    run = load_run(write_run(tmp_path / "run", W, axes=axes))
    data = PLOTS["scaling"].select(run)
    assert data.full.tolist() == [[False] * 3, [False, False, True]]
    np.testing.assert_allclose(data.slopes, [1, 1], rtol=1e-6)
    plotted = PLOTS["scaling"](run, LIGHT)
    (ax,) = plotted.figure.axes
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == LIGHT.background]
    assert [line.get_xdata().tolist() for line in hollow[:2]] == [[], [4]]
    assert ax.get_legend().get_texts()[-1].get_text() == "all represented: not fitted"
    (text,) = plotted.words.paragraphs
    assert "(a slope of 1, without m = 4, where all features are represented)" in text
    assert plotted.words.title == "Features over hidden dimensions: slope 1"
    assert_fits(PLOTS["scaling"], run, LIGHT)
    full = load_run(write_run(tmp_path / "full", [np.eye(2, m) + 1 for m in (1, 2)],
                              axes={"model.n_hidden": [1, 2]}))  # fmt: skip
    plotted = PLOTS["scaling"](full, LIGHT)
    assert "too few for a slope (without m = 1 and m = 2, where all" in plotted.words.paragraphs[0]
    assert plotted.words.title == "Features over hidden dimensions"


@pytest.mark.parametrize(
    ("name", "message"),
    [("penalty", r"no axis model\.hidden_l1; sweep experiment=remedies"),
     ("scaling", r"no axis model\.n_hidden; sweep experiment=doubling")],
)  # fmt: skip
def test_their_axes_are_needed(tmp_path, name: str, message: str) -> None:
    with pytest.raises(Lacks, match=message):
        PLOTS[name].select(load_run(write_run(tmp_path / "run", np.ones((1, 3, 2)))))
