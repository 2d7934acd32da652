"""Stored instances in place of training: their rows, rewritten for the cells of a new grid.

The key of an instance covers all that determines its weights, `numerics` the arithmetic; where both match,
every stored number is the one that training anew would give. What a key leaves open (the cell, labels, the
way in which a configuration says the same thing) is written from the new grid.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from superpose_cli.engines.base import Engine, Floats, State, concatenate
from superpose_cli.engines.training import Trained, history_steps
from superpose_cli.errors import ConfigError, RunError
from superpose_cli.experiment.config import HistoryConfig
from superpose_cli.experiment.grid import MANY_INSTANCES, Grid
from superpose_cli.experiment.instances import U64, Family, InstanceBatch
from superpose_cli.results.columns import FEATURES, HISTORY, IDENTITY, MEASURED, TABLES
from superpose_cli.results.index import I64, Index, Measured, StoredShard, hex_keys, index_runs
from superpose_cli.results.manifest import Manifest, ReuseMode
from superpose_cli.results.measures import configuration, identity, shard_tables
from superpose_cli.results.reading import Tables
from superpose_cli.results.recall import Recall, Recalled
from superpose_cli.results.schema import features_table, history_table, instances_table

TableSet = dict[str, pa.Table]
"""The tables `instances`, `features` and `history` of some instances."""

HELD_SHARDS = 4
"""Stored shards that are kept in memory at once: 64 MiB of tables each, at most."""
RECORDED_WEIGHTS = ("frobenius_norm_sq", "W", "W_dec", "b")
"""Columns of the history that a run without recorded weights leaves empty."""
NO_HISTORY = HistoryConfig(every=0)
NO_KEYS: U64 = np.empty(0, np.uint64)


class Reuse:
    """The stored instances that one run takes over instead of training them."""

    def __init__(
        self,
        index: Index,
        measured: Measured,
        grid: Grid,
        said: Callable[[str], None],
        *,
        any_engine: bool = False,
    ) -> None:
        self._index = index
        self._measured = measured
        self._grid = grid
        self._said = said
        self._any_engine = any_engine
        self._exact = np.array([shard.exact for shard in index.shards], bool)
        self._unreadable: set[int] = set()
        self._read = lru_cache(HELD_SHARDS)(_read)

    @classmethod
    def find(
        cls,
        root: Path,
        mode: ReuseMode,
        grid: Grid,
        numerics: str,
        besides: Path,
        said: Callable[[str], None],
    ) -> Self:
        """What the runs under `root` hold for this grid; `besides` is the run in the making."""
        config = grid.experiment.variants[0]
        measured = Measured(evaluation=config.evaluation, history=config.history)
        if mode == "none":
            return cls(Index.empty(), measured, grid, said)
        index = index_runs(
            root,
            measured,
            steps={family.steps for family in grid.families()},
            numerics=numerics,
            any_engine=mode == "any-engine",
            besides=besides,
            said=said,
        )
        return cls(index, measured, grid, said, any_engine=mode == "any-engine")

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take over."""
        return not len(self._index.key)

    def count(self, shards: Iterable[int]) -> "Counts":
        """What is reused of these shards of the grid, and of which runs; passes over all their keys."""
        if len(self._index.key) and self._grid.n_instances >= MANY_INSTANCES:
            self._said(f"looking whether {self._grid.n_instances:,} instances are stored already ...")
        stored = again = 0
        used = np.zeros(len(self._index.shards), bool)
        for shard in shards if len(self._index.key) else ():
            for batch in self._grid.batches(*self._grid.shards()[shard]):
                origin = self._origin(batch)
                found = origin[origin >= 0]
                used[found] = True
                stored, again = stored + len(found), again + int((~self._exact[found]).sum())
        paths = {str(self._index.shards[number].run.path) for number in np.flatnonzero(used)}
        return Counts(stored, again, tuple(sorted(paths)), self._any_engine)

    def split(self, batch: InstanceBatch, kept: U64 = NO_KEYS) -> "Split":
        """Take out of a batch what is stored, but for the keys that are to be kept.

        A stored shard that turns out damaged is left, with a line.
        """
        origin = np.where(np.isin(batch.key, kept), -1, self._origin(batch))
        left = np.ones(len(batch), bool)
        copied: list[TableSet] = []
        recalled: list[tuple[I64, State, pa.Table]] = []
        for number in sorted({*origin.tolist()} - {-1} - self._unreadable):
            here = np.flatnonzero(origin == number)
            part = batch.take(here)
            shard = self._index.shards[number]
            try:
                stored = self._stored(shard, part, self._index.row[self._index.find(part.key)])
                if self._exact[number]:
                    copied.append(self._rewritten(part, stored))
                else:
                    state, history = _state(part.family, stored), self._history(part, stored)
                    recalled.append((here, state, history))
            except (RunError, ValueError, LookupError, pa.ArrowException) as error:
                self._unreadable.add(number)
                reason = " ".join(str(error).split())
                self._said(
                    f"shard {shard.shard} of {shard.run.path} is damaged ({reason}): nothing of it is "
                    "reused, it is trained anew"
                )
                continue
            left[here] = False
        return Split(copied, _joined(batch, recalled), batch.take(np.flatnonzero(left)))

    def take(
        self,
        batches: Iterable[InstanceBatch],
        engine: Engine,
        *,
        measure: Callable[["Recall", InstanceBatch], Trained],
        begun: Sequence[U64] = (),
    ) -> "Taken":
        """What is stored of a shard, copied or measured anew by `measure` (one batch, without a history), and
        what is left to train, first the batches with the keys of `begun`: they are on their way already."""
        if self.is_empty and not begun:
            return Taken([], list(batches))
        parts, rest, under_way = [], [], np.concatenate([NO_KEYS, *begun])
        first: dict[int, InstanceBatch] = {}
        for batch in batches:
            for number, keys in enumerate(begun):
                if np.isin(keys, batch.key).any():
                    first[number] = batch.take(np.flatnonzero(np.isin(batch.key, keys)))
            copied, recalled, left = self.split(batch, under_way)
            left = left.take(np.flatnonzero(~np.isin(left.key, under_way)))
            parts += copied
            if recalled is not None:
                again = measure(Recall(engine, recalled), recalled.batch)
                tables = shard_tables(self._grid, [again], engine=engine.name, numerics=engine.numerics)
                parts.append(tables | {"history": recalled.history})
            if len(left):
                rest.append(left)
        return Taken(parts, [*(first[number] for number in sorted(first)), *rest])

    def _origin(self, batch: InstanceBatch) -> I64:
        """The position in the index's shards of each instance, or -1."""
        at = self._index.find(batch.key)
        found = at >= 0
        origin = np.full(len(batch), -1)
        origin[found] = self._index.shard[at[found]]
        return origin

    def _stored(self, shard: StoredShard, batch: InstanceBatch, rows: npt.NDArray[np.int32]) -> TableSet:
        """The stored rows of these instances, the wanted records of the history among them.

        RunError, ValueError or IndexError unless they are there and are theirs.
        """
        read = self._read(shard)
        n = batch.family.n_features
        stored_steps = history_steps(shard.run.measured.history, batch.family.steps)
        steps = history_steps(self._measured.history, batch.family.steps)
        records = np.searchsorted(stored_steps, steps)
        found = {
            "instances": read.tables["instances"].take(rows),
            "features": read.tables["features"].take(_runs(read.first_feature[rows], np.arange(n))),
            "history": read.tables["history"].take(_runs(read.first_record[rows], records)),
        }
        for name, count in (("instances", 1), ("features", n), ("history", len(steps))):
            if not np.array_equal(hex_keys(found[name]["key"]), np.repeat(batch.key, count)):
                raise ValueError(f"its {name} table does not hold the instances that it should")
        if not np.array_equal(found["history"]["step"].to_numpy(), np.tile(steps, len(batch))):
            raise ValueError("its history table does not hold the steps that it should")
        return found

    def _rewritten(self, batch: InstanceBatch, stored: TableSet) -> TableSet:
        """The stored rows as those of this grid."""
        names = {column.name for column in IDENTITY}
        measured = {c.name: stored["instances"][c.name] for c in MEASURED}
        features = {c.name: stored["features"][c.name] for c in FEATURES if c.name not in names}
        return {
            "instances": instances_table(configuration(self._grid, batch) | measured),
            "features": features_table(identity(batch, batch.family.n_features) | features),
            "history": self._history(batch, stored),
        }

    def _history(self, batch: InstanceBatch, stored: TableSet) -> pa.Table:
        """The stored records as those of this grid."""
        names = {column.name for column in IDENTITY}
        if not self._measured.history.weights:
            names |= set(RECORDED_WEIGHTS)
        count = len(stored["history"]) // len(batch)
        if not count:  # an older superpose's may have other columns
            return history_table(identity(batch, 0))
        history = {c.name: stored["history"][c.name] for c in HISTORY if c.name not in names}
        return history_table(identity(batch, count) | history)


class Counts(NamedTuple):
    """How much of a run is stored elsewhere."""

    stored: int
    again: int
    """Those of them that are to be evaluated anew."""
    paths: tuple[str, ...]
    """The runs that hold them."""

    any_engine: bool
    """Whether they may have been trained by other arithmetic."""

    def told(self, n_instances: int, n_stored: int) -> str:
        """In words, for a run of `n_instances` that holds `n_stored` itself."""
        where = self.paths[0] if len(self.paths) == 1 else f"{len(self.paths)} runs"
        said = [f"from {where}"]
        if self.any_engine:
            said.append("whatever trained them: the column numerics tells")
        if self.again:
            said.append(f"{self.again:,} of them evaluated anew")
        left = n_instances - n_stored - self.stored
        return f"{self.stored:,} of {n_instances:,} reused ({', '.join(said)}), {left:,} to run"


class Taken(NamedTuple):
    """A shard before it is trained."""

    parts: list[TableSet]
    """Tables of the instances that need no training."""
    rest: list[InstanceBatch]
    """The others."""


class Split(NamedTuple):
    """What is known of a batch without training it."""

    copied: list[TableSet]
    """Tables of the instances that were measured as wanted."""
    recalled: Recalled | None
    """Instances that are to be measured anew."""
    rest: InstanceBatch
    """What is left to train."""


@dataclass(frozen=True)
class _Read:
    """A stored shard in memory."""

    tables: TableSet
    first_feature: I64
    """(I,): the first row of each instance in the features table."""
    first_record: I64
    """(I,): the same in the history table."""


def _read(shard: StoredShard) -> _Read:
    tables = Tables(shard.run.path, (shard.shard,))
    read = {name: tables.read(name) for name in TABLES}
    n_features = read["instances"]["n_features"].to_numpy()
    history = [read["history"][name].to_numpy() for name in ("cell", "restart")]
    changes = np.any([column[1:] != column[:-1] for column in history], axis=0)
    first_record = np.flatnonzero(np.concatenate([[True], changes])) if len(history[0]) else 0 * n_features
    if len(first_record) != len(n_features):
        raise ValueError("its history table does not hold the instances that it should")
    return _Read(read, np.cumsum(n_features) - n_features, first_record)


def _runs(first: I64, offsets: npt.ArrayLike) -> I64:
    """first + offsets, for each of `first`, one after the other."""
    return (first[:, None] + np.asarray(offsets, np.int64)).reshape(-1)


def _state(family: Family, stored: TableSet) -> State:
    """The weights after the last step; ValueError where their number is wrong."""
    instances, features = stored["instances"], stored["features"]
    count, n, m = len(instances), family.n_features, family.n_hidden
    W = _numbers(features["W"], (count, n, m))
    W_dec = None if family.tied else _numbers(features["W_dec"], (count, n, m))
    b = _numbers(features["bias"], (count, n)) if family.bias else None
    b_hidden = _numbers(instances["b_hidden"], (count, m)) if family.hidden_bias else None
    given = [part.reshape(count, -1) for part in (W, W_dec, b, b_hidden) if part is not None]
    broken = ~np.isfinite(np.concatenate(given, axis=1)).all(axis=1)
    # A stored failed step says of finite weights that their objective grew, which is judged anew.
    failed = instances["failed_step"].fill_null(-1).to_numpy()
    return State(
        W=W,
        W_dec=W_dec,
        b=b,
        b_hidden=b_hidden,
        moment1={},
        moment2={},
        step=family.steps,
        failed_step=np.where(broken, failed, -1),
    )


def _numbers(column: pa.ChunkedArray, shape: tuple[int, ...]) -> Floats:
    flat = column.combine_chunks()
    values = flat.flatten() if pa.types.is_list(flat.type) else flat
    return values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(shape)


def _joined(batch: InstanceBatch, parts: list[tuple[I64, State, pa.Table]]) -> Recalled | None:
    """The instances of a batch that were found in several places, with their weights and histories."""
    if not parts:
        return None
    here, states, histories = zip(*parts, strict=True)
    return Recalled(batch.take(np.concatenate(here)), concatenate(states), pa.concat_tables(histories))


def as_begun(
    stored: Manifest | None, fresh: bool, reuse: ReuseMode | None, reuse_from: Path | None, outputs: Path
) -> tuple[ReuseMode, Path | None]:
    """What may be taken over, and from where: as asked, else as an unfinished run began.

    A run folder may be a stranger's: what it names outside of `outputs` must be named again (ConfigError).
    """
    if fresh or stored is None:
        return "none" if fresh else reuse or "same", reuse_from
    mode = reuse or stored.reuse
    if mode == "none" or reuse_from is not None or not stored.reuse_from:
        return mode, reuse_from
    if not Path(stored.reuse_from).resolve().is_relative_to(outputs.resolve()):
        raise ConfigError(
            f"this run was begun with --reuse-from {stored.reuse_from}: give that again, or --reuse none"
        )
    return mode, Path(stored.reuse_from)
