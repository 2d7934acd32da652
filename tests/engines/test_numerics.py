"""Stored results stand for training anew as long as the bits are the same: here are some that must not move.

Whoever changes them on purpose raises `NUMERICS_VERSION` in `engines/base.py` (stored instances are then
trained again rather than mixed with new ones) and writes down what this test says it found.
"""

from hashlib import blake2b

import numpy as np
import pytest

from superpose_cli.engines.base import NUMERICS_VERSION, Engine, initial_state
from superpose_cli.engines.numba_cpu import NumbaEngine
from superpose_cli.engines.torch_reference import TorchEngine
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.instances import InstanceBatch
from tests.helpers import axis, experiment_of

STEPS, ROWS = 20, 256
MODELS = {
    "narrow": {},
    "wide, adamw": {
        "model__n_features": 40, "model__n_hidden": 12, "model__tied": False,
        "train__optimizer": "adamw", "train__weight_decay": 0.01,
    },
    "hidden relu, sgd, correlated": {
        "model__hidden_activation": "relu", "model__hidden_bias": True, "model__hidden_l1": 0.01,
        "train__optimizer": "sgd", "train__momentum": 0.9, "train__learning_rate": 0.3,
        "data__kind": "correlated", "data__set_size": 2, "data__correlation": 0.7, "data__signed": True,
    },
    "finite": {"data__kind": "finite", "data__n_rows": 24, "data__unit_norm": True, "train__n_batch": None},
}  # fmt: skip

INITIAL = {
    "narrow": "2e609c3b5063c921",
    "wide, adamw": "5226dc87365baa47",
    "hidden relu, sgd, correlated": "5596a90b0a43b54a",
    "finite": "be13bfccba255166",
}
"""Digests of the initial weights: the same on every machine."""

TRAINED = {
    "narrow": (0.033166734369994934, 0.9468672438636665, 2.3745720008723374),
    "wide, adamw": (0.062343400237049165, 4.4094095655505745, 18.20919933605513),
    "hidden relu, sgd, correlated": (0.05633000233731911, 0.015761656907085086, 3.1619917271796347),
    "finite": (0.1166652154481965, 0.8477004618749879, 1.4293335222627153),
}
"""(loss, sum of W, sum of W^2) of instance 0 after the last step, in float64 by torch: on every machine, but
for rounding."""

BITS = {
    "torch/float64/2/avx512-torch2.13.0+cpu": {
        "narrow": "bfb0c20546863724",
        "wide, adamw": "76e254714e54cdac",
        "hidden relu, sgd, correlated": "6772feddb185a7b8",
        "finite": "274fe2201b596425",
    },
    "torch/float32/2/avx512-torch2.13.0+cpu": {
        "narrow": "d84c43c7ba84b532",
        "wide, adamw": "608b07a24e12a28e",
        "hidden relu, sgd, correlated": "ad7b0d402c7801d0",
        "finite": "c999d169dcc90e13",
    },
    "numba/float32/2/cascadelake-16-numba0.68.1-llvmlite0.50.0": {
        "narrow": "fe068a3b8f8624a6",
        "wide, adamw": "8b313369c80294f5",
        "hidden relu, sgd, correlated": "9aebde1791bd9083",
        "finite": "f669e812ba1b9e19",
    },
}
"""Arithmetic -> model -> digest of W, W_dec, b, b_hidden and the loss."""


def batch_of(name: str) -> InstanceBatch:
    fields = {"train__steps": STEPS, "train__n_batch": 64, "seed": 3} | MODELS[name]
    grid = Grid(experiment_of(axis("data.feature_probability", 0.2, 0.5), **fields))
    (batch,) = grid.batches(0, 2)
    return batch


def digest(*arrays: np.ndarray | None) -> str:
    content = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays if a is not None)
    return blake2b(content, digest_size=8).hexdigest()


def trained(engine: Engine, name: str) -> tuple[str, tuple[float, ...]]:
    """The bits of what came out, and some of its numbers."""
    batch = batch_of(name)
    state = engine.advance(batch, engine.initialise(batch), STEPS)
    found = engine.evaluate(batch, state, ROWS)
    W = state.W[0].astype(np.float64)
    numbers = (float(found.loss[0]), float(W.sum()), float((W**2).sum()))
    return digest(state.W, state.W_dec, state.b, state.b_hidden, found.loss), numbers


ENGINES = {
    "torch float64": (lambda: TorchEngine("cpu", "float64"), 1e-9),
    "torch float32": (lambda: TorchEngine("cpu", "float32"), 1e-5),
    "numba float32": (lambda: NumbaEngine("cpu", "float32"), 1e-5),
}
"""Engine, and how far its numbers may be from the recorded ones."""


@pytest.mark.parametrize("name", MODELS)
def test_initial_weights_have_the_recorded_bits(name):
    state = initial_state(batch_of(name), "float32")
    assert digest(state.W, state.W_dec) == INITIAL[name], f"raise NUMERICS_VERSION, now {NUMERICS_VERSION}"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", MODELS)
def test_training_comes_to_the_recorded_numbers(engine, name):
    make, tolerance = ENGINES[engine]
    _, numbers = trained(make(), name)
    assert numbers == pytest.approx(TRAINED[name], rel=tolerance, abs=1e-7), (
        f"raise NUMERICS_VERSION, now {NUMERICS_VERSION}, unless this is rounding"
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_training_comes_to_the_recorded_bits(engine):
    made = ENGINES[engine][0]()
    arithmetic = made.numerics
    bits = {name: trained(made, name)[0] for name in MODELS}
    if arithmetic not in BITS:
        pytest.skip(f"no bits are recorded for {arithmetic}: they are {bits}")
    assert bits == BITS[arithmetic], f"raise NUMERICS_VERSION, now {NUMERICS_VERSION}, and record {bits}"
