"""Runs as claims want them and as they must not be, from closed forms: no training.

A `Spec` is a run before it is stored. `wrong` turns one into another that a claim must refuse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

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
    """Every W_i turned into a random direction of the same length."""
    random = np.random.default_rng(7)

    def turned(W: Array) -> Array:
        direction = random.normal(size=W.shape)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return direction * np.linalg.norm(W, axis=1, keepdims=True)

    every = None if spec.all_W is None else [turned(np.asarray(w)) for w in spec.all_W]
    return replace(spec, W=[turned(np.asarray(w)) for w in spec.W], all_W=every)


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


def linear(spec: Spec) -> Spec:
    """What linear models would store in all cells and restarts: the first m features, a dimension each.

    From the start of training to its end, all at one loss.
    """

    def kept(models: Sequence[Array]) -> list[Array]:
        return [np.eye(*np.shape(W)) for W in models]

    def level(values: Mapping[str, Any]) -> dict[str, Any]:
        losses = ("loss", "loss_ratio", "objective", "train_loss", "vulnerability")
        return {
            name: np.ones_like(value) if name in losses and isinstance(value, np.ndarray) else value
            for name, value in values.items()
        }

    tables = {name: value for name, value in spec.tables.items() if name != "W_dec"}
    for name in ("feature_loss", "history_loss", "history_train_loss"):
        if isinstance(tables.get(name), np.ndarray):
            tables[name] = np.ones_like(tables[name])
    if "course" in tables:
        tables["course"] = np.broadcast_to(np.stack(kept(spec.W))[:, None], tables["course"].shape)
    return replace(
        spec,
        W=kept(spec.W),
        all_W=None if spec.all_W is None else kept(spec.all_W),
        columns=level(spec.columns),
        instances=level(spec.instances),
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
