"""One session of a run: the shards that are left are trained and stored, until all are or it is stopped."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from superpose_cli.engines.watch import Interrupted, Watch, stopping
from superpose_cli.errors import RunError, SuperposeError
from superpose_cli.experiment.grid import Grid
from superpose_cli.launchers.base import Chosen, Detached, Done, Launcher
from superpose_cli.results.failures import failed_cells
from superpose_cli.results.manifest import Status, now
from superpose_cli.results.reading import stored_statuses
from superpose_cli.results.reuse import Reuse
from superpose_cli.results.run import load_run
from superpose_cli.results.store import RunStore

Ended = Literal["complete", "interrupted", "submitted"]

NOTE_SECONDS = 1.0
"""Time between two writings of the manifest while shards are stored."""
MOST_CELLS = 5
"""Cells that a message names."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What came of a run."""

    path: Path
    status: Ended | Literal["already done"]
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
    engine: Chosen
    launcher: Launcher
    source: Reuse
    """What the launcher takes over from other runs instead of training it."""
    watch: Watch
    fail_fast: bool = False
    """Stop at the first shard with a diverged instance."""
    began: float = field(default_factory=time.monotonic)
    noted: float = -math.inf
    """When the manifest was last written; the tables say themselves what is stored."""
    counts: Counter[str] = field(default_factory=Counter)
    """Stored instances by status."""
    n_reused: int = 0

    def __post_init__(self) -> None:
        self.spent = self.store.manifest.seconds
        self.seen_numerics = {self.engine.numerics}

    def run(self, max_seconds: float | None) -> RunResult:
        """Work until all shards are stored, or to a stop.

        Whatever ends it, the manifest says so: complete, interrupted, submitted to a queue, or failed where
        an exception goes on.
        """
        done = self.store.committed_shards()
        left = [shard for shard in range(len(self.grid.shards())) if shard not in done]
        self.counts = stored_statuses(self.store.path, sorted(done)) if done else Counter()
        n_stored = sum(self.counts.values())
        self.watch.started(self.grid.n_instances, n_stored, self.engine.name, self.engine.reason)
        found = self.source.count(left)
        if found.stored:
            self.watch.said(found.told(self.grid.n_instances, n_stored))
        try:
            self._check_failures()
            status = self._work(left, max_seconds)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                self.watch.said("stopped at once; the same command goes on from the last checkpoint")
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

    def _work(self, shards: Sequence[int], max_seconds: float | None) -> Ended:
        """Have these shards trained (or taken over) and store them as they come."""
        with (
            stopping(max_seconds, self.watch) as stop,
            closing(self.launcher.work(shards, self.watch, stop)) as work,
        ):
            try:
                for done in work:
                    self._store(done)
            except Interrupted:
                return "interrupted"
            except Detached as told:
                self.watch.said(str(told))
                return "submitted"
        if (stored := sum(self.counts.values())) != self.grid.n_instances:
            raise RunError(
                f"{self.store.path} is damaged (its shards hold {stored:,} of {self.grid.n_instances:,} "
                f"instances): train again with --fresh"
            )
        return "complete"

    def _store(self, done: Done) -> None:
        """Note a trained shard, and commit it unless its worker did."""
        if done.tables is not None:
            self.store.commit(done.shard, **done.tables)
        if done.numerics not in self.seen_numerics:
            self.seen_numerics.add(done.numerics)
            self.watch.said(
                f"a mixed cluster: this run began with {self.engine.numerics}, a worker computes with "
                f"{done.numerics}: their bits differ, the column numerics tells which"
            )
        self.n_reused += done.reused
        self.counts.update(done.statuses)
        if time.monotonic() - self.noted >= NOTE_SECONDS:
            self._note("running")
        self.watch.committed(sum(self.counts.values()))
        self._check_failures()

    def _check_failures(self) -> None:
        if self.fail_fast:
            check_failures(self.store.path, self.counts)

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
        self.noted = time.monotonic()
        seconds = round(self.spent + time.monotonic() - self.began, 3)
        self.store.update(status=status, counts=dict(self.counts), seconds=seconds, updated=now())


def check_failures(run: Path, counts: Mapping[str, int]) -> None:
    """Raise SuperposeError, as `fail_fast` asks, where an instance of a run has diverged.

    counts: stored instances by status.
    """
    if not counts.get("diverged"):
        return
    cells = failed_cells(load_run(run))
    places = "; ".join(cell.told() for cell in cells[:MOST_CELLS]) + "; ..." * (len(cells) > MOST_CELLS)
    raise SuperposeError(
        f"--fail-fast: {counts['diverged']:,} instances diverged: {places}. What was trained is stored in "
        f"{run}: `superpose show` lists it with commands to retry, and without --fail-fast the same command "
        f"leaves them as they are"
    )
