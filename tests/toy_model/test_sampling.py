"""The laws of the inputs: statistics with fixed seeds and two-sided bounds, slices, and equal bits.

A bound of five standard errors fails a right sampler once in two million tries; seeds are fixed, so a pass
is a pass for good.
"""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from superpose_cli.toy_model.philox import Stream
from superpose_cli.toy_model.sampling import (
    Law,
    bounds,
    draw,
    evaluation_rows,
    finite_table,
    table_row_indices,
    target_moments,
)

KINDS = ["independent", "correlated", "anticorrelated", "exactly_k", "finite"]
VALUES = ["uniform", "constant", "exponential"]
ALL_LAWS = [
    Law(kind, value, signed, set_size=3, k=2)
    for kind, value, signed in itertools.product(KINDS, VALUES, [False, True])
]


def sample(
    law: Law,
    p: float | list[float] | np.ndarray,
    *,
    n: int = 6,
    n_keys: int = 1,
    rows: tuple[int, int] = (0, 65536),
    high: float = 1.0,
    correlation: float = 0.0,
    step: int = 0,
    xp: Any = np,
) -> Any:
    """Rows of `n_keys` instances that differ in their key alone."""
    return draw(
        xp,
        law,
        key=np.arange(n_keys, dtype=np.uint64) + 2**40,
        stream=Stream.data,
        set_stream=Stream.sets,
        step=step,
        rows=rows,
        feature_probability=np.broadcast_to(np.asarray(p, dtype=np.float64), (n_keys, n)),
        high=np.full(n_keys, high),
        correlation=np.full(n_keys, correlation),
    )


def within(measured: np.ndarray | float, expected: np.ndarray | float, deviation: Any, n: int) -> bool:
    """Whether means of n values with this standard deviation are within five standard errors."""
    return bool(np.all(np.abs(np.asarray(measured) - expected) <= 5 * np.asarray(deviation) / np.sqrt(n)))


def kolmogorov_smirnov(values: np.ndarray, cumulative: np.ndarray) -> float:
    """sqrt(n) times the distance of the empirical law from `cumulative` (at the sorted values)."""
    n = len(values)
    above = np.arange(1, n + 1) / n - cumulative
    below = cumulative - np.arange(n) / n
    return float(np.sqrt(n) * max(above.max(), below.max()))


# Kolmogorov's law leaves 1e-6 above this; and a distance this small would be too good to be random.
KS_RANGE = (0.25, 2.7)


@pytest.mark.parametrize("p", [1.0, 0.5, 1 / 3, 0.01, [0.9, 0.5, 0.25, 0.1, 0.05, 0.01]])
def test_density_of_independent_features(p: float | list[float]) -> None:
    x = sample(Law("independent"), p)
    assert x.dtype == np.float32
    probability = np.broadcast_to(p, 6)
    assert within((x[0] != 0).mean(0), probability, np.sqrt(probability * (1 - probability)), 65536)


def test_smallest_probability() -> None:
    p = 2.0**-20
    law = Law("independent")
    counts = [(sample(law, p, n=64, step=step) != 0).sum() for step in range(4)]
    expected = 4 * 64 * 65536 * p  # 16
    assert abs(sum(counts) - expected) < 5 * np.sqrt(expected)
    x = sample(law, p, n=64)
    assert x[x != 0].min() >= 0.5 * 2.0**-12  # 4096 words turn a feature on
    assert x.max() <= 1


def test_probability_one_is_always_on() -> None:
    words_on = bounds(Law("independent"), np.ones((1, 2)), np.ones(1), np.zeros(1)).last
    assert (words_on == 2**32 - 1).all()
    assert (sample(Law("independent", "constant"), 1.0) == 1).all()


@pytest.mark.parametrize(("kind", "p", "correlation"), [
    ("independent", 0.3, 0.0),
    ("correlated", 0.3, 0.5),
    ("anticorrelated", 0.3, 0.0),
    ("exactly_k", 1 / 3, 0.0),
])  # fmt: skip
@pytest.mark.parametrize("signed", [False, True])
def test_values_have_their_law(kind: str, p: float, correlation: float, signed: bool) -> None:
    high = 2.5
    for value in ("uniform", "exponential"):
        law = Law(kind, value, signed, set_size=3, k=2)
        x = sample(law, p, correlation=correlation, high=high)[0]
        magnitude = np.sort(np.abs(x[x != 0].astype(np.float64)))
        if value == "uniform":
            assert magnitude[-1] <= high * (1 + 2**-22)
            cumulative = magnitude / high
        else:
            cumulative = 1 - np.exp(-magnitude / high)
            assert within(magnitude.mean(), high, high, len(magnitude))
            assert within(((magnitude - high) ** 2).mean(), high**2, np.sqrt(8) * high**2, len(magnitude))
        assert KS_RANGE[0] < kolmogorov_smirnov(magnitude, cumulative) < KS_RANGE[1]


def test_constant_values() -> None:
    x = sample(Law("independent", "constant", signed=True), 0.3, high=0.7)
    np.testing.assert_array_equal(np.unique(x), np.array([-0.7, 0, 0.7], dtype=np.float32))


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("kind", ["independent", "correlated", "exactly_k"])
def test_signs_are_fair_and_unrelated_to_magnitude(kind: str, value: str) -> None:
    plain = sample(Law(kind, value, set_size=3, k=2), 1 / 3, correlation=0.5)[0]
    x = sample(Law(kind, value, signed=True, set_size=3, k=2), 1 / 3, correlation=0.5)[0]
    np.testing.assert_array_equal(np.abs(x), plain)  # the sign changes nothing else
    sign, magnitude = np.sign(x[x != 0]), np.abs(x[x != 0]).astype(np.float64)
    assert within(sign.mean(), 0, 1, len(sign))
    if value != "constant":
        assert abs(np.corrcoef(sign, magnitude)[0, 1]) < 5 / np.sqrt(len(sign))
    both = (x[:, 0] != 0) & (x[:, 1] != 0)
    assert within((np.sign(x[both, 0]) * np.sign(x[both, 1])).mean(), 0, 1, both.sum())


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
def test_joint_activity_of_correlated_sets(correlation: float) -> None:
    """Two of a set are on together with probability p^2 + c^2 p (1 - p); features of two sets with p^2."""
    p, n_rows = 0.2, 65536
    on = sample(Law("correlated", set_size=3), p, n=7, correlation=correlation)[0] != 0
    assert within(on.mean(0), p, np.sqrt(p * (1 - p)), n_rows)
    for i, j in itertools.combinations(range(7), 2):
        shared = correlation**2 if i // 3 == j // 3 else 0
        joint = p**2 + shared * p * (1 - p)
        assert within((on[:, i] & on[:, j]).mean(), joint, np.sqrt(joint * (1 - joint)), n_rows), (i, j)
    if correlation == 1:
        assert (on[:, 0] == on[:, 1]).all()
    if correlation == 0:
        independent = sample(Law("independent"), p, n=7)
        np.testing.assert_array_equal(sample(Law("correlated", set_size=3), p, n=7), independent)


def test_values_of_a_set_are_each_feature_s_own() -> None:
    x = sample(Law("correlated", set_size=3), 0.5, correlation=1.0)[0]
    on = x[x[:, 0] != 0].astype(np.float64)
    assert abs(np.corrcoef(on[:, 0], on[:, 1])[0, 1]) < 5 / np.sqrt(len(on))


@pytest.mark.parametrize("p", [1 / 3, 0.05])
def test_at_most_one_of_an_anticorrelated_set(p: float) -> None:
    on = sample(Law("anticorrelated", set_size=3), p, n=8)[0] != 0
    assert within(on.mean(0), p, np.sqrt(p * (1 - p)), 65536)
    for first in (0, 3, 6):
        assert on[:, first : first + 3].sum(1).max() == 1
    joint = p**2
    assert within((on[:, 0] & on[:, 3]).mean(), joint, np.sqrt(joint * (1 - joint)), 65536)


def test_a_full_anticorrelated_set_always_has_one_on() -> None:
    on = sample(Law("anticorrelated", set_size=4), 0.25, n=4)[0] != 0
    assert (on.sum(1) == 1).all()


@pytest.mark.parametrize("k", [1, 2, 4, 5])
def test_exactly_k_takes_every_subset_alike(k: int) -> None:
    n, n_rows = 5, 65536
    on = sample(Law("exactly_k", k=k), k / n, n=n)[0] != 0
    assert (on.sum(1) == k).all()
    counts = np.unique(on @ (1 << np.arange(n)), return_counts=True)[1]
    n_subsets = len(list(itertools.combinations(range(n), k)))
    assert len(counts) == n_subsets
    chi_square = ((counts - n_rows / n_subsets) ** 2).sum() / (n_rows / n_subsets)
    freedom = n_subsets - 1
    assert abs(chi_square - freedom) <= 5 * np.sqrt(2 * freedom)


def test_draws_are_unrelated_to_their_neighbours() -> None:
    law = Law("independent")
    x = sample(law, 0.5, n=10, n_keys=8, rows=(0, 4096)).astype(np.float64)
    later = sample(law, 0.5, n=10, n_keys=8, rows=(0, 4096), step=1).astype(np.float64)
    variance = 1 / 6 - 1 / 16
    pairs = {
        "row": (x[:, 1:], x[:, :-1]),
        "feature": (x[..., 1:], x[..., :-1]),
        "key": (x[1:], x[:-1]),
        "step": (x, later),
    }
    for name, (a, b) in pairs.items():
        assert abs(((a - 0.25) * (b - 0.25)).mean() / variance) < 5 / np.sqrt(a.size), name


@pytest.mark.parametrize("law", ALL_LAWS, ids=str)
def test_target_moments(law: Law) -> None:
    p = np.full((1, 6), 1 / 3)
    x = sample(law, 1 / 3, high=1.5, correlation=0.5)[0].astype(np.float64)
    for target, t in (("identity", x), ("abs", np.abs(x))):
        mean, square = target_moments(law, p, np.array([1.5]), target)
        assert mean.shape == square.shape == (1, 6)
        for sampled, expected in ((t, mean[0]), (t**2, square[0])):
            assert within(sampled.mean(0), expected, sampled.std(0), len(t))
            assert within(sampled.mean(), expected.mean(), sampled.mean(1).std(), len(t))


@given(
    law=st.sampled_from(ALL_LAWS),
    first=st.integers(0, 3),
    length=st.integers(1, 400),
    instance=st.integers(0, 2),
    correlation=st.sampled_from([0.0, 0.4, 1.0]),
)
def test_any_rows_of_any_instance_are_a_slice_of_the_whole(
    law: Law, first: int, length: int, instance: int, correlation: float
) -> None:
    p = np.full((3, 7), [[0.1], [0.2], [1 / 3]])
    arguments: dict[str, Any] = {"stream": Stream.data, "set_stream": Stream.sets, "step": 9}
    key = np.array([3, 2**63, 2**64 - 1], dtype=np.uint64)
    high, strength = np.array([1.0, 2.0, 0.3]), np.array([correlation, 0.0, 0.7])
    parameters = {"key": key, "feature_probability": p, "high": high, "correlation": strength}
    whole = draw(np, law, rows=(0, 700), **arguments, **parameters)
    rows = (128 * first, min(128 * first + length, 700))
    one = {name: array[instance : instance + 1] for name, array in parameters.items()}
    part = draw(np, law, rows=rows, **arguments, **one)
    np.testing.assert_array_equal(part[0], whole[instance, rows[0] : rows[1]])


@given(n_more=st.integers(1, 9), kind=st.sampled_from(["independent", "correlated", "anticorrelated"]))
def test_more_features_leave_the_first_unchanged(n_more: int, kind: str) -> None:
    """With followers' coins (0 < correlation < 1) or exactly_k, the law itself depends on n."""
    law = Law(kind, set_size=3)
    few = sample(law, 0.3, n=6, rows=(0, 256), correlation=1.0)
    many = sample(law, 0.3, n=6 + n_more, rows=(0, 256), correlation=1.0)
    np.testing.assert_array_equal(many[..., :6], few)


def test_one_key_serves_all_instances() -> None:
    p = np.array([[0.2, 0.4], [0.4, 0.2]])
    arguments: dict[str, Any] = {"stream": 2, "set_stream": 3, "step": 0, "rows": (0, 300)}
    parameters = {"feature_probability": p, "high": np.ones(2), "correlation": np.zeros(2)}
    key = np.array([7], dtype=np.uint64)
    for kind in ("independent", "exactly_k"):
        law = Law(kind, k=1)
        common = draw(np, law, key=key, **arguments, **parameters)
        repeated = draw(np, law, key=key.repeat(2), **arguments, **parameters)
        np.testing.assert_array_equal(common, repeated)


@pytest.mark.parametrize("law", ALL_LAWS, ids=str)
def test_torch_draws_the_same_bits(law: Law) -> None:
    for correlation in (0.0, 0.6, 1.0):
        arguments: dict[str, Any] = {"n": 7, "n_keys": 3, "rows": (128, 900), "correlation": correlation}
        x = sample(law, 1 / 3, high=0.3, **arguments)
        t = sample(law, 1 / 3, high=0.3, xp=torch, **arguments)
        assert t.dtype == torch.float32
        np.testing.assert_array_equal(t.numpy().view(np.int32), x.view(np.int32))


def table(*, key: list[int], n_rows: int = 300, p: float = 0.1, unit_norm: bool = True, xp: Any = np) -> Any:
    return finite_table(
        xp,
        Law("finite"),
        key=np.array(key, dtype=np.uint64),
        n_rows=n_rows,
        feature_probability=np.full((len(key), 12), p),
        high=np.ones(len(key)),
        unit_norm=unit_norm,
    )


def test_table_is_a_function_of_its_key() -> None:
    """Restarts share a table key, so they share the data; more rows or instances change nothing."""
    whole = table(key=[5, 5, 9], n_rows=500)
    np.testing.assert_array_equal(whole[0], whole[1])
    assert (whole[0] != whole[2]).any()
    np.testing.assert_array_equal(table(key=[9], n_rows=300)[0], whole[2, :300])


def test_unit_norm_rows() -> None:
    plain, unit = table(key=[5, 9], n_rows=3000, unit_norm=False), table(key=[5, 9], n_rows=3000)
    empty = ~(plain != 0).any(-1)
    assert 0.1 < empty.mean() < 0.5  # 0.9^12 = 0.28: the redraw is exercised, many times over
    np.testing.assert_allclose(np.linalg.norm(unit.astype(np.float64), axis=-1), 1, rtol=1e-7)
    kept = plain[~empty].astype(np.float64)
    expected = kept / np.linalg.norm(kept, axis=-1, keepdims=True)
    np.testing.assert_allclose(unit[~empty], expected, rtol=1e-7)
    # Redrawn rows have the law of rows that are not empty.
    on = unit != 0
    np.testing.assert_array_equal(on[~empty], plain[~empty] != 0)
    p = 0.1 / (1 - 0.9**12)
    for rows in (on[empty], on[~empty]):
        assert within(rows.mean(0), p, np.sqrt(p * (1 - p)), len(rows))
        assert within(rows.sum(1).mean(), 12 * p, rows.sum(1).std(), len(rows))


def test_torch_tables_have_the_same_bits() -> None:
    for unit_norm in (False, True):
        np.testing.assert_array_equal(
            table(key=[5, 9], unit_norm=unit_norm, xp=torch).numpy().view(np.int32),
            table(key=[5, 9], unit_norm=unit_norm).view(np.int32),
        )


@pytest.mark.parametrize("unit_norm", [False, True])
def test_evaluation_rows_are_common_and_cut_anywhere(unit_norm: bool) -> None:
    arguments: dict[str, Any] = {
        "key": np.array([11], dtype=np.uint64),
        "feature_probability": np.full((2, 12), 0.1),
        "high": np.ones(2),
        "correlation": np.zeros(2),
        "unit_norm": unit_norm,
    }
    whole = evaluation_rows(np, Law("finite"), rows=(0, 500), **arguments)
    np.testing.assert_array_equal(whole[0], whole[1])
    part = evaluation_rows(np, Law("finite"), rows=(256, 400), **arguments)
    np.testing.assert_array_equal(part, whole[:, 256:400])
    assert (whole[0] != table(key=[11], n_rows=500, unit_norm=unit_norm)[0]).any()


def test_table_row_indices_are_uniform() -> None:
    key = np.arange(4, dtype=np.uint64)
    indices = table_row_indices(np, key, 3, 10_000, 7)
    assert indices.shape == (4, 10_000)
    counts = np.bincount(indices.ravel(), minlength=7)
    assert len(counts) == 7
    chi_square = ((counts - 40_000 / 7) ** 2).sum() / (40_000 / 7)
    assert abs(chi_square - 6) < 5 * np.sqrt(12)
    assert (table_row_indices(np, key, 4, 10_000, 7) != indices).any()
    np.testing.assert_array_equal(table_row_indices(torch, key, 3, 10_000, 7).numpy(), indices)
