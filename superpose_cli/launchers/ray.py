"""The launcher of a Ray cluster: a shard is a task, retried elsewhere when its worker is lost.

What workers tell on the way (progress, messages) and whether they are to stop goes through one actor, the
board, which lies beside this process and takes no resources.
"""

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from superpose_cli.engines.watch import Interrupted, Progress, Watch
from superpose_cli.errors import ConfigError, RunError, SuperposeError
from superpose_cli.experiment.config import LauncherConfig, ResultsBy
from superpose_cli.launchers import worker
from superpose_cli.launchers.base import Chosen, Done, Job

TELL_SECONDS = 1.0
"""Time between two messages of a worker to the board, and between two looks at it."""
CONNECT_SECONDS = 10.0
"""How long a cluster may take to answer."""
GRACE_SECONDS = 60.0
"""How long workers that are asked to stop may take for their checkpoints."""
QUEUED = 2
"""Tasks that are handed to Ray, for each that can run at once."""
ERRORS = {"ConfigError": ConfigError, "RunError": RunError, "SuperposeError": SuperposeError}
"""What workers report by name: exceptions come back as other classes, with a traceback for a text."""

_TOKENS = logging.getLogger("ray._private.authentication.authentication_token_setup")
"""It warns that a cluster of one's own is protected, which is as it should be."""


class Failed(NamedTuple):
    """A line for the user, from a worker."""

    error: str
    message: str


class RayLauncher:
    """A Ray cluster that is to train a run; a `Remote`."""

    def __init__(self, config: LauncherConfig) -> None:
        self.cores: int | None = config.cpus or 1
        self.gpus = config.gpus or 0.0
        self.shared = config.results is not ResultsBy.returned
        self._address = config.address
        self._retries = 3 if config.retries is None else config.retries
        self._slots = 0

    @contextmanager
    def open(self, watch: Watch) -> Iterator[None]:
        """Join the cluster, or start one; ConfigError where that fails, or no node can hold a worker."""
        try:
            _reach(self._address)
            _TOKENS.addFilter(lambda record: "is enabled" not in str(record.msg))
            ray.init(
                address=self._address or "local",
                log_to_driver=False,
                configure_logging=False,
                include_dashboard=None if self._address else False,
            )
        except (OSError, RuntimeError, ValueError, RayError) as error:
            raise ConfigError(
                f"no Ray cluster answers at launcher.address={self._address} ({_line(error)}): "
                f"start one there (`ray start --head`) or leave the address out"
            ) from error
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self._slots = sum(map(self._fitting, nodes))
            if not self._slots:
                raise ConfigError(self._too_large(nodes))
            watch.said(
                f"Ray: {len(nodes)} node{'s' * (len(nodes) != 1)}, room for {self._slots} "
                f"worker{'s' * (self._slots != 1)} at once"
            )
            yield
        finally:
            ray.shutdown()

    def choose(self, config: str) -> Chosen:
        """As `Remote` says, from the first worker."""
        return _answer(self._task(_choose).remote(config))

    def launcher(self, job: Job) -> "RayRun":
        """As `Remote` says."""
        return RayRun(self._task(_train), job, QUEUED * self._slots)

    def _task(self, function: Callable[..., Any]) -> Any:
        """The function as a task of one worker; the threads of its kernels are counted when they load."""
        return ray.remote(function).options(
            num_cpus=self.cores,
            num_gpus=self.gpus,
            max_retries=self._retries,
            runtime_env={"env_vars": {"NUMBA_NUM_THREADS": str(self.cores)}},
        )

    def _fitting(self, node: dict[str, float]) -> int:
        """Workers that a node can hold."""
        assert self.cores is not None, "a task says what it takes"
        fit = node.get("CPU", 0.0) / self.cores
        if self.gpus:
            gpus = node.get("GPU", 0.0)
            fit = min(fit, gpus // self.gpus if self.gpus >= 1 else gpus * (1 // self.gpus))
        return math.floor(fit)

    def _too_large(self, nodes: Sequence[dict[str, float]]) -> str:
        have = {(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes}
        told = "; ".join(f"{cpu:g} CPUs and {gpu:g} GPUs" for cpu, gpu in sorted(have, reverse=True))
        return (
            f"no node of the Ray cluster has what one worker needs, launcher.cpus={self.cores} and "
            f"launcher.gpus={self.gpus:g} (its nodes have {told}): ask for less, or add a node"
        )


class RayRun:
    """One run on a cluster; a `Launcher`."""

    def __init__(self, task: Any, job: Job, most: int) -> None:
        self._task, self._most = task, most
        self._job = ray.put(job)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._board: Any = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()

    def work(
        self, shards: Sequence[int], watch: Watch, stop: Callable[[], bool]
    ) -> Generator[Done, None, None]:
        """As `Launcher` says."""
        waiting, running = list(reversed(shards)), {}
        stopped_at = math.inf
        try:
            while running or (waiting and not stop()):
                while waiting and len(running) < self._most and not stop():
                    shard = waiting.pop()
                    running[self._task.remote(self._job, shard, self._board)] = shard
                if not running:
                    break
                ready, _ = ray.wait(list(running), num_returns=1, timeout=TELL_SECONDS)
                self._tell(watch)
                for ref in ready:
                    shard, done = running.pop(ref), _answer(ref)
                    if done is None:
                        waiting.append(shard)
                    else:
                        yield done
                if stop() and math.isinf(stopped_at):
                    stopped_at = time.monotonic()
                    ray.get(self._board.stop.remote())
                if time.monotonic() > stopped_at + GRACE_SECONDS:
                    break
            self._tell(watch)
        finally:
            for ref in running:
                ray.cancel(ref, force=True)
        if waiting or running:
            raise Interrupted

    def _tell(self, watch: Watch) -> None:
        """Pass on what workers have told."""
        said, done, loss, steps = ray.get(self._board.news.remote())
        for message in said:
            watch.said(message)
        watch.progressed(done, loss, steps)


class Board:
    """What the workers of a run tell, and whether they are to stop; an actor."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[float, float, int]] = {}
        self._said: list[str] = []
        self._stop = False

    def tell(self, shard: int, instances: float, loss: float, steps: int, said: Sequence[str]) -> bool:
        """How far a shard is, and messages; whether its worker is to stop."""
        self._told[shard] = (instances, loss, steps)
        self._said += said
        return self._stop

    def stop(self) -> None:
        """Ask all workers to stop."""
        self._stop = True

    def news(self) -> tuple[list[str], float, float, int]:
        """New messages, instances and updates of all shards, and the mean loss of those that know one."""
        said, self._said = self._said, []
        told = list(self._told.values())
        losses = [loss for _, loss, _ in told if not math.isnan(loss)]
        loss = sum(losses) / len(losses) if losses else math.nan
        return said, sum(row[0] for row in told), loss, sum(row[2] for row in told)


class _Teller:
    """The watch of a worker: it tells the board what goes on, and learns whether to stop."""

    def __init__(self, board: Any, shard: int) -> None:
        self._board, self._shard = board, shard
        self.instances = 0.0
        self._loss, self._steps = math.nan, 0
        self._said: list[str] = []
        self._next, self._stopped = 0.0, False

    def started(self, n_instances: int, n_stored: int, engine: str, reason: str) -> None: ...
    def compiling(self, seconds: float | None) -> None: ...
    def committed(self, instances: int) -> None: ...
    def finished(self, status: str) -> None: ...

    def progressed(self, instances: float, loss: float, instance_steps: int) -> None:
        self.instances, self._loss, self._steps = instances, loss, instance_steps

    def said(self, message: str) -> None:
        self._said.append(f"shard {self._shard}: {message}")

    def stop(self) -> bool:
        """Whether to stop: asked of the board once a second. Without a board nobody waits for the work."""
        if not self._stopped and time.monotonic() >= self._next:
            self._next = time.monotonic() + TELL_SECONDS
            self.tell()
        return self._stopped

    def tell(self) -> None:
        said, self._said = self._said, []
        try:
            self._stopped = bool(
                ray.get(self._board.tell.remote(self._shard, self.instances, self._loss, self._steps, said))
            )
        except RayError:
            self._stopped = True


@lru_cache(1)
def _worker(job: Job) -> worker.Worker:
    """The worker of this process, whose run is read once for all its shards."""
    return worker.Worker.of_job(job, lambda message: None)


def _train(job: Job, shard: int, board: Any) -> Done | Failed | None:
    """Train a shard, on a worker; None if asked to stop."""
    teller = _Teller(board, shard)
    progress = Progress(teller)
    try:
        here = _worker(job)
        done = (here.committed if job.shared else here.returned)(shard, progress, teller.stop)
    except Interrupted:
        return None
    except SuperposeError as error:
        return _failed(error)
    finally:
        teller.instances = progress.instances
        teller.tell()
    return done


def _choose(config: str) -> Chosen | Failed:
    try:
        return worker.choose(config)
    except SuperposeError as error:
        return _failed(error)


def _failed(error: SuperposeError) -> Failed:
    name = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in ERRORS)
    return Failed(name, f"{error} (on {os.uname().nodename})")


def _answer(ref: Any) -> Any:
    """What a task returned; the SuperposeError that it met, or that it was lost with its worker."""
    try:
        answer = ray.get(ref)
    except RayTaskError:
        raise  # a bug, with the worker's traceback
    except RayError as error:
        raise SuperposeError(
            f"a worker of the Ray cluster was lost for good ({_line(error)}): the same command goes on from "
            f"what is stored; launcher.retries says how often a shard is tried"
        ) from error
    if isinstance(answer, Failed):
        raise ERRORS[answer.error](answer.message)
    return answer


def _reach(address: str | None) -> None:
    """OSError unless something listens there: Ray itself would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
