"""What single hidden units carry. A hidden ReLU makes the units a basis of their own ("Superposition in a
Privileged Basis"); without one they are arbitrary axes."""

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.metrics import F64, REPRESENTED_NORM_SQ

MONOSEMANTIC = 0.9
"""A unit is one feature's from this share of its weights; a dedicated feature has that D_i."""
KINDS = ("silent", "monosemantic", "polysemantic")
"""Names of the codes 0..2 of `neuron_kinds`."""


def neuron_shares(W: npt.ArrayLike, W_dec: npt.ArrayLike | None = None, importance: npt.ArrayLike = 1) -> F64:
    """(n, m): feature i's share of what unit k reads and writes; 0 for a unit that does neither.

    The geometric mean of W_ik^2 / sum_j W_jk^2 and I_i W_dec,ik^2 / sum_j I_j W_dec,jk^2: a unit's scale,
    which a ReLU lets move from its output weights to its inputs, does not count, and an output does as much
    as the loss asks for it. W_dec (n, m) is W where left out (tied); then with equal importance it is
    W_ik^2 / sum_j W_jk^2. Importance: (n,) or one number.
    """
    reads = np.square(np.asarray(W, np.float64))
    writes = reads if W_dec is None else np.square(np.asarray(W_dec, np.float64))
    weights = np.broadcast_to(np.asarray(importance, np.float64), len(reads))
    return np.sqrt(_shares(reads) * _shares(weights[:, None] * writes))


def _shares(squares: F64) -> F64:
    total = squares.sum(axis=0)
    return np.divide(squares, total, out=np.zeros_like(squares), where=total > 0)


def neuron_kinds(
    W: npt.ArrayLike, W_dec: npt.ArrayLike | None = None, importance: npt.ArrayLike = 1
) -> npt.NDArray[np.int8]:
    """Codes into `KINDS` for the m columns of a finite W (n, m); W_dec and importance as in `neuron_shares`.

    silent: sum_i W_ik^2 <= 0.25, the bound of a represented feature (untied: the root of that sum times the
    same of W_dec); monosemantic: one feature has a share of at least 0.9; polysemantic: the rest, a unit that
    reads one feature and writes another among them. Source: after the stack plots of the paper,
    "Superposition in a Privileged Basis" and "Computation in Superposition".
    """
    reads = np.square(np.asarray(W, np.float64)).sum(axis=0)
    writes = reads if W_dec is None else np.square(np.asarray(W_dec, np.float64)).sum(axis=0)
    silent = np.sqrt(reads * writes) <= REPRESENTED_NORM_SQ
    alone = neuron_shares(W, W_dec, importance).max(axis=0) >= MONOSEMANTIC
    return np.where(silent, 0, np.where(alone, 1, 2)).astype(np.int8)
