"""What a trained W says about its features, and which of a cell's restarts is the best.

Every function takes a leading axis of I instances and works in float64. W has shape (I, n, m), row W_i being
the direction of feature i; with an untied decoder all of these are properties of W alone. Rows are scaled by
powers of two before they are squared, so tiny and huge weights neither underflow nor overflow on the way. An
instance with a NaN or an infinity in W gets NaN for every number, without a warning; its neighbours are not
touched.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

REPRESENTED_NORM_SQ = 0.25
"""A feature is represented if ||W_i||^2 exceeds this."""
DEDICATED_DIMENSIONALITY = 0.9
"""A represented feature is dedicated if D_i reaches this."""
REGIMES = ("ignored", "dedicated", "superposed", "undefined")
"""Names of the regime codes 0..3; undefined: the weights are not finite."""

_BLOCK = 1 << 20  # entries of W W^T that are held at once: 8 MiB


@dataclass(frozen=True)
class _Rows:
    """W taken apart: W_i = norm_i * unit_i, and the instance divided by 2^exponent."""

    finite: npt.NDArray[np.bool_]  # (I, 1)
    exponent: npt.NDArray[np.intc]  # (I, 1)
    scaled: F64  # (I, n, m): W / 2^exponent, largest entry in [1/2, 1); 0 where not finite
    scaled_norm: F64  # (I, n): norms of `scaled`
    unit: F64  # (I, n, m); 0 where W_i = 0
    norm: F64  # (I, n)

    def restore(self, values: F64, power: int) -> F64:
        """Undo the scaling of (I, n) `values` that grow like W^power; NaN where W is not finite."""
        with np.errstate(over="ignore"):
            return np.where(self.finite, np.ldexp(values, power * self.exponent), np.nan)


def _rows(W: npt.ArrayLike) -> _Rows:
    W = np.asarray(W, np.float64)
    finite = np.asarray(np.isfinite(W).all(axis=(1, 2)))
    if not finite.all():
        W = np.where(finite[:, None, None], W, 0.0)
    row_exponent = np.frexp(np.abs(W).max(axis=2))[1]
    exponent = np.frexp(np.abs(W).max(axis=(1, 2)))[1][:, None]
    unit = np.ldexp(W, -row_exponent[..., None])
    row_norm = np.sqrt(np.einsum("iak,iak->ia", unit, unit))
    unit /= np.where(row_norm > 0, row_norm, 1.0)[..., None]
    with np.errstate(over="ignore"):
        norm = np.where(finite[:, None], np.ldexp(row_norm, row_exponent), np.nan)
    return _Rows(
        finite=finite[:, None],
        exponent=exponent,
        scaled=np.ldexp(W, -exponent[..., None]),
        scaled_norm=np.ldexp(row_norm, row_exponent - exponent),
        unit=unit,
        norm=norm,
    )


def _off_diagonal_sums(rows: _Rows) -> tuple[F64, F64]:
    """sum over j != i of (unit_i . W_j)^2 and of |unit_i . W_j|, in scaled units, each (I, n).

    W W^T is formed a block at a time: at n = 10,000 it would not fit for many instances.
    """
    n_instances, n, _ = rows.unit.shape
    n_rows = max(1, min(n, _BLOCK // n))
    step = max(1, _BLOCK // (n_rows * n))
    squares, absolutes = np.empty((n_instances, n)), np.empty((n_instances, n))
    for first in range(0, n_instances, step):
        instances = slice(first, first + step)
        for top in range(0, n, n_rows):
            block = rows.unit[instances, top : top + n_rows] @ rows.scaled[instances].mT
            diagonal = np.arange(block.shape[1])
            block[:, diagonal, top + diagonal] = 0.0
            squares[instances, top : top + n_rows] = np.einsum("iab,iab->ia", block, block)
            absolutes[instances, top : top + n_rows] = np.abs(block, out=block).sum(axis=2)
    return squares, absolutes


def _dimensionality(rows: _Rows, squares: F64) -> F64:
    # 1 / (1 + interference / ||W_i||^2), which cannot become 0/0 when both underflow.
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        ratio = np.where(squares > 0, np.sqrt(squares) / rows.scaled_norm, 0.0)
        return rows.restore(np.where(rows.norm > 0, 1.0 / (1.0 + ratio * ratio), 0.0), 0)


def _leverage(rows: _Rows) -> F64:
    _, vectors = np.linalg.eigh(rows.scaled.mT @ rows.scaled)
    # ||W v||^2 is v's eigenvalue without the rounding noise of S, so a null direction stays below the cut.
    projected = rows.scaled @ vectors
    projected *= projected
    eigenvalues = projected.sum(axis=1)
    n_hidden = eigenvalues.shape[1]
    cut = n_hidden * np.finfo(np.float64).eps * eigenvalues.max(axis=1, keepdims=True)
    keep = (eigenvalues >= cut) & (eigenvalues > 0)
    inverse = np.where(keep, 1.0 / np.where(keep, eigenvalues, 1.0), 0.0)
    return rows.restore(np.minimum((projected @ inverse[..., None])[..., 0], 1.0), 0)


def gram(W: npt.ArrayLike, W_dec: npt.ArrayLike | None = None) -> F64:
    """(I, n, n): G = W W_dec^T, with W_dec = W if None. A linear hidden layer gives y = act(x G + b)."""
    W = np.asarray(W, np.float64)
    decoder = W if W_dec is None else np.asarray(W_dec, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        return W @ decoder.mT


def norms(W: npt.ArrayLike) -> F64:
    """(I, n): ||W_i||."""
    return _rows(W).norm


def interference(W: npt.ArrayLike) -> F64:
    """(I, n): sum over j != i of (W_i . W_j / ||W_i||)^2; 0 where W_i = 0.

    How much of the other features lies along feature i. Source: Elhage et al. 2022, "Basic Results".
    """
    rows = _rows(W)
    return rows.restore(_off_diagonal_sums(rows)[0], 2)


def dimensionality(W: npt.ArrayLike) -> F64:
    """(I, n): D_i = ||W_i||^2 / sum_j (W_i . W_j / ||W_i||)^2, in [0, 1]; 0 where W_i = 0.

    Equal to ||W_i||^4 / (W_i^T S W_i) with S = W^T W. The share of a hidden dimension that feature i owns; it
    is the *capacity* C_i of Scherlis et al. 2022, section 2. Source: Elhage et al. 2022, "The Geometry of
    Superposition", feature dimensionality.
    """
    rows = _rows(W)
    return _dimensionality(rows, _off_diagonal_sums(rows)[0])


def leverage(W: npt.ArrayLike) -> F64:
    """(I, n): W_i^T S^+ W_i with S = W^T W, in [0, 1]; its sum over i is the rank of W.

    Eigenvalues of S below m * eps * largest (eps of float64) count as 0. D_i <= leverage_i, with equality for
    all i iff every W_i is an eigenvector of S; a feature wholly inside the dropped directions is the
    exception.
    """
    return _leverage(_rows(W))


def row_sum(W: npt.ArrayLike) -> F64:
    """(I, n): sum over all j, i included, of W_i . W_j; 0 for antipodal pairs and regular polygons."""
    rows = _rows(W)
    return rows.restore(_row_sum(rows), 2)


def _row_sum(rows: _Rows) -> F64:
    return (rows.scaled @ rows.scaled.sum(axis=1)[..., None])[..., 0]


def row_abs_sum(W: npt.ArrayLike) -> F64:
    """(I, n): sum over all j, i included, of |W_i . W_j|."""
    rows = _rows(W)
    return rows.restore(_row_abs_sum(rows, _off_diagonal_sums(rows)[1]), 2)


def _row_abs_sum(rows: _Rows, absolutes: F64) -> F64:
    return rows.scaled_norm * (rows.scaled_norm + absolutes)


def basis_alignment(W: npt.ArrayLike) -> F64:
    """(I, n): max_k W_ik^2 / ||W_i||^2: 1 where one hidden unit carries the feature; 0 where W_i = 0."""
    return _basis_alignment(_rows(W))


def _basis_alignment(rows: _Rows) -> F64:
    return rows.restore((rows.unit * rows.unit).max(axis=2), 0)


def represented(norm: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether ||W_i||^2 > 0.25, from the norms of any shape; False where the norm is NaN."""
    with np.errstate(over="ignore"):
        return np.square(np.asarray(norm, np.float64)) > REPRESENTED_NORM_SQ


def regime(norm: npt.ArrayLike, dimensionality: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """Codes into `REGIMES`, from norms and D_i of any shape.

    0 ignored: not represented; 1 dedicated: represented and D_i >= 0.9; 2 superposed: the rest; 3 where NaN.
    """
    norm = np.asarray(norm, np.float64)
    dedicated = np.asarray(dimensionality) >= DEDICATED_DIMENSIONALITY
    code = np.where(represented(norm), np.where(dedicated, 1, 2), 0)
    return np.where(np.isnan(norm), 3, code).astype(np.int8)


def feature_metrics(W: npt.ArrayLike) -> dict[str, npt.NDArray[Any]]:
    """Columns of the `features` table that W decides, each (I, n).

    norm, interference, row_sum, row_abs_sum, dimensionality, leverage, basis_alignment (float64) and regime,
    as int8 codes into `REGIMES`.
    """
    rows = _rows(W)
    squares, absolutes = _off_diagonal_sums(rows)
    dimensionality = _dimensionality(rows, squares)
    return {
        "norm": rows.norm,
        "interference": rows.restore(squares, 2),
        "row_sum": rows.restore(_row_sum(rows), 2),
        "row_abs_sum": rows.restore(_row_abs_sum(rows, absolutes), 2),
        "dimensionality": dimensionality,
        "leverage": _leverage(rows),
        "basis_alignment": _basis_alignment(rows),
        "regime": regime(rows.norm, dimensionality),
    }


def instance_metrics(W: npt.ArrayLike) -> dict[str, npt.NDArray[Any]]:
    """Columns of the `instances` table that W decides, each (I,).

    frobenius_norm_sq = ||W||_F^2; dims_per_feature = m / ||W||_F^2, infinite where W = 0; n_represented
    (int64), 0 where W is not finite.
    """
    W = np.asarray(W, np.float64)
    norm = norms(W)
    with np.errstate(over="ignore", divide="ignore"):
        frobenius_norm_sq = np.square(norm).sum(axis=1)
        dims_per_feature = W.shape[2] / frobenius_norm_sq
    return {
        "frobenius_norm_sq": frobenius_norm_sq,
        "dims_per_feature": dims_per_feature,
        "n_represented": represented(norm).sum(axis=1),
    }


def best_restart(
    objective: npt.ArrayLike, cell: npt.ArrayLike, diverged: npt.ArrayLike
) -> npt.NDArray[np.intp]:
    """Index of each cell's best instance, in ascending order of the cell number.

    The best has the lowest objective among those not diverged, the first of equals. A cell whose instances
    have all diverged gives its lowest objective, NaN last. All arguments have one entry per instance.
    """
    cell = np.asarray(cell)
    order = np.lexsort((np.asarray(objective), np.asarray(diverged, bool), cell))
    _, first = np.unique(cell[order], return_index=True)
    return order[first]


def success_fraction(
    objective: npt.ArrayLike, cell: npt.ArrayLike, diverged: npt.ArrayLike, tolerance: float = 1.10
) -> F64:
    """Per cell, ascending: the share of its restarts with objective <= tolerance * the best restart's.

    The best is that of `best_restart`. A diverged restart is never a success but counts as an attempt, so a
    cell in which all have diverged gives 0.
    """
    objective, diverged = np.asarray(objective, np.float64), np.asarray(diverged, bool)
    _, group = np.unique(cell, return_inverse=True)
    best = objective[best_restart(objective, cell, diverged)]
    success = ~diverged & (objective <= tolerance * best[group])
    return np.bincount(group, weights=success) / np.bincount(group)
