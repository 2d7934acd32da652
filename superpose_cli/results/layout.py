"""Where the files of a run lie, and how a file is written so that it is there whole or not at all."""

import errno
import os
import re
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from superpose_cli.errors import RunError, SuperposeError
from superpose_cli.plain_yaml import check_plain, read_plain
from superpose_cli.results.columns import TABLES

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What reading a damaged table raises; the last is for a name of a column that is no text any more."""
REPAIR = "delete it and run the same sweep again, what is stored stays"
"""What to do about a damaged file beside the tables."""
STAGING = ".staging"
PARTIAL = "partial-"
"""Prefix of files in the staging folder that a commit has not finished; checkpoints have other names."""

_SHARD_FILE = re.compile(r"shard-(\d{6,})\.parquet")


def table_folder(run: Path, table: str) -> Path:
    """The folder of a table's Parquet files."""
    return run / f"{table}.parquet"


def shard_file(run: Path, table: str, shard: int) -> Path:
    """The file of one shard of a table."""
    if shard < 0:
        raise ValueError(f"shard {shard} is negative")
    return table_folder(run, table) / f"shard-{shard:06d}.parquet"


def stored_shards(run: Path, table: str) -> set[int]:
    """The shards of one table that have a file; other files are not ours and are ignored.

    RunError where the folder cannot be read.
    """
    folder = table_folder(run, table)
    try:
        # Reading a pipe would wait for its other end.
        names = [path.name for path in folder.iterdir() if not path.is_fifo()] if folder.is_dir() else []
    except OSError as error:
        raise unreadable(folder, error) from error
    matches = (_SHARD_FILE.fullmatch(name) for name in names)
    return {int(match[1]) for match in matches if match}


def committed_shards(run: Path) -> set[int]:
    """The shards whose instances file is there: renamed last, it is the commit of all three files."""
    return stored_shards(run, "instances")


def incomplete_shards(run: Path) -> set[int]:
    """Shards with some but not all of their files: never committed, or damaged since."""
    sets = [stored_shards(run, table) for table in TABLES]
    return set.union(*sets) - set.intersection(*sets)


def is_committed(run: Path, shard: int) -> bool:
    """Whether a shard is stored with all three files."""
    return all(shard_file(run, table, shard).exists() for table in TABLES)


def read_config(run: Path) -> dict[str, Any]:
    """The settings of `config.yaml`; RunError if it is missing or no YAML mapping."""
    path = run / CONFIG
    try:
        text = read_plain(path)
        check_plain(text)
        config = yaml.safe_load(text)
    except FileNotFoundError:
        raise RunError(f"{path} is missing: run the same sweep again, what is stored stays") from None
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, yaml.YAMLError) as error:
        reason = str(error).partition("\n")[0]
        raise RunError(f"cannot read {path} ({reason}): {REPAIR}") from None
    if not isinstance(config, dict):
        raise RunError(f"{path} is not a configuration: {REPAIR}")
    return config


def shard_notes(run_id: str, shard: int, columns: Sequence[str]) -> dict[bytes, bytes]:
    """What a shard's file says of itself, so that one in the place of another, or with a column whose name a
    flipped bit changed (it would be one that is not stored), is found out."""
    names = blake2b("\n".join(columns).encode(), digest_size=8).hexdigest()
    return {
        b"superpose_run": run_id.encode(),
        b"superpose_shard": str(shard).encode(),
        b"superpose_columns": names.encode(),
    }


def partial_file(run: Path) -> Path:
    """A new name in the staging folder, which no other process uses."""
    return run / STAGING / f"{PARTIAL}{uuid.uuid4().hex}"


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(run: Path, name: str, text: str) -> None:
    """Replace a file of the run by new text, atomically; SuperposeError if the disk refuses."""
    replace_file(run, run / name, lambda partial: partial.write_text(text, encoding="utf-8"))


def replace_file(run: Path, target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file and put it in the place of `target`, atomically, or raise SuperposeError."""
    partial = partial_file(run)
    try:
        write(partial)
        sync(partial)
        partial.replace(target)
        sync(target.parent)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        remove(partial)


def remove(path: Path) -> None:
    """Delete a file if that is possible."""
    with suppress(OSError):
        path.unlink()


def cannot_write(path: Path, error: OSError) -> SuperposeError:
    """The one line for a full disk, a missing permission and their like."""
    reason = os.strerror(error.errno) if error.errno else str(error)  # Arrow's strerror is a paragraph
    cures = dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS), "ask for the permission to write there or "
    )
    cures |= dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room or ")
    return SuperposeError(
        f"cannot write {path} ({reason}): what is stored stays readable; "
        f"{cures.get(error.errno or 0, '')}choose another --out, then run the same command to continue"
    )


def unreadable(path: Path, error: Exception) -> RunError:
    """The one line for a file or folder of a run that gives no results: damaged, or out of reach.

    What another user owns, or a disk that fails, must not be told to be deleted.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EACCES, errno.EPERM):
        return RunError(f"cannot read {path} ({os.strerror(number)}): ask its owner for the permission")
    if number in (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT):
        return RunError(f"cannot read {path} ({os.strerror(number)}): try again once its disk answers")
    reason = str(error).strip().partition("\n")[0].rstrip(".: ")
    return RunError(f"{path} is damaged ({reason}): delete it and run the same sweep again")
