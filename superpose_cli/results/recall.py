"""Instances whose training is stored, but not all of what is now measured of them."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from superpose_cli.engines.base import Engine, Evaluation, State, take
from superpose_cli.experiment.instances import Family, InstanceBatch


class Recalled(NamedTuple):
    """Instances of one family whose trained weights are known."""

    batch: InstanceBatch
    state: State
    history: pa.Table


class Recall:
    """An engine that remembers: its training is over at the first step, with the stored weights.

    All that surrounds an engine then measures these as if they had just been trained.
    """

    def __init__(self, engine: Engine, recalled: Recalled) -> None:
        self._engine = engine
        self._order = np.argsort(recalled.batch.key)
        self._keys = recalled.batch.key[self._order]
        self._state = recalled.state
        self.name, self.dtype = engine.name, engine.dtype
        self.device, self.numerics = engine.device, engine.numerics

    def refuses(self, family: Family) -> str | None:
        return self._engine.refuses(family)

    def free_memory(self) -> int:
        return self._engine.free_memory()

    def bytes_per_instance(self, family: Family) -> int:
        return self._engine.bytes_per_instance(family)

    def pack_instances(self, family: Family, memory: int) -> int:
        return self._engine.pack_instances(family, memory)

    def fill(self, family: Family) -> int:
        return self._engine.fill(family)

    def initialise(self, batch: InstanceBatch) -> State:
        return self._engine.initialise(batch)

    def advance(self, batch: InstanceBatch, state: State, stop_step: int) -> State:
        """The state after the last step, whatever step is asked for."""
        return take(self._state, self._order[np.searchsorted(self._keys, batch.key)])

    def evaluate(self, batch: InstanceBatch, state: State, n_rows: int) -> Evaluation:
        return self._engine.evaluate(batch, state, n_rows)

    def evaluate_table(self, batch: InstanceBatch, state: State) -> Evaluation:
        return self._engine.evaluate_table(batch, state)
