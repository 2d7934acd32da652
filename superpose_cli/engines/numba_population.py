"""The expected loss and its gradient, exactly where that is possible, for linear hidden layers.

y_i = act(z_i) with z_i = shift_i + sum_j G_ij x_j, G = W_dec W^T. Given which features are on, and their
signs, z_i is linear in the magnitudes v, each uniform on (0, high] (or constant). A ReLU splits their box
along one plane. With one or two features on the integral is taken exactly, piece by piece; with more it is so
along the two that z_i changes most with, and the others go through Gauss-Legendre nodes.

For each output the kernels return averages over the box of delta = z - t where z > 0 (all of the box for an
identity output), of delta v_a, and of (z - t)^2 - t^2 there: half the gradient, and the loss less E t^2.
"""

from typing import NamedTuple

import numpy as np

from superpose_cli.engines.compiling import compiled, piece
from superpose_cli.engines.numba_integrals import pair, single
from superpose_cli.engines.numba_kernels import Weights, new_slopes, of_instance
from superpose_cli.engines.numba_training import debiased_of, hyper_of, new_debiased
from superpose_cli.engines.numba_updates import coefficients_of, is_finite_at, place, update_at


class Population(NamedTuple):
    """What is expected of I instances: a family's patterns and each one's probabilities."""

    n: int
    m: int
    relu: bool
    """The output's activation."""
    absolute: bool
    """The target is |x|."""
    constant: bool
    """Features that are on have the value `high`."""
    n_active: np.ndarray
    """int64 (P,): features on in each pattern."""
    active: np.ndarray
    """int64 (P, most): their numbers."""
    sign: np.ndarray
    """float64 (P, most)."""
    probability: np.ndarray
    """float64 (K, P), of K different laws; patterns of probability 0 cost nothing."""
    law: np.ndarray
    """int64 (I,): each instance's number among them."""
    high: np.ndarray
    """float64 (I,)."""
    nodes: np.ndarray
    """float64 (K,): Gauss-Legendre nodes on the unit interval."""
    node_weights: np.ndarray


class Expected(NamedTuple):
    """Expectations of one instance and the room that computing them takes, float64."""

    G: np.ndarray
    """(n, n)."""
    shift: np.ndarray
    """(n,)."""
    slope: np.ndarray
    """(n, n): E delta_i x_j."""
    shift_slope: np.ndarray
    """(n,): E delta_i."""
    gain: np.ndarray
    """(n,): E [(y_i - t_i)^2 - t_i^2]."""
    g: np.ndarray
    """(most,): of z in each magnitude that is on."""
    t: np.ndarray
    """(most,): of the target likewise."""
    part: np.ndarray
    """(most,): averages of delta v_a."""
    at: np.ndarray
    """int64 (most,): the node of each outer magnitude."""


@piece()
def new_expected(population):
    """Room for one instance."""
    n, most = population.n, population.active.shape[1]
    return Expected(
        np.empty((n, n)), np.empty(n), np.empty((n, n)), np.empty(n), np.empty(n),
        np.empty(most), np.empty(most), np.empty(most), np.empty(most, np.int64),
    )  # fmt: skip


@piece(_nrt=False)
def box(s, count, z0, population):
    """Averages of delta and the gain over `count` magnitudes in (0, 1]; those of delta v_a go to s.part."""
    g, t, part = s.g, s.t, s.part
    lowest = highest = z0
    sum_g = sum_t = squares = 0.0
    for a in range(count):
        lowest += min(g[a], 0.0)
        highest += max(g[a], 0.0)
        sum_g += g[a]
        sum_t += t[a]
        squares += g[a] * (g[a] - 2 * t[a])
        part[a] = 0.0
    if population.constant:
        z, delta = z0 + sum_g, z0 + sum_g - sum_t
        if population.relu and z <= 0:
            return 0.0, 0.0
        for a in range(count):
            part[a] = delta
        return delta, z * (2 * delta - z)
    if population.relu and highest <= 0:
        return 0.0, 0.0
    if not (population.relu and lowest < 0):
        z, delta = z0 + 0.5 * sum_g, z0 + 0.5 * (sum_g - sum_t)
        for a in range(count):
            part[a] = 0.5 * delta + (g[a] - t[a]) * (1 / 12)
        return delta, z * (2 * delta - z) + squares * (1 / 12)
    first, last = steepest(g, count)
    return product_rule(s, count, first, last, z0, population)


@piece(_nrt=False, forceinline=True)
def steepest(g, count):
    """The two magnitudes that z changes most with: their positions, the lesser slope first."""
    last = 0
    for a in range(1, count):
        if abs(g[a]) > abs(g[last]):
            last = a
    first = 1 if last == 0 else 0
    for a in range(count):
        if a != last and abs(g[a]) > abs(g[first]):
            first = a
    return first, last


@piece(_nrt=False)
def product_rule(s, count, first, last, z0, population):
    """`box` with Gauss-Legendre nodes for all magnitudes but two."""
    g, t, part, at = s.g, s.t, s.part, s.at
    nodes, node_weights = population.nodes, population.node_weights
    delta = gain = 0.0
    for a in range(count):
        at[a] = 0
    done = False
    while not done:
        z, target, weight = z0, 0.0, 1.0
        for a in range(count):
            if a != first and a != last:
                v = nodes[at[a]]
                z += g[a] * v
                target += t[a] * v
                weight *= node_weights[at[a]]
        p0, p1, p2, more = pair(z, g[first], g[last], target, t[first], t[last], True)
        if p0 != 0 or more != 0:
            delta += weight * p0
            gain += weight * more
            part[first] += weight * p1
            part[last] += weight * p2
            for a in range(count):
                if a != first and a != last:
                    part[a] += weight * p0 * nodes[at[a]]
        done = True
        for a in range(count):  # the next node, as an odometer counts
            if done and a != first and a != last:
                at[a] += 1
                done = at[a] == len(nodes)
                if done:
                    at[a] = 0
    return delta, gain


@piece(_nrt=False, forceinline=True)
def expect(i, w, population, s):
    """Fill the expectations of instance i, whose parameters `w` are flat float64."""
    n, m = population.n, population.m
    W_dec = w.W_dec if len(w.W_dec) else w.W
    for a in range(n):
        s.shift[a] = w.b[a] if len(w.b) else 0.0
        for k in range(len(w.b_hidden)):
            s.shift[a] += W_dec[a * m + k] * w.b_hidden[k]
        for j in range(n):
            s.G[a, j] = s.slope[a, j] = 0.0
            for k in range(m):
                s.G[a, j] += W_dec[a * m + k] * w.W[j * m + k]
        s.shift_slope[a] = s.gain[a] = 0.0
    for number in range(len(population.n_active)):
        probability = population.probability[population.law[i], number]
        if probability > 0:
            add_pattern(s, number, probability, population.high[i], population)


@piece(_nrt=False, forceinline=True)
def add_pattern(s, number, probability, high, population):
    """Add one pattern's part to the expectations."""
    # Elements, never views: a view of an array that threads share counts its references in a shared line.
    count, active, sign = population.n_active[number], population.active, population.sign
    relu, curved = population.relu, not population.constant
    if count == 0:
        for i in range(population.n):
            z = s.shift[i]
            if not (relu and z <= 0):
                s.shift_slope[i] += probability * z
                s.gain[i] += probability * z * z
    elif count == 1 and curved:
        j, unit = active[number, 0], high * sign[number, 0]
        for i in range(population.n):
            t = 0.0 if j != i else (high if population.absolute else unit)
            delta, part, gain = single(s.shift[i], s.G[i, j] * unit, t, relu)
            s.shift_slope[i] += probability * delta
            s.gain[i] += probability * gain
            s.slope[i, j] += probability * unit * part
    elif count == 2 and curved:
        j, unit = active[number, 0], high * sign[number, 0]
        k, other = active[number, 1], high * sign[number, 1]
        for i in range(population.n):
            t = 0.0 if j != i else (high if population.absolute else unit)
            u = 0.0 if k != i else (high if population.absolute else other)
            delta, part, rest, gain = pair(s.shift[i], s.G[i, j] * unit, s.G[i, k] * other, 0.0, t, u, relu)
            s.shift_slope[i] += probability * delta
            s.gain[i] += probability * gain
            s.slope[i, j] += probability * unit * part
            s.slope[i, k] += probability * other * rest
    else:
        add_box(s, number, probability, high, population)


@piece(_nrt=False)
def add_box(s, number, probability, high, population):
    """`add_pattern` for any number of features on."""
    count, active, sign = population.n_active[number], population.active, population.sign
    for i in range(population.n):
        for a in range(count):
            j, unit = active[number, a], high * sign[number, a]
            s.g[a] = s.G[i, j] * unit
            s.t[a] = 0.0 if j != i else (high if population.absolute else unit)
        delta, gain = box(s, count, s.shift[i], population)
        s.shift_slope[i] += probability * delta
        s.gain[i] += probability * gain
        for a in range(count):
            s.slope[i, active[number, a]] += probability * high * sign[number, a] * s.part[a]


@piece(_nrt=False, forceinline=True)
def to_parameters(s, w, scale, population, slopes):
    """The objective's gradient in the parameters; scale (n,): 2 I_i, over n where the loss is a mean."""
    n, m = population.n, population.m
    for k in range(len(slopes.b_hidden)):
        slopes.b_hidden[k] = 0.0
    for j in range(len(slopes.W)):
        slopes.W[j] = 0.0
    untied = len(w.W_dec) > 0
    W_dec = w.W_dec if untied else w.W
    for i in range(n):
        own = scale[i] * s.shift_slope[i]
        if len(w.b):
            slopes.b[i] = own
        for k in range(m):
            total, decoder = 0.0, W_dec[i * m + k]
            if len(w.b_hidden):
                slopes.b_hidden[k] += own * decoder
                total = own * w.b_hidden[k]
            for j in range(n):
                slope = scale[i] * s.slope[i, j]
                total += slope * w.W[j * m + k]
                slopes.W[j * m + k] += slope * decoder
            if untied:
                slopes.W_dec[i * m + k] = total
            else:
                slopes.W[i * m + k] += total


@piece(_nrt=False, forceinline=True)
def copy(target, source):
    """Copy one parameter, converting its type."""
    for j in range(len(source)):
        target[j] = source[j]


@piece(_nrt=False, forceinline=True)
def copy_all(target, source):
    """Copy the parameters of one instance, or their gradient, converting their type."""
    copy(target.W, source.W)
    copy(target.W_dec, source.W_dec)
    copy(target.b, source.b)
    copy(target.b_hidden, source.b_hidden)


@piece()
def doubles_like(weights):
    """float64 room for the parameters of one instance."""
    return Weights(
        np.empty(weights.W.shape[1]),
        np.empty(weights.W_dec.shape[1]),
        np.empty(weights.b.shape[1]),
        np.empty(weights.b_hidden.shape[1]),
    )


@piece(inline="always")
def train_one(i, population, scale, t, s, slopes, exact, exact_slopes, debiased, betas):
    """All updates of instance i by the expected gradient, on the scratch of a thread."""
    w, first, second = of_instance(t.weights, i), of_instance(t.first, i), of_instance(t.second, i)
    W = place(w.W, slopes.W, first.W, second.W)
    W_dec = place(w.W_dec, slopes.W_dec, first.W_dec, second.W_dec)
    b = place(w.b, slopes.b, first.b, second.b)
    b_hidden = place(w.b_hidden, slopes.b_hidden, first.b_hidden, second.b_hidden)
    hyper, factors, start, failed = hyper_of(t, i), t.factors, t.start, t.failed[i]
    table = debiased_of(t, hyper, debiased, betas)
    for at in range(len(factors)):
        expected_slopes(i, population, scale, s, w, slopes, exact, exact_slopes)
        c = coefficients_of(hyper, factors[at], (table[at, 0], table[at, 1]))
        update_at(W, c, hyper.optimizer)
        update_at(W_dec, c, hyper.optimizer)
        update_at(b, c, hyper.optimizer)
        update_at(b_hidden, c, hyper.optimizer)
        if failed < 0 and not is_finite_at(W.weight, W.size):
            failed = start + at
    t.failed[i] = failed


@piece(_nrt=False, forceinline=True)
def expected_slopes(i, population, scale, s, w, slopes, exact, exact_slopes):
    """The expected gradient of instance i, computed in float64."""
    copy_all(exact, w)
    expect(i, exact, population, s)
    to_parameters(s, exact, scale, population, exact_slopes)
    copy_all(slopes, exact_slopes)


@compiled(nogil=True)
def train_population(begin, end, population, scale, t):
    """All updates of instances begin .. end - 1 by the expected gradient, in place; `t`: Training."""
    s, slopes = new_expected(population), new_slopes(t.weights)
    exact, exact_slopes = doubles_like(t.weights), doubles_like(t.weights)
    debiased, betas = new_debiased(t)
    for i in range(begin, end):
        train_one(i, population, scale[i], t, s, slopes, exact, exact_slopes, debiased, betas)


@compiled(nogil=True)
def measure_population(begin, end, population, scale, weights, gain, gradient):
    """The gain (I, n) and the objective's gradient of instances begin .. end - 1; all in float64."""
    s = new_expected(population)
    for i in range(begin, end):
        w = of_instance(weights, i)
        expect(i, w, population, s)
        to_parameters(s, w, scale[i], population, of_instance(gradient, i))
        gain[i] = s.gain
