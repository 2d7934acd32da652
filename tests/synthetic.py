"""Runs without training: given weights, stored through the real store with their real metrics."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import yaml

from superpose_cli.results.manifest import Manifest, RunAxis
from superpose_cli.results.schema import Coded, features_table, history_table, instances_table
from superpose_cli.results.store import RunStore
from superpose_cli.toy_model import metrics, spectra

DEFAULTS: dict[str, Any] = {
    "seed": 0, "paired": False,
    "hidden_activation": "identity", "output_activation": "relu", "bias": True, "hidden_bias": False,
    "target": "identity", "hidden_l1": 0.0,
    "init_kind": "xavier_normal",
    "data_kind": "independent", "value": "uniform", "high": 1.0, "signed": False,
    "importance_kind": "uniform",
    "optimizer": "adam", "learning_rate": 3e-3, "weight_decay": 0.0, "schedule": "cosine", "warmup_steps": 0,
    "steps": 5000, "n_batch": 1024, "loss_reduction": "mean", "train_objective": "sampled",
    "loss_method": "sampled", "loss_stderr": 1e-5, "loss_ratio": 0.5,
    "hidden_l1_mean": 1.0, "status": "ok", "engine": "torch", "numerics": "torch/float32/1/test",
}  # fmt: skip

COLUMN_OF_KEY = {"kind": "{group}_kind", "std": "init_std", "n_instances": "init_n_instances"}


def column_of(key: str) -> str:
    """The instances column of a dotted key; a group's name is its own column."""
    group, _, leaf = key.rpartition(".")
    return (
        "train_objective" if key == "train.objective" else COLUMN_OF_KEY.get(leaf, leaf).format(group=group)
    )


def synthetic_manifest(**changes: Any) -> Manifest:
    """A manifest of a complete run of one instance, with some fields changed."""
    fields: dict[str, Any] = {
        "superpose": "0", "run_id": "00000000", "experiment": "synthetic", "status": "complete",
        "numerics": "torch/float32/1/test", "engine": "torch", "device": "cpu", "dtype": "float32",
        "host": "host", "python": "3.11.0", "torch": "2.6.0", "numpy": "2.1.0",
        "created": "2026-01-01T00:00:00+00:00", "updated": "2026-01-01T00:00:01+00:00", "seconds": 1.0,
        "axes": (), "overrides": (), "n_cells": 1, "restarts": 1, "shards": 1,
        "shard_digest": "00000000",
        "counts": {"ok": 1}, "plots": (),
    }  # fmt: skip
    fields |= changes
    return Manifest(**{"n_instances": fields["n_cells"] * fields["restarts"]} | fields)


def shard_tables(
    W: npt.ArrayLike,
    *,
    first: int = 0,
    restarts: int = 1,
    W_dec: npt.ArrayLike | None = None,
    b: npt.ArrayLike | float | None = 0.0,
    feature_probability: npt.ArrayLike = 0.1,
    importance: npt.ArrayLike = 1.0,
    feature_loss: npt.ArrayLike = 0.01,
    columns: Mapping[str, Any] | None = None,
    steps: Sequence[int] = (),
    record_weights: bool = False,
    course: npt.ArrayLike | None = None,
    history_loss: npt.ArrayLike | None = None,
    history_train_loss: npt.ArrayLike | None = None,
) -> dict[str, pa.Table]:
    """The three tables of the instances first, first + 1, ... with weights W (I, n, m); see `write_run`."""
    W = np.asarray(W, np.float32)
    I, n, m = W.shape  # noqa: E741
    number = np.arange(first, first + I)
    identity = {
        "key": number.astype(np.uint64),
        "cell": number // restarts,
        "restart": (number % restarts).astype(np.int32),
    }
    per_feature = {
        "feature_probability": np.broadcast_to(np.asarray(feature_probability, float), (I, n)),
        "importance": np.broadcast_to(np.asarray(importance, float), (I, n)),
        "feature_loss": np.broadcast_to(np.asarray(feature_loss, float), (I, n)),
        **metrics.feature_metrics(W),
    }
    if b is not None:
        per_feature["bias"] = np.broadcast_to(np.asarray(b, float), (I, n))
    loss = per_feature["feature_loss"].mean(axis=1)
    p = per_feature["feature_probability"]
    features = {name: values.reshape(-1) for name, values in per_feature.items()}
    decoder = None if W_dec is None else np.asarray(W_dec, np.float32)
    features |= {
        **{name: np.repeat(values, n) for name, values in identity.items()},
        "feature": np.tile(np.arange(n, dtype=np.int32), I),
        "regime": Coded(features["regime"], metrics.REGIMES),
        "W": W.reshape(I * n, m),
        "W_dec": None if decoder is None else decoder.reshape(I * n, m),
    }
    instances = {
        **DEFAULTS,
        "n_features": n,
        "n_hidden": m,
        "tied": decoder is None,
        "bias": b is not None,
        "feature_probability": np.ma.masked_array(p[:, 0], (p != p[:, :1]).any(axis=1)),
        "objective": loss,
        "loss": loss,
        **metrics.instance_metrics(W),
        **spectra.spectral_metrics(W, np.einsum("ifh,if,ifk->ihk", W, p / 3 - p**2 / 4, W)),
        **identity,
        **(columns or {}),
    }
    k = len(steps)
    fraction = np.tile(np.linspace(0, 1, k) if k > 1 else np.ones(k), I)
    history: dict[str, Any] = {name: np.repeat(values, k) for name, values in identity.items()}
    history |= {
        "step": np.tile(np.asarray(steps, np.int64), I),
        "loss": np.repeat(loss, k) * (2 - fraction),
        "frobenius_norm_sq": np.repeat(instances["frobenius_norm_sq"], k) * fraction**2,
    }
    if record_weights:
        history["W"] = np.repeat(W, k, axis=0) * fraction[:, None, None].astype(np.float32)
        history["b"] = np.repeat(per_feature.get("bias", np.zeros((I, n))), k, axis=0)
    if course is not None:
        history["W"] = np.asarray(course, np.float32).reshape(I * k, n * m)
    for name, values in (("loss", history_loss), ("train_loss", history_train_loss)):
        if values is not None:
            history[name] = np.asarray(values, float).reshape(I * k)
    return {
        "instances": instances_table(instances),
        "features": features_table(features),
        "history": history_table(history),
    }


def write_run(
    path: Path,
    W: npt.NDArray[Any] | Sequence[npt.ArrayLike],
    *,
    axes: Mapping[str, Sequence[Any]] | None = None,
    restarts: int = 1,
    instances_per_shard: int = 1024,
    columns: Mapping[str, Any] | None = None,
    plots: tuple[str, ...] = (),
    experiment: str = "synthetic",
    config: Mapping[str, Any] | None = None,
    status: str = "complete",
    **tables: Any,
) -> Path:
    """A complete run folder at `path`, ready for `load_run(path)`; returns `path`.

    W: (I, n, m), instance number = cell * restarts + restart, cells row-major over `axes` (dotted key, or a
    group's name -> values; first slowest). For models of several shapes, a list of I arrays (n, m).
    Every axis fills its instances column (`data.feature_probability` that of the features too).
    `columns`: more columns of the instances table, arrays of length I or scalars: objective, status, ...
    `tables`: W_dec (I, n, m), b, feature_probability, importance, feature_loss (scalars or arrays (I, 1) or
    (I, n)), steps (a list: the T recorded steps of the history), record_weights, course (I, T, n, m),
    history_loss and history_train_loss (I, T); see `shard_tables`.
    """
    axes = dict(axes or {})
    models = [np.asarray(w, np.float32) for w in W]
    n_cells = prod(len(values) for values in axes.values())
    assert len(models) == n_cells * restarts, f"{n_cells} cells x {restarts} restarts need as many W"
    cell = np.arange(len(models)) // restarts
    positions = np.unravel_index(cell, tuple(map(len, axes.values()))) if axes else ()
    filled = {
        column_of(key): np.asarray(values)[at]
        for (key, values), at in zip(axes.items(), positions, strict=True)
    }
    columns = {
        name: values for name, values in filled.items() if name not in ("n_features", "n_hidden")
    } | dict(columns or {})
    if "feature_probability" in columns:
        tables.setdefault("feature_probability", columns.pop("feature_probability")[:, None])
    manifest = synthetic_manifest(
        experiment=experiment,
        status=status,
        axes=tuple(
            RunAxis(
                keys=(key,), columns=(column_of(key),), values=tuple((_plain(value),) for value in values)
            )
            for key, values in axes.items()
        ),
        n_cells=n_cells,
        restarts=restarts,
        n_instances=len(models),
        shards=-(-len(models) // instances_per_shard),
        counts={"ok": len(models)},
        plots=plots,
    )
    text = yaml.safe_dump({"experiment": experiment, **(config or {})}, sort_keys=False)
    with RunStore.create_or_open(path, text, manifest) as store:
        for shard, start in enumerate(range(0, len(models), instances_per_shard)):
            stop = min(start + instances_per_shard, len(models))
            parts: dict[str, list[pa.Table]] = {"instances": [], "features": [], "history": []}
            while start < stop:  # runs of equal shape
                end = start + 1
                while end < stop and models[end].shape == models[start].shape:
                    end += 1
                rows = slice(start, end)
                some = shard_tables(
                    np.stack(models[rows]),
                    first=start,
                    restarts=restarts,
                    columns={name: _rows_of(value, rows) for name, value in columns.items()},
                    **{name: _rows_of(value, rows) for name, value in tables.items()},
                )
                for table, part in parts.items():
                    part.append(some[table])
                start = end
            store.commit(shard, **{table: pa.concat_tables(part) for table, part in parts.items()})
    return path


def _rows_of(value: Any, rows: slice) -> Any:
    """The share of some instances of an array or list; scalars, text and `steps` are shared by all."""
    if isinstance(value, np.ndarray):
        return value[rows]
    return value


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def without(table: pa.Table, column: str, notes: Mapping[bytes, bytes] = MappingProxyType({})) -> pa.Table:
    """As an older superpose left it, which neither had this column nor named its columns."""
    kept = {name: text for name, text in table.schema.metadata.items() if name != b"superpose_columns"}
    return table.drop_columns([column]).replace_schema_metadata({**kept, **notes})
