"""What diverged, told so that it can be tried again."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from superpose_cli.errors import SuperposeError
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.grid import Grid
from superpose_cli.pipeline import run_experiment
from superpose_cli.results.failures import failed_cells
from superpose_cli.results.manifest import read_manifest
from superpose_cli.results.run import load_run

SMALL = ("train.steps=12", "train.n_batch=32", "evaluation.n_rows=200", "history.every=0", "engine=numba")
GRIDS = {
    "one cell": (["train.learning_rate=1e30"], []),
    "a rate": (["train.learning_rate=0.001,1e30"], []),
    "groups": (["model=linear,absolute_value", "train.learning_rate=0.001,1e30"], []),
    "zipped": (
        [
            *("model.n_features=3,4", "data.feature_probability=[0.1,0.2,0.3],[1,0.5,0.25,0.125]"),
            *("train.learning_rate=0.001,1e30", "model.tied=true,false"),
        ],
        ["model.n_features,data.feature_probability"],
    ),
}


@pytest.mark.parametrize("name", GRIDS)
def test_the_command_to_retry_trains_that_cell_alone(tmp_path: Path, name: str) -> None:
    """Pasted, it gives the failed cell as an experiment of its own, with a tenth of the learning rate."""
    overrides, zips = GRIDS[name]
    experiment = load_experiment([*SMALL, "train.optimizer=sgd", "restarts=2", *overrides], zips=zips)
    grid = Grid(experiment)
    done = run_experiment(experiment, outputs=tmp_path)
    cells = failed_cells(load_run(done.path))
    assert sum(len(cell.restarts) for cell in cells) == done.failures > 0
    for cell in cells:
        assert cell.restarts in ((0,), (1,), (0, 1))
        assert all(0 <= step < 12 for step in cell.failed_steps)
        assert f"cell {cell.cell}" in cell.told()
        words = shlex.split(cell.retry(done.path))
        assert words[:4] == ["superpose", "sweep", "--config", str(done.path / "config.yaml")]
        retried = Grid(load_experiment(words[4:], config_file=Path(words[3])))
        assert (retried.n_cells, retried.restarts) == (1, 2)
        (ours,) = retried.batches(0, 2)
        (theirs,) = grid.batches(2 * cell.cell, 2 * cell.cell + 2)
        np.testing.assert_allclose(ours.learning_rate, theirs.learning_rate / 10, rtol=1e-11)
        assert ours.family == theirs.family
        np.testing.assert_array_equal(ours.generator_key, theirs.generator_key)


def test_fail_fast_stops_where_something_diverged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shard that shows it is stored; without the option the same run goes on."""
    monkeypatch.setattr("superpose_cli.experiment.sharding.MAX_INSTANCES", 2)
    experiment = load_experiment(
        [*SMALL, "train.optimizer=sgd", "restarts=2", "train.learning_rate=0.001,1e30,0.002,1e31"]
    )
    for _ in range(2):  # again: what is stored has diverged already
        with pytest.raises(
            SuperposeError, match=r"cell 1 \(train\.learning_rate=1e\+30\), restarts 0 at step"
        ):
            run_experiment(experiment, outputs=tmp_path, fail_fast=True)
        (path,) = tmp_path.glob("*/*")
        manifest = read_manifest(path)
        assert (manifest.status, manifest.counts) == ("failed", {"ok": 2, "diverged": 2})
    done = run_experiment(experiment, outputs=tmp_path)
    assert (done.status, done.failures, done.n_trained) == ("complete", 4, 4)
    with pytest.raises(SuperposeError, match="2 instances diverged"):
        run_experiment(experiment, out=tmp_path / "last", fail_fast=True, outputs=tmp_path)
    assert read_manifest(tmp_path / "last").status == "failed", "taken over from the other run, and told"
    ok = replace(experiment, axes=(replace(experiment.axes[0], values=((0.001,), (0.002,))),))
    assert run_experiment(ok, outputs=tmp_path, fail_fast=True).status == "complete"


def test_long_values_are_told_in_short(tmp_path: Path) -> None:
    values = ",".join(str([p] * 30).replace(" ", "") for p in (0.1, 0.2))
    wide = ("model.n_features=30", f"data.feature_probability={values}")
    experiment = load_experiment([*SMALL, "train.optimizer=sgd", "train.learning_rate=1e30", *wide])
    (cell, _) = failed_cells(load_run(run_experiment(experiment, outputs=tmp_path).path))
    assert "0.1,0.1..." in cell.told()
    assert len(cell.told()) < 120
