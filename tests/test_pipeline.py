"""The whole flow: what is trained is stored, found again, and continued."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from superpose_cli.errors import ConfigError, RunError, SuperposeError
from superpose_cli.experiment import sharding
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.config import Config
from superpose_cli.experiment.grid import Grid
from superpose_cli.pipeline import load_run, plan_experiment, run_experiment
from superpose_cli.results.lock import RunLock, shard_lock
from tests.helpers import Listener, digests

SMALL = ("train.steps=30", "train.n_batch=64", "evaluation.n_rows=500", "history.every=10", "engine=torch")


def run(tmp_path: Path, *overrides: str, **options):
    return run_experiment(load_experiment(overrides), outputs=tmp_path, **options)


def weights_by_key(path: Path) -> dict[str, np.ndarray]:
    """W of every instance by its key."""
    stored = load_run(path)
    keys = stored.instances(["key", "cell", "restart"]).set_index(["cell", "restart"])["key"]
    return {
        keys[cell, restart]: W
        for block in stored.weights(best=False)
        for cell, restart, W in zip(block.cell, block.restart, block.W, strict=True)
    }


@pytest.fixture
def small_shards(monkeypatch):
    """A handful of instances a shard."""
    monkeypatch.setattr(sharding, "MAX_INSTANCES", 4)


def test_a_run_is_stored_whole_and_found_again(tmp_path):
    overrides = (*SMALL, "data.feature_probability=0.1,0.5", "model.n_hidden=2,3", "restarts=2")
    done = run(tmp_path, *overrides)
    assert (done.status, done.n_instances, done.n_trained) == ("complete", 8, 8)
    stored = load_run(done.path)
    assert stored.manifest.status == "complete"
    assert stored.manifest.counts == {"ok": 8}
    instances, features, history = stored.instances(), stored.features(), stored.history()
    assert len(instances) == 8
    assert len(features) == 8 * 5
    assert sorted(history["step"].unique()) == [0, 10, 20, 30]
    assert instances.groupby("cell")["n_hidden"].first().tolist() == [2, 3, 2, 3]
    assert not instances["key"].duplicated().any()
    np.testing.assert_allclose(
        features.groupby(["cell", "restart"])["feature_loss"].mean().to_numpy(), instances["loss"], rtol=1e-6
    )
    before = digests(done.path)
    again = run(tmp_path, *overrides)
    assert (again.status, again.n_trained, again.path) == ("already done", 0, done.path)
    assert digests(done.path) == before
    fresh = run(tmp_path, *overrides, fresh=True)
    assert fresh.path != done.path
    assert digests(fresh.path) == before, "tables hold no times and no names of machines"


def test_other_cells_leave_an_instance_alone(tmp_path):
    """Adding, removing and reordering cells, restarts and shapes leaves every other instance's bits alone."""
    one = run(tmp_path, *SMALL, "data.feature_probability=0.1,0.5,1", "model.n_hidden=2,3", "restarts=2")
    two = run(
        tmp_path,
        *(*SMALL, "model.n_hidden=4,3", "data.feature_probability=1,0.1,0.7", "restarts=3"),
        reuse="none",
    )
    first, second = weights_by_key(one.path), weights_by_key(two.path)
    shared = first.keys() & second.keys()
    assert len(shared) == 2 * 2, "two densities at n_hidden=3, two restarts"
    for key in shared:
        np.testing.assert_array_equal(first[key], second[key])


def test_an_interrupted_run_continues_to_the_same_bits(tmp_path, small_shards):
    overrides = (*SMALL, "data.feature_probability=geomspace(1,0.1,7)", "restarts=3")
    whole = run(tmp_path / "a", *overrides)

    handler = signal.getsignal(signal.SIGINT)

    class StopAfter(Listener):
        """Presses Ctrl-C when the second shard is stored."""

        def committed(self, instances):
            if instances >= 8:
                os.kill(os.getpid(), signal.SIGINT)

    part = run(tmp_path / "b", *overrides, watch=StopAfter())
    assert (part.status, part.n_trained) == ("interrupted", 8)
    assert load_run(part.path).manifest.status == "interrupted"
    assert len(load_run(part.path).instances(["cell"])) == 8
    none = run(tmp_path / "b", *overrides, max_seconds=0)
    assert (none.status, none.n_trained) == ("interrupted", 0)
    rest = run(tmp_path / "b", *overrides)
    assert (rest.status, rest.n_trained) == ("complete", 21 - 8)
    assert digests(rest.path) == digests(whole.path)
    assert signal.getsignal(signal.SIGINT) is handler, "the handler is put back"


class PressesCtrlC(Listener):
    """A watch that interrupts at its given report of progress, and keeps what is said and done."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left, self.instances = at, []

    def progressed(self, instances, loss, instance_steps):
        self.instances.append(instances)
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_costs_nothing_of_a_shard(tmp_path):
    """Stopped again and again inside one shard, each time going on from the step where it was."""
    overrides = (*SMALL, "data.feature_probability=0.1,0.5", "restarts=2", "train.optimizer=adam,sgd")
    whole = run(tmp_path / "whole", *overrides)
    reached = [0.0]
    while True:
        watch = PressesCtrlC(at=3)
        part = run(tmp_path / "parts", *overrides, watch=watch)
        checkpoints = list(part.path.glob(".staging/*.checkpoint"))
        assert ("going on from a checkpoint" in " ".join(watch.lines)) == (len(reached) > 1)
        if watch.instances:  # the last step may be done, and the evaluation alone be left
            assert watch.instances[0] > reached[-1], "progress goes on from where it was"
            reached.append(watch.instances[-1])
        if part.status == "complete":
            break
        assert (part.n_stored, len(checkpoints)) == (0, 1)
    assert len(reached) > 4
    assert reached[-1] == pytest.approx(8)
    assert not checkpoints
    assert digests(part.path) == digests(whole.path)


def test_a_checkpoint_that_is_of_no_use_is_told_and_left(tmp_path):
    overrides = (*SMALL, "data.feature_probability=0.1,0.5")
    part = run(tmp_path, *overrides, watch=PressesCtrlC(at=2))
    (checkpoint,) = part.path.glob(".staging/*.checkpoint")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    watch = PressesCtrlC(at=10**9)
    assert run(tmp_path, *overrides, watch=watch).status == "complete"
    assert f"{checkpoint} is of no use (it is shorter or longer than what it lists)" in watch.lines[0]


@pytest.mark.parametrize("table", ["instances", "features", "history"])
def test_a_complete_run_that_lost_a_file_is_completed_again(tmp_path, small_shards, table):
    """What the reader's message advises: the same sweep again trains that shard, and that one alone."""
    overrides = (*SMALL, "data.feature_probability=0.1,0.2,0.3", "restarts=3")
    whole = run(tmp_path, *overrides)
    before = digests(whole.path)
    (whole.path / f"{table}.parquet" / "shard-000001.parquet").unlink()
    again = run(tmp_path, *overrides)
    assert (again.status, again.n_stored, again.n_trained) == ("complete", 9, 4)
    assert digests(again.path) == before
    assert load_run(again.path).manifest.counts == {"ok": 9}


def test_a_run_that_lost_a_file_is_not_mended_by_another_arithmetic(tmp_path, small_shards):
    overrides = (*SMALL[:-1], "data.feature_probability=0.1,0.2,0.3", "restarts=3")
    path = run(tmp_path, *overrides, "engine=torch").path
    assert run(tmp_path, *overrides, "engine=auto").status == "already done"
    (path / "instances.parquet" / "shard-000001.parquet").unlink()
    with pytest.raises(ConfigError, match=r"was trained with torch/.*, not numba/.*, or --engine torch"):
        run(tmp_path, *overrides, "engine=auto")
    assert run(tmp_path, *overrides, "engine=torch").status == "complete"


def test_a_plan_goes_on_as_the_run_began(tmp_path):
    run(tmp_path, *SMALL)
    path = tmp_path / "fresh"
    overrides = (*SMALL, "restarts=2")
    run_experiment(load_experiment(overrides), outputs=tmp_path, out=path, reuse="none", max_seconds=0)
    for reuse, n_reused in ((None, 0), ("same", 1)):
        plan = plan_experiment(load_experiment(overrides), outputs=tmp_path, out=path, reuse=reuse)
        assert plan.n_reused == n_reused


def test_a_diverged_run_fails_fast_again_and_again(tmp_path):
    overrides = (*SMALL, "train.optimizer=sgd", "train.learning_rate=1e30")
    for _ in range(2):
        with pytest.raises(SuperposeError, match="--fail-fast: 1 instances diverged"):
            run(tmp_path, *overrides, fail_fast=True)
    assert run(tmp_path, *overrides).status == "already done"


def test_a_run_that_jobs_are_at_work_in_is_left_to_them(tmp_path):
    path = run(tmp_path, *SMALL, max_seconds=0).path
    lock = RunLock(path, shard_lock(0))
    with pytest.raises(RunError, match="jobs of a launcher are at work in"):
        run(tmp_path, *SMALL)
    lock.release()
    assert run(tmp_path, *SMALL).status == "complete"


def test_a_run_cut_into_other_shards_is_not_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(sharding, "MAX_INSTANCES", 4)
    overrides = (*SMALL, "data.feature_probability=0.1,0.2,0.3", "restarts=3")
    run(tmp_path, *overrides, max_seconds=0)
    monkeypatch.setattr(sharding, "MAX_INSTANCES", 6)
    with pytest.raises(ConfigError, match="other shards: use --fresh"):
        run(tmp_path, *overrides)


def test_a_config_made_by_hand_trains(tmp_path):
    """The library needs no YAML: a Config is an experiment of one cell, and is checked like any other."""
    config = Config()
    config.data.feature_probability = 0.2
    config.train.steps, config.train.n_batch, config.evaluation.n_rows = 20, 64, 500
    done = run_experiment(config, outputs=tmp_path)
    assert (done.status, done.n_instances) == ("complete", 1)
    config.train.learning_rate = -1.0
    with pytest.raises(ConfigError, match=r"train\.learning_rate"):
        run_experiment(config, outputs=tmp_path)


def test_a_run_works_outside_the_main_thread(tmp_path):
    found = []
    experiment = load_experiment([*SMALL])
    thread = threading.Thread(target=lambda: found.append(run_experiment(experiment, outputs=tmp_path)))
    thread.start()
    thread.join()
    assert found[0].status == "complete"


def test_another_arithmetic_is_not_mixed_in(tmp_path, small_shards):
    overrides = (*SMALL, "data.feature_probability=0.1,0.2,0.3", "restarts=2")
    partial = run(tmp_path, *overrides, max_seconds=0)
    with pytest.raises(ConfigError, match="--fresh"):
        run(tmp_path, *overrides, "engine.dtype=float64")
    done = run(tmp_path, *overrides)
    assert done.path == partial.path
    with pytest.raises(ConfigError, match="--fresh"):
        run(tmp_path, *overrides, "engine.dtype=float64")
    assert run(tmp_path, *overrides, "engine.name=auto").status == "already done"


def test_out_is_the_folder_and_refuses_another_experiment(tmp_path):
    out = tmp_path / "mine"
    assert run(tmp_path, *SMALL, out=out).path == out
    with pytest.raises(RunError, match="n_hidden"):
        run(tmp_path, *SMALL, "model.n_hidden=3", out=out)


def test_populations_without_expectation_are_refused_before_anything_is_written(tmp_path):
    for key in ("evaluation.method", "train.objective"):
        with pytest.raises(ConfigError, match=rf"{key}=population: .*hidden_activation.*{key}=sampled"):
            run(tmp_path, *SMALL, "model=linear,relu_hidden", f"{key}=population")
    with pytest.raises(ConfigError, match="engine torch has no population objective"):
        run(tmp_path, *SMALL, "train.objective=population", "engine=torch")
    assert not list(tmp_path.iterdir())


def test_a_damaged_or_bare_run_says_what_to_do_or_is_mended(tmp_path):
    done = run(tmp_path, *SMALL)
    config = done.path / "config.yaml"
    text = config.read_text()
    config.unlink()
    assert run(tmp_path, *SMALL).status == "complete"
    assert config.read_text() == text
    (shard,) = (done.path / "instances.parquet").iterdir()
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(RunError, match=r"is damaged \(.*\): delete it and run the same sweep again"):
        run(tmp_path, *SMALL)
    shard.unlink()
    assert run(tmp_path, *SMALL).n_trained == 1


def test_a_grid_too_large_for_the_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(ConfigError, match=r"need about .* on disk, 1 kB are free"):
        run(tmp_path, *SMALL)
    assert not list(tmp_path.iterdir())


def test_only_what_is_not_stored_yet_needs_room(tmp_path, small_shards, monkeypatch):
    """A disk that the first half of a run has filled has room for the other half alone."""
    overrides = (*SMALL, "data.feature_probability=0.1,0.5", "restarts=4")
    needed = Grid(load_experiment(overrides)).table_bytes()
    watch = PressesCtrlC(at=10**9)
    watch.committed = lambda instances: os.kill(os.getpid(), signal.SIGINT)
    assert run(tmp_path, *overrides, watch=watch).n_stored == 4
    free = round(0.6 * needed)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": free})())
    assert run(tmp_path, *overrides).status == "complete"


def test_an_instance_too_large_for_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("superpose_cli.engines.torch_reference.free_memory", lambda: 1000)
    with pytest.raises(ConfigError, match=r"needs .* of memory, 1 kB are free: lower train\.n_batch"):
        run(tmp_path, *SMALL)


def test_a_plan_writes_nothing_and_knows_what_is_stored(tmp_path):
    overrides = (*SMALL, "data.feature_probability=0.1,0.5", "restarts=3")
    plan = plan_experiment(load_experiment(overrides), outputs=tmp_path)
    assert (plan.n_cells, plan.restarts, plan.n_instances, plan.n_stored) == (2, 3, 6, 0)
    assert plan.seconds > 0
    assert plan.memory_bytes > 0
    assert not list(tmp_path.iterdir())
    done = run(tmp_path, *overrides)
    plan = plan_experiment(load_experiment(overrides), outputs=tmp_path)
    assert (plan.path, plan.n_stored, plan.seconds) == (done.path, 6, 0.0)


def test_a_diverged_restart_is_stored_and_counted(tmp_path):
    found = run(tmp_path, *SMALL, "train.optimizer=sgd", "train.learning_rate=0.001,1e30", "restarts=2")
    assert (found.status, found.failures) == ("complete", 2)
    instances = load_run(found.path).instances(["status", "failed_step", "loss_ratio", "learning_rate"])
    assert (instances["status"] == "diverged").tolist() == [False, False, True, True]
    assert instances["failed_step"].isna().tolist() == [True, True, False, False]
