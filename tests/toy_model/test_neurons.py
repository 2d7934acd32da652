"""What hidden units carry."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from superpose_cli.toy_model.neurons import KINDS, neuron_kinds, neuron_shares


def test_units_are_silent_mono_or_polysemantic() -> None:
    W = np.array([[1.0, 0.3, 1.0, 1.0], [0.0, 0.3, 0.3, -0.4], [0.0, 0.2, 0.0, 0.0]])
    assert [KINDS[kind] for kind in neuron_kinds(W)] == [
        "monosemantic",
        "silent",
        "monosemantic",
        "polysemantic",
    ]
    shares = neuron_shares(np.concatenate([W, np.zeros((3, 1))], axis=1))
    np.testing.assert_allclose(shares.sum(axis=0), [1, 1, 1, 1, 0])
    np.testing.assert_allclose(shares[:, 2], [1 / 1.09, 0.09 / 1.09, 0])


def test_kinds_follow_permutations_of_features_and_signs() -> None:
    rng = np.random.default_rng(0)
    W = rng.normal(size=(6, 4)) ** 3
    order, sign = rng.permutation(6), rng.choice([-1, 1], size=(6, 4))
    np.testing.assert_array_equal(neuron_kinds(W[order] * sign), neuron_kinds(W))


def test_a_unit_that_writes_what_it_does_not_read_is_polysemantic() -> None:
    reads = np.array([[2.0, 1.0, 1.0], [0.1, 0.0, 0.0], [0.0, 0.0, 0.0]])
    writes = np.array([[0.5, 0.1, 1.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    names = [KINDS[kind] for kind in neuron_kinds(reads, writes)]
    assert names == ["monosemantic", "polysemantic", "polysemantic"]
    names = [KINDS[kind] for kind in neuron_kinds(reads, writes, importance=[1, 1, 1e-3])]
    assert names == ["monosemantic", "polysemantic", "monosemantic"], "nobody asks for the third output"


@given(st.integers(0, 2**32 - 1))
def test_a_units_scale_moves_between_its_weights_without_a_change(seed: int) -> None:
    rng = np.random.default_rng(seed)
    W, W_dec = rng.normal(size=(2, 6, 4)) ** 3
    importance, scale = rng.uniform(0.1, 1, 6), np.exp2(rng.integers(-20, 21, 4))
    moved = (W * scale, W_dec / scale, importance)
    np.testing.assert_array_equal(neuron_kinds(*moved), neuron_kinds(W, W_dec, importance))
    np.testing.assert_array_equal(neuron_shares(*moved), neuron_shares(W, W_dec, importance))
    assert (neuron_shares(*moved).sum(axis=0) <= 1 + 1e-12).all(), "means of shares"
