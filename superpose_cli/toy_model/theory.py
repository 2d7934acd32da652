"""Closed forms: what the experiments must come out as. One equation a function, each with its source.

p = 1 - S is the feature density, r the importance of the extra feature, G = W W_dec^T. Unless a function says
"mean", its loss is the *sum* over features of I_i (x_i - y_i)^2, averaged over the data; the stored loss is
that divided by n. Data are independent and uniform on (0, 1] when on, unless moments are arguments. "The
paper" is Elhage et al. 2022, "Toy Models of Superposition".
"""

from fractions import Fraction
from math import erf, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.metrics import F64, gram


def ignored_feature_loss(p: npt.ArrayLike) -> F64:
    """p/3 - p^2/4: a feature of importance 1 that is answered by the best constant, its mean p/2.

    It is the variance E x^2 - (E x)^2. Source: derived (the paper sets the bias of an ignored feature to its
    mean).
    """
    p = np.asarray(p, np.float64)
    return p / 3.0 - p * p / 4.0


def antipodal_pair_loss(p: npt.ArrayLike, r: npt.ArrayLike) -> F64:
    """(1 + r) p^2 / 6: W = [1, -1], b = 0, importances 1 and r.

    Only rows with both active cost anything: min(x_1, x_2)^2 a feature. Source: derived, for the pair of
    the paper's "Superposition as a Phase Change".
    """
    return (1.0 + np.asarray(r, np.float64)) * np.square(np.asarray(p, np.float64)) / 6.0


def ignore_loss(
    mean: npt.ArrayLike,
    mean_square: npt.ArrayLike,
    importance: npt.ArrayLike,
    *,
    output_relu: bool,
    bias: bool,
) -> F64:
    """*Mean* over features of I_i min_c E (t_i - c)^2, over the constants c that W = 0 can output: (I,).

    Denominator of `loss_ratio`. c is the mean of the target t_i; with a ReLU output at least 0; without an
    output bias exactly 0. mean, mean_square (of the target), importance: (I, n). Source: derived.
    """
    mean = np.asarray(mean, np.float64)
    best = np.zeros_like(mean) if not bias else np.maximum(mean, 0.0) if output_relu else mean
    # E (t - c)^2 at c = E t is E t^2 - c^2; at c = 0 likewise.
    return (np.asarray(importance) * np.maximum(np.asarray(mean_square) - best * best, 0.0)).mean(axis=-1)


def phase_boundary(r: npt.ArrayLike) -> F64:
    """p*(r) for n=2, m=1: superposition costs less than giving the dimension to one feature where p < p*.

    4 r / (2 + 5 r) for r <= 1, where the extra feature would be ignored; 4 / (5 + 2 r) for r >= 1, where the
    other would be. Source: `ignored_feature_loss` times min(1, r) set equal to `antipodal_pair_loss`.
    """
    r = np.asarray(r, np.float64)
    return np.where(r <= 1.0, 4.0 * r / (2.0 + 5.0 * r), 4.0 / (5.0 + 2.0 * r))


def phase_2_in_1(p: npt.ArrayLike, r: npt.ArrayLike) -> dict[str, F64]:
    """Losses of the solutions of n=2, m=1, importances (1, r), named by what becomes of the extra feature.

    ignored: W = [1, 0]; dedicated: W = [0, 1]; superposed: W = [1, -1]. Norms are 1 and biases best (0, or
    the mean of the feature left out). Source: the paper, "Superposition as a Phase Change", theory.
    """
    p, r = np.broadcast_arrays(np.asarray(p, np.float64), np.asarray(r, np.float64))
    left_out = ignored_feature_loss(p)
    return {"ignored": r * left_out, "dedicated": left_out, "superposed": antipodal_pair_loss(p, r)}


def phase_3_in_2(p: npt.ArrayLike, r: npt.ArrayLike) -> dict[str, F64]:
    """Losses of the solutions of n=3, m=2, importances (1, 1, r), named by what becomes of the extra feature.

    ignored: the two others have a dimension each; dedicated: it takes one, and one of the others is ignored;
    superposed: it is antipodal to one of the others; others_superposed: it has its own dimension, the two
    others are antipodal. Source: the paper, "Superposition as a Phase Change", three features in two
    dimensions.
    """
    return {**phase_2_in_1(p, r), "others_superposed": antipodal_pair_loss(p, np.ones_like(r, np.float64))}


def best_solution(losses: dict[str, F64]) -> npt.NDArray[np.str_]:
    """The name of the solution of lowest loss at each point, the first of equals."""
    return np.array(list(losses))[np.argmin(np.stack(np.broadcast_arrays(*losses.values())), axis=0)]


def linear_optimum(importance: npt.ArrayLike, variance: npt.ArrayLike, n_hidden: int) -> tuple[F64, F64]:
    """Optimal G and loss of the linear model on independent data: (I, n, n) and (I,).

    G is the projector on the m features of largest I_i Var x_i, the bias restores the means, and the loss is
    the sum of I_i Var x_i over the rest. importance, variance: (I, n). Among equals the first features win; G
    is unique only if there are none across the cut.
    Source: Eckart & Young 1936, for the matrix sqrt(Var x_j) (1 - G)_ji sqrt(I_i).
    """
    stakes = np.asarray(importance, np.float64) * np.asarray(variance, np.float64)
    order = np.argsort(-stakes, axis=1, kind="stable")
    kept = np.zeros(stakes.shape)
    np.put_along_axis(kept, order[:, :n_hidden], 1.0, axis=1)
    return kept[:, :, None] * np.eye(stakes.shape[1]), (stakes * (1.0 - kept)).sum(axis=1)


def linear_population_loss(
    W: npt.ArrayLike,
    W_dec: npt.ArrayLike | None,
    b: F64,
    importance: F64,
    mean: F64,
    variance: F64,
) -> F64:
    """(I, n): I_i E (x_i - y_i)^2 of a linear model y = x G + b on independent data.

    Its mean over i is the stored loss. It is I_i [sum_j (delta_ij - G_ji)^2 Var x_j + c_i^2], where
    c = mean (1 - G) - b. W, W_dec: (I, n, m), W_dec = W if None; the others (I, n). A hidden bias joins b as
    b_hidden W_dec^T. Source: bias-variance split of a linear map.
    """
    error = -gram(W, W_dec)
    with np.errstate(over="ignore", invalid="ignore"):
        diagonal = np.arange(error.shape[1])
        error[:, diagonal, diagonal] += 1.0
        offset = (mean[:, None, :] @ error)[:, 0] - b
        spread = (variance[:, None, :] @ np.square(error, out=error))[:, 0]
        return importance * (spread + offset * offset)


FRACTION_LINES: tuple[tuple[Fraction, str], ...] = (
    (Fraction(1), "dedicated"),
    (Fraction(3, 4), "tetrahedron"),
    (Fraction(2, 3), "triangle"),
    (Fraction(1, 2), "antipodal pair"),
    (Fraction(2, 5), "pentagon"),
    (Fraction(3, 8), "square antiprism"),
)
"""D_i at which features cluster. Source: the paper, "The Geometry of Superposition"."""


def polygon_dimensionality(k: int) -> float:
    """2 / k: D_i of a regular k-gon, k >= 3, a tight frame of k vectors in the plane."""
    return 2.0 / k


def simplex_dimensionality(d: int) -> float:
    """d / (d + 1): D_i of the regular simplex of d + 1 vectors in d dimensions."""
    return d / (d + 1.0)


def polygon(k: int) -> F64:
    """(k, 2): a regular k-gon of unit vectors."""
    angle = 2.0 * np.pi * np.arange(k) / k
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def simplex(d: int) -> F64:
    """(d + 1, d): a regular simplex of unit vectors: antipodal pair (d = 1), triangle, tetrahedron, ..."""
    # Column k - 1 is the Helmert contrast of point k with the k points before it.
    point, k = np.arange(d + 1)[:, None], np.arange(1, d + 1)
    contrasts = np.where(point < k, 1.0, np.where(point == k, -k, 0.0)) / np.sqrt(k * (k + 1.0))
    return contrasts * np.sqrt((d + 1.0) / d)


def triangular_bipyramid() -> F64:
    """(5, 3): a triangle (D = 2/3) and an antipodal pair (D = 1/2) in orthogonal spaces."""
    W = np.zeros((5, 3))
    W[:3, :2], W[3:, 2:] = polygon(3), simplex(1)
    return W


def square_antiprism() -> F64:
    """(8, 3): two squares, turned by 45 degrees, so far apart that they are a tight frame: all D = 3/8."""
    W = np.empty((8, 3))
    W[:, :2] = polygon(8) * np.sqrt(2.0 / 3.0)
    W[:, 2] = np.where(np.arange(8) % 2 == 0, 1.0, -1.0) / np.sqrt(3.0)
    return W


class PolygonOptimum(NamedTuple):
    """The best regular polygon for data with exactly one active feature."""

    norm: float
    """||W_i||."""
    bias: float
    """b_i, at most 0."""
    loss: float
    """Sum over features."""


def polygon_optimum(k: int) -> PolygonOptimum:
    """The best regular k-gon of all n = k features in m = 2, with exactly one feature active at a time.

    With a = ||W_i||^2 and t = -b / a, feature 0 at x gives a ReLU(x cos_j - t), so the loss is
    1/3 - 2 a P(t) + a^2 Q(t), where P = int_t^1 x (x - t) dx and Q = sum_j int ReLU(x cos_j - t)^2 dx. The
    best a is P/Q; the best t, where 2 P' Q = P Q', is bracketed on a grid and bisected. Beyond the largest
    cos_j < 1 the loss only rises. k >= 3. Source: derived.
    """
    cosines = np.cos(2.0 * np.pi * np.arange(k) / k)
    cosines = cosines[cosines > 1e-12]  # the others, right angles too, never rise above t >= 0

    def terms(t: float) -> tuple[float, float, float]:
        """P, Q and the slope 2 P' Q - P Q', whose sign is that of -d loss / dt."""
        over = np.maximum(cosines - t, 0.0)
        p, q = 1 / 3 - t / 2 + t**3 / 6, float((over**3 / (3.0 * cosines)).sum())
        return p, q, (t * t - 1.0) * q + p * float((over**2 / cosines).sum())

    grid = np.linspace(0.0, cosines[1:].max(initial=0.0), 1025)
    losses = [1 / 3 - p * p / q for p, q, _ in map(terms, grid)]
    best = int(np.argmin(losses))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if terms(middle)[2] > 0 else (low, middle)
    p, q, _ = terms(low)
    return PolygonOptimum(
        norm=float(np.sqrt(p / q)), bias=float(0.0 - low * p / q), loss=float(1 / 3 - p * p / q)
    )


def incidental_polysemanticity(n: npt.ArrayLike, m: npt.ArrayLike) -> F64:
    """n^2 / (4 m): neurons that carry two of n features by accident, of m > n neurons.

    Of the n^2/2 pairs of features 1/m have their largest first weight on the same neuron, half of these with
    signs that do not disturb. A first order in n/m. Source: Lecomte et al. 2023, "What Causes
    Polysemanticity?".
    """
    return np.square(np.asarray(n, np.float64)) / (4.0 * np.asarray(m, np.float64))


def vulnerability(
    x: F64,
    W: F64,
    W_dec: F64 | None,
    b: F64,
    importance: F64,
    attack_norm: npt.ArrayLike,
    *,
    output_relu: bool = True,
) -> F64:
    """(I,): mean over rows of max_i [L(x + a g_i / ||g_i||) - L(x)] / a^2.

    L is the sum loss against the clean x, with a ReLU output unless told otherwise. g_i is the gradient of
    output i before its activation, column i of G (row i if tied); a feature with g_i = 0 is not attacked. The
    orthogonal model has 1. x: (I or 1, B, n); W, W_dec: (I, n, m), linear hidden layer; b, importance:
    (I, n); a = attack_norm: (I,) or a number. Holds a few (I, B, n) arrays: give few rows at a time.
    Source: after the paper, "Superposition and Adversarial Examples", with the attack best for each row.
    """
    G = gram(W, W_dec)
    length = np.linalg.norm(G, axis=1)
    size = np.broadcast_to(np.asarray(attack_norm, np.float64), len(G))[:, None]
    # Row i of `shift` is what the attack on output i adds to all outputs before their activation.
    shift = (G / np.where(length > 0, length, 1.0)[:, None, :]).mT @ G * size[:, :, None]
    clean = x @ G + b[:, None, :]

    def loss(before: F64) -> F64:
        after = np.maximum(before, 0.0) if output_relu else before
        return (np.square(x - after) @ importance[:, :, None])[..., 0]

    worst = np.full(clean.shape[:2], -np.inf)
    for i in range(G.shape[1]):
        np.maximum(worst, loss(clean + shift[:, None, i]), out=worst)
    return ((worst - loss(clean)) / size**2).mean(axis=1)


def random_alignment(n_hidden: int) -> float:
    """E max_k u_k^2 of a direction u drawn evenly in n_hidden dimensions: the basis alignment of chance.

    E max_k g_k^2 / m of m normal numbers g, since a direction does not depend on its length; that mean is the
    integral of 1 - erf(sqrt(t / 2))^m over t > 0. 1, 1/2 + 1/pi, ... Source: derived.
    """
    x = np.linspace(0.0, 12.0, 48_001)  # t = x^2: smooth at 0, and 1 - erf(12 / sqrt 2) is 0 in float64
    inside = np.array([erf(value / sqrt(2.0)) for value in x])
    return float(np.trapezoid((1.0 - inside**n_hidden) * 2.0 * x, x)) / n_hidden


def gram_norm_bound(frobenius_norm_sq: npt.ArrayLike, n_hidden: int) -> F64:
    """||W||_F^4 / m: the least sum_ij G_ij^2 of a tied W, reached by tight frames. Source: Welch 1974."""
    return np.square(np.asarray(frobenius_norm_sq, np.float64)) / n_hidden


def welch_bound(n_features: int, n_hidden: int) -> float:
    """sqrt((n - m) / (m (n - 1))): the least possible largest |cos| of n > m directions. 0 for n <= m.

    Source: Welch 1974, "Lower bounds on the maximum cross correlation of signals".
    """
    if n_features <= n_hidden:
        return 0.0
    return float(np.sqrt((n_features - n_hidden) / (n_hidden * (n_features - 1))))
