"""The fused step: draw, forward, backward and update of one instance in one compiled loop, on one thread.

Rows of the batch go through in blocks; each block is a set of panels (feature-major, rows contiguous) that
fit the cache: x and dy (n, rows), h and dh (m, rows). The products are `tiles.combine` and `tiles.correlate`,
the draws the pieces of `compiled_sampling`; what stands between is elementwise. Nothing is allocated inside a
step.

Fast-math only where a sum over rows is to be split over lanes (`reassoc contract nsz`): never what assumes
that there is no NaN or infinity.
"""

from typing import NamedTuple

import numba
import numpy as np

from superpose_cli.engines.compiled_sampling import Draw, fill_panel, fill_words
from superpose_cli.engines.compiling import compiled
from superpose_cli.engines.tiles import LANES, combine, correlate
from superpose_cli.toy_model.philox import BLOCK_ROWS

SUMS = {"reassoc", "contract", "nsz"}
"""Freedom to reorder a sum and to fuse multiply and add; NaN and infinity keep their meaning."""
ADAM, ADAMW, SGD = range(3)
OPTIMIZERS = {"adam": ADAM, "adamw": ADAMW, "sgd": SGD}


class Spec(NamedTuple):
    """A family as numbers and flags; the same compiled code serves them all."""

    n: int
    m: int
    rows: int
    """Rows of a block, a multiple of 128."""
    n_batch: int
    """Rows of a step."""
    hidden_relu: bool
    output_relu: bool
    tied: bool
    bias: bool
    hidden_bias: bool
    absolute: bool
    """The target is |x|."""
    optimizer: int
    n_rows: int
    """Rows of the finite table; 0: rows are drawn."""
    full_table: bool
    """Each step sees the whole table."""


class Hypers(NamedTuple):
    """Hyper-parameters of each instance, float64 (I,)."""

    learning_rate: np.ndarray
    weight_decay: np.ndarray
    momentum: np.ndarray
    beta1: np.ndarray
    beta2: np.ndarray
    eps: np.ndarray


class Weights(NamedTuple):
    """One array per parameter, float32, flat per instance; those that the family lacks have length 0."""

    W: np.ndarray
    """(I, n m)."""
    W_dec: np.ndarray
    b: np.ndarray
    b_hidden: np.ndarray


class Scratch(NamedTuple):
    """What one thread works on: panels of float32 on a cache-line boundary, and the draws' own scratch."""

    x: np.ndarray
    """(n, rows)."""
    y: np.ndarray
    """(n, rows): y, then the objective's gradient with respect to y before its activation."""
    h: np.ndarray
    """(m, rows)."""
    d_h: np.ndarray
    """(m, rows)."""
    words: np.ndarray
    """uint32 (3, 128)."""
    own: np.ndarray
    chosen: np.ndarray


@numba.njit
def aligned(count):
    """float32 (count,) that starts at a multiple of 64 bytes: a load across two cache lines costs twice."""
    held = np.empty(count + LANES, np.float32)
    skip = -(held.ctypes.data // 4) % LANES
    return held[skip : skip + count]


@numba.njit
def new_scratch(spec):
    """Scratch for one thread."""
    n, m, rows = spec.n, spec.m, spec.rows
    return Scratch(
        aligned(n * rows).reshape(n, rows),
        aligned(n * rows).reshape(n, rows),
        aligned(m * rows).reshape(m, rows),
        aligned(m * rows).reshape(m, rows),
        np.empty((3, BLOCK_ROWS), np.uint32),
        np.empty(BLOCK_ROWS, np.float32),
        np.empty(BLOCK_ROWS, np.int64),
    )


@numba.njit
def at_step(draw, step):
    """The draw of another step."""
    return Draw(draw.kind, draw.value, draw.signed, draw.set_size, draw.k, draw.stream, draw.set_stream, step)


@numba.njit
def draw_panel(s, draw, key, first_row, bounds, i):
    """Rows first_row .. first_row + rows - 1 of instance i's draw, into s.x."""
    fill_panel(s.x, draw, key, first_row // BLOCK_ROWS, bounds, i, s.words, s.own, s.chosen)


@numba.njit
def table_panel(s, spec, draw, key, first_row, table):
    """Rows of the fixed table (n, n_rows) into s.x: in order, or drawn with replacement for a mini-batch."""
    rows = s.x.shape[1]
    if spec.full_table:
        count = min(rows, spec.n_rows - first_row)
        for i in range(len(s.x)):
            s.x[i, :count] = table[i, first_row : first_row + count]
            s.x[i, count:] = 0
        return
    for row in range(0, rows, BLOCK_ROWS):
        fill_words(s.words[0], key, draw.stream, draw.step, (first_row + row) // BLOCK_ROWS, 0)
        for r in range(BLOCK_ROWS):
            s.chosen[r] = np.int64(s.words[0, r]) * spec.n_rows >> 32
        for i in range(len(s.x)):
            for r in range(BLOCK_ROWS):
                s.x[i, row + r] = table[i, s.chosen[r]]


@numba.njit
def forward(s, spec, w):
    """h and y before the output's bias and activation, of the rows in s.x; w: one instance's weights."""
    n, m, rows = spec.n, spec.m, s.x.shape[1]
    combine(s.h, s.x, rows, w.W, 1, m, m, n)
    if spec.hidden_bias or spec.hidden_relu:
        for k in range(m):
            shift = w.b_hidden[k] if spec.hidden_bias else np.float32(0)
            activate(s.h[k], shift, spec.hidden_relu)
    combine(s.y, s.h, rows, w.W if spec.tied else w.W_dec, m, 1, n, m)


@numba.njit
def activate(z, shift, relu):
    """z + shift, and 0 where that is below 0 if `relu`; NaN stays."""
    if relu:
        for r in range(len(z)):
            value = z[r] + shift
            z[r] = np.float32(0) if value <= 0 else value
    else:
        for r in range(len(z)):
            z[r] += shift


@numba.njit(fastmath=SUMS)
def output_slope(y, x, shift, scale, relu, absolute):
    """Turn y into scale * (act(y + shift) - target), 0 where a ReLU is off; the sum over rows."""
    total = np.float32(0)
    for r in range(len(y)):
        z = y[r] + shift
        target = abs(x[r]) if absolute else x[r]
        slope = scale * (z - target)
        if relu and z <= 0:
            slope = np.float32(0)
        y[r] = slope
        total += slope
    return total


@numba.njit(fastmath=SUMS)
def hidden_slope(d_h, h, l1, relu):
    """Add l1 * sign(h) to the slope of h, 0 where a ReLU is off; the sum over rows."""
    total = np.float32(0)
    for r in range(len(h)):
        slope = d_h[r]
        if l1 != 0:
            slope += l1 if h[r] > 0 else (-l1 if h[r] < 0 else np.float32(0))
        if relu and h[r] <= 0:
            slope = np.float32(0)
        d_h[r] = slope
        total += slope
    return total


@numba.njit
def backward(s, spec, valid, w, scales, l1, slopes):
    """Add the gradient of the first `valid` rows of the block to `slopes`; scales (n,): 2 I_i / (rows n)."""
    n, m, rows = spec.n, spec.m, s.x.shape[1]
    for i in range(n):
        shift = w.b[i] if spec.bias else np.float32(0)
        total = output_slope(
            s.y[i, :valid], s.x[i, :valid], shift, scales[i], spec.output_relu, spec.absolute
        )
        s.y[i, valid:] = 0
        if spec.bias:
            slopes.b[i] += total
    combine(s.d_h, s.y, rows, w.W if spec.tied else w.W_dec, 1, m, m, n)
    if spec.hidden_relu or spec.hidden_bias or l1 != 0:
        for k in range(m):
            total = hidden_slope(s.d_h[k, :valid], s.h[k, :valid], l1, spec.hidden_relu)
            if spec.hidden_bias:
                slopes.b_hidden[k] += total
    correlate(slopes.W, m, s.x, n, s.d_h, m, s.y, s.h, rows, spec.tied)
    if not spec.tied:
        correlate(slopes.W_dec, m, s.y, n, s.h, m, s.y, s.h, rows, False)


@numba.njit
def update(
    weight, slope, first, second, rate, decay, momentum, beta1, beta2, step_size, correction, eps, optimizer
):
    """`toy_model.optim.update` for one parameter of one instance, flat, in float32."""
    rest1, rest2 = np.float32(1) - beta1, np.float32(1) - beta2
    if optimizer == SGD:
        for j in range(len(weight)):
            first[j] = momentum * first[j] + (slope[j] + decay * weight[j])
            weight[j] -= rate * first[j]
        return
    shrink = np.float32(1)
    if optimizer == ADAMW:
        shrink, decay = np.float32(1) - rate * decay, np.float32(0)
    for j in range(len(weight)):
        old = weight[j] * shrink
        g = slope[j] + decay * old
        first[j] = beta1 * first[j] + rest1 * g
        second[j] = beta2 * second[j] + rest2 * g * g
        weight[j] = old - step_size * first[j] / (np.sqrt(second[j]) / correction + eps)


@numba.njit
def update_all(weights, slopes, first, second, hyper, factor, step, optimizer):
    """Update every parameter of one instance; 1 - beta2^t is taken in float64: it loses half its digits."""
    rate = hyper.learning_rate * factor
    step_size = np.float32(rate / (1 - hyper.beta1 ** (step + 1)))
    correction = np.float32(np.sqrt(1 - hyper.beta2 ** (step + 1)))
    small = (
        np.float32(rate),
        np.float32(hyper.weight_decay),
        np.float32(hyper.momentum),
        np.float32(hyper.beta1),
        np.float32(hyper.beta2),
        step_size,
        correction,
        np.float32(hyper.eps),
        optimizer,
    )
    update(weights.W, slopes.W, first.W, second.W, *small)
    update(weights.W_dec, slopes.W_dec, first.W_dec, second.W_dec, *small)
    update(weights.b, slopes.b, first.b, second.b, *small)
    update(weights.b_hidden, slopes.b_hidden, first.b_hidden, second.b_hidden, *small)


@numba.njit
def of_instance(weights, i):
    """The weights (or moments) of instance i."""
    return Weights(weights.W[i], weights.W_dec[i], weights.b[i], weights.b_hidden[i])


@numba.njit
def hyper_of(hypers, i):
    """The hyper-parameters of instance i, as numbers."""
    return Hypers(
        hypers.learning_rate[i],
        hypers.weight_decay[i],
        hypers.momentum[i],
        hypers.beta1[i],
        hypers.beta2[i],
        hypers.eps[i],
    )


@numba.njit(fastmath=SUMS)
def is_finite(values):
    """Whether all are finite."""
    worst = np.float32(0)
    for value in values:
        worst += value * np.float32(0)
    return worst == 0


@numba.njit
def new_slopes(weights):
    """Room for the gradient of one instance."""
    return Weights(
        np.empty(weights.W.shape[1], np.float32),
        np.empty(weights.W_dec.shape[1], np.float32),
        np.empty(weights.b.shape[1], np.float32),
        np.empty(weights.b_hidden.shape[1], np.float32),
    )


@numba.njit
def clear(slopes):
    """Set a gradient to 0."""
    slopes.W[:] = 0
    slopes.W_dec[:] = 0
    slopes.b[:] = 0
    slopes.b_hidden[:] = 0


@numba.njit
def train_one(
    i,
    s,
    slopes,
    spec,
    draw,
    key,
    bounds,
    table,
    weights,
    first,
    second,
    scales,
    l1,
    hypers,
    factors,
    start,
    failed,
):
    """All updates of instance i on the scratch `s` and `slopes`; other arguments as in `train`."""
    w, m1, m2 = of_instance(weights, i), of_instance(first, i), of_instance(second, i)
    hyper, scale, own_l1 = hyper_of(hypers, i), scales[i], l1[i]
    for at in range(len(factors)):
        here = at_step(draw, start + at)
        clear(slopes)
        for row in range(0, spec.n_batch, spec.rows):
            if spec.n_rows:
                table_panel(s, spec, here, key, row, table)
            else:
                draw_panel(s, here, key, row, bounds, i)
            forward(s, spec, w)
            backward(s, spec, min(spec.rows, spec.n_batch - row), w, scale, own_l1, slopes)
        update_all(w, slopes, m1, m2, hyper, factors[at], start + at, spec.optimizer)
        if failed[i] < 0 and not is_finite(w.W):
            failed[i] = start + at


@compiled(nogil=True)
def train(
    begin,
    end,
    spec,
    draw,
    key,
    bounds,
    tables,
    table_of,
    weights,
    first,
    second,
    scales,
    l1,
    hypers,
    factors,
    start,
    failed,
):
    """Updates start .. start + len(factors) - 1 of instances begin .. end - 1, in place.

    key: uint64 (I,); tables: (K, n, n_rows) float32 with table_of (I,); scales (I, n) and l1 (I,): per row.
    failed (I,): set to the first update that left a weight that is not finite. Threads of Python call this on
    disjoint ranges: numba's own parallel loops would compile all of it several times over.
    """
    s, slopes = new_scratch(spec), new_slopes(weights)
    for i in range(begin, end):
        table = tables[table_of[i]]
        train_one(
            i,
            s,
            slopes,
            spec,
            draw,
            key[i],
            bounds,
            table,
            weights,
            first,
            second,
            scales,
            l1,
            hypers,
            factors,
            start,
            failed,
        )
