from fractions import Fraction
from itertools import product

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.toy_model import theory
from superpose_cli.toy_model.metrics import basis_alignment, dimensionality, gram

laws = settings(deadline=None, max_examples=50)
probabilities = st.floats(0.001, 1.0)
importances = st.floats(0.01, 100.0)


def sampled_loss(W, b, importance, p, n_rows=300_000) -> tuple[float, float]:
    """Sum loss of a tied ReLU-output model on fresh rows, and its standard error."""
    random = np.random.default_rng(0)
    x = random.uniform(size=(n_rows, len(W))) * (random.uniform(size=(n_rows, len(W))) < p)
    losses = np.square(x - np.maximum(x @ W @ W.T + b, 0.0)) @ importance
    return losses.mean(), losses.std() / np.sqrt(n_rows)


@pytest.mark.parametrize("p", [0.01, 0.3, 1.0])
def test_T1_is_the_least_over_constants(p):
    constants = np.linspace(0, 1, 2001)
    losses = p * ((1 - constants) ** 3 + constants**3) / 3 + (1 - p) * constants**2
    assert losses.min() == pytest.approx(theory.ignored_feature_loss(p), abs=1e-7)
    assert constants[losses.argmin()] == pytest.approx(p / 2, abs=1e-3)


SOLUTIONS_2_IN_1 = {
    "ignored": ([[1.0], [0.0]], [0, 1]),
    "dedicated": ([[0.0], [1.0]], [1, 0]),
    "superposed": ([[1.0], [-1.0]], [0, 0]),
}
SOLUTIONS_3_IN_2 = {
    "ignored": ([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [0, 0, 1]),
    "dedicated": ([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]], [0, 1, 0]),
    "superposed": ([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], [0, 0, 0]),
    "others_superposed": ([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], [0, 0, 0]),
}


@pytest.mark.parametrize(
    ("losses", "solutions"),
    [(theory.phase_2_in_1, SOLUTIONS_2_IN_1), (theory.phase_3_in_2, SOLUTIONS_3_IN_2)],
)
def test_T1_T2_T3_the_solutions_cost_what_theory_says(losses, solutions):
    p, r = 0.4, 0.7
    named = losses(p, r)
    assert set(named) == set(solutions)
    for name, (W, ignored) in solutions.items():
        importance = np.array([1.0] * (len(W) - 1) + [r])
        loss, error = sampled_loss(np.array(W), np.array(ignored) * p / 2, importance, p)
        assert abs(loss - named[name]) < 5 * error, name


@laws
@given(importances)
def test_T3_the_boundary_is_where_the_best_losses_meet(r):
    p = theory.phase_boundary(r)
    losses = theory.phase_2_in_1(p, r)
    assert min(losses["ignored"], losses["dedicated"]) == pytest.approx(losses["superposed"], rel=1e-12)
    assert theory.best_solution(theory.phase_2_in_1(p * 0.99, r)) == "superposed"
    assert theory.best_solution(theory.phase_2_in_1(p * 1.01, r)) == ("ignored" if r <= 1 else "dedicated")


def test_T3_at_equal_importance():
    assert theory.phase_boundary(1.0) == pytest.approx(4 / 7)
    np.testing.assert_allclose(theory.phase_boundary([1 - 1e-12, 1 + 1e-12]), 4 / 7)


def test_three_in_two_has_all_four_phases_on_a_map():
    p, r = np.meshgrid(np.geomspace(0.01, 1, 40), np.geomspace(0.1, 10, 40), indexing="ij")
    phases = theory.best_solution(theory.phase_3_in_2(p, r))
    assert phases.shape == (40, 40)
    assert set(phases.flat) == set(SOLUTIONS_3_IN_2)
    assert phases[0, 0] == "superposed"
    assert phases[0, -1] == "others_superposed"
    assert phases[-1, 0] == "ignored"
    assert phases[-1, -1] == "dedicated"


@laws
@given(st.data(), st.integers(1, 4))
def test_linear_loss_against_every_on_off_pattern(data, n):
    """Features of constant value 1: the data are 2^n patterns, and the expectation a finite sum."""
    small = st.floats(-2, 2)
    W, W_dec = (data.draw(hnp.arrays(float, (1, n, 2), elements=small)) for _ in range(2))
    b, p, importance = (data.draw(hnp.arrays(float, (1, n), elements=st.floats(0, 1))) for _ in range(3))
    decoder = data.draw(st.sampled_from([None, W_dec]))
    expected = np.zeros(n)
    for pattern in product([0.0, 1.0], repeat=n):
        x = np.array(pattern)
        y = x @ W[0] @ (W[0] if decoder is None else W_dec[0]).T + b[0]
        expected += np.prod(np.where(x > 0, p[0], 1 - p[0])) * importance[0] * (x - y) ** 2
    found = theory.linear_population_loss(W, decoder, b, importance, p, p * (1 - p))
    np.testing.assert_allclose(found[0], expected, rtol=1e-10, atol=1e-10)


def test_linear_loss_of_a_diverged_instance():
    W = np.ones((2, 3, 2))
    W[1, 0, 0] = np.nan
    ones = np.ones((2, 3))
    assert np.isnan(theory.linear_population_loss(W, None, ones, ones, ones, ones)).any(1).tolist() == [
        False,
        True,
    ]


@laws
@given(st.data(), st.integers(2, 5), st.integers(1, 5))
def test_T4_no_linear_model_beats_the_projector(data, n, m):
    rates = st.floats(0.05, 2.0)
    importance, variance = (data.draw(hnp.arrays(float, (1, n), elements=rates)) for _ in range(2))
    mean = np.full((1, n), 0.3)
    G, best = theory.linear_optimum(importance, variance, m)
    kept = np.diagonal(G[0])
    assert kept.sum() == min(n, m)
    np.testing.assert_array_equal(G[0], np.diag(kept))
    # The model that has this G (its own square root) and the bias (1 - G) mean attains the loss.
    attained = theory.linear_population_loss(G, None, mean * (1 - kept), importance, mean, variance)
    assert attained.sum() == pytest.approx(best[0])
    W, W_dec = (data.draw(hnp.arrays(float, (1, n, m), elements=st.floats(-2, 2))) for _ in range(2))
    b = data.draw(hnp.arrays(float, (1, n), elements=st.floats(-1, 1)))
    for decoder in (None, W_dec):
        assert (
            theory.linear_population_loss(W, decoder, b, importance, mean, variance).sum() >= best[0] - 1e-9
        )


@pytest.mark.parametrize("p", [1.0, 0.3, 0.05])
def test_T4_loss_at_equal_density(p):
    importance = 0.7 ** np.arange(20.0)[None]
    left_out = theory.ignored_feature_loss(p)
    G, loss = theory.linear_optimum(importance, np.full((1, 20), left_out), 5)
    assert np.diagonal(G[0]).tolist() == [1.0] * 5 + [0.0] * 15
    assert loss[0] == pytest.approx(importance[0, 5:].sum() * left_out)


@pytest.mark.parametrize("output_relu", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_the_ignore_loss_is_the_least_over_the_constants_that_the_model_has(output_relu, bias):
    values = np.array([[-1.0, 0.2, 0.3], [0.1, 0.5, 0.9]])  # targets of two features, equally likely
    importance = np.array([1.0, 3.0])
    constants = np.linspace(-1.0, 1.0, 20001) if bias else np.zeros(1)
    if output_relu:
        constants = constants[constants >= 0]
    losses = ((values[:, :, None] - constants) ** 2).mean(1).min(1)
    found = theory.ignore_loss(
        values.mean(1)[None], (values**2).mean(1)[None], importance[None], output_relu=output_relu, bias=bias
    )
    np.testing.assert_allclose(found, [(importance * losses).mean()], atol=1e-8)


@pytest.mark.parametrize("d", range(1, 8))
def test_simplices_are_regular(d):
    W = theory.simplex(d)
    np.testing.assert_allclose(W @ W.T, np.where(np.eye(d + 1) > 0, 1.0, -1.0 / d), atol=1e-14)


def test_fraction_lines_are_the_dimensionalities_of_their_shapes():
    shapes = [
        np.eye(3),
        theory.simplex(3),
        theory.simplex(2),
        theory.simplex(1),
        theory.polygon(5),
        theory.square_antiprism(),
    ]
    for (fraction, _), W in zip(theory.FRACTION_LINES, shapes, strict=True):
        assert isinstance(fraction, Fraction)
        np.testing.assert_allclose(dimensionality(W[None]), float(fraction))


def test_the_antiprism_is_two_turned_squares():
    W = theory.square_antiprism()
    np.testing.assert_allclose(np.linalg.norm(W, axis=1), 1.0)
    # From a corner: its two neighbours in the square, the opposite corner, and the other square in two pairs.
    across = [(np.sqrt(2) * sign - 1) / 3 for sign in (-1, -1, 1, 1)]
    np.testing.assert_allclose(sorted((W @ W.T)[0, 1:]), sorted([1 / 3, 1 / 3, -1 / 3, *across]), atol=1e-14)
    np.testing.assert_allclose(W.T @ W, 8 / 3 * np.eye(3), atol=1e-14)


def polygon_loss(k: int, norm: float, bias: float, n_nodes: int = 200_001) -> float:
    """The k-gon's sum loss with only feature 0 active, by the midpoint rule (error ~ n_nodes^-2)."""
    x = (np.arange(n_nodes) + 0.5) / n_nodes
    y = np.maximum(norm**2 * np.cos(2 * np.pi * np.arange(k) / k)[:, None] * x + bias, 0.0)
    y[0] -= x
    return float(np.square(y).sum(0).mean())


@pytest.mark.parametrize(
    ("k", "norm", "bias"), [(4, 1.0, 0.0), (5, 1.17046, -0.28230), (7, 1.44839, -0.96691)]
)
def test_T7_the_listed_critical_points(k, norm, bias):
    found = theory.polygon_optimum(k)
    assert round(found.norm, 5) == norm
    assert round(found.bias, 5) == bias


@pytest.mark.parametrize("k", range(3, 10))
def test_T7_is_a_minimum_of_the_loss_by_quadrature(k):
    norm, bias, loss = theory.polygon_optimum(k)
    assert polygon_loss(k, norm, bias) == pytest.approx(loss, abs=1e-9)
    for step in (1e-3, 0.1):
        for turn in np.linspace(0, 2 * np.pi, 12, endpoint=False):
            assert (
                polygon_loss(k, norm + step * np.cos(turn), bias + step * np.sin(turn), 20_001) > loss - 1e-8
            )


def test_polygons_obey_the_bounds_on_norm_and_bias():
    for k in range(4, 9):
        norm, bias, _ = theory.polygon_optimum(k)
        assert 1 - bias - 1e-12 <= norm**2 <= 1 - 1.5 * bias + 1e-12


def test_eight_features_prefer_a_heptagon_and_a_dead_feature():
    dead = 1 / 8 * 1 / 3 - (1 / 16) ** 2
    assert 7 / 8 * theory.polygon_optimum(7).loss + dead < theory.polygon_optimum(8).loss


def rows(n_rows: int, n: int, p: float, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.uniform(size=(n_rows, n)) * (random.uniform(size=(n_rows, n)) < p))[None]


def test_T8_the_orthogonal_model_has_vulnerability_one():
    """Ignored features are not attacked. 1e-12: (x + a) - x is rounded, and divided by a^2."""
    W = np.stack([np.eye(6, 4), np.eye(6, 4)[::-1]])
    zeros, ones = np.zeros((2, 6)), np.ones((2, 6))
    found = theory.vulnerability(rows(500, 6, 0.3), W, None, zeros, ones, np.array([0.1, 0.3]))
    np.testing.assert_allclose(found, 1.0, rtol=1e-12)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("output_relu", [True, False])
def test_T8_against_one_attack_at_a_time(tied, output_relu):
    random = np.random.default_rng(3)
    W, W_dec = random.standard_normal((2, 2, 5, 2))
    b, importance = random.normal(0, 0.2, (2, 5)), random.uniform(0.5, 2, (2, 5))
    x = rows(20, 5, 0.4, seed=1).repeat(2, 0)
    attack_norm = np.array([0.05, 0.2])
    found = theory.vulnerability(
        x, W, None if tied else W_dec, b, importance, attack_norm, output_relu=output_relu
    )
    for i in range(2):
        G = W[i] @ (W if tied else W_dec)[i].T

        def loss(x, target, G=G, i=i):
            y = x @ G + b[i]
            return (importance[i] * (target - (np.maximum(y, 0) if output_relu else y)) ** 2).sum()

        worst = [
            max(loss(row + attack_norm[i] * g / np.linalg.norm(g), row) - loss(row, row) for g in G.T)
            for row in x[i]
        ]
        assert found[i] == pytest.approx(np.mean(worst) / attack_norm[i] ** 2)


def test_T8_superposition_is_vulnerable():
    W, zeros, ones = theory.polygon(5)[None], np.zeros((1, 5)), np.ones((1, 5))
    assert theory.vulnerability(rows(500, 5, 0.1), W, None, zeros, ones, 0.05)[0] > 2.0


@laws
@given(
    hnp.arrays(
        np.int64, st.tuples(st.just(1), st.integers(2, 7), st.integers(1, 4)), elements=st.integers(-5, 5)
    )
)
def test_T9_bounds_hold_for_every_W(W):
    n, m = W.shape[1:]
    G = gram(W)[0]
    assert (G**2).sum() >= theory.gram_norm_bound(np.square(W).sum(), m) - 1e-9
    length = np.sqrt(np.diagonal(G))
    if (length > 0).all():
        cosines = abs(G / length / length[:, None]) - 2 * np.eye(n)
        assert cosines.max() >= theory.welch_bound(n, m) - 1e-12


def test_T9_bounds_are_reached_by_tight_frames_and_simplices():
    for W in (theory.polygon(6), theory.square_antiprism(), theory.simplex(4)):
        assert (gram(W[None]) ** 2).sum() == pytest.approx(
            theory.gram_norm_bound(np.square(W).sum(), W.shape[1])
        )
    for d in range(1, 6):
        assert theory.welch_bound(d + 1, d) == pytest.approx(1 / d)
    assert theory.welch_bound(3, 4) == 0.0


def test_T14_pairs_share_their_largest_weight_by_chance():
    """Of Gaussian weights, 100 features on 400 neurons: pairs with one largest neuron and opposite signs."""
    n, m, draws = 100, 400, 300
    W = np.random.default_rng(0).standard_normal((draws, n, m))
    neuron = np.abs(W).argmax(axis=2)
    sign = np.sign(np.take_along_axis(W, neuron[..., None], axis=2)[..., 0])
    own = [np.bincount(neuron[k][sign[k] == s], minlength=m) for k in range(draws) for s in (1, -1)]
    pairs = np.sum([up @ down for up, down in zip(own[::2], own[1::2], strict=True)]) / draws
    # n (n - 1) pairs, of which n^2 is the leading part: 1 % here; the standard error is 2 %.
    np.testing.assert_allclose(pairs, theory.incidental_polysemanticity(n, m), rtol=0.08)


@pytest.mark.parametrize(("m", "exact"), [(1, 1.0), (2, 0.5 + 1 / np.pi)])
def test_alignment_of_chance_is_that_of_a_point_or_a_circle(m, exact):
    """On a circle: the mean of max(cos^2, sin^2)."""
    assert theory.random_alignment(m) == pytest.approx(exact, abs=1e-7)


@pytest.mark.parametrize("m", [3, 5, 40])
def test_alignment_of_chance_is_that_of_random_directions(m):
    W = np.random.default_rng(m).standard_normal((1, 40_000, m))
    drawn = basis_alignment(W)[0]
    assert theory.random_alignment(m) == pytest.approx(drawn.mean(), abs=5 * drawn.std() / 200)
