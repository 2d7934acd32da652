"""Writing runs: layout, all-or-nothing commits, locks and refusals."""

import errno
import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from superpose_cli.errors import RunError, SuperposeError
from superpose_cli.results.columns import TABLES
from superpose_cli.results.lock import STALE_SECONDS, is_being_written
from superpose_cli.results.manifest import read_manifest
from superpose_cli.results.run import load_run
from superpose_cli.results.store import RunStore
from tests.synthetic import shard_tables, synthetic_manifest

CONFIG = "experiment: synthetic\nmodel:\n  n_features: 5\n  n_hidden: 2\nengine:\n  name: auto\n"


def tables(first: int = 0, count: int = 4, **options: Any) -> dict[str, pa.Table]:
    W = np.random.default_rng(first).normal(size=(count, 5, 2))
    return shard_tables(W, first=first, restarts=2, steps=(0, 10), **options)


def open_store(path: Path, config: str = CONFIG, **changes: Any) -> RunStore:
    return RunStore.create_or_open(path, config, synthetic_manifest(n_cells=4, restarts=2, **changes))


def files(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


def contents(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in files(path) if name.endswith((".parquet", ".yaml"))}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with shard 0 of 2 committed."""
    with open_store(tmp_path / "run", status="running") as store:
        store.commit(0, **tables())
    return tmp_path / "run"


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
from tests.results.test_store import open_store, tables
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


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=root, text=True, stdout=subprocess.PIPE)


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


HOLD = """
import sys, time
from pathlib import Path
from tests.results.test_store import open_store
store = open_store(Path(sys.argv[1]))
print("open", flush=True)
time.sleep(60)
"""


def test_one_writer_at_a_time(run: Path) -> None:
    holder = python(HOLD, run)
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(RunError, match=f"is being written by process {holder.pid} on "):
            open_store(run)
        assert is_being_written(run)
        assert len(load_run(run).instances(["cell"])) == 4  # readers are free to come
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert not is_being_written(run)
    open_store(run).close()


def test_a_writer_in_the_same_process_is_refused_too(run: Path) -> None:
    with open_store(run):
        with pytest.raises(RunError, match=f"process {os.getpid()} on "):
            open_store(run)
        (run / ".staging/run.lock").write_text("")
        with pytest.raises(RunError, match="another process"):
            open_store(run)
    open_store(run).close()


def test_a_lock_of_another_host_is_judged_by_its_time(run: Path) -> None:
    """Where `flock` does not reach across hosts: renewed of late, it is explained; else it is taken over."""
    lock = run / ".staging/run.lock"
    lock.write_text('[12345, "elsewhere"]')
    for seconds, held in ((0, True), (STALE_SECONDS - 5, True), (STALE_SECONDS + 5, False)):
        os.utime(lock, (time.time() - seconds,) * 2)
        assert is_being_written(run) is held
    os.utime(lock)
    with pytest.raises(RunError, match=r"process 12345 on elsewhere.* try again in 90 seconds \(or delete"):
        open_store(run)
    os.utime(lock, (0, 0))
    with open_store(run):
        assert socket.gethostname() in lock.read_text()
    assert lock.read_text() == "", "let go"
    lock.write_text("[" * 2000)
    assert not is_being_written(run)


def test_a_lock_is_renewed_while_it_is_held(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superpose_cli.results.lock.RENEWED_SECONDS", 0.01)
    lock = run / ".staging/run.lock"
    with open_store(run):
        os.utime(lock, (0, 0))
        deadline = time.monotonic() + 20
        while lock.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - lock.stat().st_mtime < 20


def test_looking_at_a_lock_keeps_nobody_out(run: Path) -> None:
    """Whoever asks whether a run is being written has its lock for a moment."""
    with (run / ".staging/run.lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        timer = threading.Timer(0.2, fcntl.flock, (looking, fcntl.LOCK_UN))
        timer.start()
        assert not is_being_written(run)
        open_store(run).close()
        timer.join()


def test_where_there_are_no_locks(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RunError, match=r"no locks \(No locks available\): choose another --out"):
        open_store(run)


def test_a_lock_that_leads_elsewhere_is_not_followed(run: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (run / ".staging/run.lock").unlink()
    (run / ".staging/run.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(SuperposeError, match="cannot write"):
        open_store(run)
    assert (tmp_path / "precious").read_text() == "mine"


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
