"""A plan is quick whatever it plans, and knows what other runs hold."""

import time

import pytest

from superpose_cli.engines.numba_cpu import NumbaEngine
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.grid import Grid
from superpose_cli.pipeline import plan_experiment, run_experiment
from superpose_cli.planning import pack_bytes

SMALL = ("train.steps=30", "train.n_batch=64", "evaluation.n_rows=500", "history.every=0")


def plan(tmp_path, *overrides, **options):
    return plan_experiment(load_experiment(overrides), outputs=tmp_path, **options)


def test_no_pack_holds_more_than_a_shard() -> None:
    overrides = ["train.objective=population", "model.n_features=2", "model.n_hidden=1", "restarts=1000000"]
    grid, engine = Grid(load_experiment([*overrides, "data.feature_probability=0.1"])), NumbaEngine()
    most = max(stop - start for start, stop in grid.shards())
    assert most < grid.n_instances
    (family,) = grid.families()
    assert pack_bytes(grid, engine, 2**40) == most * engine.bytes_per_instance(family)


def test_a_plan_knows_what_other_runs_hold(tmp_path):
    run_experiment(load_experiment([*SMALL, "data.feature_probability=0.1,0.2"]), outputs=tmp_path)
    wanted = (*SMALL, "data.feature_probability=0.1,0.2,0.3", "restarts=2")
    found = plan(tmp_path, *wanted)
    assert (found.n_instances, found.n_stored, found.n_reused, found.n_evaluated) == (6, 0, 2, 0)
    found = plan(tmp_path, *wanted, "evaluation.n_rows=400")
    assert (found.n_reused, found.n_evaluated) == (2, 2)
    assert plan(tmp_path, *wanted, reuse="none").n_reused == 0
    assert plan(tmp_path, *wanted, fresh=True).n_reused == 0
    assert len(list(tmp_path.glob("*/*"))) == 1, "nothing is written"


def test_wide_models_are_planned_in_proportion(tmp_path, monkeypatch):
    """4,000 features are timed as fewer; the whole model would take longer than its plan."""
    wide = ("model.n_features=100000", "model.n_hidden=500", "data.feature_probability=0.001")
    plan(tmp_path, "data.feature_probability=0.1")  # what is compiled once, is
    began = time.perf_counter()
    found = plan(tmp_path, *wide, "history.every=0", "train.steps=1000")
    assert time.perf_counter() - began < 20
    half = plan(tmp_path, *wide, "model.n_features=50000", "history.every=0", "train.steps=1000")
    assert 1 < found.seconds / half.seconds < 4
    assert any("hours" in warning for warning in found.warnings)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("experiment=phase_2_in_1",),
        ("experiment=intro", "restarts=40"),
        ("experiment=phase_2_in_1", "train.objective=population", "train.steps=5000"),
        ("experiment=basic_small", "train.steps=5000"),
        ("model.n_features=400", "model.n_hidden=30", "data.feature_probability=0.1", "train.steps=1000"),
        ("data=finite", "data.n_rows=100", "model.n_features=200", "train.n_batch=null", "restarts=10"),
    ],
    ids=lambda overrides: overrides[0].partition("=")[2],
)
def test_a_plan_is_right_within_a_factor_of_two(overrides, tmp_path):
    """The best of three tries: other work on the machine makes both the plan and the run look slower."""
    ratios = []
    for number in range(3):
        planned = plan(tmp_path / str(number), *overrides)
        real = run_experiment(load_experiment(overrides), outputs=tmp_path / str(number))
        ratios.append(planned.seconds / real.seconds)
        if 0.5 < ratios[-1] < 2:
            return
    pytest.fail(f"planned over real: {ratios}")
