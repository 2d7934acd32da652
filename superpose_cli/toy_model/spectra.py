"""Spectra of W, of W^T W and of the covariance of h, and the numbers that sum a spectrum up.

None of them changes when the hidden space is rotated. Everything is float64 and batched over a leading axis
of I instances; an instance that is not finite gives NaN quietly. Entropies are in nats. A spectrum that is
all zeros has entropy 0, effective rank 0 and participation ratio 0.
"""

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.metrics import F64


def singular_values(W: npt.ArrayLike) -> F64:
    """(I, m): singular values of W (I, n, m), largest first, with zeros added where n < m."""
    W = np.asarray(W, np.float64)
    finite, W = _finite(W)
    values = np.linalg.svd(W, compute_uv=False)
    values = np.pad(values, ((0, 0), (0, W.shape[2] - values.shape[1])))
    return np.where(finite[:, None], values, np.nan)


def covariance_eigenvalues(covariance: npt.ArrayLike) -> F64:
    """(I, m): eigenvalues of positive semidefinite matrices (I, m, m), largest first.

    A negative one can only be rounding and is set to 0.
    """
    finite, covariance = _finite(np.asarray(covariance, np.float64))
    values = np.linalg.eigvalsh(covariance)[:, ::-1]
    return np.where(finite[:, None], np.maximum(values, 0.0), np.nan)


def _finite(matrices: F64) -> tuple[npt.NDArray[np.bool_], F64]:
    """Which matrices are finite, and all with the others set to 0: LAPACK refuses a batch with NaN."""
    finite = np.asarray(np.isfinite(matrices).all(axis=(1, 2)))
    return finite, matrices if finite.all() else np.where(finite[:, None, None], matrices, 0.0)


def _shares(spectrum: npt.ArrayLike) -> F64:
    """The spectrum divided by its sum, along the last axis; by its largest value first, lest it underflow."""
    spectrum = np.asarray(spectrum, np.float64)
    largest = spectrum.max(axis=-1, keepdims=True)
    shares = spectrum / np.where(largest == 0, 1.0, largest)
    total = shares.sum(axis=-1, keepdims=True)
    return shares / np.where(total == 0, 1.0, total)


def gram_shares(singular_values: npt.ArrayLike) -> F64:
    """Eigenvalues of W^T W divided by their sum, from the singular values of W; over the last axis.

    Those of W W^T are the same and zeros. Divided before they are squared, lest they over- or underflow.
    """
    return _shares(np.square(_shares(singular_values)))


def spectral_entropy(spectrum: npt.ArrayLike) -> F64:
    """H = -sum_k q_k ln q_k with q = spectrum / sum, over the last axis; spectrum >= 0."""
    shares = _shares(spectrum)
    return np.abs(np.sum(shares * np.log(np.where(shares == 0, 1.0, shares)), axis=-1))


def effective_rank(spectrum: npt.ArrayLike) -> F64:
    """exp(H): 0 for a zero spectrum, else from 1 to its length.

    Source: Roy & Vetterli 2007, "The effective rank: a measure of effective dimensionality", where the
    spectrum is the singular values (not their squares).
    """
    return np.where(np.max(spectrum, axis=-1) == 0, 0.0, np.exp(spectral_entropy(spectrum)))


def participation_ratio(spectrum: npt.ArrayLike) -> F64:
    """(sum_k s_k)^2 / sum_k s_k^2, over the last axis: k for k equal values and zeros.

    Usually of eigenvalues. Source: Gao et al. 2017, "A theory of multineuronal dimensionality, dynamics and
    measurement".
    """
    concentration = np.square(_shares(spectrum)).sum(axis=-1)
    return np.divide(1.0, concentration, out=np.zeros_like(concentration), where=concentration != 0)


def entanglement_entropy(singular_values: npt.ArrayLike) -> F64:
    """Entanglement, in nats, between features and hidden dimensions: 0 for rank 1, at most ln min(n, m).

    W / ||W||_F is read as the amplitudes of a pure state of two parties, sum_ik W_ik |i>|k>. The normalised
    singular values are its Schmidt coefficients, and the entanglement is the von Neumann entropy of
    W^T W / tr(W^T W), the state that the hidden side sees: the entropy of the *squares*, where
    `spectral_entropy` of W takes the values themselves. Over the last axis.
    Source: Nielsen & Chuang, "Quantum Computation and Quantum Information", sections 2.5 and 12.5.
    """
    return spectral_entropy(gram_shares(singular_values))


def set_covariance(
    kind: str,
    mean: F64,
    feature_probability: F64,
    *,
    correlation: npt.ArrayLike = 0.0,
    k: int = 0,
) -> F64:
    """(I, n): covariance of x_i with another feature of its set, where all features of a set are alike.

    With v the mean of a feature that is on, mean = p v, and P2 the probability that both are on, it is
    v^2 (P2 - p^2):
      independent     P2 = p^2                       0
      correlated      P2 = c^2 p + (1 - c^2) p^2     mean^2 c^2 (1 - p) / p
      anticorrelated  P2 = 0                         -mean^2
      exactly_k       P2 = k (k - 1) / (n (n - 1))   -mean^2 (n - k) / (k (n - 1)), all features being one set

    `mean`, `feature_probability`: (I, n); `correlation`: (I,) or a number. Two features of a correlated set
    are on together by the set's draw only if both follow it (c^2). Raises ValueError for other kinds.
    """
    n = mean.shape[1]
    follow = np.square(np.asarray(correlation, np.float64))[..., None]
    match kind:
        case "independent":
            return np.zeros_like(mean)
        case "correlated":
            return np.square(mean) * follow * (1.0 - feature_probability) / feature_probability
        case "anticorrelated":
            return -np.square(mean)
        case "exactly_k":
            return -np.square(mean) * ((n - k) / (k * max(n - 1, 1)))
    raise ValueError(f"the covariance of {kind} data has no closed form")


def hidden_covariance(W: F64, variance: F64, within: F64, set_size: int) -> F64:
    """(I, m, m): W^T Cov(x) W, the covariance of h where the hidden layer is linear.

    W: (I, n, m); variance: (I, n), of each x_i; within: (I, n), from `set_covariance`, equal inside a set;
    set_size: features in a set, consecutive, the last may be smaller (n for exactly_k, 1 for independent).
    Cov(x) is never formed: it is diag(variance - within) plus `within` on each set's whole block.
    """
    finite, W = _finite(np.asarray(W, np.float64))
    starts = np.arange(0, W.shape[1], max(set_size, 1))
    set_sum = np.add.reduceat(W, starts, axis=1)
    own = (W * (variance - within)[..., None]).mT @ W
    shared = (set_sum * within[:, starts, None]).mT @ set_sum
    return np.where(finite[:, None, None], own + shared, np.nan)


def spectral_metrics(W: npt.ArrayLike, hidden_cov: npt.ArrayLike) -> dict[str, F64]:
    """Columns of the `instances` table about spectra: of W (I, n, m), and of the covariance of h (I, m, m).

    singular_values (I, m), and of W effective_rank, spectral_entropy and entanglement_entropy (I,), with the
    participation_ratio (I,) of the eigenvalues of W^T W; hidden_eigenvalues (I, m) of the covariance, with
    hidden_effective_rank, hidden_spectral_entropy and hidden_participation_ratio (I,).
    """
    values = singular_values(W)
    hidden = covariance_eigenvalues(hidden_cov)
    return {
        "singular_values": values,
        "effective_rank": effective_rank(values),
        "spectral_entropy": spectral_entropy(values),
        "participation_ratio": participation_ratio(gram_shares(values)),
        "entanglement_entropy": entanglement_entropy(values),
        "hidden_eigenvalues": hidden,
        "hidden_effective_rank": effective_rank(hidden),
        "hidden_spectral_entropy": spectral_entropy(hidden),
        "hidden_participation_ratio": participation_ratio(hidden),
    }
