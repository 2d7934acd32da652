"""The files that checkpoints lie in: a header, arrays, and a digest.

A line with the format's version, the length of the header (8 bytes, little endian), the header (JSON), the
bytes of the arrays one after the other, and a BLAKE2b digest of all that. Nothing in it is executed.
"""

import json
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from superpose_cli.results import layout

FIRST_LINE = b"superpose checkpoint 2\n"
DIGEST_BYTES = 16
MOST_HEADER = 1 << 24
"""Bytes of a header: more than the keys and packs of the largest shard take."""

_NAME = re.compile(r"shard-(\d{6,})\.checkpoint")


class UnusableCheckpoint(Exception):
    """A checkpoint that is damaged, or of something else; the message says why."""


def checkpoint_file(run: Path, shard: int) -> Path:
    """The file of a shard's checkpoint."""
    return run / layout.STAGING / f"shard-{shard:06d}.checkpoint"


def write_checkpoint(run: Path, shard: int, header: dict[str, Any], arrays: Iterable[memoryview]) -> None:
    """Replace a shard's checkpoint, atomically; SuperposeError if the disk refuses."""
    told = json.dumps(header).encode()

    def write(partial: Path) -> None:
        digest = blake2b(digest_size=DIGEST_BYTES)
        with partial.open("wb") as file:
            for piece in chain((FIRST_LINE, len(told).to_bytes(8, "little"), told), arrays):
                file.write(piece)
                digest.update(piece)
            file.write(digest.digest())

    layout.replace_file(run, checkpoint_file(run, shard), write)


def open_checkpoint(file: Path) -> BinaryIO:
    """Open it for `read_header` and `check_content`, which raise UnusableCheckpoint, as this does."""
    if not file.is_file():  # opening a pipe would wait for its other end
        raise UnusableCheckpoint("it is no file")
    return file.open("rb")


def read_header(file: BinaryIO) -> dict[str, Any]:
    """What the file says of itself; leaves the position at the arrays."""
    if file.read(len(FIRST_LINE)) != FIRST_LINE:
        raise UnusableCheckpoint("it is of another version, or none of superpose's")
    length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER:
        raise UnusableCheckpoint("it is damaged")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise UnusableCheckpoint("it is damaged") from error
    if not isinstance(header, dict):
        raise UnusableCheckpoint("it is damaged")
    return header


def check_content(file: BinaryIO, content: int) -> None:
    """Check that `content` bytes and their digest are the whole file; leaves the position."""
    if os.fstat(file.fileno()).st_size != content + DIGEST_BYTES:
        raise UnusableCheckpoint("it is shorter or longer than what it lists")
    position, digest = file.tell(), blake2b(digest_size=DIGEST_BYTES)
    file.seek(0)
    while left := content - file.tell():
        digest.update(file.read(min(left, 1 << 20)))
    if file.read() != digest.digest():
        raise UnusableCheckpoint("it is damaged")
    file.seek(position)


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What a checkpoint says of itself."""

    shard: int
    n_instances: int
    """Instances of the shard."""
    trained: float
    """Of them, with fractions."""


def saved_checkpoints(run: Path) -> list[Saved]:
    """The readable checkpoints of shards that are not committed, in order."""
    found = []
    for shard, path in sorted(_files(run).items()):
        if shard in layout.committed_shards(run):
            continue
        try:
            with open_checkpoint(path) as file:
                header = read_header(file)
        except (OSError, UnusableCheckpoint):
            continue
        count, trained = header.get("n_instances"), header.get("trained")
        if isinstance(count, int) and isinstance(trained, int | float) and 0 <= trained <= count:
            found.append(Saved(shard=shard, n_instances=count, trained=trained))
    return found


def remove_checkpoints(run: Path, shards: Collection[int]) -> None:
    """Delete the checkpoints of these shards, which are committed."""
    for shard, path in _files(run).items():
        if shard in shards:
            layout.remove(path)


def _files(run: Path) -> dict[int, Path]:
    """Checkpoint files by shard."""
    folder = run / layout.STAGING
    matches = ((_NAME.fullmatch(path.name), path) for path in (folder.iterdir() if folder.is_dir() else ()))
    return {int(match[1]): path for match, path in matches if match}
