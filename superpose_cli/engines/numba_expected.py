"""Training on the expected loss, and measuring by it: blocks of instances on one thread, lane by lane."""

import numpy as np

from superpose_cli.engines.compiling import compiled, piece
from superpose_cli.engines.lanes import LANES
from superpose_cli.engines.numba_kernels import Weights
from superpose_cli.engines.numba_population import expect, lanes_of, new_block, open_block, to_parameters
from superpose_cli.engines.numba_training import hyper_of
from superpose_cli.engines.numba_updates import (
    COEFFICIENTS,
    coefficients_of,
    debias,
    place,
    set_lane,
    update_lanes,
)


@piece(_nrt=False)
def convert(target, source):
    """Copy the numbers of a block, converting their type."""
    for row in range(len(source)):
        for lane in range(LANES):
            target[row, lane] = source[row, lane]


@piece(_nrt=False)
def convert_all(target, source):
    """`convert` the parameters of a block, or their gradient."""
    convert(target.W, source.W)
    convert(target.W_dec, source.W_dec)
    convert(target.b, source.b)
    convert(target.b_hidden, source.b_hidden)


@piece(_nrt=False)
def gather(target, source, begin, end):
    """Take instances begin, begin + 1, ... of (I, size) into lanes; those from `end` on repeat the last."""
    for lane in range(LANES):
        i = min(begin + lane, end - 1)
        for row in range(len(target)):
            target[row, lane] = source[i, row]


@piece(_nrt=False)
def gather_all(target, source, begin, end):
    """`gather` all parameters, or their moments."""
    gather(target.W, source.W, begin, end)
    gather(target.W_dec, source.W_dec, begin, end)
    gather(target.b, source.b, begin, end)
    gather(target.b_hidden, source.b_hidden, begin, end)


@piece(_nrt=False)
def scatter(target, source, begin, end):
    """Put lanes back into instances begin .. end - 1 of (I, size)."""
    for i in range(begin, min(end, begin + LANES)):
        for row in range(len(source)):
            target[i, row] = source[row, i - begin]


@piece(_nrt=False)
def scatter_all(target, source, begin, end):
    """`scatter` all parameters, or their moments."""
    scatter(target.W, source.W, begin, end)
    scatter(target.W_dec, source.W_dec, begin, end)
    scatter(target.b, source.b, begin, end)
    scatter(target.b_hidden, source.b_hidden, begin, end)


@piece()
def doubles_like(weights):
    """float64 room for the parameters of a block."""
    return Weights(
        lanes_of(weights.W.shape[1]),
        lanes_of(weights.W_dec.shape[1]),
        lanes_of(weights.b.shape[1]),
        lanes_of(weights.b_hidden.shape[1]),
    )


@piece()
def singles_like(weights):
    """float32 room for the parameters of a block."""
    return Weights(
        np.empty((weights.W.shape[1], LANES), np.float32),
        np.empty((weights.W_dec.shape[1], LANES), np.float32),
        np.empty((weights.b.shape[1], LANES), np.float32),
        np.empty((weights.b_hidden.shape[1], LANES), np.float32),
    )


@piece(inline="always")
def train_block(begin, end, population, t, s, room, exact, exact_slopes, scale, c):
    """All updates of a block by the expected gradient; `room`: weights, gradient and moments, float32."""
    w, slopes, first, second = room
    W = place(w.W, slopes.W, first.W, second.W)
    W_dec = place(w.W_dec, slopes.W_dec, first.W_dec, second.W_dec)
    b = place(w.b, slopes.b, first.b, second.b)
    b_hidden = place(w.b_hidden, slopes.b_hidden, first.b_hidden, second.b_hidden)
    for at in range(len(t.factors)):
        convert_all(exact, w)
        expect(exact, population, s)
        to_parameters(s, exact, scale, population, exact_slopes)
        convert_all(slopes, exact_slopes)
        fill_coefficients(c, t, begin, end, at)
        update_lanes(W, c, t.optimizer)
        update_lanes(W_dec, c, t.optimizer)
        update_lanes(b, c, t.optimizer)
        update_lanes(b_hidden, c, t.optimizer)
        note_failures(t, w.W, begin, end, at)
        note_failures(t, w.W_dec, begin, end, at)
        note_failures(t, w.b, begin, end, at)
        note_failures(t, w.b_hidden, begin, end, at)


@piece(_nrt=False)
def fill_coefficients(c, t, begin, end, at):
    """What update number `at` needs of the hyper-parameters of each instance of a block."""
    for lane in range(LANES):
        h = hyper_of(t, min(begin + lane, end - 1))
        debiased = (t.debiased[at, 0], t.debiased[at, 1])
        if h.beta1 != t.betas[0] or h.beta2 != t.betas[1]:
            debiased = debias(h.beta1, h.beta2, t.start + at + 1)
        set_lane(c, lane, coefficients_of(h, t.factors[at], debiased), t.optimizer)


@piece(_nrt=False)
def note_failures(t, values, begin, end, at):
    """Record this update for the instances of the block with a first parameter that is not finite."""
    zero = np.float32(0)
    for row in range(len(values)):
        for lane in range(LANES):
            zero += values[row, lane] - values[row, lane]
    if zero != 0:
        for i in range(begin, min(end, begin + LANES)):
            for row in range(len(values)):
                if t.failed[i] < 0 and not np.isfinite(values[row, i - begin]):
                    t.failed[i] = t.start + at


@compiled(nogil=True)
def train_population(begin, end, population, scale, t):
    """All updates of instances begin .. end - 1 by the expected gradient, in place; `t`: Training."""
    s, scales = new_block(population), lanes_of(population.n)
    w, slopes = singles_like(t.weights), singles_like(t.weights)
    first, second = singles_like(t.first), singles_like(t.second)
    exact, exact_slopes = doubles_like(t.weights), doubles_like(t.weights)
    c = np.empty((COEFFICIENTS, LANES), np.float32)
    for i in range(begin, end, LANES):
        open_block(s, i, end, population)
        gather(scales, scale, i, end)
        gather_all(w, t.weights, i, end)
        gather_all(first, t.first, i, end)
        gather_all(second, t.second, i, end)
        room = (w, slopes, first, second)
        train_block(i, end, population, t, s, room, exact, exact_slopes, scales, c)
        scatter_all(t.weights, w, i, end)
        scatter_all(t.first, first, i, end)
        scatter_all(t.second, second, i, end)


@compiled(nogil=True)
def measure_population(begin, end, population, scale, weights, gain, gradient):
    """The gain (I, n) and the objective's gradient of instances begin .. end - 1; all in float64."""
    s, scales = new_block(population), lanes_of(population.n)
    w, slopes = doubles_like(weights), doubles_like(weights)
    for i in range(begin, end, LANES):
        open_block(s, i, end, population)
        gather(scales, scale, i, end)
        gather_all(w, weights, i, end)
        expect(w, population, s)
        to_parameters(s, w, scales, population, slopes)
        scatter_all(gradient, slopes, i, end)
        scatter(gain, s.gain, i, end)
