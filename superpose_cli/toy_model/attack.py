"""How vulnerable a model is to small changes of its input, chosen against it.

Paper, "Superposition and Adversarial Robustness": interference gives an attacker many small lever arms. A
gradient attack on trained models is masked where everything is sparse (most outputs are off, and have none),
so the direction is that of an output's input weights, whether or not it is on.
"""

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.model import Model, target_of

F64 = npt.NDArray[np.float64]

CACHED_NUMBERS = 1 << 17
"""Errors that are worked on at once: 1 MiB, which stays in the processor's cache."""


def vulnerability(
    x: npt.ArrayLike, W: F64, decoder: F64, shift: F64, importance: F64, model: Model, share: float
) -> F64:
    """(rows,): the most that an attack of norm lambda = share * mean ||x|| adds to the loss, over lambda^2.

    x: (rows, n); W, decoder: (n, m); shift: (n,), all that is added to the output before its activation;
    importance: (n,). The attacks are lambda g_i / ||g_i|| for every feature i, with g_i = row i of
    decoder W^T, the gradient of output i before its activation; the loss is the sum over features
    sum_j I_j (t_j - y_j)^2, the target t that of the clean x. The hidden layer must be linear.

    1 where each represented feature has a dimension of its own and importance 1 (x >= 0); 0 for W = 0; NaN
    where a weight is not finite. Source: derived, after the paper's figure of vulnerability.
    """
    x = np.asarray(x, np.float64)
    G = decoder @ W.T
    reach = share * np.sqrt(np.square(x).sum(axis=1)).mean()
    length = np.sqrt(np.square(G).sum(axis=1))
    if not np.isfinite(length).all() or not np.isfinite(shift).all():
        return np.full(len(x), np.nan)
    if reach == 0 or not length.any():
        return np.zeros(len(x))
    there, weight = length > 0, np.sqrt(importance)
    change = (reach / length[there])[:, None] * (G[there] @ G.T) * weight  # of all outputs, an attack a row
    target = weight * target_of(x, model.target)
    error = weight * (x @ G.T + shift) - target
    floor = -target if model.output_activation == "relu" else np.full_like(target, -np.inf)
    most, size = np.empty(len(x)), max(1, CACHED_NUMBERS // change.size)
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        after = change + error[rows, None]
        np.maximum(after, floor[rows, None], out=after)
        most[rows] = np.einsum("rij,rij->ri", after, after).max(axis=1)
    before = np.square(np.maximum(error, floor)).sum(axis=1)
    return (most - before) / reach**2
