"""Writing runs: layout, all-or-nothing commits and refusals."""

import errno
import os
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from superpose_cli.errors import RunError, SuperposeError
from superpose_cli.results.columns import TABLES
from superpose_cli.results.manifest import read_manifest
from superpose_cli.results.run import load_run
from tests.results.stores import CONFIG, open_store, python, tables


def files(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


def contents(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in files(path) if name.endswith((".parquet", ".yaml"))}


def test_layout(run: Path) -> None:
    assert files(run) == {
        "config.yaml",
        "manifest.json",
        "instances.parquet/shard-000000.parquet",
        "features.parquet/shard-000000.parquet",
        "history.parquet/shard-000000.parquet",
        ".staging/run.lock",
    }
    assert (run / "config.yaml").read_text() == CONFIG
    assert read_manifest(run).status == "running"


def test_continuing_a_run_keeps_its_past(run: Path) -> None:
    with open_store(run) as store:
        store.update(seconds=5.0, counts={"ok": 4})
    with open_store(run, created="2027-01-01T00:00:00+00:00", seconds=0.0, counts={}, device="cuda") as store:
        assert store.committed_shards() == {0}
        assert store.manifest.created == "2026-01-01T00:00:00+00:00"
        assert (store.manifest.seconds, store.manifest.counts, store.manifest.device) == (
            5.0,
            {"ok": 4},
            "cuda",
        )
        store.commit(1, **tables(4))
        store.update(status="complete")
    assert read_manifest(run).status == "complete"
    assert len(load_run(run).instances(["cell"])) == 8


def test_files_are_functions_of_the_content(run: Path, tmp_path: Path) -> None:
    """Neither the order of training nor how the rows were batched shows in the bytes."""
    pieces = [tables(), tables(first=4)]
    whole = {name: pa.concat_tables([part[name] for part in pieces]) for name in TABLES}
    shuffled = {
        name: pa.concat_tables([table.slice(i, 1) for i in np.random.default_rng(1).permutation(len(table))])
        for name, table in whole.items()
    }
    with open_store(tmp_path / "a") as store:
        store.commit(0, **whole)
    with open_store(tmp_path / "b") as store:
        store.commit(0, **shuffled)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    before = contents(run)
    with open_store(run) as store:
        store.commit(0, **tables())
    assert contents(run) == before


def test_a_shard_is_on_the_disk_before_it_counts(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are flushed before any rename; features and history are in flushed folders before the commit."""
    events: list[str] = []
    rename, flush = os.replace, os.fsync

    def record_rename(source: Path, target: Path) -> None:
        events.append(f"rename {target.parent.name}")
        rename(source, target)

    def record_flush(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        events.append("flush file" if path.parent.name == ".staging" else f"flush {path.name}")
        flush(descriptor)

    with open_store(run) as store:
        monkeypatch.setattr(os, "replace", record_rename)
        monkeypatch.setattr(os, "fsync", record_flush)
        store.commit(1, **tables(4))
    assert events[:3] == ["flush file"] * 3
    assert events[3:] == [f"{action} {table}.parquet" for table in TABLES for action in ("rename", "flush")]
    events.clear()
    store.update(status="complete")
    assert events == ["flush file", "rename run", "flush run"]


def test_a_new_run_is_in_folders_that_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every folder that got a new entry is flushed."""
    flushed: set[Path] = set()
    flush = os.fsync

    def record(descriptor: int) -> None:
        flushed.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    open_store(tmp_path / "outputs" / "name" / "run").close()
    assert {
        tmp_path,
        tmp_path / "outputs",
        tmp_path / "outputs/name",
        tmp_path / "outputs/name/run",
    } <= flushed


CRASH = """
import os, sys
from pathlib import Path
from tests.results.stores import open_store, tables
renames = 0
rename = os.replace
def crash(source, target):
    global renames
    if Path(target).suffix == ".parquet":
        if renames == int(sys.argv[2]):
            os._exit(9)
        renames += 1
    rename(source, target)
store = open_store(Path(sys.argv[1]))
os.replace = crash
store.commit(1, **tables(4))
"""


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_crash_leaves_no_half_shard(run: Path, renames: int) -> None:
    """A process that dies after none, one or two renames of shard 1, with no chance to tidy up."""
    before = contents(run)
    with python(CRASH, run, renames) as writer:
        assert writer.wait() == 9
    assert len(files(run) - set(before)) > 2  # leftovers, beside manifest and lock
    assert load_run(run).instances(["cell"])["cell"].tolist() == [0, 0, 1, 1]
    assert len(load_run(run).features(["cell"])) == 4 * 5
    with open_store(run) as store:
        assert contents(run) == before
        assert not list(store.staging.glob("partial-*"))
        assert store.committed_shards() == {0}
        store.commit(1, **tables(4))
    assert len(load_run(run).features(["cell"])) == 8 * 5


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_failed_rename_is_one_clear_error(run: Path, renames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, done = os.replace, []

    def fail(source: Path, target: Path) -> None:
        if len(done) == renames:
            raise OSError(errno.ENOSPC, "No space left on device")
        done.append(target)
        rename(source, target)

    with open_store(run) as store:
        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(SuperposeError, match=r"cannot write .*No space left.*stays readable"):
            store.commit(1, **tables(4))
        monkeypatch.undo()
        assert not list(store.staging.glob("partial-*"))
        assert store.committed_shards() == {0}
    assert len(load_run(run).instances(["cell"])) == 4


def test_a_full_disk(run: Path) -> None:
    """A real refusal by the system in the middle of a Parquet file."""
    before = contents(run)
    with open_store(run) as store:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            with pytest.raises(SuperposeError, match="cannot write") as caught:
                store.commit(1, **tables(4))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "\n" not in str(caught.value)
        assert not list(store.staging.glob("partial-*"))
    assert contents(run) == before


def test_a_damaged_shard_is_trained_again(run: Path) -> None:
    (run / "features.parquet/shard-000000.parquet").unlink()
    with open_store(run) as store:
        assert store.committed_shards() == set()
        store.commit(0, **tables())
        assert store.committed_shards() == {0}


def test_checkpoints_survive_opening(run: Path) -> None:
    checkpoint = run / ".staging/shard-000001.checkpoint"
    checkpoint.write_bytes(b"state")
    with open_store(run) as store:
        assert store.staging == run / ".staging"
    assert checkpoint.exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (CONFIG.replace("n_hidden: 2", "n_hidden: 3"), r"model\.n_hidden is 2 there and 3 here"),
        (CONFIG.replace("model:", "model:\n  tied: true"), r"model\.tied is not set there and True here"),
        (CONFIG.replace("  n_features: 5\n", ""), r"model\.n_features is 5 there and not set here"),
        (CONFIG.replace("auto", "numba"), "run 00000000 there, 11111111 here"),
    ],
)
def test_another_experiment_is_refused(run: Path, config: str, message: str) -> None:
    before = contents(run)
    with pytest.raises(RunError, match=message + r".*choose another --out"):
        open_store(run, config, run_id="11111111")
    assert contents(run) == before


def test_the_engine_may_change(run: Path) -> None:
    config = CONFIG.replace("auto", "numba")
    open_store(run, config).close()
    assert (run / "config.yaml").read_text() == config


def test_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunError, match="not empty and holds no run"):
        open_store(tmp_path)
    with pytest.raises(RunError, match="is a file"):
        open_store(tmp_path / "thesis.tex")
    with pytest.raises(SuperposeError, match="cannot write"):
        open_store(tmp_path / "thesis.tex" / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/config.yaml").write_bytes(b"my: own \xff\n")
    with pytest.raises(RunError, match="not empty and holds no run"):
        open_store(tmp_path / "mine")
    assert files(tmp_path) == {"thesis.tex", "mine/config.yaml"}


def test_a_crash_before_the_first_manifest_is_no_obstacle(tmp_path: Path) -> None:
    open_store(tmp_path / "run").close()
    (tmp_path / "run/manifest.json").unlink()
    open_store(tmp_path / "run").close()
    assert (tmp_path / "run/manifest.json").exists()


def test_tables_cannot_lead_out_of_the_folder(run: Path, tmp_path: Path) -> None:
    (run / "history.parquet/shard-000000.parquet").unlink()
    (run / "history.parquet").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (run / "history.parquet").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="leads out of the run's folder"):
        open_store(run)
    with pytest.raises(ValueError, match="negative"), open_store(tmp_path / "other") as store:
        store.commit(-1, **tables())


def test_other_peoples_files_are_left_alone(run: Path) -> None:
    note = run / "features.parquet/notes.txt"
    note.write_text("mine")
    with open_store(run) as store:
        assert store.committed_shards() == {0}
    assert note.exists()


def test_replacing_the_manifest_is_atomic(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(run) as store:
        stored = read_manifest(run)

        def fail(source: Path, target: Path) -> None:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(SuperposeError, match=r"cannot write .*manifest\.json.*quota"):
            store.update(status="failed")
        assert read_manifest(run) == stored
        assert not list(store.staging.glob("partial-*"))
