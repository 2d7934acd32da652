"""From the sums over evaluation rows that a fused engine's kernels leave, to what was measured."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from superpose_cli.engines.base import Evaluation
from superpose_cli.experiment.instances import Family

F64 = npt.NDArray[np.float64]


class SumsOverRows(Protocol):
    """What each engine's own record of sums has, on the host."""

    @property
    def feature(self) -> F64: ...
    @property
    def row(self) -> F64: ...
    @property
    def h(self) -> F64: ...
    @property
    def h_abs(self) -> F64: ...
    @property
    def hh(self) -> F64: ...
    @property
    def target(self) -> F64: ...
    @property
    def target_square(self) -> F64: ...
    @property
    def alive(self) -> npt.NDArray[np.generic]: ...


def evaluation_of(family: Family, sums: SumsOverRows, rows: int) -> Evaluation:
    """The means, and the standard error of the loss from the scatter of its rows."""
    loss, mean = sums.row[:, 0] / rows, sums.h / rows
    scatter = np.maximum(sums.row[:, 1] / rows - loss * loss, 0)
    return Evaluation(
        loss=loss,
        loss_stderr=np.sqrt(scatter / max(rows - 1, 1)),
        feature_loss=sums.feature / rows,
        hidden_l1=sums.h_abs / rows,
        hidden_mean=mean,
        hidden_cov=sums.hh / rows - mean[:, :, None] * mean[:, None, :],
        target_mean=sums.target / rows if family.unit_norm else None,
        target_square=sums.target_square / rows if family.unit_norm else None,
        dead=sums.alive == 0,
    )
