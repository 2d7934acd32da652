"""What interrupted processes left behind in run folders, and nothing else."""

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from superpose_cli.errors import RunError, SuperposeError
from superpose_cli.results import layout
from superpose_cli.results.checkpoint_files import checkpoint_file
from superpose_cli.results.columns import TABLES
from superpose_cli.results.lock import LOCK, RunLock, has_workers, is_being_written

Kind = Literal["unfinished file", "half a shard", "old checkpoint", "empty run"]


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A file, or the folder of a run that stored nothing."""

    run: Path
    path: Path
    kind: Kind
    size: int
    """Bytes."""


def find_leftovers(root: Path) -> list[Leftover]:
    """The leftovers of all run folders at `root`, in it and one level below; none of a run that is written.

    Links are neither followed nor touched. What an unfinished run goes on from, its checkpoints, stays.
    """
    found: list[Leftover] = []
    for pattern in ("", "*/", "*/*/"):
        for staging in sorted(root.glob(f"{pattern}{layout.STAGING}")):
            run = staging.parent
            if _is(staging, stat.S_ISDIR) and not is_being_written(run):
                found += _of_run(run)
    return found


def remove_leftovers(leftovers: list[Leftover]) -> int:
    """Remove those that are still left over; the bytes that this freed. SuperposeError where that fails."""
    freed = 0
    for run in dict.fromkeys(leftover.run for leftover in leftovers):
        wanted = {leftover.path for leftover in leftovers if leftover.run == run}
        freed += _remove_of(run, wanted)
    return freed


def _remove_of(run: Path, wanted: set[Path]) -> int:
    """Under the run's lock: what became of use since it was found stays, and all that another writes."""
    try:
        lock = RunLock(run)
    except RunError:
        return 0
    except OSError as error:
        raise _cannot_remove(run, error) from error
    freed = 0
    try:
        for leftover in [] if has_workers(run) else _of_run(run):
            if leftover.path in wanted:
                if leftover.kind == "empty run":
                    _remove_empty_run(run)
                else:
                    leftover.path.unlink()
                freed += leftover.size
    except OSError as error:
        raise _cannot_remove(run, error) from error
    finally:
        lock.release()
    return freed


def _of_run(run: Path) -> Iterator[Leftover]:
    committed = layout.committed_shards(run)
    if not committed and _is_bare(run):
        size = sum(path.lstat().st_size for path in run.rglob("*") if not path.is_dir())
        yield Leftover(run=run, path=run, kind="empty run", size=size)
        return
    for path in sorted((run / layout.STAGING).glob(f"{layout.PARTIAL}*")):
        if _is(path, stat.S_ISREG):
            yield _file(run, path, "unfinished file")
    for table in ("features", "history"):
        for shard in sorted(layout.stored_shards(run, table) - committed):
            path = layout.shard_file(run, table, shard)
            if _is(path, stat.S_ISREG) and _is(path.parent, stat.S_ISDIR):
                yield _file(run, path, "half a shard")
    for shard in sorted(committed - layout.incomplete_shards(run)):
        if _is(path := checkpoint_file(run, shard), stat.S_ISREG):
            yield _file(run, path, "old checkpoint")


def _file(run: Path, path: Path, kind: Kind) -> Leftover:
    return Leftover(run=run, path=path, kind=kind, size=path.lstat().st_size)


def _is_bare(run: Path) -> bool:
    """Whether a run folder holds what starting a run makes and no more: no shard, checkpoint or figure."""
    staging = run / layout.STAGING
    folders = {staging, *(layout.table_folder(run, table) for table in TABLES)}
    files = {run / layout.CONFIG, run / layout.MANIFEST, staging / LOCK, *staging.glob(f"{layout.PARTIAL}*")}
    return all(
        _is(path, stat.S_ISDIR) if path in folders else path in files and _is(path, stat.S_ISREG)
        for path in run.rglob("*")
    )


def _remove_empty_run(run: Path) -> None:
    """File by file, the lock last, and folders only where they are empty: nothing else can be lost."""
    files = [run / layout.MANIFEST, run / layout.CONFIG, *(run / layout.STAGING).glob(f"{layout.PARTIAL}*")]
    for path in (*files, run / layout.STAGING / LOCK):
        path.unlink(missing_ok=True)
    for folder in (*(layout.table_folder(run, table) for table in TABLES), run / layout.STAGING, run):
        if folder.is_dir():
            folder.rmdir()


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    """Whether the path itself, not what it links to, is of a kind."""
    try:
        return kind(path.lstat().st_mode)
    except OSError:
        return False


def _cannot_remove(run: Path, error: OSError) -> SuperposeError:
    return SuperposeError(f"cannot remove leftovers of {run} ({error.strerror or error})")
