"""The integer logarithm against exact values, and the normal quantile against another implementation."""

from statistics import NormalDist

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from superpose_cli.toy_model.fixed_log import ARGUMENT_BITS, log2_fixed, log2_mantissa
from superpose_cli.toy_model.normal import standard_normal
from superpose_cli.toy_model.philox import Stream, words


def spread_integers() -> np.ndarray:
    """All small integers, all near 2^32, and random ones between, in order."""
    middle = np.random.default_rng(0).integers(1, 2**32, 300_000)
    return np.sort(np.concatenate([np.arange(1, 20_000), 2**32 - np.arange(20_000), middle]))


def test_log2_is_exact_at_powers_of_two() -> None:
    powers = 2 ** np.arange(33, dtype=np.int64)
    np.testing.assert_array_equal(log2_fixed(np, powers), np.arange(33) << 32)


def test_log2_is_within_its_bound() -> None:
    integers = spread_integers()
    error = log2_fixed(np, integers) * 2.0**-32 - np.log2(integers.astype(np.longdouble))
    assert np.abs(error).max() < 2.0**-31


def test_log2_rises() -> None:
    assert np.diff(log2_fixed(np, np.unique(spread_integers()))).min() > 0


@given(st.integers(0, 2**ARGUMENT_BITS - 2000))
def test_log2_of_neighbouring_mantissas_rises(start: int) -> None:
    """Each integer of the top octave; the octaves below hold a part of the same mantissas."""
    assert np.diff(log2_mantissa(np.arange(start, start + 2000))).min() > 0


def test_log2_of_torch_equals_numpy() -> None:
    integers = spread_integers()
    np.testing.assert_array_equal(
        log2_fixed(torch, torch.asarray(integers)).numpy(), log2_fixed(np, integers)
    )


def test_standard_normal_is_the_quantile() -> None:
    ends = np.arange(500)
    middle = np.random.default_rng(1).integers(0, 2**32, 5_000)
    edges = (np.array([0.075, 0.925])[:, None] * 2**32).astype(np.int64) + np.arange(-5, 6)
    drawn = np.concatenate([ends, 2**32 - 1 - ends, 2**31 + np.arange(-50, 50), middle, edges.ravel()])
    expected = [NormalDist().inv_cdf((word + 0.5) * 2.0**-32) for word in drawn.tolist()]
    np.testing.assert_allclose(standard_normal(drawn), expected, rtol=2e-7)


def test_standard_normal_is_odd_and_rises() -> None:
    drawn = np.sort(np.random.default_rng(2).integers(0, 2**32, 50_000))
    np.testing.assert_array_equal(standard_normal(2**32 - 1 - drawn), -standard_normal(drawn))
    assert np.diff(standard_normal(drawn)).min() >= -1e-7


def test_standard_normal_moments() -> None:
    z = standard_normal(words(np, np.arange(4, dtype=np.uint64), Stream.init_W, 0, (0, 4096), 16))
    assert z.dtype == np.float64
    for power, mean, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((z**power).mean() - mean) < 5 * np.sqrt(variance / z.size)
