"""Runs as claims want them and as they must not be, from closed forms: no training.

A `Spec` is a run before it is stored. `wrong` turns one into another that a claim must refuse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.theory import ignored_feature_loss

Array = npt.NDArray[Any]

P = "data.feature_probability"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The arguments of `tests.synthetic.write_run`, one model a cell; `restarts` repeats each."""

    experiment: str
    W: Sequence[Array]
    axes: Mapping[str, Sequence[Any]]
    restarts: int = 1
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Arrays of one entry per cell, or scalars."""
    tables: Mapping[str, Any] = field(default_factory=dict)
    """Arrays of one row per cell, lists and scalars that all share."""
    instances: Mapping[str, Any] = field(default_factory=dict)
    """Columns that differ between restarts: one entry per cell and restart."""
    all_W: Sequence[Array] | None = None
    """Weights that differ between restarts; else all restarts of a cell have the same."""

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `write_run`."""

        def each(value: Any) -> Any:
            return np.repeat(value, self.restarts, axis=0) if isinstance(value, np.ndarray) else value

        weights = self.all_W or [w for w in self.W for _ in range(self.restarts)]
        columns = {name: each(value) for name, value in self.columns.items()} | dict(self.instances)
        tables = {name: each(value) for name, value in self.tables.items()}
        return {
            "W": weights,
            "axes": self.axes,
            "restarts": self.restarts,
            "columns": columns,
            "experiment": self.experiment,
            "instances_per_shard": 100_000,
            **tables,
        }


def random_directions(spec: Spec) -> Spec:
    """Every W_i, and W_dec_i, turned into a random direction of the same length, all through training."""
    random = np.random.default_rng(7)

    def turned(W: Array) -> Array:
        direction = random.normal(size=W.shape[-2:])
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return direction * np.linalg.norm(W, axis=-1, keepdims=True)

    every = None if spec.all_W is None else [turned(np.asarray(w)) for w in spec.all_W]
    W = [turned(np.asarray(w)) for w in spec.W]
    tables = dict(spec.tables)
    for name in {"course", "W_dec"} & set(tables):
        tables[name] = np.stack([turned(own) for own in tables[name]])
    return replace(spec, W=W, all_W=every, tables=tables)


def another_cell(spec: Spec) -> Spec:
    """What was measured stands beside the settings of another cell: the order of the cells is reversed.

    Settings stay where they are: columns that configuration fills, densities and importances.
    """
    settings = {"output_activation", "data_kind", "set_size", "correlation", "init_kind", "table_key"}
    k = spec.restarts

    def reverse(value: Any) -> Any:
        return value[::-1] if isinstance(value, np.ndarray) else value

    def reverse_cells(value: Any) -> Any:
        cells = value.reshape(-1, k, *value.shape[1:])
        return cells[::-1].reshape(value.shape)

    columns = {name: v if name in settings else reverse(v) for name, v in spec.columns.items()}
    kept = {"feature_probability", "importance"}
    tables = {name: v if name in kept else reverse(v) for name, v in spec.tables.items()}
    instances = {name: reverse_cells(v) for name, v in spec.instances.items()}
    every = spec.all_W
    if every is not None:
        every = [every[(len(every) // k - 1 - i // k) * k + i % k] for i in range(len(every))]
    return replace(
        spec, W=list(spec.W)[::-1], columns=columns, tables=tables, instances=instances, all_W=every
    )


LOSSES = ("loss", "loss_ratio", "objective", "train_loss", "vulnerability")


def _level(values: Mapping[str, Any]) -> dict[str, Any]:
    """All losses 1."""
    ones = {name: np.ones_like(value, float) for name, value in values.items() if name in LOSSES}
    return {**values, **{name: one if one.ndim else 1.0 for name, one in ones.items()}}


def linear(spec: Spec) -> Spec:
    """What linear models would store in all cells and restarts: the m most important, a dimension each.

    From the start of training to its end, all at one loss.
    """
    cells = len(spec.W)
    importance = spec.tables.get("importance", 1.0)
    rows = importance if isinstance(importance, np.ndarray) else [importance] * cells

    def kept(W: Array, importance: Array) -> Array:
        n, m = np.shape(W)
        top = np.argsort(-np.broadcast_to(importance, n), kind="stable")[:m]
        own = np.zeros((n, m))
        own[top, range(len(top))] = 1
        return own

    best = [kept(W, np.asarray(row, float)) for W, row in zip(spec.W, rows, strict=True)]
    tables = {name: value for name, value in spec.tables.items() if name != "W_dec"}
    for name in ("feature_loss", "history_loss", "history_train_loss"):
        if isinstance(tables.get(name), np.ndarray):
            tables[name] = np.ones_like(tables[name])
    if "course" in tables:
        tables["course"] = np.broadcast_to(np.stack(best)[:, None], tables["course"].shape)
    return replace(
        spec,
        W=best,
        all_W=None if spec.all_W is None else [W for W in best for _ in range(spec.restarts)],
        columns=_level(spec.columns),
        instances=_level(spec.instances),
        tables=tables,
    )


def dead(spec: Spec) -> Spec:
    """All weights a twentieth of theirs, all through training: biases and losses are the best constant's."""
    p = spec.tables.get("feature_probability", 0.1)
    if P in spec.axes:
        at = np.unravel_index(np.arange(len(spec.W)), [len(values) for values in spec.axes.values()])
        p = np.asarray(spec.axes[P])[at[list(spec.axes).index(P)]][:, None]
    tables = dict(spec.tables)
    for name in {"course", "W_dec"} & set(tables):
        tables[name] = 0.05 * tables[name]
    if tables.get("b", 0.0) is not None:
        tables["b"] = p / 2
    cost = np.asarray(spec.tables.get("importance", 1.0)) * ignored_feature_loss(p)
    tables["feature_loss"] = cost if cost.ndim == 2 else cost.tolist()
    for name in ("history_loss", "history_train_loss"):
        if isinstance(tables.get(name), np.ndarray):
            tables[name] = np.ones_like(tables[name])
    return replace(
        spec,
        W=[0.05 * np.asarray(W) for W in spec.W],
        all_W=None if spec.all_W is None else [0.05 * np.asarray(W) for W in spec.all_W],
        columns=_level(spec.columns),
        instances=_level(spec.instances),
        tables=tables,
    )


def place(n: int, m: int, *parts: tuple[Sequence[int], Array]) -> Array:
    """W (n, m): each part's rows are those features' weights, in dimensions of the part's own, in turn."""
    W, first = np.zeros((n, m)), 0
    for features, shape in parts:
        W[np.ix_(list(features), range(first, first + shape.shape[1]))] = shape
        first += shape.shape[1]
    return W


def rotation(m: int, seed: int = 3) -> Array:
    """A random orthogonal (m, m)."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(m, m)))[0]


def with_others(best: Sequence[Array], restarts: int) -> tuple[list[Array], dict[str, Array]]:
    """All restarts' weights where each cell's other restarts end in a dead model of higher objective."""
    weights = [W if k == 0 else 0.1 * W for W in best for k in range(restarts)]
    objective = np.tile(np.r_[1.0, np.full(restarts - 1, 2.0)], len(best))
    return weights, {"objective": objective}
