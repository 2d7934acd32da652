"""Shards that are trained at once: on a GPU the instances of one shard would leave most of it idle.

How shards are grouped changes no bit of them, as a pack's company never does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from superpose_cli.engines.base import Engine, take
from superpose_cli.engines.training import History, Trained
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.instances import Family, InstanceBatch

Train = Callable[[Sequence[InstanceBatch]], list[Trained]]


@dataclass
class Together:
    """Trains a shard with those that follow, which it keeps until they are asked for."""

    grid: Grid
    engine: Engine
    held: dict[int, list[Trained]] = field(default_factory=dict)
    """Trained already, by shard."""

    def group(self, shard: int, following: Sequence[int]) -> list[int]:
        """The shard, and as many of those that follow as it takes to keep the engine busy."""
        members, load = [shard], self._load(shard)
        for other in following:
            if load >= 1:
                break
            members.append(other)
            load += self._load(other)
        return members

    def train(self, shards: Sequence[int], train: Train) -> list[Trained]:
        """Train whole shards at once; gives the first one's, and holds the others'."""
        parts = {shard: self.grid.batches(*self.grid.shards()[shard]) for shard in shards}
        families: dict[Family, list[InstanceBatch]] = {}
        for batches in parts.values():
            for batch in batches:
                families.setdefault(batch.family, []).append(batch)
        whole = dict(zip(families, train([_joined(batches) for batches in families.values()]), strict=True))
        taken = dict.fromkeys(families, 0)
        for shard, batches in parts.items():
            self.held[shard] = []
            for batch in batches:
                start = taken[batch.family]
                taken[batch.family] = start + len(batch)
                self.held[shard].append(_part(whole[batch.family], slice(start, start + len(batch))))
        return self.held.pop(shards[0])

    def _load(self, shard: int) -> float:
        """The part of the engine that the shard's instances keep busy."""
        batches = self.grid.batches(*self.grid.shards()[shard])
        return sum(len(batch) / self.engine.fill(batch.family) for batch in batches)


def _joined(batches: Sequence[InstanceBatch]) -> InstanceBatch:
    """Batches of one family, one after the other."""
    names = [f.name for f in fields(InstanceBatch) if f.name != "family"]
    arrays = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in names}
    return InstanceBatch(family=batches[0].family, **arrays)


def _part(trained: Trained, span: slice) -> Trained:
    """The instances of a span."""
    history = trained.history
    return replace(
        trained,
        batch=trained.batch.take(span),
        state=take(trained.state, span),
        evaluation=take(trained.evaluation, span),
        table=None if trained.table is None else take(trained.table, span),
        objective=trained.objective[span],
        status=trained.status[span],
        failed_step=trained.failed_step[span],
        history=History(
            history.steps,
            history.loss[:, span],
            None if history.train_loss is None else history.train_loss[:, span],
            {name: values[:, span] for name, values in history.weights.items()},
        ),
    )
