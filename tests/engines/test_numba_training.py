"""The fused step at every edge of its tiles: n and m that no tile divides, batches that no block divides."""

from dataclasses import replace

import numpy as np
import pytest

from superpose_cli.engines.narrow_tiles import MOST_HIDDEN
from superpose_cli.engines.numba_cpu import NumbaEngine
from superpose_cli.experiment.config import (
    Activation,
    DataKind,
    Optimizer,
    Reduction,
    Schedule,
    Target,
    ValueKind,
)
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


@pytest.mark.parametrize("m", [2, 11])
@pytest.mark.parametrize(("table", "rows"), [(300, 700), (1500, 0)])
def test_a_table_of_several_blocks(table, rows, m):
    """Batches and whole tables that no block holds: every row is met, once."""
    family = replace(PLAIN, data=DataKind.finite, n_rows=table, n_batch=rows, n_hidden=m)
    batch = make_batch(family)
    engine = NumbaEngine()
    found = parameters_of(engine.advance(batch, engine.initialise(batch), 3))
    for name, values in reference_train(batch, 3).items():
        np.testing.assert_allclose(found[name], values, rtol=2e-6, atol=2e-6, err_msg=name)


CROSSES = {
    "correlated": {"data": DataKind.correlated, "set_size": 4},
    "anticorrelated": {"data": DataKind.anticorrelated, "set_size": 3},
    "exactly k": {"data": DataKind.exactly_k, "k": 3},
    "finite": {"data": DataKind.finite, "n_rows": 200, "unit_norm": True},
    "independent": {},
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("data", CROSSES)
def test_crosses_of_data_and_model(data, seed):
    """What no family of the conformance suite has together, drawn from a fixed seed."""
    draw = np.random.default_rng([seed, *data.encode()])

    def one(*choices):
        return choices[draw.integers(len(choices))]

    unit_norm = "unit_norm" in CROSSES[data]
    family = replace(
        BASE,
        **CROSSES[data],
        n_features=int(draw.integers(8, 30)),
        n_hidden=one(1, 3, 7, 9, 14),
        n_batch=one(60, 130, 400),
        hidden_activation=one(*Activation),
        output_activation=one(*Activation),
        tied=one(True, False),
        bias=one(True, False),
        hidden_bias=one(True, False),
        target=one(*Target),
        value=one(ValueKind.uniform, ValueKind.constant) if unit_norm else one(*ValueKind),
        loss_reduction=one(*Reduction),
        optimizer=one(*Optimizer),
        schedule=one(*Schedule),
        warmup_steps=one(0, 2),
    )
    family = replace(family, signed=family.value is ValueKind.uniform and one(True, False))
    batch = make_batch(family)
    engine = NumbaEngine()
    found = parameters_of(engine.advance(batch, engine.initialise(batch), 3))
    for name, values in reference_train(batch, 3).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=3e-6, err_msg=f"{name} of {family}")


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
