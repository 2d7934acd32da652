"""Naming a run: by folder, by id, by experiment."""

import fcntl
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from superpose_cli.cli.runs import find_run, find_runs, status_of
from superpose_cli.errors import RunError
from superpose_cli.results.lock import LOCK
from superpose_cli.results.manifest import read_manifest
from tests.synthetic import write_run


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs of two experiments, the first one newest."""
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("intro/aabb0011", "intro/aabb0022", "phase/cc003300")):
        run = tmp_path / "outputs" / name
        run.mkdir(parents=True)
        (run / "manifest.json").write_text("{}")
        os.utime(run / "manifest.json", (1e9 - age, 1e9 - age))
    return Path("outputs")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("outputs/intro/aabb0022", "intro/aabb0022"),
        ("outputs/intro/aabb0022/", "intro/aabb0022"),
        ("intro", "intro/aabb0011"),
        ("outputs/intro", "intro/aabb0011"),
        ("phase", "phase/cc003300"),
        ("aabb0022", "intro/aabb0022"),
        ("cc00", "phase/cc003300"),
    ],
)
def test_a_run_is_found(outputs: Path, name: str, expected: str) -> None:
    assert find_run(name) == outputs / expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("aabb", "ambiguous: outputs/intro/aabb0011, outputs/intro/aabb0022"),
        ("intor", "Did you mean 'intro'"),
        ("aab", "no run 'aab'"),
        ("", "no run is named"),
        ("nowhere/at/all", "superpose list runs"),
        ("empty", "holds no manifest.json"),
    ],
)
def test_no_run_is_found(outputs: Path, name: str, message: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(RunError, match=message):
        find_run(name)


def test_runs_are_listed_newest_first(outputs: Path) -> None:
    assert [run.name for run in find_runs()] == ["aabb0011", "aabb0022", "cc003300"]


def test_a_killed_run_is_stopped_not_running(tmp_path: Path) -> None:
    """Its manifest still says that it is running; the lock is gone with its process."""
    run = write_run(tmp_path / "killed", np.ones((1, 2, 1)))
    manifest = replace(read_manifest(run), status="running")
    assert status_of(run, manifest) == "stopped"
    staging = run / ".staging"
    staging.mkdir(exist_ok=True)
    with (staging / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert status_of(run, manifest) == "running"
    assert status_of(run, replace(manifest, status="complete")) == "complete"
