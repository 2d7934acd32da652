"""Two classes of solutions over a density: where their losses cross, by interpolation and root-finding."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.metrics import F64

NEIGHBOURS = 4
"""Stored densities of a branch, those nearest to the crossing, that its curve is fitted to."""


@dataclass(frozen=True)
class Branch:
    """The lowest loss of one class of solutions at each density where a restart ended in it."""

    density: F64
    """Ascending."""
    loss: F64

    @classmethod
    def least(cls, density: npt.ArrayLike, loss: npt.ArrayLike) -> Self:
        """The lowest loss of some restarts, (I,), at each of their densities, (I,)."""
        values, which = np.unique(np.asarray(density, np.float64), return_inverse=True)
        least = np.full(len(values), np.inf)
        np.minimum.at(least, which, np.asarray(loss, np.float64))
        return cls(values, least)


@dataclass(frozen=True)
class Crossing:
    """Where two branches cost the same."""

    at: float
    """The density."""
    slope: float
    """d ln loss / d ln density of the first branch there."""
    other_slope: float
    shared: int
    """Densities at which both branches are stored."""


def crossing(one: Branch, other: Branch) -> Crossing | None:
    """The density at which `one`, cheaper below it, begins to cost more than `other`; None if not bracketed.

    ln loss of each branch is a parabola in ln density, fitted to its stored densities nearest to the
    crossing. The root is sought between the densest density at which `one` is stored and cheaper, and the
    next at which `other` is: `one` itself may have ceased to exist there, and is then extrapolated by that
    one step.
    """
    shared, at, beside = np.intersect1d(one.density, other.density, return_indices=True)
    cheaper = shared[one.loss[at] < other.loss[beside]]
    if len(shared) < 2 or not len(cheaper) or not (other.density > cheaper[-1]).any():
        return None
    low = float(np.log(cheaper[-1]))
    high = float(np.log(other.density[other.density > cheaper[-1]][0]))
    curve, beneath = _fit(one, low), _fit(other, high)
    excess = np.polysub(curve, beneath)
    if np.polyval(excess, low) > 0 or np.polyval(excess, high) < 0:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.polyval(excess, middle) < 0 else (low, middle)
    slope, other_slope = (float(np.polyval(np.polyder(fit), low)) for fit in (curve, beneath))
    return Crossing(float(np.exp(low)), slope, other_slope, len(shared))


def _fit(branch: Branch, near: float) -> F64:
    """The parabola of ln loss over ln density through the stored points next to `near`."""
    x, y = np.log(branch.density), np.log(branch.loss)
    nearest = np.argsort(np.abs(x - near), kind="stable")[:NEIGHBOURS]
    return np.polyfit(x[nearest], y[nearest], min(2, len(nearest) - 1))
