"""What a GPU trains while the shards before are stored: the same run, whatever ends it."""

import os
import signal
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from superpose_cli.engines.base import State
from superpose_cli.engines.torch_reference import TorchEngine
from superpose_cli.errors import SuperposeError
from superpose_cli.experiment import sharding
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.instances import InstanceBatch
from superpose_cli.launchers.local import _ahead
from superpose_cli.launchers.worker import Worker
from superpose_cli.pipeline import RunResult, run_experiment
from superpose_cli.results.store import RunStore
from tests.helpers import Listener, digests

SWEEP = (
    "model.n_features=2,3",
    "data.feature_probability=0.3,0.4,0.5",
    "restarts=4",
    "train.steps=4",
    "train.n_batch=8",
    "history.every=2",
    "evaluation.n_rows=40",
    "engine=torch",
    "engine.device=cpu",
)
"""24 instances in six shards of four: two of them are trained at once, one, two, one."""


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "MAX_INSTANCES", 4)
    monkeypatch.setattr(sharding, "MIN_INSTANCES", 1)
    monkeypatch.setattr(TorchEngine, "fill", lambda self, family: 7)


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, str]:
    """The files of the run as it comes out where nothing is done at once."""
    return digests(run(tmp_path / "whole").path)


@pytest.fixture
def ahead(whole: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU."""
    monkeypatch.setattr(Worker, "trains_on_device", True)


def run(path: Path, *overrides: str, **options) -> RunResult:
    return run_experiment(load_experiment([*SWEEP, *overrides]), out=path, reuse="none", **options)


def training_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("training")]


@pytest.mark.usefixtures("ahead")
def test_the_next_group_trains_while_one_is_stored(tmp_path, whole, monkeypatch):
    """A commit waits here until the second group has begun, which without threads it never would."""
    begun, stored = threading.Event(), []
    advance, commit = TorchEngine.advance, RunStore.commit
    instances = 0

    def note(self, batch: InstanceBatch, state: State, stop_step: int) -> State:
        nonlocal instances
        instances += len(batch) * (state.step == 0)
        if instances > 8:
            begun.set()
        return advance(self, batch, state, stop_step)

    def wait(self, shard: int, **tables) -> None:
        assert begun.wait(60), "nothing is trained meanwhile"
        assert shard >= 2 or instances <= 12, "one group ahead, no more"
        stored.append(shard)
        commit(self, shard, **tables)

    with monkeypatch.context() as patch:
        patch.setattr(TorchEngine, "advance", note)
        patch.setattr(RunStore, "commit", wait)
        done = run(tmp_path / "run")
    assert stored == [0, 1, 2, 3, 4, 5]
    assert (done.status, digests(done.path)) == ("complete", whole)
    assert not training_threads()


@pytest.mark.usefixtures("ahead")
@pytest.mark.parametrize("at", [1, 4, 9])
def test_a_stop_stores_what_is_trained_and_goes_on(at, tmp_path, whole):
    class PressesCtrlC(Listener):
        left = at

        def progressed(self, instances, loss, instance_steps):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGINT)

    part = run(tmp_path / "run", watch=PressesCtrlC())
    assert part.status == "interrupted"
    assert not training_threads()
    again = Listener()
    rest = run(tmp_path / "run", watch=again)
    assert any("going on from a checkpoint" in line for line in again.lines)
    assert (rest.status, part.n_stored + rest.n_trained) == ("complete", 24)
    assert digests(rest.path) == whole


@pytest.mark.usefixtures("ahead")
def test_a_disk_that_refuses_ends_the_training_too(tmp_path, whole, monkeypatch):
    with monkeypatch.context() as patch:

        def refuse(self, shard: int, **tables) -> None:
            raise SuperposeError("no room")

        patch.setattr(RunStore, "commit", refuse)
        with pytest.raises(SuperposeError, match="no room"):
            run(tmp_path / "run")
    assert not training_threads()
    assert digests(run(tmp_path / "run").path) == whole


@pytest.mark.usefixtures("ahead")
def test_what_was_trained_before_an_error_is_stored(tmp_path, whole, monkeypatch):
    advance = TorchEngine.advance

    def fail(self, batch: InstanceBatch, state: State, stop_step: int) -> State:
        if batch.family.n_features == 3:
            raise SuperposeError("the device is gone")
        return advance(self, batch, state, stop_step)

    with monkeypatch.context() as patch:
        patch.setattr(TorchEngine, "advance", fail)
        with pytest.raises(SuperposeError, match="the device is gone"):
            run(tmp_path / "run")
    done = run(tmp_path / "run")
    assert done.n_trained == 12, "those of three features"
    assert digests(done.path) == whole


@pytest.mark.usefixtures("ahead")
def test_the_first_diverged_shard_is_the_last(tmp_path):
    with pytest.raises(SuperposeError, match="--fail-fast: 4 instances diverged"):
        run(tmp_path / "run", "train.optimizer=sgd", "train.learning_rate=1e30", fail_fast=True)
    assert not training_threads()


def test_an_interrupt_waits_for_the_step_at_hand():
    """Wherever it comes: while the caller waits for a step, or works on one."""
    closed, ended = threading.Event(), []

    def steps(interrupting: bool) -> Generator[int, None, None]:
        yield 1
        if interrupting:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        assert closed.wait(10)
        ended.append(True)
        yield 2

    waiting = _ahead(steps(True), closed)
    with pytest.raises(KeyboardInterrupt):
        assert [next(waiting), next(waiting)] == [1, "never"]
    assert ended == [True]
    closed.clear()
    working = _ahead(steps(False), closed)
    assert next(working) == 1
    working.close()
    assert ended == [True, True]
