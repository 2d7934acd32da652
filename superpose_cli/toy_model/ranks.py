"""Whether two quantities rise together, whatever their scales."""

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


def rank_correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Spearman's: the correlation of the ranks; equal values share their mean rank. NaN for a constant."""
    ranks = [_ranks(np.asarray(values, np.float64)) for values in (a, b)]
    centred = [values - values.mean() for values in ranks]
    norms = [float(np.linalg.norm(values)) for values in centred]
    return float(centred[0] @ centred[1] / (norms[0] * norms[1])) if all(norms) else float("nan")


def _ranks(values: F64) -> F64:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]
