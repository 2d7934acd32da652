"""The launcher of one process: it trains the shards itself, one after the other."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from superpose_cli.engines.watch import Interrupted, Progress, Watch
from superpose_cli.launchers.base import Done
from superpose_cli.launchers.worker import Worker


@dataclass(frozen=True)
class LocalLauncher:
    """Trains shards here; a `Launcher`."""

    worker: Worker

    def work(
        self, shards: Sequence[int], watch: Watch, stop: Callable[[], bool]
    ) -> Generator[Done, None, None]:
        """As `Launcher` says; the caller commits."""
        progress = Progress(watch)
        for at, shard in enumerate(shards):
            if stop() and shard not in self.worker.together.held:
                raise Interrupted
            yield self.worker.returned(shard, progress, stop, shards[at + 1 :])
