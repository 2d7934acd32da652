"""The launcher of a SLURM cluster: an array job, through submitit, whose jobs commit to the run's folder.

The folder is all that the jobs and this process have in common, and jobs are found again by their name, so
that a process that went away is replaced by the same command. A job that is requeued (by its time limit, a
lost node or an operator) goes on from its shard's checkpoint.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from types import FrameType
from typing import Any

import submitit
from submitit.core.utils import FailedSubmissionError

from superpose_cli.engines.watch import Interrupted, Progress, Watch, stopping
from superpose_cli.errors import ConfigError, RunError, SuperposeError
from superpose_cli.experiment.config import LauncherConfig
from superpose_cli.launchers.base import Chosen, Detached, Done, Job
from superpose_cli.launchers.queue import Queue
from superpose_cli.launchers.worker import Worker, note_complete
from superpose_cli.results import layout
from superpose_cli.results.checkpoint_files import saved_checkpoints
from superpose_cli.results.reading import Tables, stored_statuses

LOOK_SECONDS = 1.0
"""Time between two looks at the run's folder."""
ASK_SECONDS = 10.0
"""Time between two questions to SLURM."""
GRACE_SECONDS = 60.0
"""How long cancelled jobs may take for their checkpoints; SLURM's own KillWait is half of it."""
MOST_REQUEUES = 1000
"""Time limits that a job may meet; submitit counts them."""
FEWEST_MINUTES = 5
"""Of a job: SLURM gives notice one and a half to two and a half minutes before the limit."""
COMMANDS = ("sbatch", "squeue", "scancel", "srun")


class SlurmLauncher:
    """A SLURM cluster that is to train a run; a `Remote`."""

    shared = True

    def __init__(self, config: LauncherConfig) -> None:
        self.cores: int | None = config.cpus or 1
        self.gpus = config.gpus or 0.0
        self._config = config

    @contextmanager
    def open(self, watch: Watch) -> Iterator[None]:
        """ConfigError unless this machine can submit jobs, and the settings are such that SLURM has."""
        missing = [command for command in COMMANDS if shutil.which(command) is None]
        if missing:
            raise ConfigError(
                f"launcher=slurm needs SLURM's commands ({', '.join(missing)} not found): run it on a "
                f"login node"
            )
        if self._config.minutes is not None and self._config.minutes < FEWEST_MINUTES:
            raise ConfigError(
                f"launcher.minutes={self._config.minutes}: a job that ends so soon gets nothing done, give "
                f"{FEWEST_MINUTES} or more"
            )
        if self.gpus != int(self.gpus):
            raise ConfigError(f"launcher.gpus={self.gpus:g}: SLURM gives whole GPUs (Ray shares them)")
        self._said = watch.said
        yield

    def choose(self, config: str) -> Chosen:
        """As `Remote` says, from a node: a short job of the same resources, which is waited for."""
        name = f"superpose-engine-{os.getpid()}"
        options = [f"--{name.replace('_', '-')}={value}" for name, value in self._resources().items()]
        command = ["srun", "--quiet", "--ntasks=1", f"--job-name={name}", *options]
        command += [sys.executable, "-m", "superpose_cli.launchers.worker"]
        answer, complaint, code = self._waited_for(command, config, Queue(name, self._said))
        if code:
            lines = [line for line in complaint.splitlines() if line.strip()]
            raise ConfigError(f"no node of SLURM takes this run: {'; '.join(lines[-2:]) or 'srun failed'}")
        return Chosen(**json.loads(answer.splitlines()[-1]))

    @staticmethod
    def _waited_for(command: list[str], text: str, queue: Queue) -> tuple[str, str, int]:
        """stdout, stderr and exit code of a job in this queue that reads a text; it ends with us."""
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            try:
                while True:
                    try:
                        answer, complaint = process.communicate(text, timeout=ASK_SECONDS)
                        return answer, complaint, process.returncode
                    except subprocess.TimeoutExpired:
                        queue.examine()
            except BaseException:
                queue.cancel()
                process.kill()
                raise

    def launcher(self, job: Job) -> "SlurmRun":
        """As `Remote` says."""
        parameters: dict[str, Any] = dict(self._resources())
        parameters["setup"] = [f"export NUMBA_NUM_THREADS={self.cores}"]
        parameters["additional_parameters"] = {"requeue": True}
        wait = self._config.wait is not False
        return SlurmRun(job, parameters, self._config.jobs or 64, wait, self._said)

    def _resources(self) -> dict[str, str | int]:
        """What every job asks for, by SLURM's names."""
        config = self._config
        asked: dict[str, str | int | None] = {
            "cpus_per_task": self.cores,
            "gpus_per_node": int(self.gpus) or None,
            "time": config.minutes or 60,
            "mem": None if config.memory_gb is None else f"{config.memory_gb}G",
            "partition": config.partition,
            "account": config.account,
        }
        return {name: value for name, value in asked.items() if value is not None}


class SlurmRun:
    """One run on a cluster; a `Launcher`."""

    def __init__(
        self, job: Job, parameters: dict[str, Any], most: int, wait: bool, said: Callable[[str], None]
    ) -> None:
        self._job, self._parameters, self._most, self._wait = job, parameters, most, wait
        place = blake2b(str(job.run).encode(), digest_size=4).hexdigest()
        self._name = f"superpose-{job.run_id}-{place}"
        self._folder = job.run / layout.STAGING / "slurm"
        self._queue = Queue(self._name, said)
        self._trained: float | None = None

    def work(
        self, shards: Sequence[int], watch: Watch, stop: Callable[[], bool]
    ) -> Generator[Done, None, None]:
        """As `Launcher` says. Jobs of an earlier process are waited for before others are submitted."""
        left, stored, trained, ask_at = set(shards), 0, 0.0, 0.0
        try:
            while left:
                for shard in sorted(left & layout.committed_shards(self._job.run)):
                    done = self._done(shard)
                    stored += sum(done.statuses.values())
                    left.discard(shard)
                    yield done
                trained = stored + sum(s.trained for s in saved_checkpoints(self._job.run))
                watch.progressed(trained, math.nan, 0)
                if left and time.monotonic() >= ask_at:
                    ask_at = time.monotonic() + ASK_SECONDS
                    self._attend(left, trained, watch)
                if left and stop():
                    self._cancel()
                    raise Interrupted
                if left:
                    time.sleep(LOOK_SECONDS)
        except Detached:
            raise
        except BaseException:
            self._cancel()
            raise

    def _attend(self, left: set[int], trained: float, watch: Watch) -> None:
        """See that jobs train what is left, of a run in which so many instances (with fractions) are.

        Detached where nobody is to wait, SuperposeError where jobs ended and trained nothing.
        """
        self._queue.examine()
        if not self._queue.is_empty():
            if self._trained is None:
                watch.said(f"SLURM: jobs {self._name} are at work already")
                self._trained = trained
        elif not left <= layout.committed_shards(self._job.run):
            if self._trained is not None and trained <= self._trained:
                raise SuperposeError(
                    f"the jobs of SLURM ended and trained nothing: {self._last_words()} "
                    f"(logs: {self._folder})"
                )
            number, count = self._submit(sorted(left))
            watch.said(f"SLURM: array job {number} of {count} job(s) for {len(left)} shard(s)")
            self._trained = trained
        if not self._wait:
            raise Detached(f"{self._name} goes on without this process")

    def _submit(self, shards: Sequence[int]) -> tuple[str, int]:
        """Submit an array job for these shards; its number and how many jobs it has."""
        count = min(self._most, len(shards))
        tasks = [Shards(self._job, tuple(shards[start::count])) for start in range(count)]
        try:
            if self._folder.is_symlink():
                raise RunError(f"{self._folder} is a link: remove it, jobs would be read from elsewhere")
            # New for each submission: a job that starts at once would load what lies there by its number.
            folder = self._folder / uuid.uuid4().hex
            folder.mkdir(parents=True)
            executor = submitit.SlurmExecutor(folder, max_num_timeout=MOST_REQUEUES)
            executor.update_parameters(job_name=self._name, array_parallelism=self._most, **self._parameters)
            with executor.batch():
                jobs = [executor.submit(task) for task in tasks]
        except OSError as error:
            raise layout.cannot_write(self._folder, error) from error
        except FailedSubmissionError as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"SLURM takes no such job ({reason}): see the options launcher.*") from error
        return jobs[0].job_id.partition("_")[0], count

    def _done(self, shard: int) -> Done:
        statuses = stored_statuses(self._job.run, [shard])
        numerics = Tables(self._job.run, (shard,)).read("instances", ["numerics"])["numerics"]
        said = self._job.engine.numerics if self._job.reuse == "any-engine" else numerics[0].as_py()
        return Done(shard=shard, statuses=statuses, reused=0, numerics=said)

    def _cancel(self) -> None:
        """End the jobs, and wait for their checkpoints."""
        self._queue.cancel()
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and not self._queue.is_empty():
            time.sleep(1)

    def _last_words(self) -> str:
        """The last line of the newest log."""
        logs = sorted(self._folder.glob("*/*_log.err"), key=lambda file: file.stat().st_mtime)
        lines = logs[-1].read_text(errors="replace").split("\n") if logs else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "there is no log")


@dataclass(frozen=True)
class Shards:
    """What one job of the array does; submitit pickles it, and SLURM may start it several times."""

    job: Job
    shards: tuple[int, ...]

    def __call__(self) -> None:
        """Train and commit the shards, one by one; a signal that ends the job saves a checkpoint first."""
        watch = _Log()
        notice = _Notice()
        try:
            worker = Worker.of_job(self.job, watch.said)
            with stopping(None, watch) as stop:
                for shard in self.shards:
                    worker.committed(shard, Progress(watch), lambda: stop() or notice.given)
                    watch.said(f"shard {shard} is stored")
            note_complete(self.job)
        except Interrupted:
            watch.said("stopped; a checkpoint holds what was not stored")
            notice.obey()
        except SuperposeError as error:
            sys.exit(f"superpose: error: {error}")

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """What is to be done after the time limit: the same, which goes on where this one is."""
        return submitit.helpers.DelayedSubmission(self)


class _Notice:
    """SLURM's signal that this job's time ends. submitit would requeue the job and exit in its midst."""

    def __init__(self) -> None:
        self.given = False
        self._answer = signal.signal(signal.SIGUSR2, self._note)

    def obey(self) -> None:
        """Let submitit requeue the job, and exit, if notice was given."""
        if self.given and callable(self._answer):
            self._answer(signal.SIGUSR2, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.given = True


class _Log:
    """The watch of a job: messages go to its log."""

    def started(self, n_instances: int, n_stored: int, engine: str, reason: str) -> None: ...
    def progressed(self, instances: float, loss: float, instance_steps: int) -> None: ...
    def compiling(self, seconds: float | None) -> None: ...
    def committed(self, instances: int) -> None: ...
    def finished(self, status: str) -> None: ...

    def said(self, message: str) -> None:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
