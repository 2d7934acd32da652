"""What the fields of a whole grid must satisfy together, checked once per combination that matters.

A rule looks only at the axes that hold its fields, so a grid of a million cells with a thousand values per
axis costs a thousand checks. The message of a failed rule ends with the axis values of the first bad cell.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.axes import Experiment
from superpose_cli.experiment.instances import F64, I64
from superpose_cli.experiment.leaves import USERS, Codes, Leaves
from superpose_cli.experiment.resolve import importances, probabilities
from superpose_cli.experiment.rules import (
    CROSS_RULES,
    CrossRule,
    check_usage,
    empty_row_problem,
    importance_problem,
    length_problem,
    probability_problem,
)

MAX_WEIGHTS = 2**31
"""Entries of one instance's W."""
MAX_TABLE_BYTES = 4 * 2**30
"""Bytes of one finite table, and of one batch of rows with their hidden layer, in float32."""

_SET_KINDS = ("correlated", "anticorrelated")
_P_KEYS = (
    "model.n_features",
    "data.set_size",
    "data.feature_probability",
    "data.last_probability",
    "data.power",
)
_I_KEYS = ("model.n_features", "importance.decay", "importance.last_importance", "importance.values")


def check(experiment: Experiment, leaves: Leaves) -> None:
    """Raise ConfigError, naming the first offending cell, unless all cells of the grid are consistent."""
    check_usage(experiment.variants, experiment.axes)
    _check_batches(leaves)
    for rule in CROSS_RULES:
        _check_rule(leaves, rule)
    _check_sizes(leaves)
    for key in ("data.feature_probability", "importance.values"):
        _check_lengths(leaves, key)
    _check_vectors(leaves, "data.kind", _P_KEYS, _probability_problem)
    if True in leaves["data.unit_norm"].values:
        _check_vectors(leaves, "data.kind", ("data.unit_norm", *_P_KEYS), _empty_row_problem)
    _check_vectors(leaves, "importance.kind", _I_KEYS, _importance_problem)


def uneven_sets(leaves: Leaves) -> str | None:
    """A warning where the last set of features is smaller than the others in some cell, or None."""
    for codes in leaves.combinations(("data.kind", "data.set_size", "model.n_features")):
        n, size = leaves["model.n_features"].number(codes), leaves["data.set_size"].number(codes)
        bad = leaves["data.kind"].among(_SET_KINDS, codes) & (np.fmod(n, size) > 0)
        if bad.any():
            i = int(bad.argmax())
            return (f"the last set has {int(n[i] % size[i])} features, the others {int(size[i])}"
                    f"{leaves.where(codes, i)}")  # fmt: skip
    return None


def unused_batch(experiment: Experiment, leaves: Leaves) -> str | None:
    """A warning where the user typed a batch size that nothing draws, or None."""
    typed = any(override.lstrip("+").startswith("train.n_batch=") for override in experiment.overrides)
    if typed and "sampled" not in leaves["train.objective"].values:
        return "train.n_batch is not used: train.objective=population trains on the expected loss"
    return None


def _refuse(leaves: Leaves, codes: Codes, bad: npt.NDArray[np.bool_], message: Callable[[int], str]) -> None:
    if bad.any():
        first = int(bad.argmax())
        raise ConfigError(message(first) + leaves.where(codes, first))


def _check_batches(leaves: Leaves) -> None:
    objective, kind, n_batch = (leaves[k] for k in ("train.objective", "data.kind", "train.n_batch"))
    if n_batch.source and "sampled" not in objective.values:
        raise ConfigError("train.objective=population draws no batches: remove the axis over train.n_batch")
    for codes in leaves.combinations((objective.key, kind.key, n_batch.key)):
        finite, sampled = kind.among(("finite",), codes), objective.among(("sampled",), codes)
        _refuse(leaves, codes, ~sampled & finite, lambda _: (
            "train.objective=population is not for data=finite, which has a table: use train.n_batch=null, "
            "the full batch"))  # fmt: skip
        null = np.isnan(n_batch.number(codes))
        _refuse(leaves, codes, null & sampled & ~finite, lambda _: (
            "train.n_batch=null means the whole table, which only data=finite has: give the rows of a step"
        ))  # fmt: skip


def _check_rule(leaves: Leaves, rule: CrossRule) -> None:
    kind_keys = (rule.kind_key,) if rule.kind_key else ()
    for codes in leaves.combinations((*rule.keys, *kind_keys)):
        bad = ~rule.holds(*(leaves[key].number(codes) for key in rule.keys))
        if rule.kind_key:
            bad &= leaves[rule.kind_key].among(rule.kinds, codes)

        def message(i: int, codes: Codes = codes) -> str:
            return rule.message.format(*(leaves[k].values[codes[leaves[k].source][i]] for k in rule.keys))

        _refuse(leaves, codes, bad, message)


def _check_sizes(leaves: Leaves) -> None:
    """Refuse an instance that no machine could hold, with its size."""
    limits = (
        (("model.n_features", "model.n_hidden"), MAX_WEIGHTS, "lower model.n_features or model.n_hidden"),
        (("data.n_rows", "model.n_features"), MAX_TABLE_BYTES // 4, "lower data.n_rows or model.n_features"),
        (
            ("train.n_batch", "model.n_features"),
            MAX_TABLE_BYTES // 4,
            "lower train.n_batch or model.n_features",
        ),
        (("train.n_batch", "model.n_hidden"), MAX_TABLE_BYTES // 4, "lower train.n_batch or model.n_hidden"),
    )
    for keys, limit, advice in limits:
        kind_keys = tuple(USERS[key][0] for key in keys if key in USERS)
        for codes in leaves.combinations((*keys, *kind_keys)):
            a, b = (leaves[key].number(codes) for key in keys)
            bad = (a * b > limit) & np.logical_and.reduce([leaves.used(key, codes) for key in keys])
            _refuse(leaves, codes, bad, lambda i, a=a, b=b, keys=keys, advice=advice: (
                f"{keys[0]}={a[i]:.0f} times {keys[1]}={b[i]:.0f} makes an instance of "
                f"{a[i] * b[i] * 4 / 2**30:,.0f} GiB: {advice}"))  # fmt: skip


def _check_lengths(leaves: Leaves, key: str) -> None:
    for codes in leaves.combinations((key, USERS[key][0], "model.n_features")):
        lengths, n = leaves[key].lengths[codes[leaves[key].source]], leaves["model.n_features"].integer(codes)
        bad = leaves.used(key, codes) & (lengths > 0) & (lengths != n)
        _refuse(leaves, codes, bad, lambda i, lengths=lengths, n=n: (
            length_problem(key, int(lengths[i]), n[i : i + 1]) or ""))  # fmt: skip


def _check_vectors(
    leaves: Leaves,
    kind_key: str,
    keys: Sequence[str],
    problem: Callable[[Leaves, Codes, str, int], str | None],
) -> None:
    """Check resolved vectors, combinations of one kind and one n at a time, some million numbers at once."""
    for codes in leaves.combinations((kind_key, *keys)):
        n = leaves["model.n_features"].integer(codes)
        for kind in sorted(set(leaves[kind_key].values)):
            of_kind = leaves[kind_key].among((kind,), codes)
            for n_features in np.unique(n[of_kind]).tolist():
                index = np.flatnonzero(of_kind & (n == n_features))
                for part in np.array_split(index, 1 + len(index) * n_features // 2**22):
                    some = _pick(codes, part)
                    if said := problem(leaves, some, kind, n_features):
                        first, said = _first_bad(
                            leaves, some, lambda c, k=kind, m=n_features: problem(leaves, c, k, m)
                        )
                        raise ConfigError(said + leaves.where(first, 0))


def _probability_problem(leaves: Leaves, codes: Codes, kind: str, n: int) -> str | None:
    if kind == "exactly_k":
        return None
    # Without sets the extremes decide: a power law falls, and the entries of lists are checked one by one.
    features = np.arange(n) if kind in _SET_KINDS else np.unique([0, max(n - 2, 0), n - 1])
    sizes = np.nan_to_num(leaves["data.set_size"].number(codes), nan=1).astype(np.int64)
    p: F64 = probabilities(leaves, codes, kind, n, 0, features)
    return probability_problem(kind, p, sizes)


def _empty_row_problem(leaves: Leaves, codes: Codes, kind: str, n: int) -> str | None:
    scaled = leaves["data.unit_norm"].number(codes) == 1
    if kind != "finite" or not scaled.any():
        return None
    return empty_row_problem(
        probabilities(leaves, _pick(codes, np.flatnonzero(scaled)), kind, n, 0, np.arange(n))
    )


def _importance_problem(leaves: Leaves, codes: Codes, kind: str, n: int) -> str | None:
    return importance_problem(importances(leaves, codes, kind, n))


def _pick(codes: Codes, index: I64) -> Codes:
    return {source: code[index] for source, code in codes.items()}


def _first_bad(leaves: Leaves, codes: Codes, problem: Callable[[Codes], str | None]) -> tuple[Codes, str]:
    """The first combination with a problem, alone, and its problem; by halving."""
    index = np.arange(len(next(iter(codes.values()))))
    while len(index) > 1:
        half = index[: len(index) // 2]
        index = half if problem(_pick(codes, half)) else index[len(half) :]
    alone = _pick(codes, index)
    return alone, problem(alone) or ""
