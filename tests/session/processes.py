"""`superpose` as a process that is made to stop, and what it must come to in the end."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from superpose_cli.results.manifest import read_manifest
from tests.helpers import digests

DRIVER = """
import os
import sys
from superpose_cli.engines import training
from superpose_cli.experiment import sharding
training.CHECKPOINT_SECONDS, training.CHECKPOINT_SHARE, training.CHUNK_SECONDS = 0.02, 0.5, 0.02
sharding.MAX_INSTANCES = 24
if "AHEAD" in os.environ:
    from superpose_cli.launchers.worker import Worker
    Worker.trains_on_device = True
from superpose_cli.cli.app import main
main()
"""
"""`superpose` with checkpoints all the time and small shards, so that every kind of moment is met.

With AHEAD in the environment it trains the next shard while one is stored, as with a GPU."""
GRID = (
    "model.n_hidden=2,3 data.feature_probability=geomspace(1,0.1,6) restarts=8 train.n_batch=256 "
    "evaluation.n_rows=2000 history.every=500 engine=numba train.steps="
)
"""96 instances in four shards, half a millisecond of work for a step of all."""


def start(line: str, **options: Any) -> subprocess.Popen[str]:
    """A `superpose` process of the given command line; its stderr is a pipe."""
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *shlex.split(line)],
        env={**os.environ, "PYTHONPATH": root, "COLUMNS": "200"},
        text=True,
        **({"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | options),
    )


def until_it_trains(process: subprocess.Popen[str]) -> str:
    """Wait for the line that opens a run."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "; engine " in line:
            break
    return "".join(lines)


def until_it_saves(process: subprocess.Popen[str], run: Path) -> None:
    """Wait for a checkpoint written after now: how long it takes to get there is the machine's affair."""
    started = time.time_ns()
    while not any(written_since(path, started) for path in run.glob(".staging/*.checkpoint")):
        assert process.poll() is None, "it ended before it saved anything"
        time.sleep(0.005)


def written_since(path: Path, nanoseconds: int) -> bool:
    """A file that is there still, and newer."""
    try:
        return path.stat().st_mtime_ns > nanoseconds
    except FileNotFoundError:  # its shard was stored meanwhile
        return False


def finished(line: str, exit_code: int = 0, **options: Any) -> str:
    """Run a command line to its end; what it wrote to stderr."""
    process = start(line, **options)
    stderr = process.communicate(timeout=120)[1]
    assert process.returncode == exit_code, stderr
    assert "Traceback" not in stderr
    return stderr


def assert_whole(run: Path, whole: Path) -> None:
    """The run is complete, tidy, and equal to the other, byte for byte."""
    assert read_manifest(run).status == "complete"
    assert read_manifest(run).counts == read_manifest(whole).counts
    assert [path.name for path in (run / ".staging").iterdir()] == ["run.lock"]
    assert digests(run) == digests(whole)
