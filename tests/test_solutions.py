"""The whole flow ends in the solutions that the theory and the paper name."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from superpose_cli.experiment.compose import load_experiment
from superpose_cli.pipeline import load_run, run_experiment
from superpose_cli.results.run import Run
from superpose_cli.toy_model.theory import linear_optimum, phase_2_in_1


def run_of(outputs: Path, *overrides: str) -> Run:
    """The stored run of an experiment."""
    return load_run(run_experiment(load_experiment(overrides), outputs=outputs).path)


def test_objectives_compare_on_one_axis(tmp_path):
    """The population objective beside the sampled one, evaluated exactly: never worse by more than noise."""
    run = run_of(
        tmp_path,
        *("model.n_features=2", "model.n_hidden=1", "data.feature_probability=0.1", "restarts=8"),
        *("train.objective=sampled,population", "train.steps=400", "train.learning_rate=0.01"),
        "evaluation.method=population",
    )
    best = run.best(["train_objective", "loss", "loss_method", "loss_stderr"])
    sampled, exact = best["loss"]
    assert exact <= sampled * 1.001
    assert sampled < 1.1 * exact
    assert best["loss_method"].tolist() == ["population"] * 2
    assert (best["loss_stderr"] == 0).all()


def test_the_linear_model_reaches_its_optimum(tmp_path):
    """Facts T4 and pitfall 9: the loss in closed form within 0.5 %, the projector on the most important, and
    no superposition, at every density."""
    run = run_of(
        tmp_path,
        "model=linear",
        "model.n_features=20",
        "model.n_hidden=5",
        "importance=geometric",
        "importance.decay=0.7",
        "data.feature_probability=1,0.3,0.05",
        "evaluation.method=population",
        "restarts=2",
        "history.every=0",
    )
    best = run.best(["feature_probability", "loss", "frobenius_norm_sq", "cell", "restart"])
    importance = 0.7 ** np.arange(20)
    features = run.features(["cell", "restart", "dimensionality", "leverage"])
    features = features.merge(best[["cell", "restart"]]).groupby("cell")[["dimensionality", "leverage"]].sum()
    for row, W in zip(best.itertuples(), run.weights()[0].W, strict=True):
        p = row.feature_probability
        G, summed = linear_optimum(importance[None], np.full((1, 20), p / 3 - p * p / 4), 5)
        assert row.loss == pytest.approx(summed[0] / 20, rel=0.005)
        assert row.frobenius_norm_sq <= 1.02 * 5
        gap = features.loc[row.cell, "leverage"] - features.loc[row.cell, "dimensionality"]
        assert gap < 0.02 * 5
        np.testing.assert_allclose(W @ W.T, G[0], atol=0.1)


def test_the_introduction_ends_in_a_pentagon(tmp_path):
    """The paper's introduction: at p = 1/20 a pentagon, at p = 1 the first two features alone."""
    run = run_of(tmp_path, "experiment=intro", "data.feature_probability=1,0.05", "evaluation.n_rows=100000")
    dense, sparse = run.weights()[0].W.astype(float)
    norms = (sparse**2).sum(1)
    assert ((norms > 1) & (norms < 1.6)).all()
    gram = sparse @ sparse.T
    for i in range(5):
        others = np.sort(np.delete(gram[i], i))
        np.testing.assert_allclose(others[:2], -1, atol=0.25)
        assert (others[2:] > 0).all()
    np.testing.assert_allclose((dense**2).sum(1), [1, 1, 0, 0, 0], atol=0.02)
    assert abs(dense[0] @ dense[1]) < 0.02


@pytest.mark.slow
def test_the_phase_map_agrees_with_theory(tmp_path):
    """Fact T10's measure at the shipped size: the best restart's phase is T3's argmin in 95 % of cells."""
    run = run_of(tmp_path, "experiment=phase_2_in_1")
    best = run.best(["cell", "restart", "feature_probability", "last_importance"])
    extra = run.features(["cell", "restart", "feature", "norm", "dimensionality", "regime"])
    extra = best.merge(extra[extra["feature"] == 1], on=["cell", "restart"])
    losses = phase_2_in_1(extra["feature_probability"].to_numpy(), extra["last_importance"].to_numpy())
    names = np.array(list(losses))
    expected = names[np.argmin(np.stack([losses[name] for name in names]), axis=0)]
    trained = extra["regime"].astype(str).to_numpy()
    assert len(extra) == 400
    assert (trained == expected).mean() >= 0.95, pd.crosstab(trained, expected)
