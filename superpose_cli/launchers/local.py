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
        """As `Launcher` says; the caller commits. What was trained along with a shard comes next."""
        progress, left, held = Progress(watch), list(shards), self.worker.together.held
        while left:
            if stop() and not held:
                raise Interrupted
            shard = next(iter(held), left[0])
            left.remove(shard)
            yield self.worker.returned(shard, progress, stop, left)
