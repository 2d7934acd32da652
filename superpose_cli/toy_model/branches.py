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
"""Stored densities of a branch, those next to the crossing, that its curve is fitted to."""


@dataclass(frozen=True)
class Branch:
    """The lowest loss of one class of solutions at each density where a restart ended in it."""

    density: F64
    """Ascending."""
    loss: F64
    constant: F64
    """The loss of the best constant output there."""

    @property
    def ratio(self) -> F64:
        """Of the loss to that of the best constant output."""
        return self.loss / self.constant

    @classmethod
    def least(cls, density: npt.ArrayLike, loss: npt.ArrayLike, ratio: npt.ArrayLike) -> Self:
        """The lowest loss of some restarts, (I,), at each of their densities, (I,).

        ratio (I,): the loss over that of the best constant output, which is one at each density.
        """
        loss = np.asarray(loss, np.float64)
        values, first, which = np.unique(
            np.asarray(density, np.float64), return_index=True, return_inverse=True
        )
        least = np.full(len(values), np.inf)
        np.minimum.at(least, which, loss)
        return cls(values, least, (loss / np.asarray(ratio, np.float64))[first])


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
    ratio: float
    """Of both losses there to that of the best constant output."""


@dataclass(frozen=True)
class _Curve:
    """ln L(x) = a + b x + c ln C(x) over x = ln p, where C is the loss of the best constant output."""

    terms: F64
    """a, b, c."""
    constant: F64
    """C as a polynomial in p, highest power first."""

    def __call__(self, x: float) -> float:
        return float(self.terms @ [1.0, x, self.unit(x)])

    def unit(self, x: float) -> float:
        """ln C."""
        return float(np.log(np.polyval(self.constant, np.exp(x))))

    def slope(self, x: float) -> float:
        """dL / dx / L."""
        p = np.exp(x)
        own = p * np.polyval(np.polyder(self.constant), p) / np.polyval(self.constant, p)
        return float(self.terms[1] + self.terms[2] * own)


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

    The root is sought between the densest density at which both are stored and `one` is cheaper, and the
    next at which `other` is. The loss L of each is extrapolated into that one step from the stored densities
    nearest to it on the side where it is the cheaper: on the other it may have ceased to exist, and what
    ended in it is stuck on its way. Two densities at least are needed on either side. What is fitted is
    ln L = a + b ln p + c ln C, with C the loss of the best constant output: exact for all solutions of
    `theory.phase_2_in_1`, whose losses are multiples of C or of p^2.
    """
    shared, at, beside = np.intersect1d(one.density, other.density, return_indices=True)
    cheaper = shared[one.loss[at] < other.loss[beside]]
    if len(shared) < 2 or not len(cheaper):
        return None
    below, above = one.density <= cheaper[-1], other.density > cheaper[-1]
    if below.sum() < 2 or above.sum() < 2:
        return None
    low, high = float(np.log(cheaper[-1])), float(np.log(other.density[above][0]))
    constant = _constant(one, other, low)
    curve, beneath = _fit(one, below, low, constant), _fit(other, above, high, constant)
    if curve(low) > beneath(low) or curve(high) < beneath(high):
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if curve(middle) < beneath(middle) else (low, middle)
    ratio = float(np.exp(curve(low) - curve.unit(low)))
    return Crossing(float(np.exp(low)), curve.slope(low), beneath.slope(low), len(shared), ratio)


def _constant(one: Branch, other: Branch, near: float) -> F64:
    """The loss of the best constant output over p, near ln p = `near`: a variance, of degree 2 at most."""
    density, first = np.unique(np.append(one.density, other.density), return_index=True)
    nearest = _nearest(density, near)
    loss = np.append(one.constant, other.constant)[first]
    return np.polyfit(density[nearest], loss[nearest], min(2, len(nearest) - 1))


def _fit(branch: Branch, side: npt.NDArray[np.bool_], near: float, constant: F64) -> _Curve:
    """Least squares through the stored points of one side next to ln p = `near`."""
    nearest = np.flatnonzero(side)[_nearest(branch.density[side], near)]
    x = np.log(branch.density[nearest])
    basis = np.stack([np.ones(len(x)), x, np.log(branch.constant[nearest])], axis=1)[:, : len(x)]
    terms = np.zeros(3)
    terms[: len(x)] = np.linalg.lstsq(basis, np.log(branch.loss[nearest]), rcond=None)[0]
    return _Curve(terms, constant)


def _nearest(density: F64, near: float) -> npt.NDArray[np.intp]:
    return np.argsort(np.abs(np.log(density) - near), kind="stable")[:NEIGHBOURS]
