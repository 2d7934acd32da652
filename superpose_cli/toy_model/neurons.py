"""What single hidden units carry. A hidden ReLU makes the units a basis of their own ("Superposition in a
Privileged Basis"); without one they are arbitrary axes."""

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.metrics import F64, REPRESENTED_NORM_SQ

MONOSEMANTIC = 0.9
"""A unit is one feature's from this share of its squared weights; a dedicated feature has that D_i."""
KINDS = ("silent", "monosemantic", "polysemantic")
"""Names of the codes 0..2 of `neuron_kinds`."""


def neuron_shares(W: npt.ArrayLike) -> F64:
    """(n, m): W_ik^2 / sum_i W_ik^2, feature i's share of unit k's squared weights; 0 where all are 0."""
    squares = np.square(np.asarray(W, np.float64))
    total = squares.sum(axis=0)
    return np.divide(squares, total, out=np.zeros_like(squares), where=total > 0)


def neuron_kinds(W: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """Codes into `KINDS` for the m columns of a finite W (n, m).

    silent: sum_i W_ik^2 <= 0.25, the bound of a represented feature; monosemantic: one feature has at least
    0.9 of that sum; polysemantic: the rest. Source: after the stack plots of the paper, "Superposition in a
    Privileged Basis".
    """
    silent = np.square(np.asarray(W, np.float64)).sum(axis=0) <= REPRESENTED_NORM_SQ
    alone = neuron_shares(W).max(axis=0) >= MONOSEMANTIC
    return np.where(silent, 0, np.where(alone, 1, 2)).astype(np.int8)
