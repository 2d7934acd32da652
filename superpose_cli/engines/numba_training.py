"""The fused step: draw, forward, backward and update of one instance in one compiled loop, on one thread."""

from typing import NamedTuple

import numpy as np

from superpose_cli.engines.compiling import compiled, piece
from superpose_cli.engines.numba_kernels import (
    SUMS,
    Weights,
    backward,
    clear,
    fill_x,
    forward,
    new_scratch,
    new_slopes,
    of_instance,
)
from superpose_cli.toy_model.optim import Coefficients

ADAM, ADAMW, SGD = range(3)
OPTIMIZERS = {"adam": ADAM, "adamw": ADAMW, "sgd": SGD}


class Training(NamedTuple):
    """What updates need besides rows, for I instances; weights and moments are changed in place."""

    weights: Weights
    first: Weights
    second: Weights
    scales: np.ndarray
    """float32 (I, n): the factor of a residual in the gradient."""
    l1: np.ndarray
    """float32 (I,): weight of |h|, over the rows of a step."""
    optimizer: int
    learning_rate: np.ndarray
    """float64 (I,), as all hyper-parameters."""
    weight_decay: np.ndarray
    momentum: np.ndarray
    beta1: np.ndarray
    beta2: np.ndarray
    eps: np.ndarray
    factors: np.ndarray
    """float64: what the rate is multiplied with at each step from `start` on."""
    start: int
    failed: np.ndarray
    """int64 (I,): set to the first update that left a weight that is not finite."""


@piece()
def coefficients(t, i, at):
    """`toy_model.optim.Hyper.at` of instance i at step start + at: in float64, then rounded to float32.

    1 - beta2 and 1 - beta2^t would lose their digits if they were taken of rounded numbers.
    """
    beta1, beta2, power = t.beta1[i], t.beta2[i], t.start + at + 1
    rate = t.learning_rate[i] * t.factors[at]
    decay = t.weight_decay[i]
    return Coefficients(
        np.float32(rate),
        np.float32(1 - rate * decay if t.optimizer == ADAMW else decay),
        np.float32(t.momentum[i]),
        np.float32(beta1),
        np.float32(1 - beta1),
        np.float32(beta2),
        np.float32(1 - beta2),
        np.float32(rate / (1 - beta1**power)),
        np.float32(np.sqrt(1 - beta2**power)),
        np.float32(t.eps[i]),
    )


@piece()
def update(weight, slope, first, second, c, optimizer):
    """`toy_model.optim.update` for one parameter of one instance, flat, in float32."""
    if optimizer == SGD:
        for j in range(len(weight)):
            first[j] = c.momentum * first[j] + (slope[j] + c.decay * weight[j])
            weight[j] -= c.rate * first[j]
        return
    shrink, decay = (c.decay, np.float32(0)) if optimizer == ADAMW else (np.float32(1), c.decay)
    for j in range(len(weight)):
        old = weight[j] * shrink
        g = slope[j] + decay * old
        first[j] = c.beta1 * first[j] + c.rest1 * g
        second[j] = c.beta2 * second[j] + c.rest2 * g * g
        weight[j] = old - c.step_size * first[j] / (np.sqrt(second[j]) / c.correction + c.eps)


@piece(fastmath=SUMS)
def is_finite(values):
    """Whether all are finite."""
    worst = np.float32(0)
    for value in values:
        worst += value * np.float32(0)
    return worst == 0


@piece()
def train_one(i, s, slopes, spec, rows, t):
    """All updates of instance i, on the scratch `s` and `slopes`."""
    w, first, second = of_instance(t.weights, i), of_instance(t.first, i), of_instance(t.second, i)
    scale, l1 = t.scales[i], t.l1[i]
    for at in range(len(t.factors)):
        clear(slopes)
        for row in range(0, spec.n_batch, spec.rows):
            fill_x(s, spec, rows, i, t.start + at, row)
            forward(s, spec, w)
            backward(s, spec, min(spec.rows, spec.n_batch - row), w, scale, l1, slopes)
        c = coefficients(t, i, at)
        update(w.W, slopes.W, first.W, second.W, c, t.optimizer)
        update(w.W_dec, slopes.W_dec, first.W_dec, second.W_dec, c, t.optimizer)
        update(w.b, slopes.b, first.b, second.b, c, t.optimizer)
        update(w.b_hidden, slopes.b_hidden, first.b_hidden, second.b_hidden, c, t.optimizer)
        if t.failed[i] < 0 and not is_finite(w.W):
            t.failed[i] = t.start + at


@compiled(nogil=True)
def train(begin, end, spec, rows, t):
    """All updates of instances begin .. end - 1, in place.

    Python threads call this on disjoint ranges: numba's own parallel loops would compile it several times.
    """
    s, slopes = new_scratch(spec), new_slopes(t.weights)
    for i in range(begin, end):
        train_one(i, s, slopes, spec, rows, t)
