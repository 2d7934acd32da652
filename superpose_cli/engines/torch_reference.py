"""The plain engine: closed-form gradients on torch tensors, all instances of a pack at once, CPU or CUDA.

It is the reference that faster engines are held to, and the fallback for what they refuse. On a CPU its rows
come from the compiled sampler, on a GPU from the same Philox written on tensors: the same bits either way.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from superpose_cli.engines import compiled_sampling
from superpose_cli.engines.base import NUMERICS_VERSION, Evaluation, State, concatenate, initial_state, take
from superpose_cli.engines.tables import HeldTables, unit_norm_rows
from superpose_cli.engines.torch_steps import RowsAt, Steps
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.config import DataKind, Objective
from superpose_cli.experiment.instances import Family, InstanceBatch
from superpose_cli.memory import free_memory
from superpose_cli.toy_model.model import PARAMETERS, forward, target_of
from superpose_cli.toy_model.objective import gradient
from superpose_cli.toy_model.philox import Stream
from superpose_cli.toy_model.sampling import draw, draw_at, table_row_indices_at

EVALUATION_CHUNK = 4096
"""Rows that are evaluated at once; fixed, since the order of a sum is part of its bits."""
CACHE_BYTES = 8 << 20
"""On a CPU a pack is kept about this large: larger ones stream through memory at every operation."""
TWICE = np.zeros(2, np.int64)
"""A lone instance is computed beside a twin: PyTorch takes another path for a batch of one matrix, and its
bits would depend on the company it keeps (measured: batches of 2 .. 37, on one thread or two, agree)."""
FILL_BYTES = 1 << 30
"""What a step computes on a GPU should come to so much: it is written and read in half a millisecond."""
ARRAYS_PER_ROW = 7
"""Arrays of shape (rows, n) that live at once in a step: x, y, the residual, masks and temporaries."""

ChunksOf = Callable[[InstanceBatch], Iterator[torch.Tensor]]
"""Gives the chunks of rows, each (I, B, n), that a part of a batch is measured on."""


class TorchEngine:
    """Trains a batch with PyTorch operations; see `engines.base.Engine` for the contract."""

    name = "torch"

    def __init__(self, device: str = "cpu", dtype: str = "float32") -> None:
        """Raises ConfigError where `device` names a GPU that torch cannot use."""
        self.device, self.dtype = device, dtype
        self._device = checked_device(device)
        self._dtype = torch.float64 if dtype == "float64" else torch.float32
        self.numerics = f"torch/{dtype}/{NUMERICS_VERSION}/{_instruction_set(self._device)}"
        self._held = HeldTables(torch, self._device)

    def refuses(self, family: Family) -> str | None:
        """Only the population objective: it has no rows to draw."""
        if family.objective is Objective.population:
            return (
                "engine torch has no population objective; use engine numba in float32, or "
                "train.objective=sampled"
            )
        return None

    def free_memory(self) -> int:
        """The GPU's, or the machine's."""
        if self._device.type == "cuda":
            return torch.cuda.mem_get_info(self._device)[0]
        return free_memory()

    def bytes_per_instance(self, family: Family) -> int:
        """Working memory of one instance during a step or an evaluation chunk, in bytes."""
        n, m, item = family.n_features, family.n_hidden, self._dtype.itemsize
        rows = max(family.n_batch or family.n_rows, EVALUATION_CHUNK)
        table = family.n_rows * n * (4 + item)
        return self._row_bytes(family, rows) + 8 * item * (n + 1) * (m + 1) + table

    def pack_instances(self, family: Family, memory: int) -> int:
        """How many instances to train at once: a cacheful on a CPU, what `memory` bytes hold on a GPU."""
        held = memory // self.bytes_per_instance(family)
        if self._device.type == "cpu":
            cacheful = CACHE_BYTES // self._row_bytes(family, family.n_batch or family.n_rows)
            held = min(held, max(2, cacheful))
        return max(1, held)

    def fill(self, family: Family) -> int:
        """On a GPU, where a step is a hundred short kernels, as many as make each long enough."""
        if self._device.type == "cpu":
            return 1
        return max(1, FILL_BYTES // self._row_bytes(family, family.n_batch or family.n_rows))

    def initialise(self, batch: InstanceBatch) -> State:
        """Initial weights in the engine's dtype, biases and moments 0."""
        return initial_state(batch, self.dtype)

    def advance(self, batch: InstanceBatch, state: State, stop_step: int) -> State:
        """Train up to `stop_step` updates. An instance that overflows goes on as NaN and harms no other."""
        if len(batch) == 1:
            return take(self.advance(batch.take(TWICE), take(state, TWICE), stop_step), slice(1))
        parameters = self._parameters(state)
        moment1, moment2 = (
            {name: self._tensor(value, copy=True) for name, value in moments.items()}
            for moments in (state.moment1, state.moment2)
        )
        failed = torch.from_numpy(state.failed_step.copy()).to(self._device)
        rows_at = self._training_rows(batch)
        Steps(batch, parameters, (moment1, moment2), failed, rows_at, (state.step, stop_step)).run()
        absent: dict[str, Any] = dict.fromkeys(PARAMETERS)
        return State(
            **(absent | {name: _host(value) for name, value in parameters.items()}),
            moment1={k: _host(v) for k, v in moment1.items()},
            moment2={k: _host(v) for k, v in moment2.items()},
            step=stop_step,
            failed_step=failed.cpu().numpy(),
        )

    def evaluate(self, batch: InstanceBatch, state: State, n_rows: int) -> Evaluation:
        """Measure on the first `n_rows` evaluation rows of the batch's seeds."""
        spans = [
            (start, min(start + EVALUATION_CHUNK, n_rows)) for start in range(0, n_rows, EVALUATION_CHUNK)
        ]
        return self._in_packs(
            batch, state, lambda part: (self._evaluation_rows(part, span) for span in spans)
        )

    def evaluate_table(self, batch: InstanceBatch, state: State) -> Evaluation:
        """Measure on the fixed table of a finite-data family."""
        return self._in_packs(
            batch, state, lambda part: iter(self._table(part).split(EVALUATION_CHUNK, dim=1))
        )

    def _in_packs(self, batch: InstanceBatch, state: State, chunks_of: ChunksOf) -> Evaluation:
        """Evaluate as many instances at once as the cache (CPU) takes for one chunk of rows; on a GPU all."""
        if len(batch) == 1:
            return take(self._in_packs(batch.take(TWICE), take(state, TWICE), chunks_of), slice(1))
        size = len(batch)
        if self._device.type == "cpu":
            size = max(2, CACHE_BYTES // self._row_bytes(batch.family, EVALUATION_CHUNK))
        # A last pack of one instance would need its twin; it joins the pack before it instead.
        starts = range(0, max(len(batch) - 1, 1), size)
        spans = [slice(a, b) for a, b in pairwise([*starts, len(batch)])]
        parts = (
            [(batch.take(span), take(state, span)) for span in spans] if len(spans) > 1 else [(batch, state)]
        )
        return concatenate([self._measure(part, its_state, chunks_of(part)) for part, its_state in parts])

    def _evaluation_rows(self, batch: InstanceBatch, rows: tuple[int, int]) -> torch.Tensor:
        family, key = batch.family, batch.evaluation_key
        if family.unit_norm:
            drawn, which = unit_norm_rows(torch, batch, rows, self._device)
            return drawn.to(self._dtype)[torch.from_numpy(which).to(self._device)]
        given = {
            # Common rows: with one seed a single key serves every instance, and its words are drawn once.
            "key": key[:1] if (key == key[0]).all() else key,
            "feature_probability": batch.feature_probability,
            "high": batch.high,
            "correlation": batch.correlation,
            "stream": Stream.evaluation,
            "set_stream": Stream.evaluation_sets,
        }
        if self._device.type == "cpu":
            filled = np.empty((len(batch), rows[1] - rows[0], family.n_features), np.float32)
            compiled_sampling.fill_rows(filled, family.law, step=0, start=rows[0], **given)
            return torch.from_numpy(filled).to(self._dtype)
        return draw(torch, family.law, step=0, rows=rows, device=self._device, **given).to(self._dtype)

    def _measure(self, batch: InstanceBatch, state: State, chunks: Iterator[torch.Tensor]) -> Evaluation:
        """Sums over chunks of rows, in float64 and in row order."""
        family, model, parameters = batch.family, batch.family.model, self._parameters(state)
        importance = self._tensor(batch.importance)
        l1_weight = self._tensor(batch.hidden_l1) if batch.hidden_l1.any() else None
        sums = _Sums(len(batch), family, self._device)
        alive = torch.zeros(len(batch), dtype=torch.bool, device=self._device)
        for x in chunks:
            h, y = forward(x, parameters, model)
            target = target_of(x, model.target)
            sums.add((target - y) ** 2 * importance[:, None, :], h, target if family.unit_norm else None)
            if not alive.all():
                slopes = gradient(x, parameters, importance, model, family.loss_reduction, l1_weight)
                alive |= torch.stack([(slope != 0).flatten(1).any(1) for slope in slopes.values()]).any(0)
        return sums.evaluation(dead=~alive)

    def _training_rows(self, batch: InstanceBatch) -> RowsAt:
        """What gives the rows (I, B, n) of an update. On a CPU they are overwritten by those of the next."""
        family, law = batch.family, batch.family.law
        if family.data is DataKind.finite:
            return self._table_rows(batch)
        given = {
            "key": batch.generator_key,
            "stream": Stream.data,
            "set_stream": Stream.sets,
            "feature_probability": batch.feature_probability,
            "high": batch.high,
            "correlation": batch.correlation,
        }
        if self._device.type != "cpu":
            drawn = draw_at(torch, law, rows=(0, family.n_batch), device=self._device, **given)
            return lambda step: drawn(step).to(self._dtype)
        buffer = np.empty((len(batch), family.n_batch, family.n_features), np.float32)

        def fill(step: int) -> torch.Tensor:
            compiled_sampling.fill_rows(buffer, law, step=step, start=0, **given)
            return torch.from_numpy(buffer).to(self._dtype)

        return fill

    def _table_rows(self, batch: InstanceBatch) -> RowsAt:
        """The whole table at every update, or a mini-batch of its rows drawn with replacement."""
        table, family = self._table(batch), batch.family
        if not family.n_batch:
            return lambda step: table
        index_at = table_row_indices_at(
            torch, batch.generator_key, family.n_batch, family.n_rows, self._device
        )
        return lambda step: table.gather(1, index_at(step)[:, :, None].expand(-1, -1, family.n_features))

    def _table(self, batch: InstanceBatch) -> torch.Tensor:
        """(I, n_rows, n); restarts and cells with one table key and one p share the drawing of it."""
        drawn, which = self._held.of(batch)
        return drawn.to(self._dtype)[torch.from_numpy(which).to(self._device)]

    def _row_bytes(self, family: Family, rows: int) -> int:
        """Bytes of what one instance computes from `rows` rows."""
        return self._dtype.itemsize * rows * (ARRAYS_PER_ROW * family.n_features + 3 * family.n_hidden)

    def _parameters(self, state: State) -> dict[str, torch.Tensor]:
        arrays = {name: getattr(state, name) for name in PARAMETERS}
        return {name: self._tensor(array, copy=True) for name, array in arrays.items() if array is not None}

    def _tensor(self, array: np.ndarray, copy: bool = False) -> torch.Tensor:
        tensor = torch.from_numpy(array).to(self._device, self._dtype)
        # `to` gives back the same memory where nothing changes; what is updated in place must own its own.
        return tensor.clone() if copy and tensor.data_ptr() == array.ctypes.data else tensor


class _Sums:
    """Running sums over chunks of rows of what an `Evaluation` holds."""

    def __init__(self, count: int, family: Family, device: torch.device) -> None:
        n, m = family.n_features, family.n_hidden

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(count, *shape, dtype=torch.float64, device=device)

        self.rows = 0
        self.feature, self.row, self.row_square = zeros(n), zeros(), zeros()
        self.h, self.h_abs, self.hh = zeros(m), zeros(), zeros(m, m)
        self.target, self.target_square = (zeros(n), zeros(n)) if family.unit_norm else (None, None)

    def add(self, error: torch.Tensor, h: torch.Tensor, target: torch.Tensor | None) -> None:
        """Add B rows: weighted squared errors (I, B, n), hidden activations (I, B, m), targets (I, B, n)."""
        f64 = torch.float64
        self.rows += error.shape[1]
        self.feature += error.sum(1, dtype=f64)
        row = error.sum(2, dtype=f64) / error.shape[2]
        self.row += row.sum(1)
        self.row_square += (row * row).sum(1)
        self.h_abs += h.abs().sum((1, 2), dtype=f64)
        self.h += h.sum(1, dtype=f64)
        wide = h.double()
        self.hh += wide.swapaxes(1, 2) @ wide
        if target is not None and self.target is not None and self.target_square is not None:
            self.target += target.sum(1, dtype=f64)
            self.target_square += (target * target).sum(1, dtype=f64)

    def evaluation(self, dead: torch.Tensor) -> Evaluation:
        """The means, and the standard error of the loss from the scatter of its rows."""
        rows = self.rows
        loss = self.row / rows
        scatter = (self.row_square / rows - loss * loss).clip(0)
        mean = self.h / rows
        return Evaluation(
            loss=_host(loss),
            loss_stderr=_host((scatter / max(rows - 1, 1)) ** 0.5),
            feature_loss=_host(self.feature / rows),
            hidden_l1=_host(self.h_abs / rows),
            hidden_mean=_host(mean),
            hidden_cov=_host(self.hh / rows - mean[:, :, None] * mean[:, None, :]),
            target_mean=None if self.target is None else _host(self.target / rows),
            target_square=None if self.target_square is None else _host(self.target_square / rows),
            dead=_host(dead),
        )


def _host(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy()


def checked_device(name: str) -> torch.device:
    """The device of this name; ConfigError where PyTorch does not see it."""
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(f"engine.device={name}: this PyTorch sees no CUDA GPU; use engine.device=cpu")
        if (device.index or 0) >= torch.cuda.device_count():
            raise ConfigError(
                f"engine.device={name}: there are {torch.cuda.device_count()} GPUs, numbered from cuda:0"
            )
    return device


def _instruction_set(device: torch.device) -> str:
    """What decides the bits of torch's kernels on this device."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return f"sm_{major}{minor}-torch{torch.__version__}"
    return f"{torch.backends.cpu.get_cpu_capability().lower().replace(' ', '_')}-torch{torch.__version__}"
