"""The fused step: draw, forward, backward and update of one instance in one compiled loop, on one thread."""

from typing import NamedTuple

import numpy as np

from superpose_cli.engines.compiled_sampling import is_plain
from superpose_cli.engines.compiling import compiled, piece
from superpose_cli.engines.lanes import fold
from superpose_cli.engines.numba_kernels import (
    Weights,
    backward,
    clear,
    encode,
    fill_x,
    new_scratch,
    new_slopes,
    of_instance,
)
from superpose_cli.engines.numba_narrow import (
    add_narrow,
    draw_narrow,
    fits,
    narrow_slopes,
    new_lane_scratch,
    new_narrow,
)
from superpose_cli.engines.numba_updates import (
    Hyper,
    coefficients_of,
    debias,
    is_finite_at,
    place,
    rate_factor,
    update_at,
)


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
    """float64 (S,): what the rate is multiplied with at each step from `start` on."""
    betas: np.ndarray
    """float64 (2,): those that `debiased` is for; instances with others work out their own."""
    debiased: np.ndarray
    """float64 (S, 2): `debias` at each of these steps."""
    start: int
    failed: np.ndarray
    """int64 (I,): set to the first update that left a weight that is not finite."""


@piece()
def hyper_of(t, i):
    """The hyper-parameters of instance i."""
    return Hyper(
        t.optimizer, t.learning_rate[i], t.weight_decay[i], t.momentum[i], t.beta1[i], t.beta2[i], t.eps[i]
    )


@compiled()
def fill_steps(schedule, warmup_steps, steps, start, betas, factors, debiased):
    """Fill `Training.factors`, by the number of a schedule in `SCHEDULES`, and `Training.debiased`.

    Once for all instances and threads: a small model's step takes no longer than a cosine and two powers.
    """
    for at in range(len(factors)):
        factors[at] = rate_factor(schedule, warmup_steps, steps, start + at)
    fill_debiased(debiased, betas[0], betas[1], start)


@piece()
def fill_debiased(debiased, beta1, beta2, start):
    """`debias` at each step from `start` on."""
    for at in range(len(debiased)):
        debiased[at, 0], debiased[at, 1] = debias(beta1, beta2, start + at + 1)


@piece()
def new_debiased(t):
    """Room for what `debias` gives at each step, and the two betas that it was computed for."""
    return np.empty((len(t.factors), 2)), np.full(2, np.nan)


@piece()
def debiased_of(t, hyper, debiased, betas):
    """`debias` at all steps, worked out unless the betas are those of `t` or of the instance before."""
    if t.betas[0] == hyper.beta1 and t.betas[1] == hyper.beta2:
        return t.debiased
    if betas[0] != hyper.beta1 or betas[1] != hyper.beta2:
        betas[0], betas[1] = hyper.beta1, hyper.beta2
        fill_debiased(debiased, hyper.beta1, hyper.beta2, t.start)
    return debiased


@piece(inline="always")
def add_wide(s, slopes, spec, rows, i, step, w, scale, l1):
    """The gradient of a step by panels."""
    clear(slopes)
    for row in range(0, spec.n_batch, spec.rows):
        fill_x(s, spec, rows, i, step, row)
        encode(s, spec, w)
        backward(s, spec, row, w, scale, l1, slopes)


@piece(inline="always")
def train_one(i, s, slopes, lanes, spec, rows, t, debiased, betas):
    """All updates of instance i, on the scratch of a thread; `numba_updates` says why by addresses."""
    w, first, second = of_instance(t.weights, i), of_instance(t.first, i), of_instance(t.second, i)
    W = place(w.W, slopes.W, first.W, second.W)
    W_dec = place(w.W_dec, slopes.W_dec, first.W_dec, second.W_dec)
    b = place(w.b, slopes.b, first.b, second.b)
    b_hidden = place(w.b_hidden, slopes.b_hidden, first.b_hidden, second.b_hidden)
    scale, l1, start, failed, factors = t.scales[i], t.l1[i], t.start, t.failed[i], t.factors
    hyper = hyper_of(t, i)
    table = debiased_of(t, hyper, debiased, betas)
    is_narrow, is_drawn = fits(spec), spec.n_rows == 0 and is_plain(rows.draw)
    narrow = new_narrow(s, lanes, spec, rows, i, w, scale, l1)
    for at in range(len(factors)):
        if is_narrow:
            for row in range(0, spec.n_batch, spec.rows):
                if is_drawn:
                    draw_narrow(narrow, spec, start + at, row)
                else:
                    fill_x(s, spec, rows, i, start + at, row)
                add_narrow(narrow, spec, row)
            fold(narrow.folded, narrow.sums.W, narrow.size, False)
        else:
            add_wide(s, slopes, spec, rows, i, start + at, w, scale, l1)
        c = coefficients_of(hyper, factors[at], (table[at, 0], table[at, 1]))
        update_at(W, c, hyper.optimizer)
        update_at(W_dec, c, hyper.optimizer)
        update_at(b, c, hyper.optimizer)
        update_at(b_hidden, c, hyper.optimizer)
        if failed < 0 and not (
            is_finite_at(W.weight, W.size)
            and is_finite_at(W_dec.weight, W_dec.size)
            and is_finite_at(b.weight, b.size)
            and is_finite_at(b_hidden.weight, b_hidden.size)
        ):
            failed = start + at
    t.failed[i] = failed


@compiled(nogil=True)
def train(begin, end, spec, rows, t):
    """All updates of instances begin .. end - 1, in place.

    Python threads call this on disjoint ranges: numba's own parallel loops would compile it several times.
    """
    s, lanes = new_scratch(spec), new_lane_scratch(spec)
    slopes = narrow_slopes(lanes, spec) if fits(spec) else new_slopes(t.weights)
    debiased, betas = new_debiased(t)
    for i in range(begin, end):
        train_one(i, s, slopes, lanes, spec, rows, t, debiased, betas)
