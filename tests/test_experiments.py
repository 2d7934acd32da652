"""Every shipped experiment, shortened: it trains, stores, and all plots of its own list can be drawn."""

from pathlib import Path

import pytest

from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.config_dir import list_experiments
from superpose_cli.pipeline import load_run, run_experiment
from superpose_cli.plots.registry import default_names
from superpose_cli.toy_model.ranks import rank_correlation

SHORT = (
    "engine=torch",
    "train.steps=4",
    "train.warmup_steps=0",
    "evaluation.method=sampled",
    "evaluation.n_rows=128",
    "restarts=2",
)
P = "data.feature_probability"
TENTH = "model.n_features=1000"
FEWER = {
    "adversarial": (f"{P}=0.5,0.1",),
    "analogy": (f"{P}=1,0.1",),
    "dimensionality": (f"{P}=0.5,0.1",),
    "energy_levels": ("history.every=1",),
    "geometry": (f"{P}=0.5,0.1",),
    "double_descent_published": ("data.n_rows=10,20", "model.n_hidden=2", "seed=0", "restarts=1", TENTH),
    "double_descent_reduced": ("data.n_rows=5,100", "seed=0", "restarts=1"),
    "incidental": ("restarts=1",),
    "probing": (f"{P}=0.35",),
    "recovery": (f"{P}=0.5,0.1",),
    "octahedron": ("history.every=1",),
    "memorization_reduced": ("data.n_rows=3,100",),
    "memorization_published": ("data.n_rows=3,9", "restarts=1", TENTH),
    "phase_2_in_1": (f"{P}=1,0.1", "importance.last_importance=0.5,2"),
    "phase_3_in_2": (f"{P}=1,0.1", "importance.last_importance=0.5,2"),
}
"""A corner of the grid, a tenth of the features, where the whole takes long even so; records in few steps."""
NAMES = [name for name, _ in list_experiments()]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_experiment_trains_and_has_its_plots(name: str, tmp_path: Path) -> None:
    """With its own kinds, sizes and axes; what only training brings about may be missing after four steps."""
    overrides = [f"experiment={name}", *SHORT, *FEWER.get(name, ())]
    if load_experiment(overrides).variants[0].train.n_batch is not None:
        overrides.append("train.n_batch=32")
    done = run_experiment(load_experiment(overrides), outputs=tmp_path)
    run = load_run(done.path)
    assert (done.status, done.failures, run.name) == ("complete", 0, name)
    assert len(run.instances(["cell"])) == run.n_cells * run.restarts
    shown, left_out = default_names(run)
    assert len(shown) + len(left_out) == len(run.manifest.plots) > 0
    assert all("no feature is represented" in reason for reason in left_out)


@pytest.mark.slow
def test_vulnerability_follows_features_per_dimension(tmp_path: Path) -> None:
    """A quarter of the experiment's features: 1 without superposition, above 3 from 1/p = 5 on."""
    overrides = ["experiment=adversarial", f"{P}=geomspace(1,0.02,12)", "model.n_features=100"]
    done = run_experiment(load_experiment([*overrides, "model.n_hidden=8"]), outputs=tmp_path)
    rows = load_run(done.path).best(["feature_probability", "vulnerability", "dims_per_feature"])
    assert rows["vulnerability"][0] == pytest.approx(1, abs=0.1)
    assert rows["vulnerability"][rows["feature_probability"] <= 0.2].min() > 3
    assert rank_correlation(rows["vulnerability"], 1 / rows["dims_per_feature"]) > 0.95
