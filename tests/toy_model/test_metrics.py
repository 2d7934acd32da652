from fractions import Fraction

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.toy_model import metrics, theory
from superpose_cli.toy_model.metrics import REGIMES, feature_metrics, instance_metrics

FEATURE_COLUMNS = {
    *("norm", "interference", "row_sum", "row_abs_sum", "dimensionality", "leverage", "basis_alignment"),
    "regime",
}

laws = settings(deadline=None, max_examples=50)
shapes = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5)
integer_W = hnp.arrays(np.int64, shapes, elements=st.integers(-4, 4)).map(lambda W: W.astype(float))


def random_W(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def rotation(m: int, seed: int) -> np.ndarray:
    return np.linalg.qr(random_W(m, m, seed=seed))[0]


def exact_metrics(W: np.ndarray) -> dict[str, list[float]]:
    """D in the form ||W_i||^4 / (W_i^T S W_i), interference and row sums in exact rational arithmetic."""
    rows = [[Fraction(float(w)) for w in row] for row in W]
    m = len(rows[0])
    G = [[sum(a * b for a, b in zip(r, s, strict=True)) for s in rows] for r in rows]
    S = [[sum(r[k] * r[j] for r in rows) for j in range(m)] for k in range(m)]
    found: dict[str, list[float]] = {
        c: [] for c in ("dimensionality", "interference", "row_sum", "row_abs_sum")
    }
    for i, row in enumerate(rows):
        square = G[i][i]
        quadratic = sum(row[k] * S[k][j] * row[j] for k in range(m) for j in range(m))
        off = sum(g * g for j, g in enumerate(G[i]) if j != i)
        found["dimensionality"].append(float(square**2 / quadratic) if square else 0.0)
        found["interference"].append(float(off / square) if square else 0.0)
        found["row_sum"].append(float(sum(G[i])))
        found["row_abs_sum"].append(float(sum(map(abs, G[i]))))
    return found


@laws
@given(integer_W)
def test_against_exact_fractions(W):
    measured = feature_metrics(W)
    for instance in range(len(W)):
        for name, exact in exact_metrics(W[instance]).items():
            # 1e-13: some 30 roundings; integer entries keep the sums of G exact.
            np.testing.assert_allclose(measured[name][instance], exact, rtol=1e-13, atol=1e-13, err_msg=name)


SHAPES = [
    *[(f"{k}-gon", theory.polygon(k), [theory.polygon_dimensionality(k)] * k) for k in range(3, 11)],
    *[(f"simplex {d}", theory.simplex(d), [theory.simplex_dimensionality(d)] * (d + 1)) for d in range(1, 8)],
    ("orthogonal", np.eye(4), [1.0] * 4),
    ("bipyramid", theory.triangular_bipyramid(), [2 / 3] * 3 + [1 / 2] * 2),
    ("antiprism", theory.square_antiprism(), [3 / 8] * 8),
]


@pytest.mark.parametrize(
    ("W", "expected"), [(W, D) for _, W, D in SHAPES], ids=[name for name, _, _ in SHAPES]
)
def test_plateaus_of_T6_and_their_tight_frames(W, expected):
    measured = feature_metrics(W[None])
    np.testing.assert_allclose(measured["dimensionality"][0], expected, atol=1e-14)
    # Orthogonal sums of tight frames: the bound D <= leverage is reached.
    np.testing.assert_allclose(measured["leverage"][0], expected, atol=1e-14)
    np.testing.assert_allclose(measured["norm"][0], 1.0, atol=1e-14)


def test_an_antiprism_of_another_height_stays_near_three_eighths():
    W = theory.square_antiprism() * [1.0, 1.0, 1.07]
    assert abs(metrics.dimensionality(W[None]) - 3 / 8).max() < 0.01


def test_the_signed_row_sum_does_not_see_superposition_but_interference_does():
    for W in (theory.simplex(1), theory.polygon(5), theory.polygon(6)):
        np.testing.assert_allclose(metrics.row_sum(W[None]), 0.0, atol=1e-14)
        assert metrics.interference(W[None]).min() > 0.9
    assert metrics.row_abs_sum(theory.simplex(1)[None]).tolist() == [[2.0, 2.0]]


@laws
@given(integer_W)
def test_dimensionality_is_at_most_leverage_and_leverage_sums_to_the_rank(W):
    D, leverage = metrics.dimensionality(W), metrics.leverage(W)
    assert (leverage <= 1.0).all()
    assert (leverage + 1e-12 >= D).all()
    np.testing.assert_allclose(leverage.sum(1), np.linalg.matrix_rank(W), atol=1e-8)


@laws
@given(integer_W)
def test_leverage_is_the_diagonal_of_the_projector_on_the_columns(W):
    projector = W @ np.linalg.pinv(W)
    np.testing.assert_allclose(metrics.leverage(W), np.einsum("iaa->ia", projector), atol=1e-8)


def test_leverage_drops_eigenvalues_below_the_cut():
    above, below = np.sqrt(4 * np.finfo(float).eps), np.sqrt(1 * np.finfo(float).eps)
    W = np.array([[[1, 0], [0, above]], [[1, 0], [0, below]]])
    np.testing.assert_allclose(metrics.leverage(W), [[1, 1], [1, 0]])


def test_a_gaussian_W_has_a_large_sum_of_D_yet_a_gap_to_leverage():
    W = random_W(3, 400, 30)
    D, leverage = metrics.dimensionality(W).sum(1), metrics.leverage(W).sum(1)
    assert (D > 0.85 * 30).all()
    assert (leverage - D > 0.02 * 30).all()


@laws
@given(integer_W, st.integers(0, 1000))
def test_rotating_the_hidden_space_changes_nothing_but_the_alignment(W, seed):
    turned = feature_metrics(W @ rotation(W.shape[2], seed))
    for name, before in feature_metrics(W).items():
        if name not in ("basis_alignment", "regime"):
            np.testing.assert_allclose(turned[name], before, rtol=1e-9, atol=1e-9, err_msg=name)


@laws
@given(integer_W, st.randoms(use_true_random=False))
def test_permuting_features_permutes_the_metrics(W, random):
    order = list(range(W.shape[1]))
    random.shuffle(order)
    permuted = feature_metrics(W[:, order])
    for name, before in feature_metrics(W).items():
        np.testing.assert_allclose(permuted[name], before[:, order], atol=1e-10, err_msg=name)


@laws
@given(integer_W, st.integers(-1000, 1000))
def test_scaling_by_a_power_of_two_is_exact(W, power):
    scaled, plain = feature_metrics(np.ldexp(W, power)), feature_metrics(W)
    for name in ("dimensionality", "leverage", "basis_alignment"):
        np.testing.assert_array_equal(scaled[name], plain[name], err_msg=name)
    np.testing.assert_array_equal(scaled["norm"], np.ldexp(plain["norm"], power))
    if abs(power) < 400:
        for name in ("interference", "row_sum", "row_abs_sum"):
            np.testing.assert_array_equal(scaled[name], np.ldexp(plain[name], 2 * power), err_msg=name)


@pytest.mark.parametrize("tiny", [1e-200, 5e-324])
def test_tiny_rows_beside_ordinary_ones(tiny):
    measured = feature_metrics(
        np.array([[[1.0, 0.0], [0.0, tiny], [0.0, 0.0]], [[1.0, 0.0], [tiny, 0.0], [1.0, 1.0]]])
    )
    assert measured["dimensionality"][0].tolist() == [1.0, 1.0, 0.0]
    assert measured["dimensionality"][1, 1] == 0.0
    assert measured["norm"][0].tolist() == [1.0, tiny, 0.0]
    assert measured["interference"][1, 1] == pytest.approx(2.0)
    assert all(np.isfinite(column).all() for column in measured.values())


def test_huge_weights_overflow_to_infinity_without_a_warning():
    measured = feature_metrics(np.array([[[1e200, 0.0], [1e200, 1e200]]]))
    np.testing.assert_allclose(measured["dimensionality"], [[1 / 2, 4 / 5]])
    assert np.isposinf(measured["interference"]).all()
    assert instance_metrics(np.full((1, 2, 2), 1e200))["frobenius_norm_sq"] == np.inf


def test_zero_weights_give_zeros():
    measured = feature_metrics(np.zeros((2, 3, 2)))
    assert set(measured) == FEATURE_COLUMNS
    assert all((column == 0).all() for column in measured.values())
    whole = instance_metrics(np.zeros((2, 3, 2)))
    assert whole["dims_per_feature"].tolist() == [np.inf, np.inf]
    assert whole["frobenius_norm_sq"].tolist() == [0.0, 0.0]
    assert whole["n_represented"].tolist() == [0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_diverged_instance_is_nan_and_its_neighbours_are_untouched(bad):
    W = random_W(3, 5, 2)
    alone = feature_metrics(W[[0, 2]])
    W[1, 4, 0] = bad
    measured = feature_metrics(W)
    for name, column in measured.items():
        np.testing.assert_array_equal(column[[0, 2]], alone[name], err_msg=name)
        assert name == "regime" or np.isnan(column[1]).all(), name
    assert [REGIMES[code] for code in measured["regime"][1]] == ["undefined"] * 5
    whole = instance_metrics(W)
    assert np.isnan(whole["frobenius_norm_sq"]).tolist() == [False, True, False]
    assert np.isnan(whole["dims_per_feature"]).tolist() == [False, True, False]
    assert whole["n_represented"][1] == 0


def test_single_functions_give_the_columns():
    W = random_W(4, 6, 3)
    columns = feature_metrics(W)
    np.testing.assert_array_equal(metrics.norms(W), columns["norm"])
    for name in ("interference", "row_sum", "row_abs_sum", "dimensionality", "leverage", "basis_alignment"):
        np.testing.assert_array_equal(getattr(metrics, name)(W), columns[name], err_msg=name)


@pytest.mark.parametrize("block", [1, 7, 10, 60])
def test_blocks_of_the_gram_matrix_do_not_show(monkeypatch, block):
    W = random_W(5, 6, 3)
    whole = feature_metrics(W)
    monkeypatch.setattr(metrics, "_BLOCK", block)
    for name, column in feature_metrics(W).items():
        np.testing.assert_allclose(column, whole[name], rtol=1e-14, err_msg=name)


def test_gram_tied_and_untied():
    W, decoder = random_W(2, 4, 3), random_W(2, 4, 3, seed=1)
    np.testing.assert_allclose(metrics.gram(W), np.einsum("iak,ibk->iab", W, W))
    np.testing.assert_allclose(metrics.gram(W, decoder)[1, 2, 3], W[1, 2] @ decoder[1, 3])
    assert np.isnan(metrics.gram(np.full((1, 2, 2), np.inf), -np.ones((1, 2, 2)) * [1, -1])).all()


def test_basis_alignment():
    W = np.array([[[3.0, 0.0], [1.0, 1.0], [-3.0, 4.0], [0.0, 0.0]]])
    np.testing.assert_allclose(metrics.basis_alignment(W), [[1.0, 0.5, 0.64, 0.0]])


def test_regimes_at_their_boundaries():
    norm = np.array([0.5, 0.5000001, 2.0, 2.0, 0.0, np.nan])
    D = np.array([1.0, 0.9, 0.8999, 1.0, 0.0, np.nan])
    names = [REGIMES[code] for code in metrics.regime(norm, D)]
    assert names == ["ignored", "dedicated", "superposed", "dedicated", "ignored", "undefined"]


def test_instance_metrics():
    whole = instance_metrics(np.array([theory.polygon(5) * 1.1, theory.polygon(5) * 0.4]))
    np.testing.assert_allclose(whole["frobenius_norm_sq"], [5 * 1.21, 5 * 0.16])
    np.testing.assert_allclose(whole["dims_per_feature"], [2 / (5 * 1.21), 2 / (5 * 0.16)])
    assert whole["n_represented"].tolist() == [5, 0]


restarts = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([0.5, 0.54, 0.56, 1.0, 2.0, np.inf, np.nan]), st.booleans()),
    min_size=1,
    max_size=20,
)


@laws
@given(restarts)
def test_best_of_k_and_success_against_plain_loops(rows):
    cell, objective, diverged = (np.array(column) for column in zip(*rows, strict=True))
    best, success = [], []
    for c in sorted(set(cell.tolist())):
        members = np.flatnonzero(cell == c)
        fine = [i for i in members if not diverged[i]] or list(members)
        best.append(
            min(
                fine,
                key=lambda i: (
                    np.isnan(objective[i]),
                    objective[i] if objective[i] == objective[i] else 0,
                    i,
                ),
            )
        )
        limit = 1.1 * objective[best[-1]]
        success.append(np.mean([not diverged[i] and objective[i] <= limit for i in members]))
    assert metrics.best_restart(objective, cell, diverged).tolist() == best
    np.testing.assert_allclose(metrics.success_fraction(objective, cell, diverged), success)


def test_success_needs_no_diverged_restart_and_takes_a_tolerance():
    objective, cell = np.array([0.1, 1.0, 1.05, 1.2]), np.zeros(4, np.int64)
    diverged = np.array([True, False, False, False])
    assert metrics.success_fraction(objective, cell, diverged).tolist() == [0.5]
    assert metrics.success_fraction(objective, cell, diverged, tolerance=1.3).tolist() == [0.75]
