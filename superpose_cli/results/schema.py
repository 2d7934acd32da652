"""NumPy arrays to Arrow tables of a fixed schema. No Python object per row anywhere."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from superpose_cli.experiment.columns import Coded
from superpose_cli.results.columns import MEASURES_VERSION, SCHEMA_VERSION, TABLES, Column

LABEL = pa.dictionary(pa.int32(), pa.string())
"""The type of every text column but `key`."""

ARROW_TYPES: dict[str, pa.DataType] = {
    "i32": pa.int32(),
    "i64": pa.int64(),
    "f32": pa.float32(),
    "f64": pa.float64(),
    "bool": pa.bool_(),
    "str": LABEL,
    "hex": pa.string(),
    "f32[]": pa.list_(pa.float32()),
    "f64[]": pa.list_(pa.float64()),
}


ColumnData = npt.NDArray[Any] | pa.ChunkedArray | Coded | str | float | None
"""An array with one entry (or one row) per table row, or a scalar that all rows share.

Masked entries and None are null; NaN stays NaN. Arrays of two or more dimensions become lists. Columns of a
stored table stay as they are.
"""


@cache
def schema(table: str, labels: tuple[str, ...] = ()) -> pa.Schema:
    """The Arrow schema of `instances`, `features` or `history`, with unit and meaning of each column.

    `labels` are further text columns of the instances table: the option's name for each group axis, and
    the text of each axis over lists.
    """
    fields = [_field(column) for column in TABLES[table]]
    fields += [_field(Column(name, "str", "1", "Label of an axis.", nullable=True)) for name in labels]
    notes = {
        "superpose_table": table,
        "superpose_schema": str(SCHEMA_VERSION),
        "superpose_measures": str(MEASURES_VERSION),
    }
    return pa.schema(fields, metadata=notes)


def instances_table(columns: Mapping[str, ColumnData]) -> pa.Table:
    """One row per instance. Keys are uint64 (N,); any text column beyond the schema's is an axis label."""
    known = {column.name for column in TABLES["instances"]}
    return _table("instances", columns, tuple(name for name in columns if name not in known))


def features_table(columns: Mapping[str, ColumnData]) -> pa.Table:
    """One row per instance and feature: arrays of length I * n, features fastest; `W` is (I * n, m)."""
    return _table("features", columns)


def history_table(columns: Mapping[str, ColumnData]) -> pa.Table:
    """One row per instance and recorded step; `W` is (N, n, m) or (N, n * m)."""
    return _table("history", columns)


def _field(column: Column) -> pa.Field:
    metadata = {"unit": column.unit, "meaning": column.meaning}
    return pa.field(column.name, ARROW_TYPES[column.type], nullable=column.nullable, metadata=metadata)


def _table(name: str, columns: Mapping[str, ColumnData], labels: tuple[str, ...] = ()) -> pa.Table:
    """Check and convert; ValueError for a column that is unknown, missing, ill-typed or of another length."""
    wanted = schema(name, labels)
    if unknown := set(columns) - set(wanted.names):
        raise ValueError(f"{name} has no column {', '.join(sorted(unknown))}")
    n_rows = len(np.asarray(columns["key"]))
    arrays = [_array(field, columns.get(field.name), n_rows) for field in wanted]
    for field, array in zip(wanted, arrays, strict=True):
        if len(array) != n_rows:
            raise ValueError(f"{name}.{field.name} has {len(array)} rows, key has {n_rows}")
        if array.null_count and not field.nullable:
            raise ValueError(f"{name}.{field.name} is missing or has nulls")
    return pa.Table.from_arrays(arrays, schema=wanted)


def _array(field: pa.Field, data: ColumnData, n_rows: int) -> pa.Array | pa.ChunkedArray:
    try:
        if data is None:
            return pa.nulls(n_rows, field.type)
        if isinstance(data, pa.ChunkedArray):
            stored: Any = data
            return stored.cast(field.type)
        if field.type == ARROW_TYPES["hex"]:
            return _hex(np.asarray(data))
        if field.type == LABEL:
            return _labels(data, n_rows)
        if not isinstance(data, np.ndarray):
            return pa.repeat(pa.scalar(data, field.type), n_rows)
        if pa.types.is_list(field.type):
            return _lists(data, field.type)
        mask = np.ma.getmaskarray(data) if np.ma.isMaskedArray(data) else None
        return pa.array(np.ma.getdata(data), mask=mask).cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise ValueError(f"column {field.name}: {error}") from error


def _hex(key: npt.NDArray[np.uint64]) -> pa.Array:
    """uint64 as 16 hex digits, through one buffer.

    Text, although 8 bytes a row would do: spreadsheets, JavaScript and R round 64-bit integers, users read
    keys in messages, and zstd brings the digits back to the size of the numbers. Plain and not
    dictionary-encoded, so that all readers see one type in all tables; joins inside a run are cheaper on
    (cell, restart).
    """
    if key.dtype != np.uint64:
        raise ValueError(f"a key must be uint64, not {key.dtype}")
    digits = pa.py_buffer(key.astype(">u8").tobytes().hex().encode())
    offsets = pa.py_buffer(_offsets(len(key), 16))
    return pa.StringArray.from_buffers(len(key), offsets, digits)


def _labels(data: Any, n_rows: int) -> pa.Array:
    if isinstance(data, str):
        return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), n_rows), [str(data)])
    if isinstance(data, Coded):
        codes = np.asarray(data.codes).astype(np.int32)
        null = codes < 0
        numbers = pa.array(codes, mask=null if null.any() else None)
        return pa.DictionaryArray.from_arrays(numbers, pa.array(data.names, pa.string()))
    mask = np.ma.getmaskarray(data) if np.ma.isMaskedArray(data) else None
    return pa.array(np.ma.getdata(data), pa.string(), mask=mask).dictionary_encode()


def _lists(data: npt.NDArray[Any], type: pa.DataType) -> pa.Array:
    """(N, ...) as N lists over one flat buffer, zero-copy where the type already fits."""
    if data.ndim < 2 or np.ma.isMaskedArray(data):
        raise ValueError("a list column takes a plain array with one row per table row, or None")
    values = pa.array(np.ascontiguousarray(data).reshape(-1)).cast(type.value_type)
    width = int(np.prod(data.shape[1:]))
    return pa.ListArray.from_arrays(pa.array(_offsets(len(data), width)), values)


def _offsets(n_rows: int, width: int) -> npt.NDArray[np.int32]:
    assert n_rows * width < 2**31, "a shard is too large for one Arrow array"
    return np.arange(n_rows + 1, dtype=np.int32) * np.int32(width)
