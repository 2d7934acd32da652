"""Packs: cut and joined at any step, and cut further where the memory is too small."""

import numpy as np
import pytest
import torch

from superpose_cli.engines import choose_engine
from superpose_cli.engines.base import Engine, Evaluation, State
from superpose_cli.engines.packs import Pack, is_out_of_memory, whole
from superpose_cli.engines.training import Trained, train_shard
from superpose_cli.engines.watch import Progress
from superpose_cli.errors import SuperposeError
from superpose_cli.experiment.config import EngineConfig, EvaluationConfig, HistoryConfig
from superpose_cli.experiment.instances import InstanceBatch
from tests.engines.batches import BASE, FAMILIES, make_batch, parameters_of
from tests.helpers import Listener

NUMBA = choose_engine(EngineConfig(name="numba", device="cpu"), []).engine


class Small:
    """An engine with memory for so many instances at once; its error is a device's, or the machine's."""

    def __init__(self, engine: Engine, instances: int, error: Exception, from_step: int = 0) -> None:
        self.engine, self.instances, self.error, self.from_step = engine, instances, error, from_step
        self.at_once: list[int] = []

    def __getattr__(self, name: str):
        return getattr(self.engine, name)

    def advance(self, batch: InstanceBatch, state: State, stop_step: int) -> State:
        if len(batch) > self.instances and stop_step >= self.from_step:
            raise self.error
        self.at_once.append(len(batch))
        return self.engine.advance(batch, state, stop_step)


class TooLargeToJudge(Small):
    """Runs out of memory in the evaluation instead."""

    def evaluate(self, batch: InstanceBatch, state: State, n_rows: int) -> Evaluation:
        if len(batch) > self.instances and state.step >= self.from_step:
            raise self.error
        return self.engine.evaluate(batch, state, n_rows)

    def advance(self, batch: InstanceBatch, state: State, stop_step: int) -> State:
        return self.engine.advance(batch, state, stop_step)


class Follower(Listener):
    """A watch that keeps what is said, and how far the work is."""

    def __init__(self) -> None:
        super().__init__()
        self.instances = [0.0]

    def progressed(self, instances: float, loss: float, instance_steps: int) -> None:
        self.instances.append(instances)


def train(engine: Engine, batches: list[InstanceBatch], watch: Follower | None = None) -> list[Trained]:
    return train_shard(
        engine,
        batches,
        evaluation=EvaluationConfig(n_rows=500),
        history=HistoryConfig(every=10, weights=True),
        memory=1 << 30,
        progress=Progress(watch or Follower()),
        stop=lambda: False,
    )


ERRORS = (
    MemoryError("no"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    torch.AcceleratorError("CUDA error: out of memory"),
)


@pytest.mark.parametrize("error", ERRORS, ids=str)
@pytest.mark.parametrize(("kind", "from_step"), [(Small, 0), (Small, 33), (TooLargeToJudge, 20)])
def test_too_little_memory_halves_the_pack_and_changes_no_bit(kind, from_step, error):
    batches = [make_batch(BASE, 11), make_batch(FAMILIES["finite_full"], 3)]
    expected = train(NUMBA, batches)
    watch, small = Follower(), kind(NUMBA, 3, error, from_step)
    for one, two in zip(train(small, batches, watch), expected, strict=True):
        for name, value in parameters_of(one.state).items():
            np.testing.assert_array_equal(value, parameters_of(two.state)[name])
        np.testing.assert_array_equal(one.evaluation.loss, two.evaluation.loss)
        np.testing.assert_array_equal(one.history.loss, two.history.loss)
        np.testing.assert_array_equal(one.history.weights["W"], two.history.weights["W"])
    assert watch.lines == [f"out of memory: going on with {size} instances at once" for size in (5, 2)]
    assert watch.instances[-1] == pytest.approx(14), "no step is done twice"
    assert watch.instances == sorted(watch.instances)


def test_a_single_instance_that_is_too_large_is_one_clear_line():
    with pytest.raises(SuperposeError, match=r"single instance of n_features=5, n_hidden=2: lower") as caught:
        train(Small(NUMBA, 0, MemoryError()), [make_batch(BASE, 3)])
    assert "\n" not in str(caught.value)


def test_other_errors_are_bugs_and_go_on():
    with pytest.raises(RuntimeError, match="shapes"):
        train(Small(NUMBA, 0, RuntimeError("shapes do not match")), [make_batch(BASE, 3)])


def test_what_the_libraries_raise_is_recognised():
    for allocate in (lambda: torch.empty(1 << 55), lambda: np.empty(1 << 55)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate()
        assert is_out_of_memory(caught.value)


def test_packs_are_cut_evenly_and_cover_all():
    for length, size in ((10, 4), (7, 7), (9, 1), (16384, 1000), (7, 2)):
        packs = Pack(batch=0, start=5, stop=5 + length).cut(size)
        lengths = [len(pack) for pack in packs]
        assert sum(lengths) == length
        assert max(lengths) <= size
        assert max(lengths) - min(lengths) <= 1
        assert [pack.start for pack in packs[1:]] == [pack.stop for pack in packs[:-1]]


def test_the_gaps_between_begun_packs_are_filled():
    begun = [Pack(batch=1, start=2, stop=4), Pack(batch=0, start=0, stop=3), Pack(batch=1, start=6, stop=7)]
    spans = [(pack.batch, pack.start, pack.stop) for pack in whole(begun, [5, 7, 2])]
    assert spans == [(0, 0, 3), (0, 3, 5), (1, 0, 2), (1, 2, 4), (1, 4, 6), (1, 6, 7), (2, 0, 2)]
