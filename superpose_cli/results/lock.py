"""One writer a run, and one a shard: locks that the system frees when their process ends, and that other
hosts can judge.

The lock is `flock`, which a process loses however it ends. Some network file systems keep such locks on each
host for itself, so the file also tells who holds it, and its time is renewed while it is held: a lock of
another host whose time stands still is that of a dead process.
"""

import fcntl
import json
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from superpose_cli.errors import RunError
from superpose_cli.results import layout

LOCK = "run.lock"
_SHARD_LOCKS = "shard-*.lock"
RENEWED_SECONDS = 10.0
"""Time between two renewals of a lock that is held."""
STALE_SECONDS = 90.0
"""Without a renewal for this long, a lock of another host is taken over."""
PATIENCE_SECONDS = 0.5
"""How long a lock is asked for: `is_being_written` has it for a moment."""


class Held(RunError):
    """Another process has the lock, or may have it."""


def shard_lock(shard: int) -> str:
    """The name of the lock that a worker has while it trains a shard; the coordinator has the run's."""
    return f"shard-{shard:06d}.lock"


class RunLock:
    """A lock in a run folder, held from the making of this object to `release`."""

    def __init__(self, run: Path, name: str = LOCK) -> None:
        """Held if another process has the lock, or may have it; OSError if the disk refuses."""
        self._file = file = run / layout.STAGING / name
        self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            if not _flocked(self._descriptor, run):
                raise Held(f"{run} is being written by {_holder(file)}: wait for it or choose another --out")
            if _is_held_elsewhere(file):
                raise Held(
                    f"{run} is being written by {_holder(file)}, or was until a moment ago: stop that "
                    f"process, or if it has ended try again in {STALE_SECONDS:.0f} seconds (or delete {file})"
                )
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(_Holder(os.getpid(), socket.gethostname())).encode(), 0)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._released = threading.Event()
        self._renewal = threading.Thread(target=self._renew, daemon=True)
        self._renewal.start()

    def release(self) -> None:
        """Let other processes write. The file stays: removing it would let two writers in."""
        self._released.set()
        self._renewal.join()
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def discard(self) -> None:
        """Release the lock and delete its file: where what it guards is done for good, two may have it."""
        layout.remove(self._file)
        self.release()

    def _renew(self) -> None:
        while not self._released.wait(RENEWED_SECONDS):
            with suppress(OSError):
                os.utime(self._descriptor)


def is_being_written(run: Path) -> bool:
    """Whether a process has the run open for writing; a run that says it is running may have been killed."""
    return _is_locked(run / layout.STAGING / LOCK) or has_workers(run)


def has_workers(run: Path) -> bool:
    """Whether a process trains a shard of the run."""
    return any(map(_is_locked, (run / layout.STAGING).glob(_SHARD_LOCKS)))


def _is_locked(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return _is_held_elsewhere(file)


class _Holder(NamedTuple):
    pid: int
    host: str


def _flocked(descriptor: int, run: Path) -> bool:
    """Whether the lock could be had; RunError where there are none."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        except OSError as error:
            raise RunError(
                f"{run} lies on a file system that has no locks ({error.strerror}): choose another --out"
            ) from error
        else:
            return True


def _is_held_elsewhere(file: Path) -> bool:
    """Whether the file names a process of another host and was renewed of late."""
    holder = _read(file)
    if holder is None or holder.host == socket.gethostname():
        return False
    return abs(time.time() - file.stat().st_mtime) < STALE_SECONDS


def _read(file: Path) -> _Holder | None:
    """Who took the lock last and did not let it go, if that can be told."""
    try:
        with file.open(encoding="utf-8") as opened:
            pid, host = json.loads(opened.read(1000))
        return _Holder(int(pid), str(host))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _holder(file: Path) -> str:
    holder = _read(file)
    return f"process {holder.pid} on {holder.host}" if holder else "another process"
