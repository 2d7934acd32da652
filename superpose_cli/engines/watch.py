"""Who is told how a run goes, and how one is stopped."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol


class Interrupted(Exception):
    """Training was asked to stop; a checkpoint holds what is not committed."""


class Watch(Protocol):
    """Who is told how the work goes. Calls are cheap and may be ignored."""

    def started(self, n_instances: int, n_stored: int, engine: str, reason: str) -> None:
        """The run begins; `n_stored` instances are already there, `reason` says why this engine."""
        ...

    def progressed(self, instances: float, loss: float, instance_steps: int) -> None:
        """Instances done so far (with fractions), the latest mean loss (or NaN), updates done by all."""
        ...

    def compiling(self, seconds: float | None) -> None:
        """A kernel is being compiled (None), or was, in so many seconds; from whichever thread does it."""
        ...

    def committed(self, instances: int) -> None:
        """So many instances are now stored, in all."""
        ...

    def said(self, message: str) -> None:
        """Something worth a line."""
        ...

    def finished(self, status: str) -> None:
        """The run ends: complete, interrupted or failed."""
        ...


class _Silent:
    """Tells nobody."""

    def started(self, n_instances: int, n_stored: int, engine: str, reason: str) -> None: ...
    def progressed(self, instances: float, loss: float, instance_steps: int) -> None: ...
    def compiling(self, seconds: float | None) -> None: ...
    def committed(self, instances: int) -> None: ...
    def said(self, message: str) -> None: ...
    def finished(self, status: str) -> None: ...


SILENT: Watch = _Silent()


@dataclass
class Progress:
    """Counts what the packs of a run have done and passes it on."""

    watch: Watch
    instances: float = 0.0
    instance_steps: int = 0

    def add(self, instances: int, steps: int, of_steps: int, loss: float) -> None:
        """So many instances advanced by `steps` of their `of_steps` updates."""
        self.instances += instances * steps / of_steps
        self.instance_steps += instances * steps
        self.watch.progressed(self.instances, loss, self.instance_steps)

    def resume(self, instances: float) -> None:
        """So many instances (with fractions) were done before, and come from a checkpoint."""
        self.instances += instances


@contextmanager
def stopping(max_seconds: float | None, watch: Watch) -> Iterator[Callable[[], bool]]:
    """Yields `stop()`: true after the first Ctrl-C, SIGTERM or hang-up, or `max_seconds`; a second raises.

    A hang-up that is ignored, as under nohup, stays so.
    """
    deadline = math.inf if max_seconds is None else time.monotonic() + max_seconds
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        watch.said("stopping after this piece of work, a second or (compiling) half a minute ...")

    # Only the main thread may set handlers; elsewhere the embedding program decides.
    in_main = threading.current_thread() is threading.main_thread()
    heeded = [
        s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN
    ]
    before = {s: signal.signal(s, ask) for s in heeded} if in_main else {}
    try:
        yield lambda: asked.is_set() or time.monotonic() > deadline
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
