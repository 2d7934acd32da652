"""Plateaus of D_i during training and the jumps between them ("Superposition and Learning Dynamics")."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.metrics import F64

FLAT = 0.02
"""On a plateau D_i stays this near to the middle of its range ..."""
LASTING = 150
"""... for so many steps."""
APART = 0.05
"""A jump joins plateaus further apart than this."""


@dataclass(frozen=True)
class Jump:
    """One feature's way from a plateau to the next."""

    feature: int
    start: int
    """Index of the record that ends the lower or upper plateau left."""
    stop: int
    """Index of the record that begins the plateau reached; more than `start`."""
    before: float
    """D_i."""
    after: float


def jumps(steps: npt.ArrayLike, dimensionality: npt.ArrayLike) -> list[Jump]:
    """The jumps of each feature, from D_i (T, n) at evenly spaced recorded `steps` (T,).

    A plateau is a run of windows of `LASTING` steps in each of which D_i stays within `FLAT` of its middle.
    """
    steps, D = np.asarray(steps), np.asarray(dimensionality, np.float64)
    width = int(np.searchsorted(steps, steps[0] + LASTING)) + 1
    if width > len(steps):
        return []
    windows = np.lib.stride_tricks.sliding_window_view(D, width, axis=0)
    flat, level = np.ptp(windows, axis=2) <= 2 * FLAT, windows.mean(axis=2)
    found = []
    for i in range(D.shape[1]):
        edge = np.diff(flat[:, i].astype(np.int8), prepend=0, append=0)
        plateaus = list(zip(np.flatnonzero(edge == 1), np.flatnonzero(edge == -1) - 1, strict=True))
        for (_, left), (reached, _) in pairwise(plateaus):
            before, after = float(level[left, i]), float(level[reached, i])
            if abs(after - before) > APART:
                # Windows may overlap: the jump lies between the end of one and the start of the other.
                start, stop = sorted((int(left) + width - 1, int(reached)))
                found.append(Jump(i, start, max(stop, start + 1), before, after))
    return found


def in_jumps(found: Sequence[Jump], n_records: int) -> npt.NDArray[np.bool_]:
    """(T - 1,): whether some feature is on its way in the interval from record t to t + 1."""
    covered = np.zeros(n_records - 1, dtype=bool)
    for jump in found:
        covered[jump.start : jump.stop] = True
    return covered


def share_of_fall(loss: npt.ArrayLike, covered: npt.NDArray[np.bool_]) -> float:
    """The share of the fall of `loss` (T,) in the covered intervals; NaN where it does not fall."""
    fall: F64 = -np.diff(np.asarray(loss, np.float64))
    return float(fall[covered].sum() / fall.sum()) if fall.sum() > 0 else float("nan")
