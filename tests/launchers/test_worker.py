"""A worker knows a run by its config.yaml and a shard by its number; who else has the shard is respected."""

import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from superpose_cli.engines.watch import SILENT, Interrupted, Progress
from superpose_cli.errors import ConfigError, RunError
from superpose_cli.experiment.compose import dump_experiment, load_experiment
from superpose_cli.experiment.config import LauncherConfig, LauncherName
from superpose_cli.experiment.keys import run_id
from superpose_cli.launchers import remote_launcher
from superpose_cli.launchers.base import Job
from superpose_cli.launchers.worker import Worker, choose, note_complete
from superpose_cli.pipeline import run_experiment
from superpose_cli.results.layout import TABLES, committed_shards, shard_file
from superpose_cli.results.leftovers import find_leftovers
from superpose_cli.results.lock import RunLock, is_being_written, shard_lock
from superpose_cli.results.manifest import read_manifest

TINY = ("data.feature_probability=0.1,0.3", "train.steps=5", "train.n_batch=16", "evaluation.n_rows=50",
        "engine=torch", "history.every=0")  # fmt: skip


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """What a worker is told of a run that a coordinator has opened, and has not begun to train."""
    experiment = load_experiment(TINY)
    run = tmp_path / "run"
    run_experiment(experiment, out=run, outputs=tmp_path / "none", max_seconds=0)
    assert not committed_shards(run)
    config = dump_experiment(experiment)
    return Job(
        config=config,
        run=run,
        run_id=run_id(experiment),
        engine=choose(config),
        reuse="none",
        reuse_from=tmp_path,
        shared=True,
        cores=1,
        gpus=0,
    )


def committed(job: Job, stop: bool = False) -> dict[str, int]:
    return dict(Worker.of_job(job, print).committed(0, Progress(SILENT), lambda: stop).statuses)


def content(run: Path) -> list[bytes]:
    return [shard_file(run, table, 0).read_bytes() for table in TABLES]


def test_a_committed_shard_is_that_of_a_local_run(job: Job, tmp_path: Path) -> None:
    run_experiment(load_experiment(TINY), out=tmp_path / "local", reuse="none")
    assert committed(job) == {"ok": 2}
    assert content(job.run) == content(tmp_path / "local")
    assert not list((job.run / ".staging").glob("shard-*"))


def test_a_committed_shard_is_not_trained_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    committed(job)
    before = shard_file(job.run, "instances", 0).stat().st_mtime_ns
    monkeypatch.setattr(Worker, "returned", None)
    assert committed(job) == {"ok": 2}
    assert shard_file(job.run, "instances", 0).stat().st_mtime_ns == before


def test_a_returned_shard_leaves_nothing(job: Job, tmp_path: Path) -> None:
    elsewhere = replace(job, shared=False, run=tmp_path / "not here")
    done = Worker.of_job(elsewhere, print).returned(0, Progress(SILENT), lambda: False)
    assert done.tables is not None
    assert len(done.tables["instances"]) == 2
    assert not elsewhere.run.exists()


def test_a_folder_that_is_not_seen_is_one_line(job: Job, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"does not see .*launcher\.results=returned"):
        Worker.of_job(replace(job, run=tmp_path / "elsewhere"), print)


def test_a_shard_in_other_hands_is_waited_for(job: Job) -> None:
    lock = RunLock(job.run, shard_lock(0))
    assert is_being_written(job.run)
    assert not find_leftovers(job.run.parent)
    with pytest.raises(Interrupted):
        committed(job, stop=True)
    threading.Timer(0.2, lock.release).start()
    assert committed(job) == {"ok": 2}
    assert not is_being_written(job.run)


def test_a_coordinator_cleans_nothing_up_while_a_worker_is_at_it(job: Job) -> None:
    partial = job.run / ".staging" / "partial-0"
    partial.write_text("half")
    lock = RunLock(job.run, shard_lock(0))
    with pytest.raises(RunError, match="jobs of a launcher are at work"):
        run_experiment(load_experiment(TINY), out=job.run, reuse="none", max_seconds=0)
    assert partial.exists()
    lock.release()
    run_experiment(load_experiment(TINY), out=job.run, reuse="none", max_seconds=0)
    assert not partial.exists()


def test_the_last_worker_notes_the_end_unless_a_coordinator_does(job: Job) -> None:
    note_complete(job)
    assert read_manifest(job.run).status == "interrupted"
    committed(job)
    lock = RunLock(job.run)
    note_complete(job)
    assert read_manifest(job.run).status == "interrupted"
    lock.release()
    note_complete(job)
    manifest = read_manifest(job.run)
    assert (manifest.status, manifest.counts) == ("complete", {"ok": 2})


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_extra_is_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"superpose_cli.launchers.{name}", raising=False)
    with pytest.raises(ConfigError, match=rf"needs {package}.*pip install 'superpose\[{name}\]'"):
        remote_launcher(LauncherConfig(name=LauncherName(name)))
