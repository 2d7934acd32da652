"""Writing a run: one writer at a time, and shards that are stored whole or not at all."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from superpose_cli.errors import RunError
from superpose_cli.results import layout
from superpose_cli.results.checkpoint_files import remove_checkpoints
from superpose_cli.results.columns import TABLES
from superpose_cli.results.lock import RunLock, has_workers
from superpose_cli.results.manifest import Manifest, dump_manifest, read_manifest
from superpose_cli.results.schema import LABEL

ROW_GROUP = 131_072
"""Rows of a Parquet row group: what a reader must hold at least, and the grain of its row filters."""

ROW_ORDER = {
    "features": ("cell", "restart", "feature"),
    "history": ("cell", "restart", "step"),
    "instances": ("cell", "restart"),
}
"""Rows are stored in this order, whatever the order of training, so that equal results are equal files."""


class RunStore:
    """A run folder that is open for writing and locked against other writers; a context manager.

    Tables, row order and settings are functions of the content alone: committing a shard twice writes the
    same bytes twice.
    """

    def __init__(self, path: Path, manifest: Manifest, lock: RunLock) -> None:
        """Use `create_or_open`."""
        self.path = path
        self.manifest = manifest
        self._lock = lock

    @classmethod
    def create_or_open(cls, path: Path, config_yaml: str, manifest: Manifest) -> Self:
        """Start the run, or continue it: when it began, how, and what it holds are then as stored.

        RunError if another process writes it, if it holds another experiment (naming the first setting
        that differs), or if it is a folder of something else. Removes what a crash left half-committed.
        """
        try:
            _check_content(path, config_yaml, manifest)
            _make_folders(path)
            lock = RunLock(path)
        except OSError as error:
            raise layout.cannot_write(path, error) from error
        try:
            _check_content(path, config_yaml, manifest)  # another process may have been here before the lock
            if (path / layout.MANIFEST).exists():
                stored = read_manifest(path)
                kept = ("created", "seconds", "counts", "overrides")
                manifest = replace(manifest, **{name: getattr(stored, name) for name in kept})
            _clean(path)
            layout.write_text(path, layout.CONFIG, config_yaml)
            store = cls(path, manifest, lock)
            store.update()
        except BaseException:
            lock.release()
            raise
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes write."""
        self._lock.release()

    @property
    def staging(self) -> Path:
        """The folder for checkpoints; commits use names that start with `layout.PARTIAL`."""
        return self.path / layout.STAGING

    def update(self, **changes: Any) -> None:
        """Change some of the manifest's fields and write it, atomically."""
        self.manifest = replace(self.manifest, **changes)
        layout.write_text(self.path, layout.MANIFEST, dump_manifest(self.manifest))

    def committed_shards(self) -> set[int]:
        """The shards that are stored with all three files; the others are to be trained."""
        return layout.committed_shards(self.path) - layout.incomplete_shards(self.path)

    def commit(self, shard: int, *, instances: pa.Table, features: pa.Table, history: pa.Table) -> None:
        """Store a shard's three tables; see `commit_shard`."""
        tables = {"instances": instances, "features": features, "history": history}
        commit_shard(self.path, shard, self.manifest.run_id, **tables)


def commit_shard(
    run: Path, shard: int, run_id: str, *, instances: pa.Table, features: pa.Table, history: pa.Table
) -> None:
    """Store the three tables of a shard of an opened run, all or nothing; the same shard may come twice.

    Each says in itself whose shard it is, is written in the staging folder and flushed; then features,
    history and, when those two are on the disk, instances are renamed into place. SuperposeError if the disk
    refuses: the shard is then committed or not, as whoever comes next sees.
    """
    tables = {"features": features, "history": history, "instances": instances}
    assert features.num_rows == np.sum(instances["n_features"]), "each feature of an instance is a row"
    partial = {table: layout.partial_file(run) for table in TABLES}
    target = {table: layout.shard_file(run, table, shard) for table in TABLES}
    try:
        for table, path in partial.items():
            ordered = _canonical(tables[table], ROW_ORDER[table])
            notes = {**ordered.schema.metadata, **layout.shard_notes(run_id, shard, ordered.column_names)}
            _write(ordered.replace_schema_metadata(notes), path)
            layout.sync(path)
        if layout.is_committed(run, shard):  # by a worker that took over from this one
            return
        for table in ("features", "history"):
            partial[table].replace(target[table])
            layout.sync(target[table].parent)
        partial["instances"].replace(target["instances"])
        layout.sync(target["instances"].parent)
    except OSError as error:
        raise layout.cannot_write(run, error) from error
    finally:
        for path in partial.values():
            layout.remove(path)
    remove_checkpoints(run, {shard})


def _write(table: pa.Table, path: Path) -> None:
    """Dictionary encoding for all that repeats; measured floats and lists do not."""
    numbers = (pa.types.is_floating, pa.types.is_list)
    repeating = [field.name for field in table.schema if not any(kind(field.type) for kind in numbers)]
    options: dict[str, Any] = {"use_dictionary": repeating, "row_group_size": ROW_GROUP}
    with path.open("wb") as file:  # of a name, Arrow takes a `~` for somebody's home
        pq.write_table(table, file, compression="zstd", write_page_checksum=True, **options)


def _canonical(table: pa.Table, order: tuple[str, ...]) -> pa.Table:
    """The rows in order, one chunk a column, text numbered by first appearance."""
    table = table.unify_dictionaries()
    rank = np.lexsort([table[name].to_numpy() for name in reversed(order)])
    if not np.array_equal(rank, np.arange(len(rank))):
        table = table.take(rank)
    columns = [c.chunk(0) if c.num_chunks == 1 else c.combine_chunks() for c in table.columns]
    columns = [_numbered(column) if column.type == LABEL else column for column in columns]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _numbered(text: pa.DictionaryArray) -> pa.DictionaryArray:
    """The same text, whose numbers are by first appearance."""
    numbers = text.indices.dictionary_encode()
    return pa.DictionaryArray.from_arrays(numbers.indices, text.dictionary.take(numbers.dictionary))


def _check_content(path: Path, config_yaml: str, manifest: Manifest) -> None:
    """RunError unless the folder is absent, empty, or holds this run."""
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file: choose another --out")
    if (path / layout.MANIFEST).exists():
        _check_same(path, config_yaml, manifest)
    elif path.exists():
        _check_ours(path, config_yaml)


def _make_folders(path: Path) -> None:
    new = [folder for folder in (path, *path.absolute().parents) if not folder.exists()]
    for folder in (path / layout.STAGING, *(layout.table_folder(path, table) for table in TABLES)):
        folder.mkdir(parents=True, exist_ok=True)
        if not folder.resolve().is_relative_to(path.resolve()):
            raise RunError(
                f"{folder} leads out of the run's folder: remove that link or choose another --out"
            )
    for folder in (path, path.parent, *(folder.parent for folder in new)):
        layout.sync(folder)


def _check_ours(path: Path, config_yaml: str) -> None:
    """Refuse a folder of something else; one that a crash left before its first manifest is ours."""
    names = {entry.name for entry in path.iterdir()}
    ours = {layout.STAGING, layout.CONFIG, *(layout.table_folder(path, table).name for table in TABLES)}
    config = path / layout.CONFIG
    if names <= ours and (layout.CONFIG not in names or config.read_bytes() == config_yaml.encode()):
        return
    raise RunError(f"{path} is not empty and holds no run: choose another --out, or an empty folder")


def _check_same(path: Path, config_yaml: str, manifest: Manifest) -> None:
    """Refuse a run of another experiment, naming the first setting that differs."""
    stored = read_manifest(path)
    if stored.run_id == manifest.run_id:
        return
    theirs, ours = _settings(layout.read_config(path)), _settings(yaml.safe_load(config_yaml))
    what = f"run {stored.run_id} there, {manifest.run_id} here"
    for key in theirs | ours:
        there, here = theirs.get(key, "not set"), ours.get(key, "not set")
        if there != here:
            what = f"{key} is {there} there and {here} here"
            break
    raise RunError(
        f"{path} holds another experiment ({what}): choose another --out; --reuse-from {path} takes over "
        "what both have"
    )


def _settings(config: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys and values of what decides the results: not where they are computed or how shown."""
    if not isinstance(config, dict):
        return {prefix: config}
    found: dict[str, Any] = {}
    for key, value in config.items():
        if prefix or key not in ("engine", "launcher", "plots"):
            found |= _settings(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def _clean(path: Path) -> None:
    """Remove feature and history shards without an instances shard, unfinished files, and old checkpoints.

    Not where workers are at it: what is there before no shard is locked, no worker goes on with.
    """
    partials = list((path / layout.STAGING).glob(f"{layout.PARTIAL}*"))
    parts = {table: layout.stored_shards(path, table) for table in ("features", "history")}
    if has_workers(path):
        return
    committed = layout.committed_shards(path)
    for table, shards in parts.items():
        for shard in shards - committed:
            layout.remove(layout.shard_file(path, table, shard))
    for partial in partials:
        layout.remove(partial)
    remove_checkpoints(path, committed - layout.incomplete_shards(path))
