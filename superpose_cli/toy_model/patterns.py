"""Which features are on together: the patterns of a law and their probabilities, for exact expectations.

Given its pattern, the values of the features that are on are independent of each other in every law.
"""

from collections.abc import Iterator
from itertools import combinations, product
from math import comb

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.sampling import F64, Law

I8 = npt.NDArray[np.int8]
I64 = npt.NDArray[np.int64]


def patterns(n_features: int, most: int, signed: bool) -> I8:
    """(P, n): 0 for a feature that is off, else its sign: all patterns with at most `most` features on.

    Ordered by the number of features on, so that those of a smaller `most` come first.
    """
    signs = (1, -1) if signed else (1,)
    found = np.zeros((n_patterns(n_features, most, signed), n_features), np.int8)
    row = 0
    for count in range(most + 1):
        for on in combinations(range(n_features), count):
            for sign in product(signs, repeat=count):
                found[row, list(on)] = sign
                row += 1
    return found


def n_patterns(n_features: int, most: int, signed: bool) -> int:
    """How many patterns have at most `most` features on."""
    return sum(comb(n_features, count) * (2 if signed else 1) ** count for count in range(most + 1))


def pattern_probability(law: Law, feature_probability: F64, correlation: F64, signs: I8) -> F64:
    """(I, P): probability of each pattern. feature_probability: (I, n); correlation: (I,).

    Raises ValueError for a law that it does not know. Source: derived from the laws of `sampling`.
    """
    on = signs != 0
    p = feature_probability[:, None, :]
    if law.kind == "independent":
        found = np.where(on, p, 1 - p).prod(axis=2)
    elif law.kind == "exactly_k":
        exact = (on.sum(axis=1) == law.k) / comb(on.shape[1], law.k)
        found = np.broadcast_to(exact, (len(p), len(on))).copy()
    elif law.kind == "correlated":
        # A feature follows its set's draw with probability c, else its own.
        c = correlation[:, None, None]
        with_set = np.where(on, c + (1 - c) * p, (1 - c) * (1 - p))
        without = np.where(on, (1 - c) * p, c + (1 - c) * (1 - p))
        starts = np.arange(0, on.shape[1], law.set_size)
        first = p[:, :, starts]
        joint = first * np.multiply.reduceat(with_set, starts, axis=2)
        joint += (1 - first) * np.multiply.reduceat(without, starts, axis=2)
        found = joint.prod(axis=2)
    elif law.kind == "anticorrelated":
        starts = np.arange(0, on.shape[1], law.set_size)
        members = np.add.reduceat(on, starts, axis=1, dtype=np.int64)
        none = 1 - np.add.reduceat(p, starts, axis=2)
        found = np.select([members == 0, members == 1], [none, p[:, :, starts]], 0.0).prod(axis=2)
    else:
        raise ValueError(f"the patterns of {law.kind} data are not known")
    return found / 2.0 ** np.abs(signs).sum(axis=1) if law.signed else found


def count_probability(law: Law, feature_probability: F64, correlation: F64) -> F64:
    """(I, n + 1): probability that 0, 1, ... n features are on, for the same laws.

    The counts of independent sets (or features) are added one after the other.
    """
    n = feature_probability.shape[1]
    if law.kind == "exactly_k":
        found = np.zeros((len(feature_probability), n + 1))
        found[:, law.k] = 1
        return found
    found = np.ones((len(feature_probability), 1))
    for of_set in _set_counts(law, feature_probability, correlation):
        found = _of_sum(found, of_set)
    return found


def meeting_probability(law: Law, feature_probability: F64, correlation: F64) -> F64:
    """(I,): probability that features of two sets (independent: two features) are on together.

    Without such rows nothing speaks against superposition, so they set the scale of what may be left out.
    0 where all features are one set.
    """
    if law.kind == "exactly_k":
        return np.zeros(len(feature_probability))
    found = np.ones((len(feature_probability), 1))
    for of_set in _set_counts(law, feature_probability, correlation):
        some = of_set[:, 1:].sum(axis=1)
        found = _of_sum(found, np.stack([of_set[:, 0], some], axis=1))
    return found[:, 2:].sum(axis=1)


def _set_counts(law: Law, feature_probability: F64, correlation: F64) -> Iterator[F64]:
    """(I, members + 1) of each set: the probability that so many of its features are on."""
    n = feature_probability.shape[1]
    size = law.set_size if law.kind in ("correlated", "anticorrelated") else 1
    inside = Law(law.kind, set_size=law.set_size)
    for start in range(0, n, size):
        members = min(size, n - start)
        signs = patterns(members, members, False)
        p = pattern_probability(inside, feature_probability[:, start : start + size], correlation, signs)
        yield np.stack([p[:, signs.sum(axis=1) == count].sum(axis=1) for count in range(members + 1)], 1)


def _of_sum(first: F64, second: F64) -> F64:
    """The distribution of the sum of two independent counts, (I, a) and (I, b) -> (I, a + b - 1)."""
    found = np.zeros((len(first), first.shape[1] + second.shape[1] - 1))
    for count in range(second.shape[1]):
        found[:, count : count + first.shape[1]] += second[:, count, None] * first
    return found


def most_active(counts: F64, left_out: F64) -> I64:
    """(I,): the smallest number that at most `left_out` (I,) of the rows exceed, from `count_probability`."""
    beyond = counts[:, ::-1].cumsum(axis=1)[:, ::-1]  # P(count >= c)
    return (beyond[:, 1:] > left_out[:, None]).sum(axis=1)
