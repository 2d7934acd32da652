"""What hidden units carry."""

import numpy as np

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
