"""The fused GPU engine: a launch trains every instance of a pack for many steps, with its state on the chip.

What it computes is in `triton_tiny.py` (small models), `triton_tiles.py` (wider ones) and
`triton_measure.py`; here a batch and a state become the kernels' flat device arrays and back. Under Triton's
interpreter (TRITON_INTERPRET=1 when Triton is imported) the same kernels run on a CPU, slowly: that is how
they are tested where there is no GPU.
"""

import sys
from typing import Any

import numpy as np
import torch
import triton
from triton import knobs
from triton.runtime import OutOfResources, driver

from superpose_cli.engines.base import NUMERICS_VERSION, Evaluation, State, initial_state
from superpose_cli.engines.sums import evaluation_of
from superpose_cli.engines.tables import HeldTables, unit_norm_rows
from superpose_cli.engines.torch_reference import checked_device
from superpose_cli.engines.triton_measure import Sums
from superpose_cli.engines.triton_plans import Plan, is_wide, plan_measure, plan_training
from superpose_cli.engines.triton_sampling import Rows
from superpose_cli.engines.triton_spec import PRECISIONS, Spec, is_tiny, refusal
from superpose_cli.engines.triton_updates import Hyper, Trained
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.config import DataKind, Reduction
from superpose_cli.experiment.instances import Family, InstanceBatch
from superpose_cli.memory import free_memory
from superpose_cli.toy_model.model import PARAMETERS
from superpose_cli.toy_model.optim import rate_factor
from superpose_cli.toy_model.sampling import bounds

LEAST_CAPABILITY = (8, 0)
"""Triton's own limit for NVIDIA GPUs that it is tested on: Ampere."""
FILL_TINY, FILL_WIDE = 32_768, 1_024
"""Instances for some waves of programs on 132 multiprocessors: 8 to 24 tiny models run at once on each, one
to four others."""
KERNELS = 3
"""Part of `numerics`; raise it when a change of the kernels alters the trained bits."""
TABLE_CHUNK = 4096
"""Unit-norm evaluation rows that are drawn at once."""
DRAWN_BYTES = 64
"""Bytes that drawing one value of a table takes in PyTorch at most: words and their temporaries."""
Tables = tuple[torch.Tensor, np.ndarray]
"""Different tables, float32 (K, rows, n), and each instance's number among them (I,)."""


class TritonEngine:
    """Trains a batch with Triton kernels; see `engines.base.Engine` for the contract."""

    name = "triton"

    def __init__(self, device: str = "cuda", dtype: str = "float32") -> None:
        """`dtype`: float32, or how its products are rounded (`triton_spec.PRECISIONS`).

        Raises ConfigError for a GPU that is not there or too old, where Triton finds nothing to compile with,
        and for a CPU without the interpreter.
        """
        self.device, self.dtype = device, dtype
        self._device = checked_device(device)
        assert dtype in PRECISIONS, "the table of engines says what each can do"
        self.numerics = f"triton/{dtype}/{NUMERICS_VERSION}/{_arithmetic(self._device)}-kernels{KERNELS}"
        self._shared = _shared_memory(self._device)
        self._held = HeldTables(torch, self._device)

    def refuses(self, family: Family) -> str | None:
        """What the kernels do not compute."""
        return refusal(family, self._shared)

    def free_memory(self) -> int:
        """The GPU's."""
        if self._device.type == "cuda":
            return torch.cuda.mem_get_info(self._device)[0]
        return free_memory()

    def bytes_per_instance(self, family: Family) -> int:
        """The state of an instance, what describes it, its table, and the sums of an evaluation."""
        n, m = family.n_features, family.n_hidden
        parameters = n * m * (1 if family.tied else 2) + n + m
        state = 4 * parameters * (4 if is_wide(family, self._shared) else 3)
        measured = 4 * parameters + 8 * (3 * n + m + m * m)
        values = max(family.n_rows, TABLE_CHUNK * family.unit_norm)
        return state + measured + 48 * n + 256 + DRAWN_BYTES * n * values

    def pack_instances(self, family: Family, memory: int) -> int:
        """As many as the memory holds."""
        return max(1, memory // self.bytes_per_instance(family))

    def fill(self, family: Family) -> int:
        """Some waves of programs: a last one that is not full then costs little."""
        return FILL_TINY if is_tiny(family) else FILL_WIDE

    def initialise(self, batch: InstanceBatch) -> State:
        """Initial weights in float32, biases and moments 0."""
        return initial_state(batch, "float32")

    def advance(self, batch: InstanceBatch, state: State, stop_step: int) -> State:
        """Train up to `stop_step` updates. An instance that overflows goes on as NaN and harms no other."""
        family = batch.family
        plan = plan_training(batch, self._device.type, self.dtype, self._shared)
        rows = self._rows(batch, batch.generator_key, self._tables(batch))
        trained = self._trained(batch, state)
        n_batch = family.n_batch or family.n_rows
        hyper = self._hyper(batch, n_batch, state.step, stop_step)
        count = (len(batch),) if plan.per_program > 1 else ()
        steps = (*count, state.step, stop_step - state.step, n_batch, family.n_rows)
        self._launch(plan, len(batch), rows, trained, hyper, *steps)
        return _state_of(trained, plan.spec, state, stop_step)

    def evaluate(self, batch: InstanceBatch, state: State, n_rows: int) -> Evaluation:
        """Measure on the first `n_rows` evaluation rows of the batch's seeds."""
        sums = self._no_sums(batch)
        if not batch.family.unit_norm:
            self._measure(batch, state, sums, n_rows, None)
        else:
            for start in range(0, n_rows, TABLE_CHUNK):
                stop = min(start + TABLE_CHUNK, n_rows)
                drawn = unit_norm_rows(torch, batch, (start, stop), self._device)
                self._measure(batch, state, sums, stop - start, drawn)
        return evaluation_of(batch.family, _on_host(sums), n_rows)

    def evaluate_table(self, batch: InstanceBatch, state: State) -> Evaluation:
        """Measure on the fixed table of a finite-data family."""
        sums = self._no_sums(batch)
        self._measure(batch, state, sums, batch.family.n_rows, self._tables(batch))
        return evaluation_of(batch.family, _on_host(sums), batch.family.n_rows)

    def _measure(
        self, batch: InstanceBatch, state: State, sums: Sums, n_rows: int, tables: Tables | None
    ) -> None:
        """Add rows to the sums: those of the tables, or else the first evaluation rows."""
        self._launch(
            plan_measure(batch, drawn=tables is None),
            len(batch),
            self._rows(batch, batch.evaluation_key, tables),
            self._there(_flat({name: getattr(state, name) for name in PARAMETERS})),
            self._there(batch.importance, np.float32),
            self._there(batch.hidden_l1, np.float32),
            sums,
            n_rows,
            n_rows,
        )

    def _launch(self, plan: Plan, count: int, *arguments: Any) -> None:
        """Run a kernel for `count` instances; ConfigError where the GPU has too little for it."""

        def run() -> None:
            plan.kernel[plan.grid(count)](*arguments, *plan.constants, **plan.options)

        if self._device.type == "cpu":
            with np.errstate(all="ignore"):  # the interpreter's numbers are NumPy's
                run()
            return
        try:
            with torch.cuda.device(self._device):
                run()
        except OutOfResources as error:
            raise ConfigError(
                f"engine triton cannot hold n_features={plan.spec.n}, n_hidden={plan.spec.m} on this GPU "
                f"({error.name}: {error.required:,} of {error.limit:,}); use engine torch"
            ) from error

    def _tables(self, batch: InstanceBatch) -> Tables | None:
        """The tables of finite data, or None."""
        return self._held.of(batch) if batch.family.data is DataKind.finite else None

    def _rows(self, batch: InstanceBatch, key: np.ndarray, tables: Tables | None) -> Rows:
        """Where the batch's rows come from: the tables, or else draws under the keys."""
        law = batch.family.law
        limits = bounds(law, batch.feature_probability, batch.high, batch.correlation)
        held, table_of = tables or (torch.zeros(1, device=self._device), np.zeros(len(batch), np.int64))
        return Rows(
            key=self._there(np.ascontiguousarray(key)[:, None].view(np.int32)),
            last=self._there(limits.last.astype(np.uint32).view(np.int32)),
            scale=self._there(limits.scale),
            top=self._there(limits.top),
            set_scale=self._there(limits.set_scale),
            last_coin=self._there(limits.last_coin),
            table=held,
            table_of=self._there(table_of),
        )

    def _trained(self, batch: InstanceBatch, state: State) -> Trained:
        weight = self._there(_flat({name: getattr(state, name) for name in PARAMETERS}))
        zeros = torch.zeros_like
        return Trained(
            weight=weight,
            first=self._there(_flat(state.moment1)),
            second=self._there(_flat(state.moment2)) if state.moment2 else zeros(weight),
            slope=zeros(weight if is_wide(batch.family, self._shared) else weight[:1]),
            failed=self._there(state.failed_step.copy()),
        )

    def _hyper(self, batch: InstanceBatch, n_batch: int, start: int, stop: int) -> Hyper:
        """What depends on the step is worked out on the host in float64, for steps start .. stop - 1."""
        family, steps = batch.family, range(start, stop)
        mean = family.loss_reduction is Reduction.mean
        schedule = (str(family.schedule), family.warmup_steps, family.steps)
        pairs, which = _different(np.column_stack([batch.beta1, batch.beta2]))
        powers = pairs[:, None, :] ** (np.arange(start, stop)[None, :, None] + 1)
        debiased = np.stack([1 / (1 - powers[..., 0]), np.sqrt(1 - powers[..., 1])], -1)
        numbers = (batch.momentum, batch.beta1, 1 - batch.beta1, batch.beta2, 1 - batch.beta2, batch.eps)
        scale = batch.importance * (2 / (n_batch * (family.n_features if mean else 1)))
        return Hyper(
            scale=self._there(scale, np.float32),
            l1=self._there(batch.hidden_l1 / n_batch, np.float32),
            learning_rate=self._there(batch.learning_rate),
            weight_decay=self._there(batch.weight_decay),
            numbers=self._there(np.column_stack(numbers), np.float32),
            betas=self._there(which, np.int32),
            factors=self._there(np.array([rate_factor(*schedule, step) for step in steps])),
            debiased=self._there(debiased),
        )

    def _no_sums(self, batch: InstanceBatch) -> Sums:
        count, n, m = len(batch), batch.family.n_features, batch.family.n_hidden
        shapes = {
            "feature": (n,),
            "row": (2,),
            "h": (m,),
            "h_abs": (),
            "hh": (m, m),
            "target": (n,),
            "target_square": (n,),
        }

        def zeros(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
            return torch.zeros((count, *shape), dtype=dtype, device=self._device)

        given = {name: zeros(shape, torch.float64) for name, shape in shapes.items()}
        return Sums(**given, alive=zeros((), torch.int32))

    def _there(self, array: np.ndarray, dtype: Any = None) -> torch.Tensor:
        """The array on the device; contiguous."""
        return torch.from_numpy(np.ascontiguousarray(array, dtype)).to(self._device)


def _flat(arrays: dict[str, Any]) -> np.ndarray:
    """The parameters that there are, one after the other: float32 (I, size), a copy."""
    given = [arrays[name] for name in PARAMETERS if arrays.get(name) is not None]
    return np.concatenate([array.reshape(len(array), -1) for array in given], axis=1)


def _state_of(trained: Trained, spec: Spec, before: State, step: int) -> State:
    """The state on the host again."""
    n, m = spec.n, spec.m
    shapes = {
        "W": (0, (n, m)),
        "W_dec": None if spec.tied else (spec.dec, (n, m)),
        "b": (spec.b, (n,)) if spec.bias else None,
        "b_hidden": (spec.b_hidden, (m,)) if spec.hidden_bias else None,
    }

    def shaped(flat: torch.Tensor) -> dict[str, Any]:
        host = flat.cpu().numpy()
        found = {}
        for name, place in shapes.items():
            if place is not None:
                start, shape = place
                part = host[:, start : start + int(np.prod(shape))]
                found[name] = np.ascontiguousarray(part).reshape(-1, *shape)
        return found

    absent: dict[str, Any] = dict.fromkeys(PARAMETERS)
    return State(
        **(absent | shaped(trained.weight)),
        moment1=shaped(trained.first),
        moment2=shaped(trained.second) if before.moment2 else {},
        step=step,
        failed_step=trained.failed.cpu().numpy(),
    )


def _on_host(sums: Sums) -> Sums:
    return Sums(*(value.cpu().numpy() for value in sums))


def _different(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows, and each row's number among them; mostly there is one."""
    if (values == values[0]).all():
        return values[:1], np.zeros(len(values), np.int64)
    found, which = np.unique(values, axis=0, return_inverse=True)
    return found, which.reshape(-1)


def _arithmetic(device: torch.device) -> str:
    """What decides the bits of Triton's kernels on this device; ConfigError where they cannot run there."""
    interpreted = knobs.runtime.interpret
    if device.type == "cpu":
        if not interpreted:
            raise ConfigError(
                "engine triton runs on cuda, not on cpu; its tests run it there with TRITON_INTERPRET=1"
            )
        return f"interpreter-triton{triton.__version__}"
    if interpreted:
        raise ConfigError("TRITON_INTERPRET is set, so Triton would compute on the CPU: unset it")
    if torch.version.hip is not None:
        raise ConfigError("engine triton is made for NVIDIA's GPUs, not for AMD's: use engine torch")
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        raise ConfigError(
            f"engine triton needs an NVIDIA GPU of compute capability 8.0 or later; {device} has "
            f"{capability[0]}.{capability[1]}: use engine torch"
        )
    return f"sm_{capability[0]}{capability[1]}-triton{triton.__version__}"


def _shared_memory(device: torch.device) -> int:
    """Bytes that a program may share, as Triton sees it; ConfigError where Triton cannot get at the GPU.

    At its first use it compiles what it calls the GPU's driver through.
    """
    if device.type == "cpu":
        return sys.maxsize
    index = torch.cuda.current_device() if device.index is None else device.index
    try:
        active: Any = driver.active
        return active.utils.get_device_properties(index)["max_shared_mem"]
    except Exception as error:  # a compiler, headers, a cache folder, a driver: whatever is missing
        said = " ".join(str(error).split())
        raise ConfigError(
            f"engine triton finds no way to the GPU ({type(error).__name__}: {said}): it needs a C compiler "
            f"and Python's headers; use engine torch"
        ) from error
