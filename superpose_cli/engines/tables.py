"""The fixed tables of finite data: drawn once for all instances that share one."""

from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from superpose_cli.experiment.instances import InstanceBatch
from superpose_cli.toy_model.sampling import finite_table


def finite_tables(
    xp: ModuleType, batch: InstanceBatch, device: Any = None
) -> tuple[Any, npt.NDArray[np.int64]]:
    """The K different tables, float32 (K, n_rows, n), and each instance's number among them (I,).

    Restarts share the key of their table, and cells may (common random numbers); p and high must agree too.
    """
    family = batch.family
    same = np.column_stack(
        [batch.table_key, batch.feature_probability.view(np.uint64), batch.high.view(np.uint64)]
    )
    _, first, which = np.unique(same, axis=0, return_index=True, return_inverse=True)
    drawn = finite_table(
        xp,
        family.law,
        key=batch.table_key[first],
        n_rows=family.n_rows,
        feature_probability=batch.feature_probability[first],
        high=batch.high[first],
        unit_norm=family.unit_norm,
        device=device,
    )
    return drawn, which.reshape(-1)
