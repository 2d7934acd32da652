"""The configuration as table columns: what the instances table says of each cell, and its axes."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from superpose_cli.experiment.axes import Axis
from superpose_cli.experiment.fields import AXIS_GROUPS, AXIS_KEYS, FIELDS
from superpose_cli.experiment.instances import I64
from superpose_cli.experiment.leaves import LEAF_KEYS, USERS, Leaves, as_text
from superpose_cli.experiment.resolve import DEFAULTS

_RENAMED: Mapping[str, str] = {
    "init.kind": "init_kind",
    "init.std": "init_std",
    "init.n_instances": "init_n_instances",
    "data.kind": "data_kind",
    "importance.kind": "importance_kind",
    "train.objective": "train_objective",
}
_P = "data.feature_probability"
_SCALAR_KEYS = tuple(key for key in LEAF_KEYS if key not in ("seed", "importance.values"))


class Coded(NamedTuple):
    """Text as small integers: row r says `names[codes[r]]`; a code of -1 is null."""

    codes: npt.NDArray[np.integer]
    names: tuple[str, ...]


Column = np.ndarray | Coded
Value = str | float | None
"""What a column says of all cells alike."""


def column_name(key: str) -> str:
    """The instances-table column of a field: its leaf name, made unique where several groups have it."""
    return _RENAMED.get(key, key.split(".")[-1])


class CellColumns:
    """The configuration columns of a grid; the table of each field is made once."""

    def __init__(self, leaves: Leaves) -> None:
        self._leaves = leaves
        self._tables = {key: _table(leaves, key) for key in _SCALAR_KEYS}
        self._labels = {
            name: (number, _coded([_label(axis.keys[j], row[j]) for row in axis.values]))
            for number, axis in enumerate(leaves.axes)
            for j in range(len(axis.keys))
            if (name := _label_column(axis, j)) is not None
        }
        self._varying = [key for key in _SCALAR_KEYS if _varies(leaves, key)]
        alike = [key for key in _SCALAR_KEYS if key not in self._varying]
        first = self._of(np.zeros(1, np.int64), alike)
        self._alike = {name: _only(column) for name, column in first.items()}

    def of(self, cells: I64) -> dict[str, Column | Value]:
        """Configuration columns of the given cells: one value where the whole grid has no other, else
        len(cells) of them, as int64, float64, bool, or coded text.

        Numbers are masked where a cell has a null: a field that its kinds do not use or that is not set, or a
        list (which the features table holds). exactly_k: `feature_probability` is k / n.
        """
        cells, which = np.unique(cells, return_inverse=True)  # restarts of a cell say the same
        columns = self._of(cells, self._varying)
        for name, (number, table) in self._labels.items():
            columns[name] = _rows(table, self._leaves.positions(cells, number))
        return self._alike | {name: _rows(column, which) for name, column in columns.items()}

    def _of(self, cells: I64, keys: Sequence[str]) -> dict[str, Column]:
        """The columns of these fields."""
        leaves, codes = self._leaves, self._leaves.codes(cells)
        columns: dict[str, Column] = {}
        for key in keys:
            table, null = self._tables[key]
            at = codes[leaves[key].source]
            columns[column_name(key)] = _with_nulls(_rows(table, at), null[at] | ~leaves.used(key, codes))
        of_k = leaves["data.kind"].among(("exactly_k",), codes)
        if _P in keys and of_k.any():
            density = leaves["data.k"].number(codes) / leaves["model.n_features"].number(codes)
            p = np.ma.masked_array(columns[column_name(_P)])
            columns[column_name(_P)] = _with_nulls(np.where(of_k, density, p.data), p.mask & ~of_k)
        return columns


def axis_columns(axes: tuple[Axis, ...]) -> list[dict[str, Any]]:
    """For each axis its `keys`, the instances-table `columns` that hold it, and `values`: for each position
    what those columns hold there. Plain JSON types."""
    described = []
    for axis in axes:
        labelled = [_label_column(axis, j) for j in range(len(axis.keys))]
        columns = [label or column_name(key) for label, key in zip(labelled, axis.keys, strict=True)]
        values = [
            [
                _label(key, value) if label else _plain(value)
                for label, key, value in zip(labelled, axis.keys, row, strict=True)
            ]
            for row in axis.values
        ]
        described.append({"keys": list(axis.keys), "columns": columns, "values": values})
    return described


def _varies(leaves: Leaves, key: str) -> bool:
    """Whether the column of a field may differ from cell to cell."""
    keys = [key, *USERS.get(key, ())[:1]]
    if key == _P:
        keys += ["data.kind", "data.k", "model.n_features"]
    return any(leaves.sizes[leaves[each].source] > 1 for each in keys)


def _table(leaves: Leaves, key: str) -> tuple[Column, npt.NDArray[np.bool_]]:
    """The values of a field by code, and where they are null."""
    type_ = FIELDS[key].type
    given = [DEFAULTS.get(key) if value is None else value for value in leaves[key].values]
    null = np.array([value is None or isinstance(value, tuple | list) for value in given])
    if type_ in (int, float, bool):
        dtype = {int: np.int64, float: np.float64, bool: np.bool_}[type_]
        return np.array([type_(0) if gone else v for v, gone in zip(given, null, strict=True)], dtype), null
    return _coded([_plain(value) for value in given]), null


def _coded(texts: Sequence[str | None]) -> Coded:
    """Texts, or nulls, as their numbers among the different ones."""
    names = tuple(dict.fromkeys(text for text in texts if text is not None))
    codes = {name: code for code, name in enumerate(names)} | {None: -1}
    return Coded(np.array([codes[text] for text in texts], np.int32), names)


def _only(column: Column) -> Value:
    """The value of a column of one cell."""
    if isinstance(column, Coded):
        return column.names[column.codes[0]] if column.codes[0] >= 0 else None
    return None if np.ma.getmaskarray(column)[0] else column[0].item()


def _rows(column: Column, at: I64) -> Column:
    """The rows `at` of a column, in that order."""
    return Coded(column.codes[at], column.names) if isinstance(column, Coded) else column[at]


def _with_nulls(column: Column, null: npt.NDArray[np.bool_]) -> Column:
    if not null.any():
        return column
    if isinstance(column, Coded):
        return Coded(np.where(null, -1, column.codes), column.names)
    return np.ma.MaskedArray(column, mask=null)


def _label_column(axis: Axis, j: int) -> str | None:
    """The text column of an axis over a group or over lists, or None."""
    key = axis.keys[j]
    if key in AXIS_GROUPS and key not in AXIS_KEYS:
        return key
    is_list = any(isinstance(row[j], tuple | list) for row in axis.values)
    return f"{column_name(key)}_label" if is_list else None


def _label(key: str, value: Any) -> str:
    return value if key in AXIS_GROUPS else as_text(value)


def _plain(value: Any) -> Any:
    return str(value.value) if isinstance(value, Enum) else value
