"""One writer at a time, on one host or several."""

import errno
import fcntl
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from superpose_cli.errors import RunError, SuperposeError
from superpose_cli.results.lock import STALE_SECONDS, is_being_written
from superpose_cli.results.run import load_run
from tests.results.stores import open_store, python

HOLD = """
import sys, time
from pathlib import Path
from tests.results.stores import open_store
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
