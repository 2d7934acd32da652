"""Reading the Parquet tables of a run: checked files, and only the columns and shards that are wanted."""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from superpose_cli.errors import RunError
from superpose_cli.memory import free_memory
from superpose_cli.results import layout
from superpose_cli.results.columns import MEASURES_VERSION, SCHEMA_VERSION
from superpose_cli.results.manifest import read_manifest

CHECKED = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)
"""Pages are held against their checksums: a flipped bit is damage, not another number."""

Cells = Sequence[int] | npt.NDArray[np.int64]


class Tables:
    """The three tables of a run, as its committed shards have them."""

    def __init__(self, run: Path, shards: tuple[int, ...]) -> None:
        self.run = run
        self.shards = shards
        self.schema = cache(self._schema)
        self._manifest = cache(lambda: read_manifest(run))
        self._footers = cache(self._read_footers)

    def lengths(self, table: str) -> list[int]:
        """Rows of each shard."""
        return [footer.num_rows for footer in self._footers(table)]

    def are_measured_alike(self) -> bool:
        """Whether the columns mean in all shards what they mean to this superpose."""
        here = str(MEASURES_VERSION).encode()
        notes = (footer.metadata or {} for footer in self._footers("instances"))
        return all(note.get(b"superpose_measures") == here for note in notes)

    def _schema(self, table: str) -> pa.Schema:
        """All columns of the table; a column that an older superpose did not store is null in its shards."""
        schemas: list[pa.Schema] = []
        for footer in self._footers(table):
            try:
                found = footer.schema.to_arrow_schema()
            except layout.DAMAGE as error:
                raise layout.unreadable(layout.table_folder(self.run, table), error) from error
            if found not in schemas:
                schemas.append(found)
        try:
            return pa.unify_schemas(schemas)
        except pa.ArrowException as error:
            raise RunError(
                f"the shards of {layout.table_folder(self.run, table)} differ in their columns "
                f"({_line(error)}): run its sweep again with --fresh"
            ) from error

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        cells: Cells | None = None,
        shards: Sequence[int] | None = None,
    ) -> pa.Table:
        """Rows in stored order. Shards and row groups without a wanted cell are not read.

        RunError for an unknown column, and for a missing, damaged or foreign file.
        """
        schema = self.schema(table)
        if cells is None:
            self._check_memory(table, len(columns or schema.names))
        for name in columns or ():
            if name not in schema.names:
                close = difflib.get_close_matches(name, schema.names, 1)
                hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(schema.names)}"
                raise RunError(f"{layout.table_folder(self.run, table)} has no column {name}: {hint}")
        # Arrow takes a `~` at the beginning of a relative path for somebody's home.
        run = self.run.absolute()
        files = [layout.shard_file(run, table, shard) for shard in shards or self.shards]
        names = schema.names if columns is None else list(columns)
        try:
            dataset = ds.dataset([str(file) for file in files], schema=schema, format=CHECKED)
            found = dataset.to_table(columns=names, filter=_filter(cells)).unify_dictionaries()
            return found.replace_schema_metadata()  # pandas would obey notes of its own in it
        except layout.DAMAGE as error:
            raise layout.unreadable(_first_unreadable(files, names), error) from error

    def _check_memory(self, table: str, n_columns: int) -> None:
        """RunError where a table cannot be held: a small file may say of itself that it has any size."""
        rows, memory = sum(self.lengths(table)), free_memory()
        if rows * n_columns * 4 > memory:
            raise RunError(
                f"{layout.table_folder(self.run, table)} has {rows:,} rows, more than the "
                f"{memory / 1e9:.1f} GB of free memory hold: read it in parts, with DuckDB or Polars"
            )

    def _read_footers(self, table: str) -> list[pq.FileMetaData]:
        manifest = self._manifest()
        footers = [
            _footer(layout.shard_file(self.run, table, shard), table, manifest.run_id, shard)
            for shard in self.shards
        ]
        if table == "instances":
            rows, most = sum(footer.num_rows for footer in footers), manifest.n_instances
            if rows > most:  # else nothing bounds the memory that reading takes
                raise RunError(
                    f"{layout.table_folder(self.run, table)} is damaged (it has {rows:,} instances, the grid "
                    f"{most:,}): run the same sweep with --fresh"
                )
        return footers


def stored_instances(run: Path) -> int:
    """Instances in the committed shards, by the footers of their files; RunError if one is damaged."""
    whole = layout.committed_shards(run) - layout.incomplete_shards(run)
    return sum(Tables(run, tuple(sorted(whole))).lengths("instances"))


def stored_statuses(run: Path, shards: Sequence[int]) -> Counter[str]:
    """How many instances of these committed shards have each status; RunError for a damaged file."""
    return count_statuses(Tables(run, tuple(shards)).read("instances", ["status"]))


def count_statuses(instances: pa.Table) -> Counter[str]:
    """How many rows of an instances table have each status."""
    status = instances.select(["status"]).unify_dictionaries()["status"]
    return Counter({row["values"]: row["counts"] for row in status.value_counts().to_pylist()})


def _filter(cells: Cells | None) -> pc.Expression | None:
    """Rows of these cells; the bounds are what lets Arrow skip row groups by their statistics."""
    if cells is None:
        return None
    cell, wanted = pc.field("cell"), np.unique(np.asarray(cells, np.int64))
    if not len(wanted):
        return pc.scalar(False)
    return cell.isin(wanted) & (cell >= int(wanted[0])) & (cell <= int(wanted[-1]))


def _footer(file: Path, table: str, run_id: str, shard: int) -> pq.FileMetaData:
    if file.is_fifo():  # opening it would wait for its other end
        raise RunError(f"{file} is a pipe: delete it and run the same sweep again")
    try:
        footer = pq.read_metadata(file.absolute())
        expected = layout.shard_notes(run_id, shard, footer.schema.to_arrow_schema().names)
    except FileNotFoundError:
        raise RunError(f"{file} is missing: run the same sweep again, it trains that shard anew") from None
    except layout.DAMAGE as error:
        raise layout.unreadable(file, error) from error
    notes = footer.metadata or {}
    if notes.get(b"superpose_table") != table.encode():
        raise RunError(f"{file} is not superpose's {table} table: delete it and run the same sweep again")
    wrong = [name for name, value in expected.items() if notes.get(name, value) != value]  # older: no notes
    if b"superpose_columns" in wrong:
        raise RunError(f"{file} is damaged (a column's name): delete it and run the same sweep again")
    if wrong:
        raise RunError(
            f"{file} is shard {_told(notes, b'superpose_shard')} of run {_told(notes, b'superpose_run')}, "
            f"out of place: delete it and run the same sweep again"
        )
    version = notes.get(b"superpose_schema", b"")
    if not version.isdigit():
        raise RunError(
            f"{file} is damaged (its schema has no version): delete it and run the same sweep again"
        )
    if int(version) > SCHEMA_VERSION:
        raise RunError(f"{file} was written by a newer superpose: upgrade superpose")
    return footer


def _told(notes: Mapping[bytes, bytes], name: bytes) -> str:
    return notes.get(name, b"?")[:16].decode(errors="replace")


def _first_unreadable(files: list[Path], columns: list[str]) -> Path:
    """The file to blame for a failed read; their folder if each can be read alone."""
    for file in files:
        try:
            pq.ParquetFile(file, page_checksum_verification=True).read(columns)
        except layout.DAMAGE:
            return file
    return files[0].parent


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".: ")
