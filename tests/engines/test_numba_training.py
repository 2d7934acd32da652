"""The fused step at every edge of its tiles: n and m that no tile divides, batches that no block divides."""

from dataclasses import replace

import numpy as np
import pytest

from superpose_cli.engines.narrow_tiles import MOST_HIDDEN
from superpose_cli.engines.numba_cpu import NumbaEngine
from superpose_cli.experiment.config import Activation, Optimizer, Target
from tests.engines.batches import BASE, make_batch, parameters_of, reference_train

PLAIN = replace(BASE, optimizer=Optimizer.sgd)
VARIANTS = {
    "plain": PLAIN,
    "linear": replace(PLAIN, output_activation=Activation.identity, bias=False, hidden_bias=True),
    "everything": replace(
        PLAIN,
        tied=False,
        hidden_activation=Activation.relu,
        hidden_bias=True,
        target=Target.abs,
        signed=True,
    ),
}
NARROW = [
    (1, 1, 1),
    (2, 1, 1000),
    (3, 2, 129),
    (5, 3, 64),
    (7, 4, 130),
    (20, 5, 300),
    (9, 6, 128),
    (4, 8, 77),
]
WIDE = [(17, 9, 100), (13, 12, 257), (41, 20, 130), (8, 33, 1), (6, 15, 1030)]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("n", "m", "rows"), NARROW + WIDE, ids=str)
def test_a_step_along_the_gradient(n, m, rows, variant):
    """SGD with a rate of 1, so that weights show the gradient itself; every third instance has L1."""
    family = replace(VARIANTS[variant], n_features=n, n_hidden=m, n_batch=rows)
    batch = make_batch(family, learning_rate=np.ones(6), weight_decay=np.zeros(6))
    engine = NumbaEngine()
    found = parameters_of(engine.advance(batch, engine.initialise(batch), 2))
    for name, values in reference_train(batch, 2).items():
        np.testing.assert_allclose(found[name], values, rtol=3e-6, atol=3e-6, err_msg=name)


def test_both_sides_of_the_border_are_tried():
    assert max(m for _, m, _ in NARROW) <= MOST_HIDDEN + 2
    assert min(m for _, m, _ in WIDE) > MOST_HIDDEN


@pytest.mark.parametrize("m", [2, MOST_HIDDEN, MOST_HIDDEN + 1])
def test_overflow_is_seen(m):
    """Infinity times 0 must not be taken for 0 anywhere on the way to the weights."""
    family = replace(PLAIN, n_hidden=m, output_activation=Activation.identity)
    batch = make_batch(family, learning_rate=np.geomspace(1e-3, 1e30, 6))
    engine = NumbaEngine()
    state = engine.advance(batch, engine.initialise(batch), 20)
    assert state.failed_step[0] == -1
    assert 0 < state.failed_step[-1] < 20
    assert np.isfinite(state.W[0]).all()
    assert not np.isfinite(state.W[-1]).all()
