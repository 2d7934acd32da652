"""Analogies: exact where the hidden layer is linear, however superposed; antipodal words vanish."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.toy_model.analogy import Analogies, solve_analogies, vocabulary
from superpose_cli.toy_model.model import Model
from superpose_cli.toy_model.theory import polygon

RELU_OUTPUT = Model(hidden_activation="identity", output_activation="relu", target="identity")
RELU_HIDDEN = Model(hidden_activation="relu", output_activation="relu", target="identity")


def solved(W: np.ndarray, model: Model = RELU_OUTPUT, decoder: np.ndarray | None = None) -> Analogies:
    n, m = W.shape
    decoder = W if decoder is None else decoder
    return solve_analogies(W, decoder, np.zeros(n), np.zeros(m), model, np.arange(n))


def test_words_are_features_and_pairs_and_analogies_hold_in_x() -> None:
    x, analogies = vocabulary([0, 2, 3, 5], 7)
    assert len(x) == 4 + 6
    assert len({tuple(word) for word in x.tolist()}) == len(x)
    assert x[:, [1, 4, 6]].sum() == 0
    king, man, woman, queen = x[analogies.T]
    assert len(analogies) == 4 * 3 * 2
    np.testing.assert_array_equal(king - man + woman, queen)
    assert set(king.sum(axis=1)) == set(queen.sum(axis=1)) == {2.0}
    assert set(man.sum(axis=1)) == set(woman.sum(axis=1)) == {1.0}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 7), st.integers(1, 5))
def test_every_linear_hidden_layer_is_exact(seed: int, n: int, m: int) -> None:
    W = np.random.default_rng(seed).normal(size=(n, m))
    assert solved(W).error < 1e-12


def test_a_dimension_each_makes_no_mistake() -> None:
    """The next word is royal alone, at 45 degrees."""
    for model in (RELU_OUTPUT, RELU_HIDDEN):  # no ReLU acts where nothing is negative
        found = solved(np.eye(5), model)
        assert found[:3] == pytest.approx((0, 1 - 0.5**0.5, 1))
        assert (found.vanished, found.nearest, found.decoded_there) == (0, 1, 1)
        assert np.isnan(found.apart)


def test_a_pentagon_is_exact_and_answers_are_other_words_too() -> None:
    """Two features 144 degrees apart add up to the direction of the one between them, which is a word."""
    found = solved(polygon(5))
    assert found.error < 1e-12
    x, analogies = vocabulary(range(5), 5)
    h = x @ polygon(5)
    unit = h / np.linalg.norm(h, axis=1, keepdims=True)
    leads = []
    for given_words in analogies:
        cosines = unit @ unit[given_words[3]]
        leads.append(1 - np.delete(cosines, given_words).max())
    assert found.lead == pytest.approx(np.mean(leads))
    # Of ordered (royal, female) half are 144 degrees apart; in a third of them `male` is the one in between.
    assert np.isclose(leads, 0).mean() == pytest.approx(0.5 * 2 / 3)
    assert found.decoded < 1


def test_a_hidden_relu_breaks_it() -> None:
    W = polygon(5)
    assert solved(W, RELU_HIDDEN).error > 0.1
    assert solved(-W, RELU_HIDDEN).error > 0.1


def test_antipodal_pairs_leave_nothing_and_diverged_weights_no_number() -> None:
    W = np.array([[1.0, 0], [-1.0, 0], [0, 1.0]])
    found = solved(W)
    assert found.error < 1e-12
    # Queen is the antipodal pair in two of the six analogies: these fail, and no other.
    assert (found.vanished, found.decoded) == pytest.approx((1 / 3, 2 / 3))
    assert (found.nearest, found.decoded_there) == (1, 1)
    assert found.apart == pytest.approx(180)
    assert np.isnan(solved(np.full((3, 2), np.nan))).all()


def test_words_that_vanish_lead_nobody_and_follow_nobody() -> None:
    """Pairs a little off: their sums have every direction, by chance that of other answers."""
    W = np.vstack([np.eye(6), -np.eye(6)])
    dust = np.random.default_rng(0).normal(scale=1e-3, size=W.shape)
    found = solved(W + dust)
    assert found.vanished == pytest.approx(1 / 11)
    assert found.decoded == pytest.approx(10 / 11)
    assert (found.nearest, found.decoded_there) == (1, 1)
    assert found.lead == pytest.approx(1 - 0.5**0.5, abs=0.003), "to one feature, as if none were superposed"
    assert 179 < found.apart < 180
