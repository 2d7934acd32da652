"""Kernels that were just compiled and kernels from the cache: the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
from dataclasses import replace
from hashlib import blake2b

import numpy as np

from superpose_cli.engines.numba_cpu import NumbaEngine
from superpose_cli.experiment.config import Activation
from tests.engines.batches import BASE, make_batch

engine, digest = NumbaEngine(), blake2b(digest_size=8)
for family in (BASE, replace(BASE, n_hidden=20, hidden_activation=Activation.relu, hidden_bias=True)):
    batch = make_batch(family, 24)
    state = engine.advance(batch, engine.initialise(batch), 20)
    found = engine.evaluate(batch, state, 2000)
    for array in (state.W, state.b, found.loss, found.loss_stderr, found.feature_loss, found.hidden_l1,
                  found.hidden_mean, found.hidden_cov):
        digest.update(np.ascontiguousarray(array).tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_a_process_that_compiles_has_the_bits_of_one_that_loads(tmp_path):
    """Two copies of a function with free sums may differ, and the linker chooses among them."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    found = [
        subprocess.run(
            [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert list(tmp_path.glob("*/**/*.nbi")), "nothing was cached"
    assert found[0] == found[1]
