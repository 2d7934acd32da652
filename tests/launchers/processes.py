"""What the tests of launchers share: `superpose` processes with small shards, and looks at what they do."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from superpose_cli.results.checkpoint_files import saved_checkpoints

ROOT = Path(__file__).parents[2]
PATCHED = """
import os
if os.environ.get("SUPERPOSE_TEST_SHARDS"):
    from superpose_cli.engines import training
    from superpose_cli.experiment import sharding
    training.CHECKPOINT_SECONDS, training.CHECKPOINT_SHARE, training.CHUNK_SECONDS = 0.1, 0.5, 0.1
    sharding.MAX_INSTANCES = 24
"""
"""A `sitecustomize.py` for every process of a test: small shards with many checkpoints."""
GRID = (
    "model.n_hidden=2,3 data.feature_probability=geomspace(1,0.1,6) restarts=8 train.n_batch=256 "
    "evaluation.n_rows=2000 history.every=500 engine=numba train.steps="
)
"""96 instances in four shards."""
LONG, SHORT = f"{GRID}40000", f"{GRID}200"


def environment(folder: Path) -> dict[str, str]:
    """What every process of a test starts with; `folder` is for the patch."""
    (folder / "sitecustomize.py").write_text(PATCHED)
    path = os.pathsep.join([str(folder), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "SUPERPOSE_TEST_SHARDS": "1", "COLUMNS": "200"}


class Superpose:
    """Runs command lines in the folder of a test."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment

    @staticmethod
    def command(line: str) -> list[str]:
        return [sys.executable, "-m", "superpose_cli", *shlex.split(line)]

    def start(self, line: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(line),
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, line: str, code: int = 0) -> str:
        return finished(self.start(line), code)


def finished(process: subprocess.Popen[str], code: int = 0) -> str:
    """The stderr of a process that must end with this code."""
    try:
        _, said = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == code, said
    return said


def digests(run: Path) -> dict[str, str]:
    """The bytes of all tables."""
    return {
        str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(run.glob("*.parquet/*"))
    }


def wait_until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "what the test waits for does not happen"
        time.sleep(0.05)
    return found


def worker_in_training(run: Path) -> int | None:
    """The process that trains a shard which has a checkpoint."""
    for saved in saved_checkpoints(run):
        held = (run / ".staging" / f"shard-{saved.shard:06d}.lock").read_text()
        if held and saved.trained < saved.n_instances:
            return json.loads(held)[0]
    return None
