"""Shards that are trained at once: on a GPU the instances of one shard would leave most of it idle.

How shards are grouped changes them as little as a pack's company does (`engines.base.Engine`). Each has its
own checkpoint, so that what was begun in one group goes on in another, or alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from superpose_cli.engines.base import Engine, take
from superpose_cli.engines.packs import Pack, joined
from superpose_cli.engines.training import History, Trained
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.instances import Family, InstanceBatch

Shards = Mapping[int, Sequence[InstanceBatch]]
"""What each shard trains."""
Save = Callable[[int, Sequence[Pack]], None]
"""Saves the packs of a shard."""
MOST_STRANGERS = 64
"""Shards without a model of the families in question that are looked at: there may be a million more."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a batch of a shard lies among the batches of its group."""

    whole: int
    """The number of the group's batch that it is part of."""
    start: int
    """Its first instance in that."""
    stop: int

    def put(self, pack: Pack) -> Pack:
        """A pack of the shard's batch as one of the group's."""
        return replace(pack, batch=self.whole, start=pack.start + self.start, stop=pack.stop + self.start)

    def taken(self, packs: Sequence[Pack], batch: int) -> Iterator[Pack]:
        """What packs of the group hold of the shard's batch, as packs of its own with that number."""
        for pack in packs:
            start, stop = max(pack.start, self.start), min(pack.stop, self.stop)
            if pack.batch == self.whole and start < stop:
                own = pack.part(slice(start - pack.start, stop - pack.start))
                yield replace(own, batch=batch, start=start - self.start, stop=stop - self.start)


@dataclass
class Together:
    """Trains a shard with those that follow, which it keeps until they are asked for."""

    grid: Grid
    engine: Engine
    held: dict[int, list[Trained]] = field(default_factory=dict)
    """Trained already, by shard."""

    def batches(self, shard: int) -> list[InstanceBatch]:
        """All that a shard trains."""
        return self.grid.batches(*self.grid.shards()[shard])

    def group(self, shard: int, following: Sequence[int]) -> list[int]:
        """The shard, and those that follow with models of its families, until each keeps the engine busy.

        Families are trained one after the other, so that shards of others would gain nothing.
        """
        members, load, strangers = [shard], self._loads(shard), 0
        for other in following:
            if min(load.values()) >= 1 or strangers == MOST_STRANGERS:
                break
            more = self._loads(other)
            if any(load.get(family, 1) < 1 for family in more):
                members.append(other)
                load = {family: value + more.get(family, 0) for family, value in load.items()}
            else:
                strangers += 1
        return members

    def train(
        self,
        shards: Shards,
        begun: Mapping[int, Sequence[Pack]],
        train: Callable[..., list[Trained]],
        save: Save,
    ) -> list[Trained]:
        """Train the batches of shards at once, from what is begun of each; holds all but the first one's.

        `train(batches, begun=packs, save=save)` trains batches from their packs and has them saved at times.
        """
        families: dict[Family, list[InstanceBatch]] = {}
        places: dict[int, list[_Place]] = {shard: [] for shard in shards}
        for shard, batches in shards.items():
            for batch in batches:
                parts = families.setdefault(batch.family, [])
                start, whole = sum(map(len, parts)), list(families).index(batch.family)
                places[shard].append(_Place(whole=whole, start=start, stop=start + len(batch)))
                parts.append(batch)

        def save_each(packs: Sequence[Pack]) -> None:
            for shard, own in places.items():
                save(shard, [part for number, place in enumerate(own) for part in place.taken(packs, number)])

        packs = joined(places[shard][pack.batch].put(pack) for shard, own in begun.items() for pack in own)
        trained = train([_joined(parts) for parts in families.values()], begun=packs, save=save_each)
        for shard, own in places.items():
            self.held[shard] = [_part(trained[place.whole], slice(place.start, place.stop)) for place in own]
        return self.held.pop(next(iter(shards)))

    def _loads(self, shard: int) -> dict[Family, float]:
        """For each family of the shard, the part of the engine that its instances keep busy."""
        return {batch.family: len(batch) / self.engine.fill(batch.family) for batch in self.batches(shard)}


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
