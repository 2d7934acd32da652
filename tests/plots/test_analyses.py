"""What is computed from stored models when it is drawn: analogies, probes, dictionaries."""

import sys

import numpy as np
import pytest

from superpose_cli.plots import probing, recovery
from superpose_cli.plots.registry import PLOTS, default_names
from superpose_cli.plots.samples import stored_models
from superpose_cli.plots.stored import Lacks
from superpose_cli.plots.style import STYLES, find_style
from superpose_cli.plots.words import number
from superpose_cli.results.run import load_run
from superpose_cli.toy_model.theory import polygon
from tests.plots.test_registry import assert_fits
from tests.synthetic import write_run

LIGHT = find_style("light")
ROTATION = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]


def run_of(tmp_path, W, **more):
    return load_run(write_run(tmp_path / "run", W, **more))


# ---------------------------------------------------------------- analogy


def test_analogies_are_exact_without_a_hidden_relu(tmp_path) -> None:
    axes = {"model": ["relu_output", "relu_hidden"], "data.feature_probability": [1.0, 0.05]}
    hidden = np.array(["identity", "identity", "relu", "relu"])
    W = [np.eye(5, 2), polygon(5), np.eye(5, 2), polygon(5)]
    run = run_of(tmp_path, W, axes=axes, columns={"hidden_activation": hidden})
    data = PLOTS["analogy"].select(run)
    exact, broken = data["error"]
    assert exact[1] < 1e-6
    assert broken[1] > 0.1
    assert np.isnan(data["error"][:, 0]).all(), "two features make no analogy"
    np.testing.assert_array_equal(data.features, [[2, 5], [2, 5]])
    plotted = PLOTS["analogy"](run, LIGHT)
    np.testing.assert_allclose(plotted.figure.axes[0].lines[0].get_ydata(), exact)
    assert plotted.words.title == "King − man + woman = queen: exact in h in 1 of 2 models"
    assert "ReLU output: the analogies are exact in h. Where queen" in plotted.words.paragraphs[0]
    for style in STYLES:
        assert_fits(PLOTS["analogy"], run, find_style(style))


def test_analogies_that_fail_are_those_whose_answer_vanishes(tmp_path) -> None:
    """Three pairs: one queen in five is antipodal, all others are found; with three features one in three."""
    pairs = np.vstack([np.eye(3), -np.eye(3)])
    few = np.vstack([pairs[[0, 1, 3]], np.zeros((3, 3))])
    run = run_of(tmp_path, [few, pairs, pairs], axes={"data.feature_probability": [0.3, 0.1, 0.05]})
    data = PLOTS["analogy"].select(run)
    np.testing.assert_allclose(data["vanished"], [[1 / 3, 1 / 5, 1 / 5]])
    np.testing.assert_allclose(data["decoded"], [[2 / 3, 4 / 5, 4 / 5]])
    plotted = PLOTS["analogy"](run, LIGHT)
    ax = plotted.figure.axes[2]
    full, joined, hollow = (line for line in ax.lines if len(line.get_xdata()) > 1)
    np.testing.assert_allclose(full.get_ydata(), data["decoded"][0])
    np.testing.assert_allclose(joined.get_xdata(), [10, 20], err_msg="as many features, as many words")
    np.testing.assert_allclose(hollow.get_ydata(), 1)
    assert hollow.get_markerfacecolor() == "none"
    (text,) = plotted.words.paragraphs
    assert "Where queen does not vanish, she is the nearest word in 100 % of the analogies, and the" in text
    assert "with 3 features, 33.3 % of the queens vanish (her features are at least 180° apart) and" in text
    assert "Over the words of 6 features, from 1/(1−S) = 10, p = 0.1 to 1/(1−S) = 20, p = 0.05" in text
    assert "same direction" not in plotted.words.reading


def test_analogies_need_three_features(tmp_path) -> None:
    with pytest.raises(Lacks, match=r"no model represents 3 to 24 features; sweep experiment=analogy"):
        PLOTS["analogy"].select(run_of(tmp_path, [np.eye(4, 2)]))


# ---------------------------------------------------------------- rows of a stored model


def test_fresh_rows_follow_the_stored_law(tmp_path) -> None:
    columns = {"data_kind": "anticorrelated", "set_size": 2, "high": 3.0, "signed": True}
    run = run_of(tmp_path, [np.eye(4)], feature_probability=0.25, columns=columns)
    x = stored_models(run, np.array([0]))[0].rows(20_000)
    assert x.shape == (20_000, 4)
    assert np.abs((x != 0).mean(axis=0) - 0.25).max() < 0.02
    assert not ((x[:, 0] != 0) & (x[:, 1] != 0)).any()
    assert -3 < x.min() < -2.9
    assert 2.9 < x.max() < 3


# ---------------------------------------------------------------- probing


def test_one_neuron_tells_a_dedicated_feature_unless_the_space_is_rotated(tmp_path) -> None:
    axes = {"model": ["relu_hidden", "relu_output"]}
    run = run_of(
        tmp_path, [np.eye(4), ROTATION], axes=axes, feature_probability=0.3,
        columns={"hidden_activation": np.array(["relu", "identity"])},
    )  # fmt: skip
    data = PLOTS["probing"].select(run)
    own, rotated = (data.scores[cell]["dedicated"] for cell in (0, 1))
    assert own.shape == (4, len(probing.sizes(4))) == (4, 4)
    assert own[:, 0].min() > 0.97
    assert rotated[:, 0].max() < 0.9
    assert rotated[:, -1].min() > 0.97, "all neurons together know it"
    assert data.scores[0]["superposed"].shape == (0, 4)
    plotted = PLOTS["probing"](run, LIGHT)
    assert len(plotted.figure.axes) == 2
    assert "4 dedicated features 0.9" in plotted.words.paragraphs[0]
    assert_fits(PLOTS["probing"], run, find_style("paper"))


def test_the_title_compares_kinds_inside_one_model_with_a_hidden_relu(tmp_path) -> None:
    """Those of the rotated control, which one neuron does not tell, are neither pooled nor named."""
    mixed = np.vstack([np.eye(4), np.zeros((2, 4))])
    mixed[[4, 5], [2, 3]] = 1.0  # two features of their own, two pairs on one neuron each
    run = run_of(
        tmp_path, [mixed @ ROTATION, mixed], axes={"model": ["relu_output", "relu_hidden"]},
        feature_probability=0.3, columns={"hidden_activation": np.array(["identity", "relu"])},
    )  # fmt: skip
    plotted = PLOTS["probing"](run, LIGHT)
    scores = PLOTS["probing"].select(run).scores[1]
    dedicated, superposed = (scores[kind][:, 0].mean() for kind in probing.KINDS)
    assert dedicated > superposed + 0.05
    assert plotted.words.title == (
        f"Probes of one neuron: accuracy {number(dedicated)} for dedicated and {number(superposed)} for "
        "superposed features of one model (ReLU hidden)"
    )
    alone = PLOTS["probing"](run_of(tmp_path / "alone", [np.eye(4)], feature_probability=0.3), LIGHT)
    assert alone.words.title == "Probes of single neurons and more: no model has features of both kinds"


def test_probes_are_scored_on_rows_that_they_were_not_fitted_to(tmp_path) -> None:
    shared = []

    class Learner:
        @staticmethod
        def probe_score(h, on, train, test):
            rows = np.arange(len(on))
            shared.append(np.intersect1d(rows[train], rows[test]).size)
            return 0.5

    run = run_of(tmp_path, [np.eye(4)], feature_probability=0.3, columns={"hidden_activation": "relu"})
    stored = stored_models(run, np.array([0]))[0]
    probing._scores(stored, Learner)
    assert len(shared) == 4 * len(probing.sizes(4))
    assert max(shared) == 0


def test_probed_rows_are_balanced_and_neurons_ordered() -> None:
    on = np.arange(5000) % 10 == 0
    rows = probing.balanced(on)
    assert on[rows].tolist() == [True, False] * 500
    assert len(set(rows.tolist())) == 1000
    h = np.stack([on * 0.1, -1.0 * on, np.ones(5000)], axis=1)
    assert probing.by_mean_difference(h, on).tolist() == [1, 0, 2]
    assert probing.sizes(1) == [1]
    assert probing.sizes(10) == [1, 2, 3, 4, 6, 8, 10]


def test_too_many_probes_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(probing, "MOST_PROBES", 5)
    with pytest.raises(Lacks, match="it takes 16 probes, more than 5; fix an axis"):
        PLOTS["probing"].select(run_of(tmp_path, [np.eye(4)]))


# ---------------------------------------------------------------- recovery


def test_sparse_directions_are_found_again_and_dense_ones_are_not(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(recovery, "DRAWN", 1 << 14)
    W = [polygon(5)] * 2
    run = run_of(tmp_path, W, axes={"data.feature_probability": [0.9, 0.02]})
    scores = PLOTS["recovery"].select(run).scores
    sparse, dense = scores.cosine[0, [1, 0]]
    assert sparse > 0.99
    assert dense < sparse - 0.01
    assert scores.chance[0].tolist() == scores.chance[0, ::-1].tolist()
    assert scores.chance[0, 0] < 0.97
    np.testing.assert_allclose(scores.dims_per_feature, 2 / 5)


def test_an_antipodal_pair_is_two_atoms(tmp_path) -> None:
    """Codes are not negative: with signed ones one atom would do for both."""
    run = run_of(tmp_path, [np.array([[1.0, 0], [-1.0, 0], [0, 1.0], [0, -1.0]])], feature_probability=0.05)
    plotted = PLOTS["recovery"](run, LIGHT)
    assert PLOTS["recovery"].select(run).scores.cosine[0, 0] > 0.99
    assert plotted.words.title.startswith("Dictionary learning on h: mean cosine to the features")
    assert_fits(PLOTS["recovery"], run, find_style("paper"))


# ---------------------------------------------------------------- scikit-learn is optional


@pytest.mark.parametrize("name", ["probing", "recovery"])
def test_without_scikit_learn_the_plot_is_refused_with_what_installs_it(tmp_path, monkeypatch, name) -> None:
    monkeypatch.delitem(sys.modules, "superpose_cli.plots.fitted", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(Lacks, match=r"sklearn\S* is not installed; pip install 'superpose\[analysis\]'"):
        PLOTS[name].select(run_of(tmp_path, [np.eye(4)]))


def test_analyses_are_drawn_where_asked_for_only(tmp_path) -> None:
    run = run_of(tmp_path, [np.eye(4)])
    assert not {"analogy", "probing", "recovery"} & set(default_names(run)[0])
