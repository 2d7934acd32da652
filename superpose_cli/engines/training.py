"""What surrounds every engine: packs that fit the memory, the history, interrupts, progress and flags."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from superpose_cli.engines.base import Engine, Evaluation, State, concatenate, take
from superpose_cli.engines.baseline import baseline_loss
from superpose_cli.engines.population import (
    by_moments,
    evaluated_at_once,
    population_evaluation,
    with_exact_loss,
)
from superpose_cli.experiment.config import (
    DataKind,
    EvaluationConfig,
    EvaluationMethod,
    HistoryConfig,
    Spacing,
)
from superpose_cli.experiment.instances import InstanceBatch
from superpose_cli.toy_model.model import PARAMETERS
from superpose_cli.toy_model.objective import objective_of

HISTORY_ROWS = 4096
"""Rows that a recorded loss is measured on: the first of the evaluation rows (fewer if there are fewer)."""
BLOW_UP = 10.0
"""An objective above this multiple of its first value and of the best constant output's has diverged."""
EVALUATED_VALUES = 1 << 28
"""Inputs that are evaluated between two looks at the keyboard: a second or so."""
CHUNK_SECONDS = 0.5
"""Aim for the time between two looks at the clock, the keyboard and the progress bar."""


class Interrupted(Exception):
    """Training was asked to stop; what is not committed is dropped."""


class Watch(Protocol):
    """Who is told how the work goes. Calls are cheap and may be ignored."""

    def started(self, n_instances: int, n_stored: int, engine: str, reason: str) -> None:
        """The run begins; `n_stored` instances are already there, `reason` says why this engine."""
        ...

    def progressed(self, instances: float, loss: float, instance_steps: int) -> None:
        """Instances done so far (with fractions), the latest mean loss (or NaN), updates done by all."""
        ...

    def compiling(self, seconds: float | None) -> None:
        """A kernel is being compiled (None), or was, in so many seconds; from whichever thread does it."""
        ...

    def committed(self, instances: int) -> None:
        """So many instances are now stored, in all."""
        ...

    def said(self, message: str) -> None:
        """Something worth a line."""
        ...

    def finished(self, status: str) -> None:
        """The run ends: complete, interrupted or failed."""
        ...


class _Silent:
    """Tells nobody."""

    def started(self, n_instances: int, n_stored: int, engine: str, reason: str) -> None: ...
    def progressed(self, instances: float, loss: float, instance_steps: int) -> None: ...
    def compiling(self, seconds: float | None) -> None: ...
    def committed(self, instances: int) -> None: ...
    def said(self, message: str) -> None: ...
    def finished(self, status: str) -> None: ...


SILENT: Watch = _Silent()


@dataclass(frozen=True)
class History:
    """What was recorded: R records of I instances."""

    steps: npt.NDArray[np.int64]
    """(R,)."""
    loss: npt.NDArray[np.float64]
    """(R, I)."""
    train_loss: npt.NDArray[np.float64] | None
    """(R, I), finite data only."""
    weights: dict[str, npt.NDArray[Any]]
    """Parameter -> (R, I, ...), where weights are recorded; else empty."""


@dataclass(frozen=True)
class Trained:
    """A batch after its last step, and what was measured of it."""

    batch: InstanceBatch
    state: State
    evaluation: Evaluation
    table: Evaluation | None
    """On the fixed table (finite data)."""
    loss_method: EvaluationMethod
    """How the loss was found: of linear models on independent features it is always exact."""
    objective: npt.NDArray[np.float64]
    """(I,): what was trained, on the table for finite data, else on the evaluation rows."""
    status: npt.NDArray[np.str_]
    """(I,): ok, dead or diverged."""
    failed_step: npt.NDArray[np.int64]
    """(I,): where it diverged, or -1."""
    history: History


@dataclass
class Progress:
    """Counts what the packs of a run have done and passes it on."""

    watch: Watch
    instances: float = 0.0
    instance_steps: int = 0

    def add(self, instances: int, steps: int, of_steps: int, loss: float) -> None:
        """So many instances advanced by `steps` of their `of_steps` updates."""
        self.instances += instances * steps / of_steps
        self.instance_steps += instances * steps
        self.watch.progressed(self.instances, loss, self.instance_steps)


def history_steps(history: HistoryConfig, steps: int) -> list[int]:
    """The recorded steps, 0 and `steps` among them; empty where nothing is recorded."""
    if not history.every:
        return []
    count = -(-steps // history.every)
    if history.spacing is Spacing.linear:
        inner = [i * history.every for i in range(1, count)]
    else:
        inner = [round(math.exp(math.log(steps) * i / count)) for i in range(count)]
    return sorted({0, *inner, steps})


def train_batch(
    engine: Engine,
    batch: InstanceBatch,
    *,
    evaluation: EvaluationConfig,
    history: HistoryConfig,
    memory: int,
    progress: Progress,
    stop: Callable[[], bool],
) -> Trained:
    """Train a batch, pack by pack, and measure it. Raises Interrupted soon after `stop()` turns true."""
    packs = []
    for pack in _packs(batch, engine.pack_instances(batch.family, memory)):
        packs.append(_train_pack(engine, pack, evaluation, history, progress, stop))
    return packs[0] if len(packs) == 1 else _join(batch, packs)


def _packs(batch: InstanceBatch, size: int) -> Iterator[InstanceBatch]:
    # Equal packs: a last pack of a few instances would waste the machine.
    count = -(-len(batch) // size)
    for part in np.array_split(np.arange(len(batch)), count):
        yield batch.take(slice(part[0], part[-1] + 1))


def _train_pack(
    engine: Engine,
    batch: InstanceBatch,
    evaluation: EvaluationConfig,
    history: HistoryConfig,
    progress: Progress,
    stop: Callable[[], bool],
) -> Trained:
    family = batch.family
    finite = family.data is DataKind.finite
    short = min(HISTORY_ROWS, evaluation.n_rows or HISTORY_ROWS)

    def on_rows(n_rows: int) -> Evaluation:
        size = max(16, EVALUATED_VALUES // (n_rows * family.n_features))

        def evaluate(part: InstanceBatch, trained: State) -> Evaluation:
            return engine.evaluate(part, trained, n_rows)

        return _in_slices(evaluate, batch, state, size, stop)

    def judged(n_rows: int) -> Evaluation:
        if evaluation.method is EvaluationMethod.population:
            return _in_slices(population_evaluation, batch, state, evaluated_at_once(batch), stop)
        found = on_rows(n_rows)
        return with_exact_loss(found, population_evaluation(batch, state)) if by_moments(family) else found

    state = engine.initialise(batch)
    first = engine.evaluate_table(batch, state) if finite else judged(short)
    recorded, losses, train_losses = history_steps(history, family.steps), [], []
    weights: dict[str, list[npt.NDArray[Any]]] = {}
    latest = math.nan
    for target in recorded or [family.steps]:
        state = _advance(engine, batch, state, target, progress, stop, latest)
        if recorded:
            losses.append(on_rows(short).loss)
            latest = float(np.mean(losses[-1]))
            if finite:
                train_losses.append(engine.evaluate_table(batch, state).loss)
            if history.weights:
                for name in PARAMETERS:
                    if (value := getattr(state, name)) is not None:
                        weights.setdefault(name, []).append(value)
    found = judged(evaluation.n_rows or short)
    table = engine.evaluate_table(batch, state) if finite else None
    objective = _objective(batch, table or found)
    # The few rows of the first measurement may hold nothing at all; the constant output's loss is exact.
    known = _objective_of_loss(batch, baseline_loss(batch, found))
    start = np.fmax(_objective(batch, first), known)
    status, failed_step = _status(start, objective, table or found, state)
    return Trained(
        batch,
        state,
        found,
        table,
        EvaluationMethod.population if by_moments(family) else evaluation.method,
        objective,
        status,
        failed_step,
        History(
            np.array(recorded, np.int64),
            np.array(losses).reshape(len(losses), len(batch)),
            np.array(train_losses) if train_losses else None,
            {name: np.stack(values) for name, values in weights.items()},
        ),
    )


def _in_slices(
    evaluate: Callable[[InstanceBatch, State], Evaluation],
    batch: InstanceBatch,
    state: State,
    size: int,
    stop: Callable[[], bool],
) -> Evaluation:
    """`evaluate(batch, state)`, `size` instances at a time, looking up in between."""
    parts = []
    for start in range(0, len(batch), size):
        if stop():
            raise Interrupted
        span = slice(start, start + size)
        parts.append(evaluate(batch.take(span), take(state, span)))
    return concatenate(parts)


def _advance(
    engine: Engine,
    batch: InstanceBatch,
    state: State,
    target: int,
    progress: Progress,
    stop: Callable[[], bool],
    loss: float,
) -> State:
    """Advance to `target` in chunks of about half a second, looking up in between."""
    chunk = 1
    while state.step < target:
        if stop():
            raise Interrupted
        before, began = state.step, time.perf_counter()
        state = engine.advance(batch, state, min(target, before + chunk))
        done = state.step - before
        progress.add(len(batch), done, batch.family.steps, loss)
        pace = done / max(time.perf_counter() - began, 1e-6)
        chunk = max(1, min(8 * chunk, int(pace * CHUNK_SECONDS)))
    return state


def _objective(batch: InstanceBatch, found: Evaluation) -> npt.NDArray[np.float64]:
    # A closed form may not know ||h||_1; without a weight nobody asks.
    return _objective_of_loss(batch, found.loss, np.where(batch.hidden_l1 > 0, found.hidden_l1, 0.0))


def _objective_of_loss(
    batch: InstanceBatch, loss: npt.NDArray[np.float64], hidden_l1: npt.NDArray[np.float64] | float = 0.0
) -> npt.NDArray[np.float64]:
    family = batch.family
    return objective_of(loss, hidden_l1, family.n_features, family.loss_reduction, batch.hidden_l1)


def _status(
    first: npt.NDArray[np.float64], last: npt.NDArray[np.float64], found: Evaluation, state: State
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int64]]:
    """ok, dead (no gradient is left) or diverged (not finite, or far above its first value), and the step."""
    diverged = (state.failed_step >= 0) | ~np.isfinite(last) | (last > BLOW_UP * first)
    # Without a loss there is nothing to learn: rows in which nothing is on leave no gradient either.
    dead = found.dead & (found.loss > 0)
    status = np.where(diverged, "diverged", np.where(dead, "dead", "ok"))
    return status, np.where(diverged & (state.failed_step < 0), state.step, state.failed_step)


def _join(batch: InstanceBatch, packs: Sequence[Trained]) -> Trained:
    """The packs of one batch as one result."""
    history = [pack.history for pack in packs]
    with_table = [pack.table for pack in packs if pack.table is not None]
    train_losses = [h.train_loss for h in history if h.train_loss is not None]
    return Trained(
        batch,
        concatenate([pack.state for pack in packs]),
        concatenate([pack.evaluation for pack in packs]),
        concatenate(with_table) if with_table else None,
        packs[0].loss_method,
        np.concatenate([pack.objective for pack in packs]),
        np.concatenate([pack.status for pack in packs]),
        np.concatenate([pack.failed_step for pack in packs]),
        History(
            history[0].steps,
            np.concatenate([h.loss for h in history], axis=1),
            np.concatenate(train_losses, axis=1) if train_losses else None,
            {name: np.concatenate([h.weights[name] for h in history], axis=1) for name in history[0].weights},
        ),
    )
