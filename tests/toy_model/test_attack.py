"""Vulnerability against closed forms, and against every single attack tried one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.toy_model.attack import vulnerability
from superpose_cli.toy_model.model import Model
from superpose_cli.toy_model.ranks import rank_correlation
from superpose_cli.toy_model.theory import polygon

RELU = Model(hidden_activation="identity", output_activation="relu", target="identity")
LINEAR = Model(hidden_activation="identity", output_activation="identity", target="identity")


def rows(n: int, count: int = 300, p: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(n)
    return rng.random((count, n)) * (rng.random((count, n)) < p)


def attacked(W: np.ndarray, x: np.ndarray, model: Model = RELU, share: float = 0.1) -> np.ndarray:
    return vulnerability(x, W, W, np.zeros(len(W)), np.ones(len(W)), model, share)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (7, 3), (40, 12)])
@pytest.mark.parametrize("model", [RELU, LINEAR])
def test_a_dimension_each_gives_exactly_one(n: int, m: int, model: Model) -> None:
    """Also with features that have none, and whatever is on: y_i moves by lambda, and nothing else does."""
    np.testing.assert_allclose(attacked(np.eye(n, m), rows(n), model), 1, atol=1e-9)


def test_antipodal_pairs_at_rest_cost_two() -> None:
    """From x = 0 with norm lambda along (1, -1) / sqrt 2: y = (sqrt 2, 0) lambda, an error of 2 lambda^2.

    Where the pair's first feature is on, only that one can be pushed up: 2 of it, and nothing below 0.
    """
    W = np.array([[1.0], [-1.0]])
    x = np.array([[0.0, 0.0], [0.5, 0.0]])
    np.testing.assert_allclose(attacked(W, x), [2, 2])
    np.testing.assert_allclose(attacked(W, x, LINEAR), [4, 4 + 2 * 0.5 * np.sqrt(2) / (0.1 * 0.25)])


def test_a_polygon_at_rest() -> None:
    """g_i = the i-th row of G, and G g_i = (k / 2) g_i in a tight frame: y = (k / 2) lambda g_i / |g_i|."""
    W = polygon(5)
    g = W @ W[0]
    expected = (2.5 * np.maximum(g, 0) / np.linalg.norm(g)) ** 2
    x = np.zeros((2, 5))
    x[1, 0] = 1.0  # else there is no norm to speak of
    assert attacked(W, x)[0] == pytest.approx(expected.sum())


def test_every_attack_tried_one_by_one() -> None:
    rng = np.random.default_rng(3)
    n, m, x = 6, 3, rows(6, 40)
    W, decoder = rng.normal(size=(2, n, m))
    shift, importance = 0.2 * rng.normal(size=n), 0.7 ** np.arange(n)

    def loss(inputs: np.ndarray, clean: np.ndarray) -> float:
        y = np.maximum(inputs @ W @ decoder.T + shift, 0)
        return float((importance * (np.abs(clean) - y) ** 2).sum())

    model = Model(hidden_activation="identity", output_activation="relu", target="abs")
    found = vulnerability(-x, W, decoder, shift, importance, model, 0.25)
    reach = 0.25 * np.linalg.norm(x, axis=1).mean()
    for row, most in zip(-x, found, strict=True):
        ways = [decoder[i] @ W.T for i in range(n)]
        added = [loss(row + reach * g / np.linalg.norm(g), row) - loss(row, row) for g in ways]
        assert most == pytest.approx(max(added) / reach**2, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 5))
def test_a_rotated_hidden_space_changes_nothing(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(n, m))
    turn = np.linalg.qr(rng.normal(size=(m, m)))[0]
    np.testing.assert_allclose(attacked(W @ turn, rows(n)), attacked(W, rows(n)), atol=1e-7)


def test_a_feature_without_weights_is_no_way_in_and_diverged_weights_give_nan() -> None:
    padded = np.concatenate([polygon(5), np.zeros((3, 2))])
    x = np.pad(rows(5), ((0, 0), (0, 3)))
    np.testing.assert_allclose(attacked(padded, x), attacked(polygon(5), rows(5)))
    assert (attacked(np.zeros((3, 2)), rows(3)) == 0).all()
    assert (attacked(np.eye(3), np.zeros((4, 3))) == 0).all()
    assert np.isnan(attacked(np.full((3, 2), np.inf), rows(3))).all()


def test_ranks_of_equal_values_are_shared() -> None:
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 1000]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # Ranks 1.5, 1.5, 3 and 1, 2, 3: scipy.stats.spearmanr gives 0.8660254.
    assert rank_correlation([5, 5, 9], [1, 2, 3]) == pytest.approx(np.sqrt(3) / 2)
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
