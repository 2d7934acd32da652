"""The loss split by how many features are active, each part but the last in closed form.

Domain: linear hidden layer, tied or untied (a hidden bias joins b as b_hidden W_dec^T), ReLU output, identity
target (or abs: x >= 0), independent features uniform on (0, high] when on. Elsewhere the terms are not
those of the model.
"""

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.metrics import F64

_BLOCK = 1 << 20  # entries of G that are worked on at once: each temporary takes 8 MiB


def loss_split(
    G: F64,
    b: F64,
    importance: F64,
    feature_probability: F64,
    loss: npt.ArrayLike,
    high: npt.ArrayLike = 1.0,
) -> dict[str, F64]:
    """The columns loss_zero, loss_benefit, loss_interference and loss_coactive, (I,); they sum to `loss`.

    G = W W_dec^T: (I, n, n), so that feature i alone, at x_i, gives the output ReLU(G_ij x_i + b_j). b,
    importance, feature_probability: (I, n). loss: (I,), the mean over features, as all four parts are. high:
    (I,) or a number.

    With q_i = p_i prod_{j != i} (1 - p_j), the probability that only feature i is active, each over n:

      zero          prod_i (1 - p_i) sum_j I_j ReLU(b_j)^2
      benefit       sum_i q_i I_i E (x_i - ReLU(G_ii x_i + b_i))^2
      interference  sum_i q_i sum_{j != i} I_j E ReLU(G_ij x_i + b_j)^2
      coactive      the rest of the loss: two or more are active

    With a sampled loss, coactive carries all the sampling noise and can come out slightly negative.
    Source: derived, after "feature benefit" and "interference" in Elhage et al. 2022, "Basic Results".
    """
    n_instances, n, _ = G.shape
    loss = np.asarray(loss, np.float64)
    scale = np.broadcast_to(np.asarray(high, np.float64), n_instances)
    empty, alone = activity(feature_probability)
    parts = np.empty((3, n_instances))
    step = max(1, _BLOCK // (n * n))
    with np.errstate(over="ignore", invalid="ignore"):
        parts[0] = empty * np.einsum("ij,ij->i", importance, np.square(np.maximum(b, 0.0)))
        for first in range(0, n_instances, step):
            cut = slice(first, first + step)
            slope = G[cut] * scale[cut, None, None]
            own = np.einsum("ijj->ij", slope)
            benefit = reconstruction_error(own, b[cut], scale[cut, None])
            parts[1, cut] = np.einsum("ij,ij,ij->i", alone[cut], importance[cut], benefit)
            spill = relu_square_mean(slope, b[cut, None, :])
            np.einsum("ijj->ij", spill)[...] = 0.0
            parts[2, cut] = ((alone[cut, None, :] @ spill)[:, 0] * importance[cut]).sum(axis=1)
        zero, benefit, interference = parts / n
        coactive = loss - (zero + benefit + interference)
    return {
        "loss_zero": zero,
        "loss_benefit": benefit,
        "loss_interference": interference,
        "loss_coactive": coactive,
    }


def activity(feature_probability: F64) -> tuple[F64, F64]:
    """P(nothing is active), (I,), and P(only feature i is active), (I, n), for independent features.

    Products over j != i are built from both ends, so that p_j = 1 divides nothing by 0.
    """
    off = 1.0 - feature_probability
    before, after = np.ones_like(off), np.ones_like(off)
    np.cumprod(off[:, :-1], axis=1, out=before[:, 1:])
    np.cumprod(off[:, :0:-1], axis=1, out=after[:, -2::-1])
    return off.prod(axis=1), feature_probability * before * after


def relu_square_mean(slope: F64, intercept: F64) -> F64:
    """int_0^1 ReLU(slope t + intercept)^2 dt.

    With u, v >= 0 the ends' values this is (v^3 - u^3) / (3 slope), which cancels for small slopes.
    Factorised it is (u^2 + u v + v^2) / 3 times (v - u) / slope, the share of the interval that is active: 1
    if both ends are.
    """
    start, stop = np.maximum(intercept, 0.0), np.maximum(intercept + slope, 0.0)
    crossing = (start > 0) != (stop > 0)
    share = np.divide(stop - start, slope, out=((start > 0) & (stop > 0)) * 1.0, where=crossing)
    return share * (start * start + start * stop + stop * stop) / 3.0


def reconstruction_error(slope: F64, intercept: F64, high: F64) -> F64:
    """int_0^1 (high t - ReLU(slope t + intercept))^2 dt, the arrays broadcast against each other.

    The output is on between `lo` and `hi`; there the error is linear in t, elsewhere it is high t.
    """
    shape = np.broadcast_shapes(np.shape(slope), np.shape(intercept), np.shape(high))
    kink = np.divide(-intercept, slope, out=np.zeros(shape), where=slope != 0)
    kink = np.clip(kink, 0.0, 1.0)
    on = np.where(slope == 0, intercept > 0, True)
    lo = np.where(on & (slope <= 0), 0.0, np.where(on, kink, 1.0))
    hi = np.where(on & (slope < 0), kink, 1.0)
    at_lo, at_hi = ((high - slope) * t - intercept for t in (lo, hi))
    inside = (hi - lo) * (at_lo * at_lo + at_lo * at_hi + at_hi * at_hi) / 3.0
    return inside + np.square(high) / 3.0 * (lo**3 + 1.0 - hi**3)
