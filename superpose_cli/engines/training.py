"""What surrounds every engine: packs that fit the memory, checkpoints, the history, interrupts and flags."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from superpose_cli.engines.base import Engine, Evaluation, State, concatenate, take
from superpose_cli.engines.baseline import baseline_loss
from superpose_cli.engines.packs import Pack, is_out_of_memory, join, whole
from superpose_cli.engines.population import (
    by_moments,
    evaluated_at_once,
    population_evaluation,
    with_exact_loss,
)
from superpose_cli.engines.watch import Interrupted, Progress
from superpose_cli.errors import SuperposeError
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
CHECKPOINT_SECONDS = 30.0
"""Time between two checkpoints of a shard, and before the first: most shards are done sooner."""
CHECKPOINT_SHARE = 0.05
"""Of the time, at most about this share goes into writing checkpoints."""


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


def train_shard(
    engine: Engine,
    batches: Sequence[InstanceBatch],
    *,
    evaluation: EvaluationConfig,
    history: HistoryConfig,
    memory: int,
    progress: Progress,
    stop: Callable[[], bool],
    begun: Sequence[Pack] = (),
    save: Callable[[Sequence[Pack]], None] = lambda packs: None,
) -> list[Trained]:
    """Train the batches of a shard and measure them.

    `begun` are packs that an earlier process saved; `save(packs)` is called with all packs of the shard every
    CHECKPOINT_SECONDS. The same bits come out however often that happened. Raises Interrupted soon after
    `stop()` turns true, when all is saved, and SuperposeError where one instance exceeds the memory.
    """
    packs = whole(begun, [len(batch) for batch in batches])
    progress.resume(sum(len(pack) * pack.step / batches[pack.batch].family.steps for pack in packs))
    shard = _Shard(
        engine=engine,
        batches=batches,
        evaluation=evaluation,
        history=history,
        progress=progress,
        stop=stop,
        save=save,
        packs=packs,
    )
    try:
        shard.train(memory)
    except Interrupted:
        shard.checkpoint()
        raise
    return [
        _trained(batch, join([pack for pack in shard.packs if pack.batch == number]), evaluation, history)
        for number, batch in enumerate(batches)
    ]


@dataclass(kw_only=True)
class _Shard:
    """A shard in training: its packs one after the other, with pauses to look up and to save."""

    engine: Engine
    batches: Sequence[InstanceBatch]
    evaluation: EvaluationConfig
    history: HistoryConfig
    progress: Progress
    stop: Callable[[], bool]
    save: Callable[[Sequence[Pack]], None]
    packs: list[Pack]
    unsaved: bool = False
    next_checkpoint: float = field(default_factory=lambda: time.monotonic() + CHECKPOINT_SECONDS)

    def train(self, memory: int) -> None:
        """Train and measure all packs, cut to what `memory` bytes hold, or further where that was wrong."""
        limits = [self.engine.pack_instances(batch.family, memory) for batch in self.batches]
        at = 0
        while at < len(self.packs):
            pack = self.packs[at]
            if pack.found is not None:
                at += 1
            elif len(pack) > limits[pack.batch]:
                self.packs[at : at + 1] = pack.cut(limits[pack.batch])
            elif not self._fits(pack):
                limits[pack.batch] = len(pack) // 2
                self.progress.watch.said(f"out of memory: going on with {len(pack) // 2:,} instances at once")

    def checkpoint(self) -> None:
        """Save all packs if anything is new."""
        began = time.monotonic()
        if self.unsaved:
            self.save(self.packs)
            self.unsaved = False
        now = time.monotonic()
        self.next_checkpoint = now + max(CHECKPOINT_SECONDS, (now - began) / CHECKPOINT_SHARE)

    @property
    def _short(self) -> int:
        """Rows of a short measurement."""
        return min(HISTORY_ROWS, self.evaluation.n_rows or HISTORY_ROWS)

    def _pause(self) -> None:
        if self.stop():
            raise Interrupted
        if time.monotonic() >= self.next_checkpoint:
            self.checkpoint()

    def _fits(self, pack: Pack) -> bool:
        """Train the pack to its end; False where the memory is too small, which leaves it where it was."""
        try:
            self._train_pack(pack)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(pack) == 1:
                family = self.batches[pack.batch].family
                raise SuperposeError(
                    f"out of memory with a single instance of n_features={family.n_features}, "
                    f"n_hidden={family.n_hidden}: lower train.n_batch, data.n_rows or model.n_features, or "
                    f"free some memory and run the same command to continue"
                ) from error
            return False
        return True

    def _train_pack(self, pack: Pack) -> None:
        batch = self.batches[pack.batch].take(slice(pack.start, pack.stop))
        family, finite = batch.family, batch.family.data is DataKind.finite
        state = pack.state if pack.state is not None else self._begin(batch, pack)
        for target in history_steps(self.history, family.steps)[pack.records :]:
            state = self._advance(batch, pack, state, target)
            self._record(batch, pack, state)
        state = self._advance(batch, pack, state, family.steps)
        table = self.engine.evaluate_table(batch, state) if finite else None
        found = self._judged(batch, state, self.evaluation.n_rows or HISTORY_ROWS)
        first = self._first(batch, state, found, table)
        pack.first, pack.found, pack.table, self.unsaved = first, found, table, True

    def _begin(self, batch: InstanceBatch, pack: Pack) -> State:
        pack.state, pack.first = self.engine.initialise(batch), np.full(len(batch), np.nan)
        return pack.state

    def _first(
        self, batch: InstanceBatch, state: State, found: Evaluation, table: Evaluation | None
    ) -> npt.NDArray[np.float64]:
        """(I,): the objective before the first step where it tells whether an instance diverged, else NaN."""
        last, first = _objective(batch, table or found), np.full(len(batch), np.nan)
        sound = (state.failed_step < 0) & np.isfinite(last)
        high = np.flatnonzero(sound & (last > BLOW_UP * _constant_objective(batch, found)))
        if len(high):
            part = batch.take(high)
            begun = self.engine.initialise(part)
            on_table = table is not None
            then = (
                self.engine.evaluate_table(part, begun)
                if on_table
                else self._judged(part, begun, self._short)
            )
            first[high] = _objective(part, then)
        return first

    def _advance(self, batch: InstanceBatch, pack: Pack, state: State, target: int) -> State:
        """Advance to `target` in chunks of about half a second, looking up in between."""
        loss = float(np.mean(pack.history["loss"][-1])) if pack.records else math.nan
        chunk = 1
        while state.step < target:
            self._pause()
            before, began = state.step, time.perf_counter()
            state = self.engine.advance(batch, state, min(target, before + chunk))
            pack.state, self.unsaved = state, True
            done = state.step - before
            self.progress.add(len(batch), done, batch.family.steps, loss)
            pace = done / max(time.perf_counter() - began, 1e-6)
            chunk = max(1, min(8 * chunk, int(pace * CHUNK_SECONDS)))
        return state

    def _record(self, batch: InstanceBatch, pack: Pack, state: State) -> None:
        taken: dict[str, npt.NDArray[Any]] = {"loss": self._on_rows(batch, state, self._short).loss}
        if batch.family.data is DataKind.finite:
            taken["train_loss"] = self.engine.evaluate_table(batch, state).loss
        if self.history.weights:
            parameters = {name: getattr(state, name) for name in PARAMETERS}
            taken |= {name: value for name, value in parameters.items() if value is not None}
        for name, values in taken.items():  # all or none of a record, whatever stops it
            pack.history.setdefault(name, []).append(values)
        self.unsaved = True

    def _judged(self, batch: InstanceBatch, state: State, n_rows: int) -> Evaluation:
        if self.evaluation.method is EvaluationMethod.population:
            return self._in_slices(population_evaluation, batch, state, evaluated_at_once(batch))
        found = self._on_rows(batch, state, n_rows)
        return (
            with_exact_loss(found, population_evaluation(batch, state)) if by_moments(batch.family) else found
        )

    def _on_rows(self, batch: InstanceBatch, state: State, n_rows: int) -> Evaluation:
        def evaluate(part: InstanceBatch, trained: State) -> Evaluation:
            return self.engine.evaluate(part, trained, n_rows)

        size = max(16, EVALUATED_VALUES // (n_rows * batch.family.n_features))
        return self._in_slices(evaluate, batch, state, size)

    def _in_slices(
        self,
        evaluate: Callable[[InstanceBatch, State], Evaluation],
        batch: InstanceBatch,
        state: State,
        size: int,
    ) -> Evaluation:
        """`evaluate(batch, state)`, `size` instances at a time, looking up in between."""
        parts = []
        for start in range(0, len(batch), size):
            self._pause()
            span = slice(start, start + size)
            parts.append(evaluate(batch.take(span), take(state, span)))
        return concatenate(parts)


def _trained(
    batch: InstanceBatch, pack: Pack, evaluation: EvaluationConfig, history: HistoryConfig
) -> Trained:
    """A batch whose instances are all in one pack, which is done."""
    state, found, table, family = pack.state, pack.found, pack.table, batch.family
    assert state is not None
    assert found is not None
    assert pack.first is not None
    objective = _objective(batch, table or found)
    # The few rows of the first measurement may hold nothing at all; the constant output's loss is exact.
    first = np.fmax(pack.first, _constant_objective(batch, found))
    status, failed_step = _status(first, objective, table or found, state)
    records = {name: np.stack(values) for name, values in pack.history.items()}
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
            np.array(history_steps(history, family.steps), np.int64),
            records.pop("loss", np.empty((0, len(batch)))),
            records.pop("train_loss", None),
            records,
        ),
    )


def _constant_objective(batch: InstanceBatch, found: Evaluation) -> npt.NDArray[np.float64]:
    """(I,): the objective of the best constant output."""
    return _objective_of_loss(batch, baseline_loss(batch, found))


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
