"""Classes of solutions that compete over a density: which one a model is in, and where their losses cross.

Crossings are found by interpolation of the stored losses and root-finding.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.geometry import ring, solution_name, tegum_factors
from superpose_cli.toy_model.metrics import F64, represented

Names = npt.NDArray[np.str_]

SPREAD = 25.0
"""Degrees by which the angles between neighbours of a deformed pentagon may differ from 72: a square with a
fifth feature between two of its own has 45."""
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
    loss: float
    """Of both, there."""


def pentagon_or_digons(W: npt.ArrayLike) -> str:
    """What five features in the plane, W (5, 2), make: see the paper's non-uniform superposition.

    `digons`: a square of all but the last, which is not represented; `pentagon`: one of all five, deformed or
    not; or ''.
    """
    W = np.asarray(W, np.float64)
    seen = represented(np.linalg.norm(W, axis=1))
    if seen.all() and (np.abs(ring(W) - 72) < SPREAD).all():
        return "pentagon"
    without = seen[:-1].all() and not seen[-1]
    return "digons" if without and solution_name(tegum_factors(W @ W.T)) == "square" else ""


def fates(regime: npt.ArrayLike, norm: npt.ArrayLike, row_sum: npt.ArrayLike) -> Names:
    """(I,): the solutions of n features in n - 1 dimensions, named as in `theory.phase_3_in_2`, or ''.

    By what becomes of the last feature. regime, norm and row_sum (of G): (I, n), n >= 2. A superposed pair
    points opposite ways: its members' rows of G sum to less than ||W_i||^2.
    """
    regime = np.asarray(regime)
    dedicated, shared = regime == "dedicated", regime == "superposed"
    opposite = np.asarray(row_sum) < np.square(np.asarray(norm, np.float64))
    paired = (shared.sum(axis=1) == 2) & (opposite | ~shared).all(axis=1)
    alone = dedicated.sum(axis=1) == regime.shape[1] - 1
    pairs = paired & (dedicated | shared).all(axis=1)
    last = dedicated[:, -1]
    choices = {
        "ignored": alone & ~last,
        "dedicated": alone & last,
        "superposed": pairs & shared[:, -1],
        "others_superposed": pairs & last,
    }
    return np.select(list(choices.values()), list(choices), default="")


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
    loss = float(np.exp(np.polyval(curve, low)))
    return Crossing(float(np.exp(low)), slope, other_slope, len(shared), loss)


def _fit(branch: Branch, near: float) -> F64:
    """The parabola of ln loss over ln density through the stored points next to `near`."""
    x, y = np.log(branch.density), np.log(branch.loss)
    nearest = np.argsort(np.abs(x - near), kind="stable")[:NEIGHBOURS]
    return np.polyfit(x[nearest], y[nearest], min(2, len(nearest) - 1))
