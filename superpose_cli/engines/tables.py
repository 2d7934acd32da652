"""Rows that are made once and shared by instances: fixed tables, and evaluation rows of norm 1."""

from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from superpose_cli.experiment.instances import I64, U64, InstanceBatch
from superpose_cli.toy_model.sampling import evaluation_rows, finite_table


def finite_tables(xp: ModuleType, batch: InstanceBatch, device: Any = None) -> tuple[Any, I64]:
    """The K different tables, float32 (K, n_rows, n), and each instance's number among them (I,).

    Restarts share the key of their table, and so may cells (common random numbers); p and high must agree.
    """
    first, which = _different(batch, batch.table_key)
    drawn = finite_table(
        xp,
        batch.family.law,
        key=batch.table_key[first],
        n_rows=batch.family.n_rows,
        feature_probability=batch.feature_probability[first],
        high=batch.high[first],
        unit_norm=batch.family.unit_norm,
        device=device,
    )
    return drawn, which


class HeldTables:
    """The tables of the batch that was asked for last: in training it is the same one, call after call."""

    def __init__(self, xp: ModuleType, device: Any) -> None:
        self._xp, self._device = xp, device
        self._batch: InstanceBatch | None = None
        self._tables: Any = None

    def of(self, batch: InstanceBatch) -> tuple[Any, I64]:
        """As `finite_tables`; those of another batch are given back before, as both may not fit."""
        if self._batch is not batch:
            self._batch = self._tables = None
            self._tables = finite_tables(self._xp, batch, self._device)
            self._batch = batch
        return self._tables


def unit_norm_rows(
    xp: ModuleType, batch: InstanceBatch, rows: tuple[int, int], device: Any = None
) -> tuple[Any, I64]:
    """Evaluation rows (start, stop) of norm 1, float32 (K, stop - start, n), and whose they are (I,)."""
    first, which = _different(batch, batch.evaluation_key)
    drawn = evaluation_rows(
        xp,
        batch.family.law,
        key=batch.evaluation_key[first],
        rows=rows,
        feature_probability=batch.feature_probability[first],
        high=batch.high[first],
        correlation=batch.correlation[first],
        unit_norm=True,
        device=device,
    )
    return drawn, which


def _different(batch: InstanceBatch, key: U64) -> tuple[npt.NDArray[np.intp], I64]:
    """The first instance of each combination of key, p and high, and each instance's number among them."""
    same = np.column_stack([key, batch.feature_probability.view(np.uint64), batch.high.view(np.uint64)])
    _, first, which = np.unique(same, axis=0, return_index=True, return_inverse=True)
    return first, which.reshape(-1).astype(np.int64)
