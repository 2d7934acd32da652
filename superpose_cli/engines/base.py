"""The seam: what every engine takes and gives. Packing, history, interrupts and commits are above it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from superpose_cli.experiment.config import Optimizer
from superpose_cli.experiment.instances import Family, InstanceBatch
from superpose_cli.toy_model.model import PARAMETERS, initial_weights
from superpose_cli.toy_model.philox import Stream

NUMERICS_VERSION = 2
"""Part of every stored `numerics`; raise it when a code change alters the trained bits."""

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]


@dataclass(kw_only=True)
class State:
    """The training state of I instances as host arrays, in the engine's dtype.

    `moment1` and `moment2` map a parameter's name (W, W_dec, b, b_hidden) to an array of its shape.
    Parameters that the family lacks are None and have no moments.
    """

    W: Floats
    """(I, n, m): row i is the direction of feature i."""
    W_dec: Floats | None
    """(I, n, m), untied models only."""
    b: Floats | None
    """(I, n)."""
    b_hidden: Floats | None
    """(I, m)."""
    moment1: dict[str, Floats]
    moment2: dict[str, Floats]
    step: int
    """Updates done so far, the same for all instances of a batch."""
    failed_step: npt.NDArray[np.int64]
    """(I,): the first step whose update left a non-finite weight; -1: none."""


@dataclass(kw_only=True)
class Evaluation:
    """What an engine measures on rows that it draws for the purpose, in float64.

    The loss is sum_i I_i (target_i - y_i)^2 / n, averaged over rows: the mean over features always,
    whatever reduction was trained.
    """

    loss: npt.NDArray[np.float64]
    """(I,)."""
    loss_stderr: npt.NDArray[np.float64]
    """(I,): standard error of `loss`; 0 where it is exact."""
    feature_loss: npt.NDArray[np.float64]
    """(I, n): I_i E (target_i - y_i)^2; its mean over i is `loss`."""
    hidden_l1: npt.NDArray[np.float64]
    """(I,): mean of ||h||_1, without its weight."""
    hidden_mean: npt.NDArray[np.float64]
    """(I, m): mean of h."""
    hidden_cov: npt.NDArray[np.float64]
    """(I, m, m): covariance of h."""
    target_mean: npt.NDArray[np.float64] | None
    """(I, n): mean of the target on these rows; only for unit-norm rows, which have no closed form."""
    target_square: npt.NDArray[np.float64] | None
    """(I, n): mean square of the target, likewise."""
    dead: npt.NDArray[np.bool_]
    """(I,): every gradient of the objective is exactly 0 on these rows."""


Record = TypeVar("Record", State, Evaluation)


def take(record: Record, index: slice | npt.NDArray[np.int64]) -> Record:
    """The instances of a state or an evaluation at `index`, in that order."""

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: array[index] for name, array in value.items()}
        return value[index] if isinstance(value, np.ndarray) else value

    return type(record)(**{f.name: cut(getattr(record, f.name)) for f in fields(record)})


def concatenate(parts: Sequence[Record]) -> Record:
    """The instances of several states (of one step) or evaluations of one family, one after the other."""

    def join(values: Sequence[Any]) -> Any:
        first = values[0]
        if isinstance(first, dict):
            return {name: join([value[name] for value in values]) for name in first}
        if not isinstance(first, np.ndarray):
            return first
        # In one order in memory, whatever came in: it decides the order, and so the bits, of later sums.
        return np.ascontiguousarray(first if len(values) == 1 else np.concatenate(values))

    kind = type(parts[0])
    return kind(**{f.name: join([getattr(part, f.name) for part in parts]) for f in fields(kind)})


def initial_state(batch: InstanceBatch, dtype: str) -> State:
    """What every engine starts from: initial weights rounded to `dtype`, biases and moments 0."""
    family, count = batch.family, len(batch)
    n, m = family.n_features, family.n_hidden

    def weights(stream: Stream) -> Floats:
        return initial_weights(batch.generator_key, stream, n, m, batch.init_std).astype(dtype)

    parameters: dict[str, Any] = {"W": weights(Stream.init_W)}
    if not family.tied:
        parameters["W_dec"] = weights(Stream.init_W_dec)
    if family.bias:
        parameters["b"] = np.zeros((count, n), dtype)
    if family.hidden_bias:
        parameters["b_hidden"] = np.zeros((count, m), dtype)
    second = {} if family.optimizer is Optimizer.sgd else parameters
    absent: dict[str, Any] = dict.fromkeys(PARAMETERS)
    return State(
        **(absent | parameters),
        moment1={name: np.zeros_like(value) for name, value in parameters.items()},
        moment2={name: np.zeros_like(value) for name, value in second.items()},
        step=0,
        failed_step=np.full(count, -1, np.int64),
    )


class Engine(Protocol):
    """A way to train a batch of instances. Instances never couple: each one's bits are its own.

    Not so in `torch` on a GPU: there a library picks how to multiply matrices, perhaps by how many instances
    a pack has, so that packs may differ in rounding. Repeating a pack repeats its bits there too.
    """

    name: str
    dtype: str
    device: str
    numerics: str
    """engine/dtype/NUMERICS_VERSION/instruction set: bits are reproducible where this is equal."""

    def refuses(self, family: Family) -> str | None:
        """The reason why this engine cannot train the family, or None."""
        ...

    def free_memory(self) -> int:
        """Bytes that the device has to spare."""
        ...

    def bytes_per_instance(self, family: Family) -> int:
        """Working memory of one instance during `advance` and `evaluate`, in bytes."""
        ...

    def pack_instances(self, family: Family, memory: int) -> int:
        """How many instances are best trained at once in `memory` bytes; at least 1. Changes no bit."""
        ...

    def fill(self, family: Family) -> int:
        """How many instances keep the device busy: shards of fewer are trained together."""
        ...

    def initialise(self, batch: InstanceBatch) -> State:
        """Initial weights, biases 0, moments 0, step 0."""
        ...

    def advance(self, batch: InstanceBatch, state: State, stop_step: int) -> State:
        """Train up to `stop_step` updates; the same bits however the steps are cut."""
        ...

    def evaluate(self, batch: InstanceBatch, state: State, n_rows: int) -> Evaluation:
        """Measure on `n_rows` fresh rows, keyed by the seed alone: common to all cells and restarts."""
        ...

    def evaluate_table(self, batch: InstanceBatch, state: State) -> Evaluation:
        """Measure on the fixed table of a finite-data family."""
        ...
