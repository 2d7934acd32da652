"""The measured columns by definition: plain NumPy over weights and rows, one instance at a time."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from superpose_cli.engines.base import State
from superpose_cli.engines.training import Trained
from superpose_cli.experiment.config import Activation, DataKind, Reduction, Target, ValueKind
from superpose_cli.experiment.instances import Family, InstanceBatch
from superpose_cli.toy_model.sampling import evaluation_rows, finite_table
from tests.engines.batches import BASE, make_batch

N_ROWS = 4096
"""Rows that models are judged on."""
RELU = Activation.relu
SHORT = replace(BASE, n_hidden=3, steps=5, n_batch=64)

DATA = {
    "independent": SHORT,
    "correlated": replace(SHORT, data=DataKind.correlated, set_size=2),
    "anticorrelated": replace(SHORT, data=DataKind.anticorrelated, set_size=3),
    "exactly_k": replace(SHORT, data=DataKind.exactly_k, k=2),
    "finite": replace(SHORT, data=DataKind.finite, n_rows=30, n_batch=0),
    "unit_norm": replace(SHORT, data=DataKind.finite, n_rows=30, n_batch=0, unit_norm=True),
    "constant_signed": replace(SHORT, value=ValueKind.constant, signed=True),
    "exponential": replace(SHORT, value=ValueKind.exponential),
}
"""Every kind of data, with a name."""


def batch_of(family: Family, **given: Any) -> InstanceBatch:
    """Four instances of which even `high` differs; steps are coarse, so that soon no parameter is near 0."""
    return make_batch(
        family, 4, **{"learning_rate": np.full(4, 0.1), "high": np.linspace(0.5, 2.0, 4)} | given
    )


@cache
def rows_of(data: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The evaluation rows of the instances (I, N_ROWS, n), and their fixed tables if the data have them."""
    family = DATA[data]
    batch = batch_of(family)
    shared: dict[str, Any] = {
        "feature_probability": batch.feature_probability,
        "high": batch.high,
        "unit_norm": family.unit_norm,
    }
    key, span = batch.evaluation_key, (0, N_ROWS)
    rows = evaluation_rows(np, family.law, key=key, rows=span, correlation=batch.correlation, **shared)
    table = finite_table(np, family.law, key=batch.table_key, n_rows=30, **shared) if family.n_rows else None
    return rows.astype(np.float64), None if table is None else table.astype(np.float64)


class One(NamedTuple):
    """One instance: its family and its numbers."""

    family: Family
    importance: np.ndarray
    p: np.ndarray
    high: float
    W: np.ndarray
    D: np.ndarray
    b: np.ndarray
    b_hidden: np.ndarray

    def hidden(self, x: np.ndarray) -> np.ndarray:
        h = x @ self.W + self.b_hidden
        return np.maximum(h, 0) if self.family.hidden_activation is RELU else h

    def target(self, x: np.ndarray) -> np.ndarray:
        return abs(x) if self.family.target is Target.abs else x

    def errors(self, x: np.ndarray) -> np.ndarray:
        """(rows, n): I_i (t_i - y_i)^2."""
        y = self.hidden(x) @ self.D.T + self.b
        y = np.maximum(y, 0) if self.family.output_activation is RELU else y
        return self.importance * (self.target(x) - y) ** 2


def each(part: Trained, state: State | None = None) -> Iterator[One]:
    batch, state = part.batch, state or part.state
    for i in range(len(batch)):
        W = state.W[i]
        yield One(
            batch.family,
            batch.importance[i],
            batch.feature_probability[i],
            float(batch.high[i]),
            W,
            W if state.W_dec is None else state.W_dec[i],
            np.zeros(len(W)) if state.b is None else state.b[i],
            np.zeros(W.shape[1]) if state.b_hidden is None else state.b_hidden[i],
        )


def entropy(values: np.ndarray) -> float:
    shares = values[values > 1e-14 * values.max()] / values.sum()
    return -float((shares * np.log(shares)).sum())


def split_of(one: One, loss: float) -> dict[str, float]:
    """The loss by number of active features, each lone feature going through the model on a fine grid."""
    n, cells = len(one.p), 2000
    zero = np.prod(1 - one.p) * one.errors(np.zeros((1, n))).mean()
    benefit = interference = 0.0
    for i in range(n):
        x = np.zeros((cells, n))
        x[:, i] = one.high * (np.arange(cells) + 0.5) / cells
        lone = one.p[i] * np.prod(np.delete(1 - one.p, i)) * one.errors(x).mean(axis=0) / n
        benefit += lone[i]
        interference += np.delete(lone, i).sum()
    return {
        "loss_zero": zero,
        "loss_benefit": benefit,
        "loss_interference": interference,
        "loss_coactive": loss - zero - benefit - interference,
    }


def instance_columns(one: One, x: np.ndarray, table: np.ndarray | None) -> dict[str, Any]:
    """The columns that are exact given the rows."""
    row = one.errors(x).mean(axis=1)
    h = one.hidden(x)
    shown = (x, h, row) if table is None else (table, one.hidden(table), one.errors(table).mean(axis=1))
    trained_loss = shown[2].mean() * (len(one.p) if one.family.loss_reduction is Reduction.sum else 1)
    W, gram = one.W, one.W.T @ one.W
    values = np.sqrt(np.linalg.eigvalsh(gram)[::-1].clip(0))
    splits = (
        one.family.law.kind in (DataKind.independent, DataKind.finite)
        and not (one.family.unit_norm or one.family.signed)
        and one.family.value is ValueKind.uniform
        and (one.family.hidden_activation, one.family.output_activation) == (Activation.identity, RELU)
    )
    parts = ("loss_zero", "loss_benefit", "loss_interference", "loss_coactive")
    return {
        "l1": abs(shown[1]).sum(axis=1).mean(),
        "objective": trained_loss,
        "loss": row.mean(),
        "loss_stderr": row.std(ddof=1) / len(row) ** 0.5,
        "train_loss": None if table is None else shown[2].mean(),
        **(split_of(one, row.mean()) if splits else dict.fromkeys(parts)),
        "vulnerability": None,
        "frobenius_norm_sq": (W**2).sum(),
        "dims_per_feature": W.shape[1] / (W**2).sum(),
        "n_represented": sum(w @ w > 0.25 for w in W),
        "singular_values": values,
        "effective_rank": np.exp(entropy(values)),
        "spectral_entropy": entropy(values),
        "participation_ratio": np.trace(gram) ** 2 / (gram**2).sum(),
        "entanglement_entropy": entropy(values**2),
        "hidden_l1_mean": abs(h).sum(axis=1).mean(),
        "b_hidden": one.b_hidden if one.family.hidden_bias else None,
    }


def vulnerability_of(one: One, x: np.ndarray, share: float) -> float:
    """The mean over the rows x (rows, n) of what the worst of the n attacks adds to the loss."""
    reach, n = share * np.linalg.norm(x, axis=1).mean(), len(one.p)
    added = []
    for i in range(n):
        there = x + reach * (way := one.D[i] @ one.W.T) / np.linalg.norm(way)
        y = one.hidden(there) @ one.D.T + one.b
        y = np.maximum(y, 0) if one.family.output_activation is RELU else y
        worse = (one.importance * (one.target(x) - y) ** 2).sum(axis=1) - one.errors(x).sum(axis=1)
        added.append(worse / reach**2)
    return float(np.max(added, axis=0).mean())


def feature_columns(one: One, x: np.ndarray, f: int) -> dict[str, Any]:
    """The columns of feature f, from its definition; x: evaluation rows."""
    W, w, gram = one.W, one.W[f], one.W @ one.W.T
    others = sum((w @ v / np.linalg.norm(w)) ** 2 for j, v in enumerate(W) if j != f)
    share = w @ w / (w @ w + others)
    return {
        "feature": f,
        "feature_probability": one.p[f],
        "importance": one.importance[f],
        "norm": np.linalg.norm(w),
        "bias": one.b[f] if one.family.bias else None,
        "interference": others,
        "row_sum": gram[f].sum(),
        "row_abs_sum": abs(gram[f]).sum(),
        "dimensionality": share,
        "leverage": w @ np.linalg.pinv(W.T @ W) @ w,
        "basis_alignment": (w**2).max() / (w @ w),
        "regime": "ignored" if w @ w <= 0.25 else "dedicated" if share >= 0.9 else "superposed",
        "feature_loss": one.errors(x)[:, f].mean(),
        "W": w,
        "W_dec": None if one.family.tied else one.D[f],
    }
