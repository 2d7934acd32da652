"""Analogies of words that are sets of features: king - man + woman = queen.

A word is one feature (man) or two (king: royal and male). Where the hidden layer is linear the analogy holds
exactly in h, whatever W is: h(royal + male) - h(male) + h(female) = h(royal + female). But a word of two
antipodal features vanishes: h is 0 there, and neither its direction nor an output tells of it. Paper:
"Definitions and Motivation", features as directions, where word embeddings are the example.
"""

from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.metrics import represented
from superpose_cli.toy_model.model import Model, activate

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

TIE = 1e-6
"""Outputs are told apart from this difference on."""


class Analogies(NamedTuple):
    """How one model does on all analogies over some of its features."""

    error: float
    """Root mean square of king - man + woman - queen in h, over that of queen."""
    lead: float
    """Mean cosine to queen less that to the nearest other word (the three given ones and those that vanish
    left out), over the analogies whose queen does not vanish; NaN without one."""
    decoded: float
    """Share of all whose two largest outputs are queen's features."""
    vanished: float
    """Share whose queen vanishes: ||h||^2 <= 0.25, the bound of a represented feature."""
    apart: float
    """Degrees between the two features of such a queen, at least; NaN where none vanishes."""
    nearest: float
    """Of the others, the share with queen as the nearest word; NaN without one."""
    decoded_there: float
    """As `decoded`, of the others."""


def vocabulary(features: npt.ArrayLike, n_features: int) -> tuple[F64, I64]:
    """All words over `features`: inputs (words, n), and (A, 4) word numbers of (king, man, woman, queen).

    First the k single features, then the pairs; an analogy for each ordered choice of three features
    (royal, male, female).
    """
    features = np.asarray(features, np.int64)
    k = len(features)
    first, second = np.triu_indices(k, 1)
    x = np.zeros((k + len(first), n_features))
    x[np.arange(k), features] = 1
    pairs = np.arange(k, len(x))
    x[pairs, features[first]] = x[pairs, features[second]] = 1
    pair = np.zeros((k, k), np.int64)
    pair[first, second] = pair[second, first] = pairs
    royal, male, female = np.array(list(permutations(range(k), 3)), np.int64).reshape(-1, 3).T
    return x, np.stack([pair[royal, male], male, female, pair[royal, female]], axis=1)


def solve_analogies(
    W: F64, decoder: F64, b: F64, b_hidden: F64, model: Model, features: npt.ArrayLike
) -> Analogies:
    """All analogies over `features` (three or more) of a model: W, decoder (n, m), b (n,), b_hidden (m,).

    NaN in place of every number where a weight is not finite.
    """
    x, analogies = vocabulary(features, len(W))
    king, man, woman, queen = analogies.T
    h = activate(x @ W + b_hidden, model.hidden_activation)
    found = h[king] - h[man] + h[woman]
    y = activate(found @ decoder.T + b, model.output_activation)
    if not np.isfinite(y).all():
        return Analogies(*[np.nan] * len(Analogies._fields))
    size = float(np.square(h[queen]).mean())
    error = float(np.sqrt(np.square(found - h[queen]).mean() / size)) if size else np.nan
    words_there = represented(np.linalg.norm(h, axis=1))
    there = words_there[queen]
    cosine = _unit(found) @ _unit(h).T
    rows = np.arange(len(king))
    answer = cosine[rows, queen]
    cosine[:, ~words_there] = -1
    for given_word in (king, man, woman, queen):
        cosine[rows, given_word] = -1
    lead = answer - cosine.max(axis=1)
    wanted = x[queen] > 0
    decoded = np.where(wanted, y, np.inf).min(axis=1) > np.where(wanted, -np.inf, y).max(axis=1) + TIE
    features = np.nonzero(wanted[~there])[1].reshape(-1, 2)
    between = (_unit(W)[features[:, 0]] * _unit(W)[features[:, 1]]).sum(axis=1)
    return Analogies(
        error=error,
        lead=_mean(lead[there]),
        decoded=float(decoded.mean()),
        vanished=float((~there).mean()),
        apart=float(np.degrees(np.arccos(np.clip(between.max(), -1, 1)))) if len(between) else np.nan,
        nearest=_mean(lead[there] > TIE),
        decoded_there=_mean(decoded[there]),
    )


def _mean(values: npt.NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else np.nan


def _unit(vectors: F64) -> F64:
    length = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
