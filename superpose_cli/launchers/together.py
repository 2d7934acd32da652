"""Shards that are trained at once: on a GPU the instances of one shard would leave most of it idle.

How shards are grouped changes them as little as a pack's company does (`engines.base.Engine`). Each has its
own checkpoint, so that what was begun in one group goes on in another, or alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

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
GROUP_BYTES = 1 << 30
"""No shard joins a group of more (`Grid.shard_bytes`). Results take four times that; two groups are held."""
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


@dataclass(frozen=True)
class Together:
    """Puts shards into groups that are trained at once."""

    grid: Grid
    engine: Engine

    def batches(self, shard: int) -> list[InstanceBatch]:
        """All that a shard trains."""
        return self.grid.batches(*self.grid.shards()[shard])

    def group(self, shards: Iterable[int]) -> dict[int, list[InstanceBatch]]:
        """The first of the shards, and those of the others with models of its families, until each keeps the
        engine busy or `GROUP_BYTES` are reached.

        Families are trained one after the other, so that shards of others would gain nothing.
        """
        following = iter(shards)
        shard = next(following)
        members, strangers = {shard: self.batches(shard)}, 0
        load, held = self._loads(members[shard]), self.grid.shard_bytes(shard)
        while min(load.values()) < 1 and held < GROUP_BYTES and strangers < MOST_STRANGERS:
            if (other := next(following, None)) is None:
                break
            batches = self.batches(other)
            more = self._loads(batches)
            if any(load.get(family, 1) < 1 for family in more):
                members[other] = batches
                held += self.grid.shard_bytes(other)
                load = {family: value + more.get(family, 0) for family, value in load.items()}
            else:
                strangers += 1
        return members

    def _loads(self, batches: Sequence[InstanceBatch]) -> dict[Family, float]:
        """For each family, the part of the engine that the instances of its batch keep busy."""
        return {batch.family: len(batch) / self.engine.fill(batch.family) for batch in batches}


def train_together(
    shards: Shards, begun: Mapping[int, Sequence[Pack]], train: Callable[..., list[Trained]], save: Save
) -> dict[int, list[Trained]]:
    """Train the batches of shards at once, from what is begun of each.

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
    return {
        shard: [_part(trained[place.whole], slice(place.start, place.stop)) for place in own]
        for shard, own in places.items()
    }


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
