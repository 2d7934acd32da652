"""Patterns of features that are on: their probabilities against the laws they come from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.toy_model.patterns import (
    count_probability,
    meeting_probability,
    most_active,
    n_patterns,
    pattern_probability,
    patterns,
)
from superpose_cli.toy_model.sampling import Law, draw
from superpose_cli.toy_model.spectra import set_covariance

laws = st.one_of(
    st.just(Law("independent")),
    st.integers(1, 4).map(lambda size: Law("correlated", set_size=size)),
    st.integers(1, 4).map(lambda size: Law("anticorrelated", set_size=size)),
    st.integers(1, 3).map(lambda k: Law("exactly_k", k=k)),
)


def cell_of(law: Law, n: int, p: float, seed: int) -> np.ndarray:
    """(1, n) probabilities that the law allows."""
    if law.kind == "independent":
        return np.random.default_rng(seed).uniform(0.01, 1, (1, n))
    if law.kind == "exactly_k":
        return np.full((1, n), law.k / n)
    return np.full((1, n), p / law.set_size if law.kind == "anticorrelated" else p)


@settings(deadline=None)
@given(law=laws, n=st.integers(3, 6), p=st.floats(0.01, 1), c=st.floats(0, 1), seed=st.integers(0, 99))
def test_patterns_have_the_moments_of_the_law(law, n, p, c, seed):
    """They sum to 1, a feature is on with its probability, two of a set together as `set_covariance` says."""
    cell, correlation = cell_of(law, n, p, seed), np.array([c])
    on = patterns(n, n, False)
    found = pattern_probability(law, cell, correlation, on)[0]
    assert found.min() >= -1e-12
    assert found.sum() == pytest.approx(1)
    np.testing.assert_allclose(found @ on, cell[0], atol=1e-12)
    size = n if law.kind == "exactly_k" else law.set_size
    if size > 1:
        both = (found * on[:, 0] * on[:, 1]).sum()
        within = set_covariance(law.kind, cell, cell, correlation=correlation, k=law.k)[0, 0]
        assert both - cell[0, 0] * cell[0, 1] == pytest.approx(within, abs=1e-12)


@settings(deadline=None)
@given(law=laws, n=st.integers(3, 6), p=st.floats(0.01, 1), c=st.floats(0, 1), seed=st.integers(0, 99))
def test_counts_are_sums_over_patterns(law, n, p, c, seed):
    cell, correlation = cell_of(law, n, p, seed), np.array([c])
    on = patterns(n, n, False)
    probability = pattern_probability(law, cell, correlation, on)[0]
    counts = count_probability(law, cell, correlation)
    assert counts.shape == (1, n + 1)
    expected = [probability[on.sum(1) == count].sum() for count in range(n + 1)]
    np.testing.assert_allclose(counts[0], expected, atol=1e-12)
    for left_out in (0.3, 1e-3, 0.0):
        most = most_active(counts, np.array([left_out]))[0]
        assert counts[0, most + 1 :].sum() <= left_out
        assert most == 0 or counts[0, most:].sum() > left_out


@settings(deadline=None)
@given(law=laws, n=st.integers(3, 6), p=st.floats(0.01, 1), c=st.floats(0, 1), seed=st.integers(0, 99))
def test_features_of_two_sets_meet(law, n, p, c, seed):
    cell, correlation = cell_of(law, n, p, seed), np.array([c])
    on = patterns(n, n, False)
    probability = pattern_probability(law, cell, correlation, on)[0]
    size = n if law.kind == "exactly_k" else max(law.set_size, 1)
    sets = np.add.reduceat(on, np.arange(0, n, size), axis=1) > 0
    expected = probability[sets.sum(axis=1) >= 2].sum()
    assert meeting_probability(law, cell, correlation)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("law", [Law("independent", signed=True), Law("correlated", signed=True, set_size=2)])
def test_signs_are_fair_and_as_drawn(law):
    """Against 2^17 drawn rows, each of the 27 patterns within 5 standard deviations."""
    cell, correlation = np.full((1, 3), 0.4), np.array([0.6])
    signs = patterns(3, 3, True)
    assert len({tuple(row) for row in signs.tolist()}) == n_patterns(3, 3, True) == 27
    expected = pattern_probability(law, cell, correlation, signs)[0]
    assert expected.sum() == pytest.approx(1)
    rows = 1 << 17
    x = draw(
        np, law, key=np.array([5], np.uint64), stream=2, set_stream=3, step=0, rows=(0, rows),
        feature_probability=cell, high=np.ones(1), correlation=correlation,
    )[0]  # fmt: skip
    found = (np.sign(x)[:, None, :] == signs[None]).all(axis=2).mean(axis=0)
    deviation = np.sqrt(expected * (1 - expected) / rows)
    assert abs((found - expected) / deviation).max() < 5


def test_patterns_of_few_come_first():
    few, all_of_them = patterns(6, 2, True), patterns(6, 6, True)
    assert len(few) == n_patterns(6, 2, True) == 1 + 12 + 60
    np.testing.assert_array_equal(all_of_them[: len(few)], few)
    assert (np.diff(np.abs(all_of_them).sum(axis=1)) >= 0).all()


def test_a_fixed_table_has_no_patterns():
    with pytest.raises(ValueError, match="finite"):
        pattern_probability(Law("finite"), np.ones((1, 2)), np.zeros(1), patterns(2, 2, False))
