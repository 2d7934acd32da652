"""The launcher of one process: it trains the shards itself, a group of them after the other."""

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from superpose_cli.engines.watch import Progress, Watch
from superpose_cli.launchers.base import Done
from superpose_cli.launchers.worker import Worker

Step = TypeVar("Step")


@dataclass(frozen=True)
class LocalLauncher:
    """Trains shards here; a `Launcher`."""

    worker: Worker

    def work(
        self, shards: Sequence[int], watch: Watch, stop: Callable[[], bool]
    ) -> Generator[Done, None, None]:
        """As `Launcher` says; the caller commits, while a GPU trains what follows.

        On a CPU storing would take from training what it gains.
        """
        closed = threading.Event()
        groups = self.worker.groups(shards, Progress(watch), lambda: stop() or closed.is_set())
        if self.worker.trains_on_device:
            groups = _ahead(groups, closed)
        with closing(groups):
            for group in groups:
                for shard in group:
                    yield self.worker.done(shard)


def _ahead(steps: Generator[Step, None, None], closed: threading.Event) -> Generator[Step, None, None]:
    """What `steps` yields, each made in a thread while the one before is in use.

    An error comes when its step would have. Leaving early sets `closed` and waits for the step at hand.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="training") as thread:
        try:
            coming = thread.submit(next, steps, None)
            while (step := coming.result()) is not None:
                coming = thread.submit(next, steps, None)
                yield step
        finally:
            closed.set()
