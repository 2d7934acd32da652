"""Cleaning takes what interrupted runs left behind, and nothing that anybody could want."""

import fcntl
import shutil
from pathlib import Path

import numpy as np
import pytest

from superpose_cli.results.leftovers import find_leftovers, remove_leftovers
from superpose_cli.results.lock import LOCK
from superpose_cli.results.run import load_run
from tests.synthetic import write_run


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but locks, with what is in it."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of three shards."""
    path = tmp_path / "outputs" / "some" / "aabb0011"
    return write_run(path, np.ones((6, 2, 1)), restarts=6, instances_per_shard=2)


def litter(run: Path) -> set[Path]:
    """What a killed process may leave: a file half written, two files of a shard, a checkpoint too many."""
    staging = run / ".staging"
    (staging / "partial-0123").write_bytes(b"half")
    for table in ("features", "history"):
        shutil.copy(
            run / f"{table}.parquet/shard-000001.parquet", run / f"{table}.parquet/shard-000007.parquet"
        )
    (staging / "shard-000001.checkpoint").write_bytes(b"old")
    (staging / "shard-000007.checkpoint").write_bytes(b"wanted")
    return {
        staging / "partial-0123",
        staging / "shard-000001.checkpoint",
        run / "features.parquet" / "shard-000007.parquet",
        run / "history.parquet" / "shard-000007.parquet",
    }


def test_leftovers_go_and_all_else_stays(run: Path, tmp_path: Path) -> None:
    before = contents(run)
    expected = litter(run)
    found = find_leftovers(tmp_path / "outputs")
    assert {leftover.path for leftover in found} == expected
    assert remove_leftovers(found) == sum(leftover.size for leftover in found) > 0
    assert contents(run) == before | {".staging/shard-000007.checkpoint": b"wanted"}
    assert len(load_run(run).instances()) == 6
    assert find_leftovers(tmp_path / "outputs") == []


def test_a_run_that_is_being_written_is_left_alone(run: Path, tmp_path: Path) -> None:
    litter(run)
    found = find_leftovers(run)
    before = contents(run)
    with (run / ".staging" / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert find_leftovers(tmp_path / "outputs") == []
        assert remove_leftovers(found) == 0, "it was begun after we looked"
    assert contents(run) == before


def test_what_became_a_result_since_stays(run: Path) -> None:
    litter(run)
    found = find_leftovers(run)
    shutil.copy(
        run / "instances.parquet/shard-000001.parquet", run / "instances.parquet/shard-000007.parquet"
    )
    remove_leftovers(found)
    assert (run / "features.parquet" / "shard-000007.parquet").exists()


def test_only_what_was_shown_goes(run: Path) -> None:
    litter(run)
    shown = find_leftovers(run)[:1]
    remove_leftovers(shown)
    assert not shown[0].path.exists()
    assert len(find_leftovers(run)) == 3


def test_a_run_that_stored_nothing_goes_whole(run: Path, tmp_path: Path) -> None:
    for table in ("instances", "features", "history"):
        shutil.rmtree(run / f"{table}.parquet")
        (run / f"{table}.parquet").mkdir()
    (leftover,) = find_leftovers(tmp_path / "outputs")
    assert (leftover.kind, leftover.path) == ("empty run", run)
    remove_leftovers([leftover])
    assert not run.exists()
    assert run.parent.exists()


@pytest.mark.parametrize("kept", ["figures/mine.png", "notes.txt", ".staging/shard-000000.checkpoint"])
def test_a_run_that_holds_anything_more_stays(run: Path, kept: str) -> None:
    for table in ("instances", "features", "history"):
        shutil.rmtree(run / f"{table}.parquet")
    (run / kept).parent.mkdir(exist_ok=True)
    (run / kept).write_text("work")
    assert find_leftovers(run) == []


def test_links_are_neither_followed_nor_removed(run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "partial-9").write_text("not ours")
    (elsewhere / "shard-000009.parquet").write_text("not ours")
    shutil.rmtree(run / "history.parquet")
    (run / "history.parquet").symlink_to(elsewhere)
    (run / ".staging" / "partial-1").symlink_to(elsewhere / "partial-9")
    other = tmp_path / "outputs" / "some" / "linked"
    other.mkdir()
    (other / ".staging").symlink_to(elsewhere)
    before = contents(elsewhere)
    remove_leftovers(find_leftovers(tmp_path / "outputs"))
    assert contents(elsewhere) == before
    assert (run / ".staging" / "partial-1").is_symlink()
