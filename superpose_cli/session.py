"""One session of a run: the shards that are left are trained and stored, until all are or it is stopped."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from superpose_cli.engines.base import Engine
from superpose_cli.engines.training import Trained, train_shard
from superpose_cli.engines.watch import Interrupted, Progress, Watch, stopping
from superpose_cli.errors import RunError, SuperposeError
from superpose_cli.experiment.config import Config
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.instances import InstanceBatch
from superpose_cli.results.checkpoint import Checkpoint
from superpose_cli.results.failures import failed_cells
from superpose_cli.results.manifest import Status, now
from superpose_cli.results.reuse import NO_HISTORY, Reuse
from superpose_cli.results.run import load_run
from superpose_cli.results.store import RunStore

MOST_CELLS = 5
"""Cells that a message names."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What came of a run."""

    path: Path
    status: Literal["complete", "interrupted", "already done"]
    n_instances: int
    n_stored: int
    """Instances that are stored, of `n_instances`."""
    n_reused: int
    """Those of them that were taken over now from other runs."""
    n_trained: int
    """Those of them that were trained now."""
    seconds: float
    engine: str
    failures: int
    """Diverged instances among all that are stored."""


@dataclass(kw_only=True)
class Session:
    """The work of one process on a run that is open for writing."""

    store: RunStore
    grid: Grid
    engine: Engine
    source: Reuse
    """What is taken over from other runs instead of being trained."""
    watch: Watch
    fail_fast: bool = False
    """Stop at the first shard with a diverged instance."""
    began: float = field(default_factory=time.monotonic)
    counts: Counter[str] = field(default_factory=Counter)
    """Stored instances by status."""
    n_reused: int = 0

    def __post_init__(self) -> None:
        self.spent = self.store.manifest.seconds

    def run(self, reason: str, max_seconds: float | None) -> RunResult:
        """Work until all shards are stored, or to a stop; `reason` says why this engine.

        Whatever ends it, the manifest says so: complete, interrupted, or failed where an exception goes on.
        """
        done = self.store.committed_shards()
        left = [shard for shard in range(len(self.grid.shards())) if shard not in done]
        self.counts = _statuses(self.store, done)
        n_stored = sum(self.counts.values())
        self.watch.started(self.grid.n_instances, n_stored, self.engine.name, reason)
        found = self.source.count(left)
        if found.stored:
            self.watch.said(found.told(self.grid.n_instances, n_stored))
        try:
            self._check_failures()
            status = self._work(left, max_seconds)
        except BaseException as error:
            # A disk that refuses this as well has told why; whoever looks finds that the lock is free.
            with suppress(SuperposeError):
                self._end(self._status_at(error))
            raise
        self._end(status)
        return RunResult(
            path=self.store.path,
            status=status,
            n_instances=self.grid.n_instances,
            n_stored=sum(self.counts.values()),
            n_reused=self.n_reused,
            n_trained=sum(self.counts.values()) - n_stored - self.n_reused,
            seconds=time.monotonic() - self.began,
            engine=self.engine.name,
            failures=self.counts["diverged"],
        )

    def _work(self, shards: Sequence[int], max_seconds: float | None) -> Literal["complete", "interrupted"]:
        """Train (or take over) and store these shards one by one."""
        progress = Progress(self.watch)
        memory = int(self.engine.free_memory() * self.config.engine.memory_fraction)
        with stopping(max_seconds, self.watch) as stop:
            train = partial(
                train_shard, evaluation=self.config.evaluation, memory=memory, progress=progress, stop=stop
            )
            for shard in shards:
                if stop():
                    return "interrupted"
                try:
                    tables, reused = self.source.tables(
                        self.grid.batches(*self.grid.shards()[shard]),
                        self.engine,
                        measure=lambda recall, batch: train(recall, [batch], history=NO_HISTORY)[0],
                        train=partial(self._train, shard, train),
                    )
                except Interrupted:
                    return "interrupted"
                progress.resume(reused)
                self.store.commit(shard, **tables)
                self.n_reused += reused
                self.counts.update(tables["instances"]["status"].to_pylist())
                self._note("running")
                self.watch.committed(sum(self.counts.values()))
                self._check_failures()
        if (stored := sum(self.counts.values())) != self.grid.n_instances:
            raise RunError(
                f"{self.store.path} is damaged (its shards hold {stored:,} of {self.grid.n_instances:,} "
                f"instances): train again with --fresh"
            )
        return "complete"

    def _train(
        self, shard: int, train: Callable[..., list[Trained]], batches: Sequence[InstanceBatch]
    ) -> list[Trained]:
        """Train batches of a shard with checkpoints, from where an earlier process left them."""
        checkpoint = Checkpoint(
            run=self.store.path,
            shard=shard,
            run_id=self.store.manifest.run_id,
            numerics=self.engine.numerics,
            dtype=self.engine.dtype,
            history=self.config.history,
            batches=batches,
        )
        begun = checkpoint.load_or_discard(self.watch.said)
        return train(self.engine, batches, history=self.config.history, begun=begun, save=checkpoint.save)

    def _check_failures(self) -> None:
        """With `fail_fast`, raise SuperposeError where a stored instance has diverged."""
        if not self.fail_fast or not self.counts["diverged"]:
            return
        cells = failed_cells(load_run(self.store.path))
        places = "; ".join(cell.told() for cell in cells[:MOST_CELLS]) + "; ..." * (len(cells) > MOST_CELLS)
        raise SuperposeError(
            f"--fail-fast: {self.counts['diverged']:,} instances diverged: {places}. What was trained is "
            f"stored in {self.store.path}: `superpose show` lists it with commands to retry, and without "
            f"--fail-fast the same command goes on"
        )

    @property
    def config(self) -> Config:
        """What all variants share."""
        return self.grid.experiment.variants[0]

    def _status_at(self, error: BaseException) -> Status:
        """What the run is when this ends the session."""
        if sum(self.counts.values()) == self.grid.n_instances:
            return "complete"
        return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"

    def _end(self, status: Status) -> None:
        try:
            self._note(status)
        finally:
            self.watch.finished(status)

    def _note(self, status: Status) -> None:
        seconds = round(self.spent + time.monotonic() - self.began, 3)
        self.store.update(status=status, counts=dict(self.counts), seconds=seconds, updated=now())


def _statuses(store: RunStore, shards: set[int]) -> Counter[str]:
    """How many instances of these shards have each status."""
    if not shards:
        return Counter()
    tables = load_run(store.path).tables
    return Counter(tables.read("instances", ["status"], shards=tuple(sorted(shards)))["status"].to_pylist())
