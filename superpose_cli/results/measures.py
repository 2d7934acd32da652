"""Trained instances to the three tables of a shard: every metric is computed here, once, from the weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from superpose_cli.engines.base import State, take
from superpose_cli.engines.baseline import baseline_loss
from superpose_cli.engines.population import linear_hidden_covariance
from superpose_cli.engines.training import Trained
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.columns import Coded
from superpose_cli.experiment.config import Activation, DataKind, Target, ValueKind
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.instances import Family, InstanceBatch
from superpose_cli.results.schema import features_table, history_table, instances_table
from superpose_cli.toy_model.attack import vulnerability
from superpose_cli.toy_model.loss_split import loss_split
from superpose_cli.toy_model.metrics import REGIMES, feature_metrics, gram, instance_metrics
from superpose_cli.toy_model.sampling import evaluation_rows
from superpose_cli.toy_model.spectra import spectral_metrics

F64 = npt.NDArray[np.float64]
Columns = dict[str, Any]

GRAM_ENTRIES = 1 << 22
"""Entries of W W^T that the loss split holds at once: 32 MiB each of a few temporaries."""
MAX_SPLIT_FEATURES = 2048
"""Above it the loss is not split: W W^T alone would take more than all else of an instance."""
ATTACKED_ROWS = 1024
"""Rows that are attacked: the first of the evaluation rows, however many of those there are."""


def shard_tables(
    grid: Grid,
    trained: Sequence[Trained],
    *,
    engine: str,
    numerics: str,
    beside: Sequence[Mapping[str, pa.Table]] = (),
) -> dict[str, pa.Table]:
    """The tables `instances`, `features` and `history` of one shard: of its batches, and those `beside`."""
    run = {"engine": engine, "numerics": numerics}
    # Diverged weights are stored as they are; their metrics become NaN or infinite in silence.
    with np.errstate(over="ignore", invalid="ignore"):
        parts = {
            "instances": [instances_table(_instances(grid, part) | run) for part in trained],
            "features": [features_table(_features(part)) for part in trained],
            "history": [history_table(_history(part)) for part in trained],
        }
    return {name: pa.concat_tables([*(t[name] for t in beside), *own]) for name, own in parts.items()}


def identity(batch: InstanceBatch, count: int = 1) -> Columns:
    """The columns that say whose the rows are, `count` rows of each instance one after the other."""
    columns = {"key": batch.key, "cell": batch.cell, "restart": batch.restart}
    return {name: np.repeat(value, count) for name, value in columns.items()}


def configuration(grid: Grid, batch: InstanceBatch) -> Columns:
    """The columns of the instances table that are known before training."""
    table_key = batch.table_key if batch.family.data == DataKind.finite else None
    cells = grid.cell_columns(batch.cell)
    return {**identity(batch), "seed": batch.seed, "table_key": table_key, **cells}


def _instances(grid: Grid, trained: Trained) -> Columns:
    batch, state, found = trained.batch, trained.state, trained.evaluation
    failed = trained.failed_step
    return {
        **configuration(grid, batch),
        "objective": trained.objective,
        "loss": found.loss,
        "loss_method": trained.loss_method,
        "loss_stderr": found.loss_stderr,
        "loss_ratio": _loss_ratio(trained),
        "train_loss": None if trained.table is None else trained.table.loss,
        **_loss_split(trained),
        "vulnerability": _vulnerability(trained, grid.experiment.variants[0].evaluation.attack),
        **instance_metrics(state.W),
        **spectral_metrics(state.W, _hidden_covariance(trained)),
        "hidden_l1_mean": found.hidden_l1,
        "b_hidden": state.b_hidden,
        "status": trained.status,
        "failed_step": np.ma.MaskedArray(failed, mask=failed < 0),
    }


def _features(trained: Trained) -> Columns:
    batch, state, family = trained.batch, trained.state, trained.batch.family
    n, m = family.n_features, family.n_hidden
    metrics = feature_metrics(state.W)
    regime = Coded(metrics.pop("regime").reshape(-1), REGIMES)
    return {
        **identity(batch, n),
        "feature": np.tile(np.arange(n, dtype=np.int32), len(batch)),
        "feature_probability": batch.feature_probability.reshape(-1),
        "importance": batch.importance.reshape(-1),
        "bias": None if state.b is None else state.b.reshape(-1),
        **{name: value.reshape(-1) for name, value in metrics.items()},
        "regime": regime,
        "feature_loss": trained.evaluation.feature_loss.reshape(-1),
        "W": state.W.reshape(-1, m),
        "W_dec": None if state.W_dec is None else state.W_dec.reshape(-1, m),
    }


def _history(trained: Trained) -> Columns:
    """Records of one instance follow each other."""
    history, batch = trained.history, trained.batch
    count = len(history.steps)

    columns: Columns = {
        **identity(batch, count),
        "step": np.tile(history.steps, len(batch)),
        "loss": history.loss.T.reshape(-1),
        "train_loss": None if history.train_loss is None else history.train_loss.T.reshape(-1),
    }
    for name, values in history.weights.items():
        if name in ("W", "W_dec", "b"):
            columns[name] = values.swapaxes(0, 1).reshape(len(batch) * count, -1)
    if history.weights:
        columns["frobenius_norm_sq"] = (columns["W"].astype(np.float64) ** 2).sum(1)
    return columns


def _loss_ratio(trained: Trained) -> npt.NDArray[Any]:
    """(I,): the loss over that of the best constant output; masked where a constant is right in every row."""
    baseline = baseline_loss(trained.batch, trained.evaluation)
    exact = baseline == 0
    return np.ma.MaskedArray(trained.evaluation.loss / np.where(exact, 1.0, baseline), mask=exact)


def _hidden_covariance(trained: Trained) -> F64:
    """(I, m, m): in closed form for a linear hidden layer, else as measured on the evaluation rows."""
    batch, family = trained.batch, trained.batch.family
    if family.hidden_activation is not Activation.identity or family.unit_norm:
        return trained.evaluation.hidden_cov
    return linear_hidden_covariance(batch, trained.state.W)


def _loss_split(trained: Trained) -> Columns:
    """The parts of the loss by number of active features; empty where they have no closed form."""
    batch, family = trained.batch, trained.batch.family
    applies = (
        family.n_features <= MAX_SPLIT_FEATURES
        and family.data in (DataKind.independent, DataKind.finite)
        and not family.unit_norm
        and family.value is ValueKind.uniform
        and not family.signed
        and family.target is Target.identity
        and family.hidden_activation is Activation.identity
        and family.output_activation is Activation.relu
    )
    if not applies:
        return {}
    size = max(1, GRAM_ENTRIES // family.n_features**2)
    parts = [_split_part(trained, slice(start, start + size)) for start in range(0, len(batch), size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _split_part(trained: Trained, span: slice) -> dict[str, F64]:
    batch, state = trained.batch.take(span), take(trained.state, span)
    W, decoder, shift = _linear(state)
    return loss_split(
        gram(W, decoder),
        shift,
        batch.importance,
        batch.feature_probability,
        trained.evaluation.loss[span],
        high=batch.high,
    )


def _linear(state: State) -> tuple[F64, F64, F64]:
    """W and the decoder (I, n, m), and all that is added to the output (I, n), of a linear hidden layer."""
    W = state.W.astype(np.float64)
    decoder = W if state.W_dec is None else state.W_dec.astype(np.float64)
    shift = np.zeros(W.shape[:2]) if state.b is None else state.b.astype(np.float64)
    if state.b_hidden is not None:
        shift = shift + (decoder @ state.b_hidden.astype(np.float64)[:, :, None])[:, :, 0]
    return W, decoder, shift


def check_attack(families: Sequence[Family], attack: float | None) -> None:
    """ConfigError where an attack is asked for that the models of a grid are not fit for."""
    for family in families if attack is not None else ():
        if family.hidden_activation is not Activation.identity:
            raise ConfigError(
                f"evaluation.attack needs a linear hidden layer, not model.hidden_activation="
                f"{family.hidden_activation}: choose model=relu_output or set evaluation.attack=null"
            )
        if family.n_features > MAX_SPLIT_FEATURES:
            raise ConfigError(
                f"evaluation.attack takes at most {MAX_SPLIT_FEATURES} features, not model.n_features="
                f"{family.n_features}: lower them or set evaluation.attack=null"
            )


def _vulnerability(trained: Trained, attack: float | None) -> F64 | None:
    """(I,): the mean over rows; None where no attack is asked for."""
    if attack is None:
        return None
    family, found = trained.batch.family, np.empty(len(trained.batch))
    for i in range(len(found)):  # one after the other: each may take megabytes
        one, state = trained.batch.take(slice(i, i + 1)), take(trained.state, slice(i, i + 1))
        rows = evaluation_rows(
            np,
            family.law,
            key=one.evaluation_key,
            rows=(0, ATTACKED_ROWS),
            feature_probability=one.feature_probability,
            high=one.high,
            correlation=one.correlation,
            unit_norm=family.unit_norm,
        )
        W, decoder, shift = (part[0] for part in _linear(state))
        added = vulnerability(rows[0], W, decoder, shift, one.importance[0], family.model, attack)
        found[i] = added.mean()
    return found
