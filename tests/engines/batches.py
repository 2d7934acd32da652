"""Families and batches for engine tests, and the plain NumPy loop that engines are held to."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from superpose_cli.engines.base import State
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
from superpose_cli.experiment.instances import Family, InstanceBatch
from superpose_cli.toy_model.model import PARAMETERS, initial_weights
from superpose_cli.toy_model.objective import gradient
from superpose_cli.toy_model.optim import Coefficients, Hyper, rate_factor, update
from superpose_cli.toy_model.philox import Stream
from superpose_cli.toy_model.sampling import draw, finite_table, table_row_indices

BASE = Family(
    n_features=5,
    n_hidden=2,
    hidden_activation=Activation.identity,
    output_activation=Activation.relu,
    tied=True,
    bias=True,
    hidden_bias=False,
    target=Target.identity,
    data=DataKind.independent,
    value=ValueKind.uniform,
    signed=False,
    set_size=0,
    k=0,
    n_rows=0,
    unit_norm=False,
    optimizer=Optimizer.adam,
    schedule=Schedule.cosine,
    warmup_steps=0,
    steps=60,
    n_batch=200,
    loss_reduction=Reduction.mean,
    objective=Objective.sampled,
)

FAMILIES = {
    "relu_output": BASE,
    "linear": replace(BASE, output_activation=Activation.identity),
    "relu_hidden": replace(BASE, hidden_activation=Activation.relu, hidden_bias=True),
    "absolute_value": replace(
        BASE, hidden_activation=Activation.relu, tied=False, target=Target.abs, signed=True, n_hidden=7
    ),
    "no_bias": replace(BASE, bias=False, value=ValueKind.constant, optimizer=Optimizer.sgd),
    "adamw_warm": replace(BASE, optimizer=Optimizer.adamw, warmup_steps=5, schedule=Schedule.linear),
    "sum_exponential": replace(BASE, loss_reduction=Reduction.sum, value=ValueKind.exponential),
    "correlated": replace(BASE, data=DataKind.correlated, set_size=2),
    "anticorrelated": replace(BASE, data=DataKind.anticorrelated, set_size=3, signed=True),
    "exactly_k": replace(BASE, data=DataKind.exactly_k, k=2, schedule=Schedule.constant),
    "one_hidden": replace(BASE, n_features=2, n_hidden=1, n_batch=256),
    "one_feature": replace(BASE, n_features=1, n_hidden=1, n_batch=1),
    "panel": replace(BASE, n_features=40, n_hidden=9, n_batch=130),
    "panel_adamw": replace(BASE, n_features=20, n_hidden=5, n_batch=130, optimizer=Optimizer.adamw),
    "wide": replace(BASE, n_features=70, n_hidden=18, n_batch=100),
    "wide_untied": replace(
        BASE, n_features=70, n_hidden=18, n_batch=100, tied=False, hidden_bias=True, optimizer=Optimizer.adamw
    ),
    "finite_full": replace(BASE, data=DataKind.finite, n_rows=30, n_batch=0, unit_norm=True),
    "finite_batches": replace(BASE, data=DataKind.finite, n_rows=300, n_batch=64),
}


def make_batch(family: Family, count: int = 6, **given: Any) -> InstanceBatch:
    """Instances that differ in everything that may differ inside a batch."""
    n, index = family.n_features, np.arange(count)
    rng = np.random.default_rng(7)
    p = np.repeat(rng.uniform(0.05, 0.3, (count, 1)), n, axis=1)
    if family.data is DataKind.exactly_k:
        p[:] = family.k / n
    elif family.data in (DataKind.independent, DataKind.finite):
        p *= rng.uniform(0.5, 3.0, (count, n))
    keys = rng.integers(0, 2**63, count, dtype=np.uint64)
    fields: dict[str, Any] = {
        "cell": index // 2,
        "restart": (index % 2).astype(np.int32),
        "seed": np.zeros(count, np.int64),
        "key": keys + np.uint64(1),
        "generator_key": keys,
        "table_key": keys[index // 2 * 2],
        "evaluation_key": np.full(count, 99, np.uint64),
        "feature_probability": p[index // 2 * 2] if family.data is DataKind.finite else p,
        "importance": rng.uniform(0.2, 1.0, (count, n)),
        "correlation": np.linspace(0, 1, count),
        "high": np.full(count, 1.5),
        "init_std": np.linspace(0.3, 0.6, count),
        "hidden_l1": np.where(index % 3 == 2, 1e-3, 0.0),
        "learning_rate": np.geomspace(1e-3, 1e-2, count),
        "weight_decay": np.where(index % 2, 1e-2, 0.0),
        "momentum": np.linspace(0, 0.9, count),
        "beta1": np.full(count, 0.9),
        "beta2": np.full(count, 0.999),
        "eps": np.full(count, 1e-8),
    }
    return InstanceBatch(family=family, **(fields | given))


def overflowing_bias(n: int, m: int, dtype: str) -> tuple[InstanceBatch, dict[str, np.ndarray]]:
    """Three instances and their first W, W_dec and b: the second's next update leaves b alone not finite."""
    change = {"optimizer": Optimizer.sgd, "loss_reduction": Reduction.sum, "schedule": Schedule.constant}
    family = replace(BASE, n_features=n, n_hidden=m, tied=False, n_batch=64, **change)
    zeros = dict.fromkeys(("hidden_l1", "weight_decay", "momentum"), np.zeros(3))
    batch = make_batch(family, 3, importance=np.ones((3, n)), learning_rate=np.full(3, 0.01), **zeros)
    dead = np.array([1.0, 0.0, 1.0], dtype)[:, None, None]
    W, W_dec = (0.1 * dead * np.ones((3, n, m), dtype) for _ in range(2))
    b = np.zeros((3, n), dtype)
    b[1] = np.finfo(dtype).max  # the sum of its slopes over the rows is twice as much
    return batch, {"W": W, "W_dec": W_dec, "b": b}


def reference_rows(batch: InstanceBatch, step: int) -> np.ndarray:
    """The rows of update `step` (I, B, n), drawn by NumPy."""
    family, law = batch.family, batch.family.law
    if family.data is not DataKind.finite:
        return draw(
            np,
            law,
            key=batch.generator_key,
            stream=Stream.data,
            set_stream=Stream.sets,
            step=step,
            rows=(0, family.n_batch),
            feature_probability=batch.feature_probability,
            high=batch.high,
            correlation=batch.correlation,
        )
    table = finite_table(
        np,
        law,
        key=batch.table_key,
        n_rows=family.n_rows,
        feature_probability=batch.feature_probability,
        high=batch.high,
        unit_norm=family.unit_norm,
    )
    if not family.n_batch:
        return table
    index = table_row_indices(np, batch.generator_key, step, family.n_batch, family.n_rows)
    return np.take_along_axis(table, index[:, :, None], axis=1)


Slopes = Callable[[dict[str, np.ndarray], int], dict[str, np.ndarray]]
"""The gradient at given parameters in a step."""


def reference_train(
    batch: InstanceBatch, steps: int, slopes_at: Slopes | None = None
) -> dict[str, np.ndarray]:
    """The parameters after `steps` updates, in float64 NumPy: the definition, with no engine in it.

    `slopes_at`: another gradient than that of drawn rows.
    """
    family = batch.family
    shape = (family.n_features, family.n_hidden)
    weights = {"W": initial_weights(batch.generator_key, Stream.init_W, *shape, batch.init_std)}
    if not family.tied:
        weights["W_dec"] = initial_weights(batch.generator_key, Stream.init_W_dec, *shape, batch.init_std)
    if family.bias:
        weights["b"] = np.zeros((len(batch), family.n_features))
    if family.hidden_bias:
        weights["b_hidden"] = np.zeros((len(batch), family.n_hidden))
    first = {name: np.zeros_like(value) for name, value in weights.items()}
    second = {name: np.zeros_like(value) for name, value in weights.items()}
    hyper = Hyper(
        optimizer=family.optimizer,
        learning_rate=batch.learning_rate,
        weight_decay=batch.weight_decay,
        momentum=batch.momentum,
        beta1=batch.beta1,
        beta2=batch.beta2,
        eps=batch.eps,
    )

    def of_rows(weights: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        x = reference_rows(batch, step).astype(np.float64)
        return gradient(x, weights, batch.importance, family.model, family.loss_reduction, batch.hidden_l1)

    for step in range(steps):
        slopes = (slopes_at or of_rows)(weights, step)
        factor = rate_factor(family.schedule, family.warmup_steps, family.steps, step)
        update(family.optimizer, weights, slopes, first, second, Coefficients(*hyper.at(step, factor)))
    return weights


def parameters_of(state: State) -> dict[str, np.ndarray]:
    """The parameters that the state has, by name."""
    return {name: getattr(state, name) for name in PARAMETERS if getattr(state, name) is not None}
