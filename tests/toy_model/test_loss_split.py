from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.toy_model import theory
from superpose_cli.toy_model.loss_split import activity, loss_split, reconstruction_error, relu_square_mean
from superpose_cli.toy_model.metrics import gram

laws = settings(deadline=None, max_examples=200)
ordinary = st.floats(-3, 3).map(lambda v: float(np.round(v, 6)))
tiny = st.sampled_from([0.0, 1e-8, -1e-8, 1e-17, -1e-17, 1e-200, -1e-200, 5e-324])
numbers = st.one_of(ordinary, tiny)
PARTS = ("loss_zero", "loss_benefit", "loss_interference", "loss_coactive")


def exact_square_integral(pieces: list[tuple[Fraction, Fraction, Fraction, Fraction]]) -> Fraction:
    """Sum of int_lo^hi (slope t + intercept)^2 dt, by the antiderivative."""

    def antiderivative(slope: Fraction, intercept: Fraction, t: Fraction) -> Fraction:
        return slope**2 * t**3 / 3 + slope * intercept * t**2 + intercept**2 * t

    return sum(
        (antiderivative(s, c, hi) - antiderivative(s, c, lo) for lo, hi, s, c in pieces), start=Fraction(0)
    )


def arrays(*values: float) -> list[np.ndarray]:
    return [np.array([value]) for value in values]


def active_interval(slope: Fraction, intercept: Fraction) -> tuple[Fraction, Fraction]:
    """Where slope t + intercept > 0 inside [0, 1]."""
    start, stop = intercept > 0, slope + intercept > 0
    if start == stop:
        return Fraction(0), Fraction(int(start))
    kink = -intercept / slope
    return (Fraction(0), kink) if start else (kink, Fraction(1))


@laws
@given(numbers, numbers)
def test_the_interference_integral_is_exact_in_every_sign_case(slope, intercept):
    g, b = Fraction(slope), Fraction(intercept)
    lo, hi = active_interval(g, b)
    exact = exact_square_integral([(lo, hi, g, b)])
    # A few roundings of relative size eps; squares below 1e-308 underflow.
    np.testing.assert_allclose(
        relu_square_mean(*arrays(slope, intercept)), [float(exact)], rtol=2e-15, atol=1e-307
    )


@laws
@given(numbers, numbers, st.sampled_from([0.5, 1.0, 3.0]))
def test_the_benefit_integral_is_exact_in_every_sign_case(slope, intercept, high):
    g, b, h = Fraction(slope), Fraction(intercept), Fraction(high)
    lo, hi = active_interval(g, b)
    exact = exact_square_integral(
        [(Fraction(0), lo, h, Fraction(0)), (lo, hi, h - g, -b), (hi, Fraction(1), h, Fraction(0))]
    )
    with np.errstate(over="ignore"):
        found = reconstruction_error(*arrays(slope, intercept, high))
    # Absolute: where the reconstruction is good the two sides of the difference are of size high.
    np.testing.assert_allclose(
        found, [float(exact)], rtol=1e-14, atol=1e-14 * max(high, abs(slope), abs(intercept)) ** 2
    )


@pytest.mark.parametrize("slope", [1e-4, 1e-9, 1e-13, 1e-16, 1e-30, 1e-300])
def test_small_interference_does_not_cancel(slope):
    """The textbook form ((b + g)^3 - b^3) / (3 g) is off by eps / g. It equals b^2 + b g + g^2 / 3."""
    b = 0.7
    expected = b * b + b * slope + slope * slope / 3
    assert relu_square_mean(*arrays(slope, b))[0] == pytest.approx(expected, rel=1e-15)


@laws
@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), min_size=1, max_size=5))
def test_activity_against_enumeration(p):
    zero, alone = 0.0, [0.0] * len(p)
    for pattern in product([0, 1], repeat=len(p)):
        probability = np.prod([q if on else 1 - q for q, on in zip(p, pattern, strict=True)])
        if sum(pattern) == 0:
            zero += probability
        if sum(pattern) == 1:
            alone[pattern.index(1)] += probability
    found_zero, found_alone = activity(np.array([p]))
    np.testing.assert_allclose(found_zero, [zero], atol=1e-15)
    np.testing.assert_allclose(found_alone, [alone], atol=1e-15)


def model(
    n_instances: int, n: int, m: int, tied: bool, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """G, b of both signs, importances."""
    random = np.random.default_rng(seed)
    W = random.standard_normal((n_instances, n, m)) * 0.7
    W_dec = None if tied else random.standard_normal((n_instances, n, m)) * 0.7
    return (
        gram(W, W_dec),
        random.normal(0.0, 0.3, (n_instances, n)),
        random.uniform(0.2, 2.0, (n_instances, n)),
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("high", [1.0, 2.0])
def test_all_parts_against_samples(tied, high):
    n_rows, n = 300_000, 4
    G, b, importance = model(2, n, 2, tied)
    p = np.array([[0.2, 0.3, 0.4, 0.1], [0.05, 0.05, 0.6, 0.3]])
    random = np.random.default_rng(1)
    for i in range(2):
        x = random.uniform(0, high, (n_rows, n)) * (random.uniform(size=(n_rows, n)) < p[i])
        square = importance[i] * (x - np.maximum(x @ G[i] + b[i], 0.0)) ** 2
        active = x > 0
        count = active.sum(1)
        one = (count == 1)[:, None]
        samples = [
            square.sum(1) * (count == 0),
            (square * (one & active)).sum(1),
            (square * (one & ~active)).sum(1),
            square.sum(1) * (count > 1),
        ]
        cut = slice(i, i + 1)
        split = loss_split(G[cut], b[cut], importance[cut], p[cut], [square.mean()], high=high)
        for name, sample in zip(PARTS, samples, strict=True):
            # Five standard errors; the co-active part inherits the noise of the loss.
            noise = (square.sum(1) if name == "loss_coactive" else sample).std() / np.sqrt(n_rows) / n
            assert abs(split[name][0] - sample.mean() / n) < 5 * noise, name


def test_the_parts_sum_to_the_loss():
    G, b, importance = model(7, 5, 2, tied=True)
    loss = np.linspace(0.1, 0.7, 7)
    split = loss_split(G, b, importance, np.full((7, 5), 0.1), loss)
    assert tuple(split) == PARTS
    np.testing.assert_allclose(sum(split.values()), loss)


@pytest.mark.parametrize("p", [0.05, 0.5, 1.0])
def test_an_antipodal_pair_loses_only_by_coactivation(p):
    G, zeros = gram(theory.simplex(1)[None]), np.zeros((1, 2))
    loss = theory.antipodal_pair_loss(p, 3.0) / 2
    split = loss_split(G, zeros, np.array([[1.0, 3.0]]), np.full((1, 2), p), loss)
    np.testing.assert_allclose([split[name][0] for name in PARTS], [0, 0, 0, loss], atol=1e-16)


@pytest.mark.parametrize("p", [0.05, 0.5])
def test_an_ignored_feature_alone(p):
    """n = 1, W = 0, b = p/2: the sum of what zero and one active feature cost is p/3 - p^2/4 (T1)."""
    loss = theory.ignored_feature_loss(p)
    split = loss_split(np.zeros((1, 1, 1)), np.full((1, 1), p / 2), np.ones((1, 1)), np.full((1, 1), p), loss)
    np.testing.assert_allclose(split["loss_zero"], (1 - p) * p * p / 4)
    np.testing.assert_allclose(split["loss_coactive"], 0.0, atol=1e-16)


def test_features_that_are_always_on():
    G, b, importance = model(2, 3, 2, tied=True)
    p = np.array([[1.0, 0.5, 0.5], [1.0, 1.0, 0.5]])
    split = loss_split(G, b, importance, p, [1.0, 1.0])
    assert split["loss_zero"].tolist() == [0.0, 0.0]
    assert split["loss_benefit"][0] > 0
    assert split["loss_coactive"].tolist()[1] == 1.0


def test_scaling_the_data_scales_the_loss_by_its_square():
    G, b, importance = model(3, 4, 2, tied=False)
    high = np.array([0.5, 2.0, 4.0])
    p, loss = np.full((3, 4), 0.3), np.ones(3)
    plain = loss_split(G, b, importance, p, loss)
    scaled = loss_split(G, b * high[:, None], importance, p, loss * high**2, high=high)
    for name in PARTS:
        np.testing.assert_allclose(scaled[name], plain[name] * high**2, err_msg=name)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_diverged_instance_leaves_its_neighbours_alone(bad):
    G, b, importance = model(3, 4, 2, tied=True)
    p, loss = np.full((3, 4), 0.3), np.ones(3)
    clean = loss_split(G, b, importance, p, loss)
    G[1], b[1], loss[1] = bad, bad, np.nan
    split = loss_split(G, b, importance, p, loss)
    assert np.isnan(split["loss_coactive"][1])
    for name in PARTS:
        np.testing.assert_array_equal(split[name][[0, 2]], clean[name][[0, 2]])


def test_blocks_do_not_show(monkeypatch):
    G, b, importance = model(5, 4, 2, tied=True)
    p, loss = np.full((5, 4), 0.3), np.ones(5)
    whole = loss_split(G, b, importance, p, loss)
    monkeypatch.setattr("superpose_cli.toy_model.loss_split._BLOCK", 32)
    for name, part in loss_split(G, b, importance, p, loss).items():
        np.testing.assert_array_equal(part, whole[name])
