"""Launches of the GPU's kernels on a few instances repeated on the device, however many that makes."""

import numpy as np
import pytest
import torch

from superpose_cli.engines.triton_gpu import Tables, TritonEngine
from superpose_cli.engines.triton_measure import Sums
from superpose_cli.engines.triton_plans import plan_measure, plan_training
from superpose_cli.engines.triton_updates import Trained
from superpose_cli.experiment.instances import InstanceBatch


class Repeated:
    """An engine's arrays of a batch, `times` as often."""

    def __init__(self, engine: TritonEngine, batch: InstanceBatch, times: int) -> None:
        self.engine, self.batch, self.times = engine, batch, times
        self.count = times * len(batch)

    def trained(self, steps: int) -> Trained:
        """After the first steps."""
        engine, batch, family = self.engine, self.batch, self.batch.family
        plan = plan_training(batch, engine._device.type, engine.dtype, engine._shared)
        given = (
            engine._rows(batch, batch.generator_key, None),
            engine._trained(batch, engine.initialise(batch)),
            engine._hyper(batch, family.n_batch, 0, steps),
        )
        rows, trained, hyper = (type(each)(*map(self._of_all, each)) for each in given)
        count = (self.count,) if plan.per_program > 1 else ()
        engine._launch(
            plan,
            self.count,
            rows,
            trained,
            hyper,
            *count,
            0,
            steps,
            batch.family.n_batch,
            batch.family.n_rows,
        )
        return trained

    def measured(self, rows: int) -> Sums:
        """Of the initial weights."""
        engine, batch = self.engine, self.batch
        state = engine.initialise(batch)
        weight = engine._trained(batch, state).weight
        drawn = engine._rows(batch, batch.evaluation_key, None)
        sums = Sums(*map(self._of_all, engine._no_sums(batch)))
        engine._launch(
            plan_measure(batch, drawn=True),
            self.count,
            type(drawn)(*map(self._of_all, drawn)),
            self._of_all(weight),
            self._of_all(torch.from_numpy(batch.importance).float().to(engine._device)),
            self._of_all(torch.from_numpy(batch.hidden_l1).float().to(engine._device)),
            sums,
            rows,
            rows,
        )
        return sums

    def _of_all(self, array: torch.Tensor) -> torch.Tensor:
        """An array with a row for each instance, repeated; others have fewer rows and stay."""
        rows = array.shape[0]
        return array.repeat(self.times, *[1] * (array.ndim - 1)) if rows == len(self.batch) else array


def assert_repeats(found: Trained | Sums, count: int) -> None:
    """The last `count` instances are as the first ones, in all that they have."""
    for name, array in found._asdict().items():
        if len(array) > count:
            assert torch.equal(array[-count:], array[:count]), name


def last_of_many_tables(engine: TritonEngine, batch: InstanceBatch, count: int) -> Tables:
    """The batch's tables behind `count` others, all 0: on a CPU in memory that nobody has touched."""
    tables, which = engine._held.of(batch)
    shape = (count + len(tables), *tables.shape[1:])
    if engine._device.type == "cpu":
        try:
            many = torch.from_numpy(np.zeros(shape, np.float32))
        except MemoryError:
            pytest.skip("this machine promises no memory beyond its own")
    else:
        many = torch.zeros(shape, device=engine._device)
    many[count:] = tables
    return many, which + count
