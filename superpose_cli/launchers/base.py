"""What launchers and those who call them agree on. All that travels to a worker is plain values."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from superpose_cli.engines import Choice
from superpose_cli.engines.watch import Watch
from superpose_cli.results.manifest import ReuseMode
from superpose_cli.results.reuse import TableSet


class Detached(Exception):
    """The work goes on without this process; the message says where."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The engine that a run is trained with, and why."""

    name: str
    device: str
    dtype: str
    numerics: str
    reason: str

    @classmethod
    def of(cls, choice: Choice) -> Self:
        """What an engine that was chosen here is."""
        engine = choice.engine
        return cls(
            name=engine.name,
            device=engine.device,
            dtype=engine.dtype,
            numerics=engine.numerics,
            reason=choice.reason,
        )


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker must know of a run, beside the number of a shard."""

    config: str
    """The text of the run's config.yaml."""
    run: Path
    """The run's folder, absolute."""
    run_id: str
    engine: Chosen
    reuse: ReuseMode
    reuse_from: Path
    """Absolute."""
    shared: bool
    """Whether workers see `run` and write into it; else they send their results back, and reuse nothing."""
    cores: int | None
    """Processor cores of a worker, where it shares a machine with others."""
    gpus: float
    """GPUs of a worker; less than one where several share it."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A shard that is trained."""

    shard: int
    statuses: Mapping[str, int]
    """Its instances by status."""
    reused: int
    """Those of them that were taken over from other runs."""
    numerics: str
    """The arithmetic of the worker."""
    tables: TableSet | None = None
    """Its tables where they are not committed yet."""


class Launcher(Protocol):
    """Who trains shards."""

    def work(
        self, shards: Sequence[int], watch: Watch, stop: Callable[[], bool]
    ) -> Generator[Done, None, None]:
        """Train these shards, in any order; Interrupted soon after `stop()` turns true.

        Raises SuperposeError where a shard cannot be trained, Detached where others go on. Closing the
        generator early ends what still runs.
        """
        ...


class Remote(Protocol):
    """A launcher of other processes, before it is known what it trains."""

    shared: bool
    cores: int | None
    gpus: float
    """As in `Job`."""

    def open(self, watch: Watch) -> AbstractContextManager[Any]:
        """Reach the cluster, and let it go in the end; ConfigError where it cannot do the work."""
        ...

    def choose(self, config: str) -> Chosen:
        """The engine that a worker takes for the experiment of this config.yaml, or ConfigError."""
        ...

    def launcher(self, job: Job) -> Launcher:
        """The launcher of one run."""
        ...
