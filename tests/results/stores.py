"""What the tests of writing a run share: a store of two shards, here or in a process of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from superpose_cli.results.store import RunStore
from tests.synthetic import shard_tables, synthetic_manifest

CONFIG = "experiment: synthetic\nmodel:\n  n_features: 5\n  n_hidden: 2\nengine:\n  name: auto\n"


def tables(first: int = 0, count: int = 4, **options: Any) -> dict[str, pa.Table]:
    """The tables of a shard: some instances of random weights."""
    W = np.random.default_rng(first).normal(size=(count, 5, 2))
    return shard_tables(W, first=first, restarts=2, steps=(0, 10), **options)


def open_store(path: Path, config: str = CONFIG, **changes: Any) -> RunStore:
    """The store of a run of eight instances, open for writing."""
    return RunStore.create_or_open(path, config, synthetic_manifest(n_cells=4, restarts=2, **changes))


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that runs this code; its stdout is a pipe."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=root, text=True, stdout=subprocess.PIPE)
