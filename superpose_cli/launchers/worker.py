"""Training the shards of a run in one process: the coordinator's own, or one that knows a `Job` alone."""

import json
import os
import platform
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

from superpose_cli.engines import choose_engine
from superpose_cli.engines.base import Engine
from superpose_cli.engines.training import Trained, train_shard
from superpose_cli.engines.watch import Interrupted, Progress
from superpose_cli.errors import RunError, SuperposeError
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.config import Config
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.instances import U64, InstanceBatch
from superpose_cli.launchers.base import Chosen, Done, Job
from superpose_cli.launchers.together import Shards, Together, train_together
from superpose_cli.planning import check_memory
from superpose_cli.results import layout
from superpose_cli.results.checkpoint import Checkpoint, begun_keys
from superpose_cli.results.lock import Held, RunLock, shard_lock
from superpose_cli.results.manifest import dump_manifest, now, read_manifest
from superpose_cli.results.measures import shard_tables
from superpose_cli.results.reading import count_statuses, stored_instances, stored_statuses
from superpose_cli.results.reuse import NO_HISTORY, Reuse, TableSet
from superpose_cli.results.store import commit_shard

WAIT_SECONDS = 1.0
"""Time between two looks at a shard that another worker has."""


class Ready(NamedTuple):
    """A shard that is trained, before its tables are made."""

    shard: int
    parts: list[TableSet]
    """The tables of what is reused."""
    trained: list[Trained]

    @property
    def reused(self) -> int:
        """Instances that were taken over from other runs."""
        return sum(len(part["instances"]) for part in self.parts)

    def tables(self, grid: Grid, engine: Engine) -> TableSet:
        """The shard's three tables."""
        run = {"engine": engine.name, "numerics": engine.numerics}
        return shard_tables(grid, self.trained, beside=self.parts, **run)


@dataclass(kw_only=True)
class Worker:
    """A process that trains shards of one run."""

    grid: Grid
    engine: Engine
    source: Reuse
    """What is taken over from other runs instead of being trained."""
    run: Path
    run_id: str
    checkpoints: bool = True
    """Whether shards keep checkpoints in the run's folder."""
    share: float = 1.0
    """Of the device's memory, what this worker may count on."""
    memory: int = field(init=False)
    together: Together = field(init=False)

    def __post_init__(self) -> None:
        free = self.engine.free_memory() * self.share
        self.memory = int(free * self.config.engine.memory_fraction)
        self.together = Together(self.grid, self.engine)

    @classmethod
    def of_job(cls, job: Job, said: Callable[[str], None]) -> Self:
        """The worker of a job. ConfigError if this machine has no such engine, RunError if no such folder."""
        grid = _grid(job.config)
        wanted, config = job.engine, grid.experiment.variants[0].engine
        device = config.device if config.device != "auto" else wanted.device.partition(":")[0]
        config = replace(config, name=wanted.name, device=device)
        engine = choose_engine(config, grid.families()).engine
        if job.shared:
            _check_shared(job)
        mode = job.reuse if job.shared else "none"
        source = Reuse.find(job.reuse_from, mode, grid, engine.numerics, besides=job.run, said=said)
        return cls(
            grid=grid,
            engine=engine,
            source=source,
            run=job.run,
            run_id=job.run_id,
            checkpoints=job.shared,
            share=_share(job, engine),
        )

    @property
    def config(self) -> Config:
        """What all variants share."""
        return self.grid.experiment.variants[0]

    @property
    def trains_on_device(self) -> bool:
        """Whether training leaves the processor free for other work."""
        return self.engine.device != "cpu"

    def groups(
        self, shards: Sequence[int], progress: Progress, stop: Callable[[], bool]
    ) -> Generator[list[Ready], None, None]:
        """Train these shards, those of a group at once; Interrupted if stopped."""
        left = deque(shards)
        while left:
            if stop():
                raise Interrupted
            # What is taken over leaves shards of all sizes, for which groups are not made.
            group = self.together.group(left if self.source.is_empty else [left[0]])
            for shard in group:
                left.remove(shard)
            yield self._trained(group, progress, stop)

    def done(self, shard: Ready) -> Done:
        """Make the tables of a shard that is trained."""
        tables = shard.tables(self.grid, self.engine)
        return Done(
            shard=shard.shard,
            statuses=count_statuses(tables["instances"]),
            reused=shard.reused,
            numerics=self.engine.numerics,
            tables=tables,
        )

    def returned(self, shard: int, progress: Progress, stop: Callable[[], bool]) -> Done:
        """Train a shard for another process to commit; Interrupted if stopped."""
        (ready,) = self._trained({shard: self.together.batches(shard)}, progress, stop)
        return self.done(ready)

    def committed(self, shard: int, progress: Progress, stop: Callable[[], bool]) -> Done:
        """Train and commit a shard under its lock, unless it is committed; Interrupted if stopped.

        A shard that another worker has is waited for: that worker commits it, or dies and leaves its lock.
        """
        lock, done = self._locked(shard, stop), None
        try:
            if not layout.is_committed(self.run, shard):
                done = self.returned(shard, progress, stop)
                assert done.tables is not None, "as made by this worker"
                commit_shard(self.run, shard, self.run_id, **done.tables)
        except BaseException:
            lock.release()
            raise
        lock.discard()
        if done is not None:
            return replace(done, tables=None)
        statuses = stored_statuses(self.run, [shard])
        return Done(shard=shard, statuses=statuses, reused=0, numerics=self.engine.numerics)

    def _locked(self, shard: int, stop: Callable[[], bool]) -> RunLock:
        while True:
            try:
                return RunLock(self.run, shard_lock(shard))
            except Held:
                if stop():
                    raise Interrupted from None
                time.sleep(WAIT_SECONDS)
            except OSError as error:
                raise layout.cannot_write(self.run, error) from error

    def _trained(self, group: Shards, progress: Progress, stop: Callable[[], bool]) -> list[Ready]:
        """Take over what is stored of the shards of a group, and train the rest at once."""
        train = partial(
            train_shard,
            evaluation=self.config.evaluation,
            memory=self.memory,
            progress=progress,
            stop=stop,
        )
        taken = {
            shard: self.source.take(
                batches,
                self.engine,
                measure=lambda recall, batch: train(recall, [batch], history=NO_HISTORY)[0],
                begun=self._begun(shard),
            )
            for shard, batches in group.items()
        }
        rest = {shard: one.rest for shard, one in taken.items() if one.rest}
        trained = self._train(rest, train, progress.watch.said) if rest else {}
        ready = [Ready(shard, one.parts, trained.get(shard, [])) for shard, one in taken.items()]
        progress.resume(sum(shard.reused for shard in ready))
        return ready

    def _begun(self, shard: int) -> list[U64]:
        """The keys of what an earlier process has begun of a shard."""
        if not self.checkpoints:
            return []
        return begun_keys(self.run, shard, self.run_id, self.engine.numerics)

    def _train(
        self, shards: Shards, train: Callable[..., list[Trained]], said: Callable[[str], None]
    ) -> dict[int, list[Trained]]:
        """Train shards at once with checkpoints, from where an earlier process left them."""
        train = partial(train, self.engine, history=self.config.history)
        if not self.checkpoints:
            return train_together(shards, {}, train, lambda shard, packs: None)
        checkpoints = {shard: self._checkpoint(shard, batches) for shard, batches in shards.items()}
        told: list[str] = []
        begun = {shard: one.load_or_discard(told.append) for shard, one in checkpoints.items()}
        for line in dict.fromkeys(told):  # shards of a group are mostly equally far
            said(line)
        return train_together(shards, begun, train, lambda shard, packs: checkpoints[shard].save(packs))

    def _checkpoint(self, shard: int, batches: Sequence[InstanceBatch]) -> Checkpoint:
        return Checkpoint(
            run=self.run,
            shard=shard,
            run_id=self.run_id,
            numerics=self.engine.numerics,
            dtype=self.engine.dtype,
            history=self.config.history,
            batches=batches,
        )


def choose(config: str) -> Chosen:
    """The engine that this machine takes for the experiment of a config.yaml; ConfigError where none fits."""
    grid = _grid(config)
    choice = choose_engine(grid.experiment.variants[0].engine, grid.families())
    check_memory(grid, choice.engine)
    return Chosen.of(choice)


def note_complete(job: Job) -> None:
    """Note in the manifest that all is stored, if it is and no coordinator is there to note it."""
    stored = stored_instances(job.run)
    try:
        lock = RunLock(job.run)
    except Held:
        return
    try:
        manifest = read_manifest(job.run)
        if stored == manifest.n_instances:
            counts = dict(stored_statuses(job.run, sorted(layout.committed_shards(job.run))))
            manifest = replace(manifest, status="complete", counts=counts, updated=now())
            layout.write_text(job.run, layout.MANIFEST, dump_manifest(manifest))
    finally:
        lock.release()


def _grid(config: str) -> Grid:
    with tempfile.TemporaryDirectory(prefix="superpose-") as folder:
        file = Path(folder, "config.yaml")
        file.write_text(config, encoding="utf-8")
        return Grid(load_experiment([], config_file=file))


def _check_shared(job: Job) -> None:
    """RunError unless the run's folder is seen from here."""
    if not (job.run / layout.MANIFEST).is_file() or read_manifest(job.run).run_id != job.run_id:
        raise RunError(
            f"{platform.node()} does not see {job.run}: put the run on a file system that all nodes share "
            f"(--out), or with Ray say launcher.results=returned"
        )


def _share(job: Job, engine: Engine) -> float:
    """The part of the machine's or the GPU's memory that is a worker's."""
    if engine.device != "cpu":
        return min(1.0, job.gpus) if job.gpus else 1.0
    return min(1.0, job.cores / (os.cpu_count() or 1)) if job.cores else 1.0


if __name__ == "__main__":  # on a node: config.yaml on stdin, the engine on stdout
    try:
        sys.stdout.write(json.dumps(asdict(choose(sys.stdin.read()))) + "\n")
    except SuperposeError as failure:
        sys.exit(str(failure))
