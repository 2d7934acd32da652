"""The fused CPU engine: each instance trains inside one compiled loop, one instance a thread.

What it computes is in `numba_kernels.py`; here a batch and a state become the kernels' flat arrays and back.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import llvmlite.binding
import numba
import numpy as np

from superpose_cli.engines import compiled_sampling
from superpose_cli.engines.base import NUMERICS_VERSION, Evaluation, State, initial_state
from superpose_cli.engines.numba_evaluation import Sums, measure
from superpose_cli.engines.numba_kernels import OPTIMIZERS, Hypers, Spec, Weights, train
from superpose_cli.engines.tables import finite_tables
from superpose_cli.engines.tiles import LANES
from superpose_cli.experiment.config import Activation, DataKind, Objective, Optimizer, Reduction, Target
from superpose_cli.experiment.instances import Family, InstanceBatch
from superpose_cli.toy_model.model import PARAMETERS
from superpose_cli.toy_model.optim import rate_factor
from superpose_cli.toy_model.philox import BLOCK_ROWS, Stream
from superpose_cli.toy_model.sampling import bounds, evaluation_rows

CACHE_BYTES = 768 << 10
"""Panels of one block take at most about this: a core's second-level cache, less what the weights need."""
SMALL_CACHE_BYTES = 24 << 10
"""Where the panels of 512 rows or more fit in this, they live in the first-level cache."""
RANGES = 4
"""Ranges of instances that each thread gets, one after the other."""
TABLE_CHUNK = 4096
"""Unit-norm evaluation rows that are drawn at once."""

NO_TABLES = np.empty((1, 0, 0), np.float32)


class NumbaEngine:
    """Trains a batch on the CPU in float32; see `engines.base.Engine` for the contract."""

    name = "numba"
    device = "cpu"
    dtype = "float32"

    def __init__(self, device: str = "cpu", dtype: str = "float32") -> None:
        assert (device, dtype) == (self.device, self.dtype), "the table of engines says what each can do"
        self.numerics = f"numba/float32/{NUMERICS_VERSION}/{llvmlite.binding.get_host_cpu_name()}-{LANES}"

    def refuses(self, family: Family) -> str | None:
        """Only the population objective: it has no rows to draw."""
        if family.objective is Objective.population:
            return "engine numba has no population objective; use train.objective=sampled"
        return None

    def bytes_per_instance(self, family: Family) -> int:
        """Weights and moments of an instance, its share of a thread's panels, and its table."""
        n, m = family.n_features, family.n_hidden
        panels = 8 * (n + m) * block_rows(n, m, family.n_batch or family.n_rows)
        return 32 * (n + 1) * (m + 1) + panels + 8 * n * family.n_rows

    def pack_instances(self, family: Family, memory: int) -> int:
        """As many as the memory holds: a thread works on one at a time, so packs of any size cost alike."""
        return max(1, memory // self.bytes_per_instance(family))

    def initialise(self, batch: InstanceBatch) -> State:
        """Initial weights in float32, biases and moments 0."""
        return initial_state(batch, self.dtype)

    def advance(self, batch: InstanceBatch, state: State, stop_step: int) -> State:
        """Train up to `stop_step` updates. An instance that overflows goes on as NaN and harms no other."""
        family = batch.family
        weights = _flat(family, len(batch), {name: getattr(state, name) for name in PARAMETERS})
        first, second = (_flat(family, len(batch), moment) for moment in (state.moment1, state.moment2))
        failed = state.failed_step.copy()
        schedule = (family.schedule, family.warmup_steps, family.steps)
        factors = np.array([rate_factor(*schedule, step) for step in range(state.step, stop_step)])
        tables, table_of = _tables(batch)
        rows = family.n_batch or family.n_rows
        spec = _spec(family, rows, table_rows=family.n_rows, in_order=not family.n_batch)
        draw = compiled_sampling.new_draw(family.law, stream=Stream.data, set_stream=Stream.sets, step=0)
        _on_threads(
            train,
            len(batch),
            spec,
            draw,
            batch.generator_key,
            _bounds(batch),
            tables,
            table_of,
            weights,
            first,
            second,
            _scales(batch, rows),
            (batch.hidden_l1 / rows).astype(np.float32),
            Hypers(*(getattr(batch, name) for name in Hypers._fields)),
            factors,
            state.step,
            failed,
        )
        has_second = family.optimizer is not Optimizer.sgd
        absent: dict[str, Any] = dict.fromkeys(PARAMETERS)
        return State(
            **(absent | _shaped(family, weights)),
            moment1=_shaped(family, first),
            moment2=_shaped(family, second) if has_second else {},
            step=stop_step,
            failed_step=failed,
        )

    def evaluate(self, batch: InstanceBatch, state: State, n_rows: int) -> Evaluation:
        """Measure on the first `n_rows` evaluation rows of the batch's seeds."""
        family = batch.family
        sums = _no_sums(batch)
        if not family.unit_norm:
            self._measure(batch, state, sums, n_rows)
            return _evaluation(family, sums, n_rows)
        for start in range(0, n_rows, TABLE_CHUNK):
            rows = evaluation_rows(
                np,
                family.law,
                key=batch.evaluation_key,
                rows=(start, min(start + TABLE_CHUNK, n_rows)),
                feature_probability=batch.feature_probability,
                high=batch.high,
                correlation=batch.correlation,
                unit_norm=True,
            )
            tables = np.ascontiguousarray(rows.swapaxes(1, 2))
            self._measure(batch, state, sums, rows.shape[1], tables, np.arange(len(batch)))
        return _evaluation(family, sums, n_rows)

    def evaluate_table(self, batch: InstanceBatch, state: State) -> Evaluation:
        """Measure on the fixed table of a finite-data family."""
        sums = _no_sums(batch)
        self._measure(batch, state, sums, batch.family.n_rows, *_tables(batch))
        return _evaluation(batch.family, sums, batch.family.n_rows)

    def _measure(
        self,
        batch: InstanceBatch,
        state: State,
        sums: Sums,
        n_rows: int,
        tables: np.ndarray | None = None,
        table_of: np.ndarray | None = None,
    ) -> None:
        """Add rows to the sums: of the tables where there are any, else the first evaluation rows."""
        family = batch.family
        spec = _spec(family, n_rows, table_rows=0 if tables is None else n_rows, in_order=True)
        if tables is None or table_of is None:
            tables, table_of = NO_TABLES, np.zeros(len(batch), np.int64)
        draw = compiled_sampling.new_draw(
            family.law, stream=Stream.evaluation, set_stream=Stream.evaluation_sets, step=0
        )
        _on_threads(
            measure,
            len(batch),
            spec,
            draw,
            batch.evaluation_key,
            _bounds(batch),
            tables,
            table_of,
            _flat(family, len(batch), {name: getattr(state, name) for name in PARAMETERS}),
            batch.importance.astype(np.float32),
            _scales(batch, n_rows),
            (batch.hidden_l1 / n_rows).astype(np.float32),
            n_rows,
            sums,
        )


def _on_threads(kernel: Callable[..., None], count: int, *arguments: Any) -> None:
    """Run the kernel over instances 0 .. count - 1, a few ranges a thread so that all end together."""
    threads = min(numba.get_num_threads(), count)
    edges = (
        np.linspace(0, count, min(count, 1 if threads == 1 else RANGES * threads) + 1).astype(int).tolist()
    )
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(kernel, *span, *arguments) for span in pairwise(edges)]:
            done.result()


def block_rows(n: int, m: int, n_batch: int) -> int:
    """Rows of a block: 128 times a power of two, as many as fit the cache and the batch. Part of the bits."""
    row_bytes = 8 * (n + m)
    limit = SMALL_CACHE_BYTES if row_bytes * 512 <= SMALL_CACHE_BYTES else CACHE_BYTES
    rows = BLOCK_ROWS
    while 2 * rows * row_bytes <= limit and rows < min(n_batch, 1024):
        rows *= 2
    return rows


def _spec(family: Family, rows: int, *, table_rows: int = 0, in_order: bool = False) -> Spec:
    """The family's spec for `rows` rows a step: drawn, or of a table of `table_rows` (all if `in_order`)."""
    return Spec(
        n=family.n_features,
        m=family.n_hidden,
        rows=block_rows(family.n_features, family.n_hidden, rows),
        n_batch=rows,
        hidden_relu=family.hidden_activation is Activation.relu,
        output_relu=family.output_activation is Activation.relu,
        tied=family.tied,
        bias=family.bias,
        hidden_bias=family.hidden_bias,
        absolute=family.target is Target.abs,
        optimizer=OPTIMIZERS[family.optimizer],
        n_rows=table_rows,
        full_table=in_order,
    )


def _bounds(batch: InstanceBatch) -> Any:
    return bounds(batch.family.law, batch.feature_probability, batch.high, batch.correlation)


def _scales(batch: InstanceBatch, n_rows: int) -> np.ndarray:
    """(I, n): the factor of a residual in the gradient: 2 I_i / rows, over n where the loss is a mean."""
    mean = batch.family.loss_reduction is Reduction.mean
    return (batch.importance * (2 / (n_rows * (batch.family.n_features if mean else 1)))).astype(np.float32)


def _tables(batch: InstanceBatch) -> tuple[np.ndarray, np.ndarray]:
    """The fixed tables, feature-major (K, n, n_rows), and which is whose; one for all that share it."""
    family = batch.family
    if family.data is not DataKind.finite:
        return NO_TABLES, np.zeros(len(batch), np.int64)
    drawn, which = finite_tables(np, batch)
    return np.ascontiguousarray(drawn.swapaxes(1, 2)), which


def _shapes(family: Family) -> dict[str, tuple[int, ...] | None]:
    """The shape of each parameter of one instance; None for those that the family lacks."""
    n, m = family.n_features, family.n_hidden
    return {
        "W": (n, m),
        "W_dec": None if family.tied else (n, m),
        "b": (n,) if family.bias else None,
        "b_hidden": (m,) if family.hidden_bias else None,
    }


def _flat(family: Family, count: int, arrays: dict[str, Any]) -> Weights:
    """Copies of the arrays by parameter, (I, size); zeros where the family has one that is not given."""

    def flat(name: str, shape: tuple[int, ...] | None) -> np.ndarray:
        if shape is None:
            return np.zeros((count, 0), np.float32)
        given = arrays.get(name)
        size = math.prod(shape)
        return np.zeros((count, size), np.float32) if given is None else given.reshape(count, size).copy()

    return Weights(**{name: flat(name, shape) for name, shape in _shapes(family).items()})


def _shaped(family: Family, weights: Weights) -> dict[str, Any]:
    """The parameters that the family has, in their shapes."""
    shapes = _shapes(family).items()
    return {name: getattr(weights, name).reshape(-1, *shape) for name, shape in shapes if shape is not None}


def _no_sums(batch: InstanceBatch) -> Sums:
    count, n, m = len(batch), batch.family.n_features, batch.family.n_hidden
    wanted = n if batch.family.unit_norm else 0
    shapes = {
        "feature": (n,),
        "row": (2,),
        "h": (m,),
        "h_abs": (),
        "hh": (m, m),
        "target": (wanted,),
        "target_square": (wanted,),
    }
    zeros = {name: np.zeros((count, *shape)) for name, shape in shapes.items()}
    return Sums(**zeros, alive=np.zeros(count, np.bool_))


def _evaluation(family: Family, sums: Sums, rows: int) -> Evaluation:
    """The means, and the standard error of the loss from the scatter of its rows."""
    loss, mean = sums.row[:, 0] / rows, sums.h / rows
    scatter = np.maximum(sums.row[:, 1] / rows - loss * loss, 0)
    return Evaluation(
        loss=loss,
        loss_stderr=np.sqrt(scatter / max(rows - 1, 1)),
        feature_loss=sums.feature / rows,
        hidden_l1=sums.h_abs / rows,
        hidden_mean=mean,
        hidden_cov=sums.hh / rows - mean[:, :, None] * mean[:, None, :],
        target_mean=sums.target / rows if family.unit_norm else None,
        target_square=sums.target_square / rows if family.unit_norm else None,
        dead=~sums.alive,
    )
