"""The fused CPU engine: each instance trains inside one compiled loop, one instance a thread.

What it computes is in `numba_kernels.py` and the files that build on it; here a batch and a state become the
kernels' flat arrays and back.
"""

import math
from typing import Any

import llvmlite.binding
import numba
import numpy as np

from superpose_cli.engines import compiled_sampling
from superpose_cli.engines.base import NUMERICS_VERSION, Evaluation, State, initial_state
from superpose_cli.engines.lanes import LANES
from superpose_cli.engines.narrow_tiles import MOST_HIDDEN
from superpose_cli.engines.numba_evaluation import Sums, measure
from superpose_cli.engines.numba_expected import train_population
from superpose_cli.engines.numba_kernels import Rows, Spec, Weights
from superpose_cli.engines.numba_training import Training, fill_steps, train
from superpose_cli.engines.numba_updates import OPTIMIZERS, SCHEDULES
from superpose_cli.engines.population import expectation, population_refuses
from superpose_cli.engines.sums import evaluation_of
from superpose_cli.engines.tables import finite_tables, unit_norm_rows
from superpose_cli.engines.threads import on_threads
from superpose_cli.experiment.config import Activation, DataKind, Objective, Optimizer, Reduction, Target
from superpose_cli.experiment.instances import Family, InstanceBatch
from superpose_cli.memory import free_memory
from superpose_cli.toy_model.model import PARAMETERS
from superpose_cli.toy_model.philox import BLOCK_ROWS, Stream
from superpose_cli.toy_model.sampling import bounds

CACHE_BYTES = 16 << 10
"""Of x, the only panel of narrow models: half of the first-level cache."""
UNIT_NORM_BYTES = 48
"""Bytes that drawing one value of a unit-norm row takes in NumPy at most: words and their temporaries."""
TABLE_CHUNK = 4096
"""Unit-norm evaluation rows that are drawn at once."""

NO_TABLES = np.empty((1, 0, 0), np.float32)
Tables = tuple[np.ndarray, np.ndarray]
"""Different tables, feature-major float32 (K, n, rows), and each instance's number among them (I,)."""


class NumbaEngine:
    """Trains a batch on the CPU in float32; see `engines.base.Engine` for the contract."""

    name = "numba"
    device = "cpu"
    dtype = "float32"

    def __init__(self, device: str = "cpu", dtype: str = "float32") -> None:
        assert (device, dtype) == (self.device, self.dtype), "the table of engines says what each can do"
        cpu = f"{llvmlite.binding.get_host_cpu_name()}-{LANES}"
        compiler = f"numba{numba.__version__}-llvmlite{llvmlite.__version__}"
        self.numerics = f"numba/float32/{NUMERICS_VERSION}/{cpu}-{compiler}"

    def refuses(self, family: Family) -> str | None:
        """What the population objective refuses."""
        if family.objective is Objective.population and (refusal := population_refuses(family)):
            return f"engine numba: train.objective=population: {refusal}; use train.objective=sampled"
        return None

    def free_memory(self) -> int:
        """The machine's."""
        return free_memory()

    def bytes_per_instance(self, family: Family) -> int:
        """Weights and moments of an instance, its share of a thread's panels, and its table."""
        n, m = family.n_features, family.n_hidden
        panels = 8 * (n + m) * block_rows(n, m, family.n_batch or family.n_rows)
        tables = 8 * n * family.n_rows + UNIT_NORM_BYTES * TABLE_CHUNK * n * family.unit_norm
        return 32 * (n + 1) * (m + 1) + panels + tables

    def pack_instances(self, family: Family, memory: int) -> int:
        """As many as the memory holds: a thread works on one at a time, so packs of any size cost alike."""
        return max(1, memory // self.bytes_per_instance(family))

    def fill(self, family: Family) -> int:
        """One: a thread works on one at a time, and a shard has enough for all threads."""
        return 1

    def initialise(self, batch: InstanceBatch) -> State:
        """Initial weights in float32, biases and moments 0."""
        return initial_state(batch, self.dtype)

    def advance(self, batch: InstanceBatch, state: State, stop_step: int) -> State:
        """Train up to `stop_step` updates. An instance that overflows goes on as NaN and harms no other."""
        family = batch.family
        weights = _flat(family, len(batch), {name: getattr(state, name) for name in PARAMETERS})
        first, second = (_flat(family, len(batch), moment) for moment in (state.moment1, state.moment2))
        failed = state.failed_step.copy()
        betas = np.array([batch.beta1[0], batch.beta2[0]])
        factors, debiased = np.empty(stop_step - state.step), np.empty((stop_step - state.step, 2))
        schedule = (SCHEDULES[family.schedule], family.warmup_steps, family.steps)
        fill_steps(*schedule, state.step, betas, factors, debiased)
        exact = family.objective is Objective.population
        n_rows = 1 if exact else family.n_batch or family.n_rows
        training = Training(
            weights=weights,
            first=first,
            second=second,
            scales=_scales(batch, n_rows),
            l1=(batch.hidden_l1 / n_rows).astype(np.float32),
            optimizer=OPTIMIZERS[family.optimizer],
            learning_rate=batch.learning_rate,
            weight_decay=batch.weight_decay,
            momentum=batch.momentum,
            beta1=batch.beta1,
            beta2=batch.beta2,
            eps=batch.eps,
            factors=factors,
            betas=betas,
            debiased=debiased,
            start=state.step,
            failed=failed,
        )
        if exact:
            on_threads(train_population, len(batch), *expectation(batch), training, block=LANES)
        else:
            spec = _spec(family, n_rows, table_rows=family.n_rows, in_order=not family.n_batch)
            rows = _rows(batch, Stream.data, Stream.sets, batch.generator_key, _fixed_tables(batch))
            on_threads(train, len(batch), spec, rows, training)
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
        sums = _no_sums(batch)
        if not batch.family.unit_norm:
            self._measure(batch, state, sums, n_rows, None)
        else:
            for start in range(0, n_rows, TABLE_CHUNK):
                stop = min(start + TABLE_CHUNK, n_rows)
                drawn, which = unit_norm_rows(np, batch, (start, stop))
                self._measure(batch, state, sums, stop - start, (_feature_major(drawn), which))
        return evaluation_of(batch.family, sums, n_rows)

    def evaluate_table(self, batch: InstanceBatch, state: State) -> Evaluation:
        """Measure on the fixed table of a finite-data family."""
        sums = _no_sums(batch)
        self._measure(batch, state, sums, batch.family.n_rows, _fixed_tables(batch))
        return evaluation_of(batch.family, sums, batch.family.n_rows)

    def _measure(
        self, batch: InstanceBatch, state: State, sums: Sums, n_rows: int, tables: Tables | None
    ) -> None:
        """Add rows to the sums: those of the tables, or else the first evaluation rows."""
        family = batch.family
        on_threads(
            measure,
            len(batch),
            _spec(family, n_rows, table_rows=0 if tables is None else n_rows, in_order=True),
            _rows(batch, Stream.evaluation, Stream.evaluation_sets, batch.evaluation_key, tables),
            _flat(family, len(batch), {name: getattr(state, name) for name in PARAMETERS}),
            batch.importance.astype(np.float32),
            _scales(batch, n_rows),
            (batch.hidden_l1 / n_rows).astype(np.float32),
            sums,
        )


def block_rows(n: int, m: int, n_batch: int) -> int:
    """Rows of a block, part of the bits: 128 in wide models, in narrow ones that times a power of two, as
    many as keep x in the cache and the batch has."""
    rows = BLOCK_ROWS
    while m <= MOST_HIDDEN and 8 * rows * n <= CACHE_BYTES and rows < min(n_batch, 1024):
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
        n_rows=table_rows,
        full_table=in_order,
    )


def _rows(
    batch: InstanceBatch, stream: Stream, set_stream: Stream, key: np.ndarray, tables: Tables | None
) -> Rows:
    """Where the batch's rows come from: the tables, or else draws of a stream."""
    law = batch.family.law
    held, table_of = tables or (NO_TABLES, np.zeros(len(batch), np.int64))
    return Rows(
        draw=compiled_sampling.new_draw(law, stream=stream, set_stream=set_stream, step=0),
        key=key,
        bounds=bounds(law, batch.feature_probability, batch.high, batch.correlation),
        tables=held,
        table_of=table_of,
    )


def _scales(batch: InstanceBatch, n_rows: int) -> np.ndarray:
    """(I, n): the factor of a residual in the gradient: 2 I_i / rows, over n where the loss is a mean."""
    mean = batch.family.loss_reduction is Reduction.mean
    return (batch.importance * (2 / (n_rows * (batch.family.n_features if mean else 1)))).astype(np.float32)


def _fixed_tables(batch: InstanceBatch) -> Tables | None:
    """The tables of finite data, or None."""
    if batch.family.data is not DataKind.finite:
        return None
    drawn, which = finite_tables(np, batch)
    return _feature_major(drawn), which


def _feature_major(drawn: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(drawn.swapaxes(1, 2))


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
