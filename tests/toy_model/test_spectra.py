import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.toy_model import spectra, theory
from superpose_cli.toy_model.philox import Stream
from superpose_cli.toy_model.sampling import Law, draw, target_moments

laws = settings(deadline=None, max_examples=50)
integer_W = hnp.arrays(
    np.int64, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5), elements=st.integers(-6, 6)
).map(lambda W: W.astype(float))
spectrum_lists = st.lists(st.floats(0, 100), min_size=1, max_size=6).map(np.array)

COLUMNS = {
    *("singular_values", "effective_rank", "spectral_entropy", "participation_ratio", "entanglement_entropy"),
    *("hidden_eigenvalues", "hidden_effective_rank", "hidden_spectral_entropy", "hidden_participation_ratio"),
}


def random_W(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@laws
@given(integer_W)
def test_squares_of_singular_values_are_the_eigenvalues_of_the_gram_matrix(W):
    n, m = W.shape[1:]
    values = np.square(spectra.singular_values(W))
    assert values.shape == (len(W), m)
    assert (np.diff(values) <= 0).all()
    gram = np.linalg.eigvalsh(W @ W.mT)[:, ::-1]
    np.testing.assert_allclose(values[:, : min(n, m)], gram[:, : min(n, m)], atol=1e-10)
    np.testing.assert_array_equal(values[:, n:], 0.0)
    np.testing.assert_allclose(spectra.covariance_eigenvalues(W.mT @ W), values, atol=1e-10)
    shares = spectra.gram_shares(spectra.singular_values(W))
    np.testing.assert_allclose(shares * values.sum(axis=1, keepdims=True), values, atol=1e-10)


@laws
@given(integer_W, st.sampled_from([1e-200, 1.0, 1e200]))
def test_participation_ratios_are_ratios_of_traces(W, scale):
    """Without a spectrum: (tr A)^2 / tr A^2, of A = W^T W, and of A as the covariance of h; at any scale."""
    A = W.mT @ W
    trace, trace_of_square = np.trace(A, axis1=1, axis2=2), np.square(A).sum(axis=(1, 2))
    expected = np.divide(trace**2, trace_of_square, out=np.zeros(len(W)), where=trace_of_square > 0)
    found = spectra.spectral_metrics(W * scale, A * scale)
    np.testing.assert_allclose(found["participation_ratio"], expected, rtol=1e-9)
    np.testing.assert_allclose(found["hidden_participation_ratio"], expected, rtol=1e-9)


@laws
@given(integer_W, st.integers(0, 1000))
def test_rotating_the_hidden_space_changes_no_column(W, seed):
    m = W.shape[2]
    turn = np.linalg.qr(random_W(m, m, seed=seed))[0]
    before = spectra.spectral_metrics(W, W.mT @ W)
    after = spectra.spectral_metrics(W @ turn, turn.T @ (W.mT @ W) @ turn)
    assert set(before) == COLUMNS
    for name in COLUMNS:
        # 1e-6: a zero singular value comes back as 1e-15, where the entropy's slope is ln 1e-15.
        np.testing.assert_allclose(after[name], before[name], atol=1e-6, err_msg=name)


@laws
@given(spectrum_lists)
def test_bounds_of_the_summaries(spectrum):
    n_positive = (spectrum > 0).sum()
    rank, ratio = spectra.effective_rank(spectrum), spectra.participation_ratio(spectrum)
    # The participation ratio (Renyi entropy of order 2) never exceeds exp of Shannon's (order 1).
    assert min(n_positive, 1) - 1e-9 <= ratio <= rank + 1e-9 <= n_positive + 2e-9
    if n_positive:
        assert np.exp(spectra.spectral_entropy(spectrum)) == pytest.approx(rank)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_equal_values_count_themselves(k, scale):
    spectrum = np.array([scale] * k + [0.0] * 3)
    assert spectra.effective_rank(spectrum) == pytest.approx(k)
    assert spectra.participation_ratio(spectrum) == pytest.approx(k)
    assert spectra.spectral_entropy(spectrum) == pytest.approx(np.log(k))
    assert spectra.entanglement_entropy(spectrum) == pytest.approx(np.log(k))


def test_effective_rank_takes_singular_values_and_entanglement_their_squares():
    spectrum = np.array([3.0, 1.0])
    shares, squares = np.array([0.75, 0.25]), np.array([0.9, 0.1])
    assert spectra.effective_rank(spectrum) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert spectra.entanglement_entropy(spectrum) == pytest.approx(-(squares * np.log(squares)).sum())
    assert spectra.participation_ratio(spectrum) == pytest.approx(1 / (shares**2).sum())


def test_entanglement_is_the_entropy_of_the_reduced_state_of_either_side():
    W = random_W(1, 5, 3)
    for reduced in (W[0].T @ W[0], W[0] @ W[0].T):
        eigenvalues = np.linalg.eigvalsh(reduced / np.trace(reduced))[-3:]
        entropy = -(eigenvalues * np.log(eigenvalues)).sum()
        assert spectra.entanglement_entropy(spectra.singular_values(W)) == pytest.approx([entropy])


def test_zeros_give_zeros():
    for column in spectra.spectral_metrics(np.zeros((2, 4, 3)), np.zeros((2, 3, 3))).values():
        np.testing.assert_array_equal(column, 0.0)
    assert spectra.participation_ratio(np.zeros(3)) == 0.0
    assert spectra.entanglement_entropy(np.zeros(3)) == 0.0


def test_tight_frames_have_full_effective_rank():
    assert spectra.effective_rank(spectra.singular_values(theory.polygon(7)[None])) == pytest.approx([2.0])
    assert spectra.effective_rank(spectra.singular_values(theory.square_antiprism()[None])) == pytest.approx(
        [3.0]
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_diverged_instance_is_nan_and_its_neighbours_are_untouched(bad):
    W = random_W(3, 5, 2)
    cov = W.mT @ W
    alone = spectra.spectral_metrics(W[[0, 2]], cov[[0, 2]])
    W[1, 0, 0] = cov[1, 0, 0] = bad
    for name, column in spectra.spectral_metrics(W, cov).items():
        np.testing.assert_array_equal(column[[0, 2]], alone[name], err_msg=name)
        assert np.isnan(column[1]).all(), name
    assert np.isnan(spectra.hidden_covariance(W, np.ones((3, 5)), np.zeros((3, 5)), 1)[1]).all()


def test_rounding_below_zero_is_cut_off():
    covariance = np.array([[[1.0, 1.0 + 1e-15], [1.0 + 1e-15, 1.0]]])
    assert spectra.covariance_eigenvalues(covariance)[0, 1] == 0.0


N_ROWS = 1 << 18

DATA = [
    (Law("independent"), [0.1, 0.3, 0.5, 0.7, 0.9, 1.0], 0.0, 1),
    (Law("independent", signed=True), [0.5] * 6, 0.0, 1),
    (Law("correlated", set_size=4), [0.3] * 6, 0.8, 4),
    (Law("correlated", value="constant", set_size=3), [0.3] * 3 + [0.6] * 3, 1.0, 3),
    (Law("correlated", signed=True, set_size=3), [0.3] * 6, 1.0, 3),
    (Law("anticorrelated", set_size=3), [0.2] * 3 + [0.3] * 3, 0.0, 3),
    (Law("anticorrelated", value="exponential", set_size=4), [0.25] * 6, 0.0, 4),
    (Law("exactly_k", k=2), [1 / 3] * 6, 0.0, 6),
    (Law("exactly_k", value="constant", k=6), [1.0] * 6, 0.0, 6),
]


@pytest.mark.parametrize(("law", "p", "correlation", "set_size"), DATA)
def test_hidden_covariance_against_samples(law, p, correlation, set_size):
    p, high, c = np.array([p, p]), np.array([1.0, 2.0]), np.full(2, correlation)
    x = draw(
        np,
        law,
        key=np.array([7, 8], np.uint64),
        stream=Stream.data,
        set_stream=Stream.sets,
        step=0,
        rows=(0, N_ROWS),
        feature_probability=p,
        high=high,
        correlation=c,
    ).astype(float)
    mean, square = target_moments(law, p, high, "identity")
    within = spectra.set_covariance(law.kind, mean, p, correlation=c, k=law.k)
    input_cov = spectra.hidden_covariance(np.eye(6)[None].repeat(2, 0), square - mean**2, within, set_size)
    centred = x - mean[:, None]
    # A sampled covariance has a variance of at most E (x_i x_j)^2 / rows; five of its deviations.
    error = 5 * np.sqrt((centred**2).mT @ (centred**2)) / N_ROWS
    assert (abs(centred.mT @ centred / N_ROWS - input_cov) <= error + 1e-12).all()
    # The same moments seen through a W.
    W = random_W(2, 6, 3)
    hidden = spectra.hidden_covariance(W, square - mean**2, within, set_size)
    np.testing.assert_allclose(hidden, W.mT @ input_cov @ W, atol=1e-12)


def test_finite_data_have_no_closed_covariance():
    with pytest.raises(ValueError, match="finite"):
        spectra.set_covariance("finite", np.ones((1, 2)), np.ones((1, 2)))
