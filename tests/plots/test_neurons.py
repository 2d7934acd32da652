"""The plots of hidden units: neurons and weights."""

import numpy as np
from matplotlib.collections import PolyCollection

from superpose_cli.plots.neurons import tally
from superpose_cli.plots.registry import PLOTS
from superpose_cli.plots.style import STYLES, find_style
from superpose_cli.plots.units import units_of
from superpose_cli.results.best import Weights
from superpose_cli.results.run import load_run
from tests.plots.test_geometry_plots import STYLE, P, panel_axes, run_of
from tests.plots.test_registry import assert_fits
from tests.synthetic import write_run


def test_neurons_are_ordered_counted_and_stacked(tmp_path) -> None:
    W = np.zeros((4, 4))
    W[0, 3], W[1, 0], W[2, 1], W[3, 1] = 1.0, 1.0, 1.0, -0.9
    units = units_of(Weights(W=W, decoder=W, b=np.zeros(4), tied=True), np.ones(4))
    assert tally(units.kinds) == "2 mono, 1 poly, 1 silent"
    assert units.order.tolist() == [3, 0, 1, 2]
    np.testing.assert_array_equal(units.W, W[:, [3, 0, 1, 2]])
    run = run_of(tmp_path, [W], columns={"hidden_activation": "relu"})
    plotted = PLOTS["neurons"](run, STYLE)
    (ax,) = panel_axes(plotted.figure)
    (bars,) = [c for c in ax.collections if isinstance(c, PolyCollection)]
    heights = [np.ptp(path.vertices[:4, 1]) for path in bars.get_paths()]
    np.testing.assert_allclose(heights, [1, 1, 1, 0.9], atol=1e-6)
    assert plotted.words.title == "What the neurons carry: 2 monosemantic of 4"
    assert "arbitrary axes" not in plotted.words.paragraphs[0]
    other = load_run(write_run(tmp_path / "other", W[None]))
    assert "arbitrary axes" in PLOTS["neurons"](other, STYLE).words.paragraphs[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["3", "0", "1", "2"]
    penalised = load_run(write_run(tmp_path / "l1", W[None], columns={"hidden_l1": 0.01}))
    assert "arbitrary" not in PLOTS["neurons"](penalised, STYLE).words.paragraphs[0], "L1 turns with no axes"


def test_only_segments_that_a_number_fits_into_are_numbered(tmp_path) -> None:
    """Of 12 weights of 0.3 and one of 3 in a stack of 6.6, in a row of panels of half their usual height."""
    W = np.zeros((13, 2))
    W[:12, 0], W[12, 0] = 0.3, 3
    tall = PLOTS["neurons"](run_of(tmp_path, [W[[0, 12]]]), STYLE).figure.axes[0]
    assert [text.get_text() for text in tall.texts] == ["0", "1"]
    axes = {"data.feature_probability": np.geomspace(1, 0.1, 7).tolist()}
    run = load_run(write_run(tmp_path / "seven", np.tile(W, (7, 1, 1)), axes=axes))
    figure = PLOTS["neurons"](run, STYLE).figure
    assert [text.get_text() for text in figure.axes[0].texts] == ["12"]


def test_neurons_of_an_untied_model_have_their_output_weights_below(tmp_path) -> None:
    """The asymmetric motif: unit 1 reads [2, -1/2] and writes [1/2, 2]."""
    W = np.array([[[0.0, 2.0], [1.0, -0.5]]])
    W_dec = np.array([[[0.0, 0.5], [1.0, 2.0]]])
    run = run_of(tmp_path, W, W_dec=W_dec, columns={"hidden_activation": "relu"})
    reads, writes = panel_axes(PLOTS["neurons"](run, STYLE).figure)
    assert reads.get_xlabel() == "1 mono, 1 poly", "what is read as one feature is written as another"
    for ax, heights in ((reads, [[1], [2, 0.5]]), (writes, [[1], [0.5, 2]])):
        (bars,) = [c for c in ax.collections if isinstance(c, PolyCollection)]
        drawn = [np.ptp(path.vertices[:4, 1]) for path in bars.get_paths()]
        np.testing.assert_allclose(drawn, np.concatenate(heights), atol=1e-6)
        assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1"]
        assert ax.get_ylim() == reads.get_ylim()
    assert [ax.get_ylabel().split()[0] for ax in (reads, writes)] == ["inputs", "outputs"]
    five = load_run(
        write_run(tmp_path / "five", np.tile(W, (5, 1, 1)), W_dec=np.tile(W_dec, (5, 1, 1)),
                  axes={P: [1.0, 0.3, 0.1, 0.03, 0.01]}, columns={"hidden_activation": "relu"})
    )  # fmt: skip
    for style in STYLES:
        assert_fits(PLOTS["neurons"], run, find_style(style))
        assert_fits(PLOTS["neurons"], five, find_style(style))


def test_weights_are_drawn_in_the_units_order_and_told(tmp_path) -> None:
    W = np.array([[0.0, 2.0, 0.0], [1.0, -0.5, 0.0], [0.6, 0.6, 0.0], [0.0, 0.0, 0.0]])
    W_dec = np.array([[0.0, 0.5, 0.0], [1.0, 2.0, 0.0], [0.6, 0.6, 0.0], [0.0, 0.0, 0.0]])
    tied = PLOTS["weights"](run_of(tmp_path, [W[:, :2]]), STYLE)
    (ax,) = panel_axes(tied.figure)
    np.testing.assert_array_equal(ax.images[0].get_array(), W[:, :2].astype(np.float32)[:, [1, 0]])
    share = f"{(1 + 0.8 + 0.5) / 3:.3g}"
    assert f"3 of 4 features are represented; a single unit holds {share} of" in tied.words.paragraphs[0]
    assert "A random direction has 0.818 of its square along one unit." in tied.words.paragraphs[0]
    assert "any rotation of h serves as well" in tied.words.paragraphs[0]
    run = load_run(
        write_run(tmp_path / "untied", np.stack([W, W * np.nan]), W_dec=np.stack([W_dec, W_dec]),
                  axes={P: [1.0, 0.1]}, columns={"hidden_activation": "relu"})
    )  # fmt: skip
    untied = PLOTS["weights"](run, STYLE)
    first, lost = panel_axes(untied.figure)
    np.testing.assert_array_equal(first.images[1].get_array(), W_dec.astype(np.float32)[:, [1, 0, 2]])
    assert [text.get_text() for text in lost.texts] == ["diverged"]
    assert "rotation" not in untied.words.paragraphs[0]
    for style in STYLES:
        assert_fits(PLOTS["weights"], run, find_style(style))
