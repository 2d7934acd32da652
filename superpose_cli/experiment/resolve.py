"""From fields to what is trained: per-cell probabilities, importances, deviations, and the family.

Vectors must have the same bits on every machine, since keys hash them: only IEEE sums, products, quotients
and square roots are used, and decimal arithmetic for powers (NumPy's and libm's pow differ in the last bit).
"""

import math
from collections.abc import Mapping
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any

import numpy as np

from superpose_cli.experiment.config import (
    Activation,
    DataKind,
    Objective,
    Optimizer,
    Reduction,
    Schedule,
    Target,
    ValueKind,
)
from superpose_cli.experiment.instances import F64, I64, U64, Family
from superpose_cli.experiment.keys import record_hashes
from superpose_cli.experiment.leaves import Codes, Leaf, Leaves

DEFAULTS: Mapping[str, Any] = {
    "data.unit_norm": False,
    "train.momentum": 0.0,
    "train.beta1": 0.9,
    "train.beta2": 0.999,
    "train.eps": 1e-8,
}
"""What a null stands for where the field is used (`torch.optim`'s defaults)."""

INPUT_FIELDS: Mapping[str, str] = {
    "model.n_features": "n_features",
    "model.n_hidden": "n_hidden",
    "model.hidden_activation": "hidden_activation",
    "model.output_activation": "output_activation",
    "model.tied": "tied",
    "model.bias": "bias",
    "model.hidden_bias": "hidden_bias",
    "model.target": "target",
    "data.kind": "data",
    "data.value": "value",
    "data.signed": "signed",
    "data.set_size": "set_size",
    "data.k": "k",
    "data.n_rows": "n_rows",
    "data.unit_norm": "unit_norm",
}
TRAINING_FIELDS: Mapping[str, str] = {
    "train.optimizer": "optimizer",
    "train.schedule": "schedule",
    "train.warmup_steps": "warmup_steps",
    "train.steps": "steps",
    "train.n_batch": "n_batch",
    "train.loss_reduction": "loss_reduction",
    "train.objective": "objective",
}
STRUCTURAL_KEYS = (*INPUT_FIELDS, *TRAINING_FIELDS, "init.kind", "importance.kind")
"""Cells that agree on these are resolved together, and most of them are shared by a `Family`."""

_DECIMAL = Context(prec=30)


def family_of(structure: Mapping[str, Any]) -> Family:
    """The family of cells whose structural fields have the given values; 0 and False where one is unused."""
    kind = DataKind(structure["data.kind"])
    objective = Objective(structure["train.objective"])
    has_sets = kind in (DataKind.correlated, DataKind.anticorrelated)
    is_finite = kind == DataKind.finite
    return Family(
        n_features=structure["model.n_features"],
        n_hidden=structure["model.n_hidden"],
        hidden_activation=Activation(structure["model.hidden_activation"]),
        output_activation=Activation(structure["model.output_activation"]),
        tied=structure["model.tied"],
        bias=structure["model.bias"],
        hidden_bias=structure["model.hidden_bias"],
        target=Target(structure["model.target"]),
        data=kind,
        value=ValueKind(structure["data.value"]),
        signed=structure["data.signed"],
        set_size=structure["data.set_size"] if has_sets else 0,
        k=structure["data.k"] if kind == DataKind.exactly_k else 0,
        n_rows=structure["data.n_rows"] if is_finite else 0,
        unit_norm=bool(structure["data.unit_norm"]) if is_finite else False,
        optimizer=Optimizer(structure["train.optimizer"]),
        schedule=Schedule(structure["train.schedule"]),
        warmup_steps=structure["train.warmup_steps"],
        steps=structure["train.steps"],
        n_batch=(structure["train.n_batch"] or 0) if objective == Objective.sampled else 0,
        loss_reduction=Reduction(structure["train.loss_reduction"]),
        objective=objective,
    )


def resolve(leaves: Leaves, codes: Codes, structure: Mapping[str, Any], family: Family) -> dict[str, F64]:
    """The float arrays of `InstanceBatch` for cells that share `structure`, (C,) or (C, n).

    A field that the cells' kinds do not use has its neutral value: 0, or an optimiser's default.
    """
    n = family.n_features

    def used(key: str, neutral: float) -> F64:
        number = leaves[key].number(codes)
        number = np.where(np.isnan(number), DEFAULTS.get(key, neutral), number)
        return np.where(leaves.used(key, codes), number, neutral)

    return {
        "feature_probability": probabilities(leaves, codes, family.data, n, family.k, np.arange(n)),
        "importance": importances(leaves, codes, structure["importance.kind"], n),
        "correlation": used("data.correlation", 0.0),
        "high": leaves["data.high"].number(codes),
        "init_std": _init_std(leaves, codes, structure["init.kind"], n, family.n_hidden),
        "hidden_l1": leaves["model.hidden_l1"].number(codes),
        "learning_rate": leaves["train.learning_rate"].number(codes),
        "weight_decay": leaves["train.weight_decay"].number(codes),
        "momentum": used("train.momentum", 0.0),
        "beta1": used("train.beta1", DEFAULTS["train.beta1"]),
        "beta2": used("train.beta2", DEFAULTS["train.beta2"]),
        "eps": used("train.eps", DEFAULTS["train.eps"]),
    }


def hash_records(family: Family, arrays: Mapping[str, F64]) -> tuple[U64, U64]:
    """The hashes of the inputs record and of the training record of each cell, (C,) each."""
    fixed = {key: getattr(family, name) for key, name in INPUT_FIELDS.items()}
    columns = {
        "data.correlation": arrays["correlation"],
        "data.high": arrays["high"],
        "model.hidden_l1": arrays["hidden_l1"],
        "importance": arrays["importance"],
    }
    if family.data != DataKind.exactly_k:  # there it follows from k and n
        columns["data.feature_probability"] = arrays["feature_probability"]
    inputs = record_hashes("inputs", fixed, columns)
    fixed = {key: getattr(family, name) for key, name in TRAINING_FIELDS.items()}
    names = ("learning_rate", "weight_decay", "momentum", "beta1", "beta2", "eps")
    columns = {f"train.{name}": arrays[name] for name in names} | {"init.std": arrays["init_std"]}
    return inputs, record_hashes("training", fixed, columns)


def probabilities(leaves: Leaves, codes: Codes, kind: str, n: int, k: int, features: I64) -> F64:
    """P(x_i != 0) of the given features of cells with n features each, (C, len(features)).

    A number stands for all features, a list for itself; a power law multiplies it by (i + 1)^-power; the last
    feature's own probability, where set, comes last. exactly_k: k / n.
    """
    leaf = leaves["data.feature_probability"]
    n_cells = len(next(iter(codes.values())))
    if kind == DataKind.exactly_k:
        return np.full((n_cells, len(features)), k / n)
    p = np.repeat(leaf.number(codes)[:, None], len(features), axis=1)
    _put_lists(p, leaf, codes, features)
    power = leaves["data.power"].number(codes)
    if (power > 0).any():
        exponents, which = np.unique(np.where(power > 0, power, 0.0), return_inverse=True)
        p *= np.array([[inverse_power(i + 1, e) for i in features.tolist()] for e in exponents.tolist()])[
            which
        ]
    last = leaves["data.last_probability"].number(codes)[:, None]
    return np.where((features == n - 1) & ~np.isnan(last), last, p)


def importances(leaves: Leaves, codes: Codes, kind: str, n: int) -> F64:
    """The importances I_i of cells with n features each, (C, n).

    geometric: running products, so that every machine has the same bits.
    """
    vectors = np.ones((len(next(iter(codes.values()))), n))
    if kind == "geometric":
        vectors[:, 1:] = leaves["importance.decay"].number(codes)[:, None]
        with np.errstate(over="ignore", under="ignore"):  # an overflow is refused when the grid is checked
            vectors = np.multiply.accumulate(vectors, axis=1)
    elif kind == "last":
        vectors[:, -1] = leaves["importance.last_importance"].number(codes)
    elif kind == "explicit":
        _put_lists(vectors, leaves["importance.values"], codes, np.arange(n))
    return vectors


def _put_lists(vectors: F64, leaf: Leaf, codes: Codes, features: I64) -> None:
    """Write the entries `features` of a field's lists into the rows of the cells that have one."""
    at = codes[leaf.source]
    rows = leaf.lengths[at] > 0
    if rows.any():
        distinct, which = np.unique(at[rows], return_inverse=True)
        vectors[rows] = np.array([leaf.values[code] for code in distinct], np.float64)[which][:, features]


def inverse_power(base: int, power: float) -> float:
    """base^-power from 30 decimal digits, rounded once to a double; the same bits on every machine."""
    return float(_inverse_power(base, power))


@lru_cache(maxsize=2**18)
def _inverse_power(base: int, power: float) -> Decimal:
    """Decimal powers are slow, so only primes take one; other bases multiply those of their factors."""
    factor = next((d for d in range(2, math.isqrt(base) + 1) if base % d == 0), base)
    if factor == base:
        return _DECIMAL.power(Decimal(base), -Decimal(power))
    return _DECIMAL.multiply(_inverse_power(factor, power), _inverse_power(base // factor, power))


def _init_std(leaves: Leaves, codes: Codes, kind: str, n: int, m: int) -> F64:
    """Standard deviation of the initial weights of each cell; see `InitConfig`."""
    n_cells = len(next(iter(codes.values())))
    if kind == "normal":
        return leaves["init.std"].number(codes)
    if kind == "notebook":
        return np.sqrt(2.0 / (m * (n + leaves["init.n_instances"].number(codes))))
    return np.full(n_cells, math.sqrt(2.0 / (n + m)))
