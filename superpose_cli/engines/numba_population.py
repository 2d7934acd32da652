"""The expected loss and its gradient, exactly where that is possible, for linear hidden layers.

y_i = act(z_i) with z_i = shift_i + sum_j G_ij x_j, G = W_dec W^T. Given which features are on, and their
signs, z_i is linear in the magnitudes v, each uniform on (0, high] (or constant). A ReLU splits their box
along one plane. With one or two features on the integral is taken exactly, piece by piece; with more it is so
along the two that z_i changes most with, and the others go through Gauss-Legendre nodes.

Instances go through in blocks of LANES, side by side; see `numba_integrals`.

For each output the kernels return averages over the box of delta = z - t where z > 0 (all of the box for an
identity output), of delta v_a, and of (z - t)^2 - t^2 there: half the gradient, and the loss less E t^2.
"""

from typing import NamedTuple

import numpy as np

from superpose_cli.engines.compiling import piece
from superpose_cli.engines.lanes import LANES, address
from superpose_cli.engines.numba_integrals import add_pair, add_single, pair


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


class Block(NamedTuple):
    """Expectations of LANES instances at once, and the room that computing them takes: float64, of shape
    (..., LANES) where an instance has its own."""

    G: np.ndarray
    """(n n, LANES)."""
    shift: np.ndarray
    """(n, LANES): z where nothing is on."""
    slope: np.ndarray
    """(n n, LANES): E delta_i x_j."""
    shift_slope: np.ndarray
    """(n, LANES): E delta_i."""
    gain: np.ndarray
    """(n, LANES): E [(y_i - t_i)^2 - t_i^2]."""
    probability: np.ndarray
    """(P, LANES)."""
    largest: np.ndarray
    """(3, LANES): values of features: 0, `high` and -`high`."""
    g: np.ndarray
    """(most,): of one instance, of z in each magnitude that is on."""
    t: np.ndarray
    """(most,): of the target likewise."""
    part: np.ndarray
    """(most,): averages of delta v_a."""
    at: np.ndarray
    """int64 (most,): the node of each outer magnitude."""


@piece()
def lanes_of(size):
    """float64 room for so many numbers of each instance of a block."""
    return np.empty((size, LANES))


@piece()
def new_block(population):
    """Room for a block of instances."""
    n, most = population.n, population.active.shape[1]
    return Block(
        lanes_of(n * n), lanes_of(n), lanes_of(n * n), lanes_of(n), lanes_of(n),
        lanes_of(len(population.n_active)), lanes_of(3),
        np.empty(most), np.empty(most), np.empty(most), np.empty(most, np.int64),
    )  # fmt: skip


@piece(_nrt=False)
def open_block(s, begin, end, population):
    """Take the laws of instances begin, begin + 1, ...; in lanes from `end` on nothing ever happens."""
    for lane in range(LANES):
        i = min(begin + lane, end - 1)
        s.largest[0, lane], s.largest[1, lane] = 0.0, population.high[i]
        s.largest[2, lane] = -population.high[i]
        for number in range(len(s.probability)):
            here = population.probability[population.law[i], number]
            s.probability[number, lane] = here if begin + lane < end else 0.0


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


@piece(_nrt=False)
def expect(w, population, s):
    """Fill the expectations of a block, whose parameters `w` are (size, LANES)."""
    n, m = population.n, population.m
    W_dec = w.W_dec if len(w.W_dec) else w.W
    for a in range(n):
        for lane in range(LANES):
            s.shift[a, lane] = w.b[a, lane] if len(w.b) else 0.0
            s.shift_slope[a, lane] = s.gain[a, lane] = 0.0
        for k in range(len(w.b_hidden)):
            for lane in range(LANES):
                s.shift[a, lane] += W_dec[a * m + k, lane] * w.b_hidden[k, lane]
        for j in range(n):
            for lane in range(LANES):
                s.G[a * n + j, lane] = s.slope[a * n + j, lane] = 0.0
            for k in range(m):
                for lane in range(LANES):
                    s.G[a * n + j, lane] += W_dec[a * m + k, lane] * w.W[j * m + k, lane]
    for number in range(len(population.n_active)):
        possible = False
        for lane in range(LANES):
            possible |= s.probability[number, lane] > 0
        if possible:
            add_pattern(s, number, population)


@piece(_nrt=False)
def add_pattern(s, number, population):
    """Add one pattern's part to the expectations."""
    # Elements, never views: a view of an array that threads share counts its references in a shared line.
    count, n = population.n_active[number], population.n
    if count == 0:
        add_nothing(s, number, population)
    elif count > 2 or population.constant:
        for lane in range(LANES):
            if s.probability[number, lane] > 0:
                add_box(s, number, lane, population)
    else:
        row = 8 * LANES
        G, shift, slope = address(s.G), address(s.shift), address(s.slope)
        shift_slope, gain, largest = address(s.shift_slope), address(s.gain), address(s.largest)
        probability = address(s.probability) + number * row
        j, k = population.active[number, 0], population.active[number, count - 1]
        unit = largest + value_of(population.sign[number, 0]) * row
        other = largest + value_of(population.sign[number, count - 1]) * row
        for i in range(n):
            t = largest + (0 if j != i else (row if population.absolute else unit - largest))
            u = largest + (0 if k != i else (row if population.absolute else other - largest))
            at, at_j, at_k = i * row, (i * n + j) * row, (i * n + k) * row
            if count == 1:
                add_single(
                    shift + at, G + at_j, unit, t, probability, population.relu,
                    shift_slope + at, slope + at_j, gain + at,
                )  # fmt: skip
            else:
                add_pair(
                    shift + at, G + at_j, G + at_k, unit, other, t, u, probability, population.relu,
                    shift_slope + at, slope + at_j, slope + at_k, gain + at,
                )  # fmt: skip


@piece(_nrt=False, forceinline=True)
def value_of(sign):
    """The row of `Block.largest` with a feature's largest value."""
    return 1 if sign > 0 else 2


@piece(_nrt=False)
def add_nothing(s, number, population):
    """`add_pattern` where nothing is on."""
    for i in range(population.n):
        for lane in range(LANES):
            z = s.shift[i, lane]
            z = 0.0 if population.relu and z <= 0 else z
            s.shift_slope[i, lane] += s.probability[number, lane] * z
            s.gain[i, lane] += s.probability[number, lane] * z * z


@piece(_nrt=False)
def add_box(s, number, lane, population):
    """`add_pattern` of one instance for any number of features on."""
    n, count, active, sign = population.n, population.n_active[number], population.active, population.sign
    probability, high = s.probability[number, lane], s.largest[1, lane]
    for i in range(n):
        for a in range(count):
            j, unit = active[number, a], high * sign[number, a]
            s.g[a] = s.G[i * n + j, lane] * unit
            s.t[a] = 0.0 if j != i else (high if population.absolute else unit)
        delta, gain = box(s, count, s.shift[i, lane], population)
        s.shift_slope[i, lane] += probability * delta
        s.gain[i, lane] += probability * gain
        for a in range(count):
            s.slope[i * n + active[number, a], lane] += probability * high * sign[number, a] * s.part[a]


@piece(_nrt=False)
def to_parameters(s, w, scale, population, slopes):
    """The objective's gradient in a block's parameters; scale (n, LANES): 2 I_i, over n where the loss is a
    mean."""
    n, m = population.n, population.m
    clear_lanes(slopes.b_hidden)
    clear_lanes(slopes.W)
    clear_lanes(slopes.W_dec)
    untied = len(w.W_dec) > 0
    W_dec = w.W_dec if untied else w.W
    of_decoder = slopes.W_dec if untied else slopes.W
    for i in range(n):
        for lane in range(LANES):
            s.shift_slope[i, lane] *= scale[i, lane]
        if len(w.b):
            for lane in range(LANES):
                slopes.b[i, lane] = s.shift_slope[i, lane]
        for k in range(len(w.b_hidden)):
            for lane in range(LANES):
                own = s.shift_slope[i, lane]
                slopes.b_hidden[k, lane] += own * W_dec[i * m + k, lane]
                of_decoder[i * m + k, lane] += own * w.b_hidden[k, lane]
        for j in range(n):
            for k in range(m):
                for lane in range(LANES):
                    slope = scale[i, lane] * s.slope[i * n + j, lane]
                    of_decoder[i * m + k, lane] += slope * w.W[j * m + k, lane]
                    slopes.W[j * m + k, lane] += slope * W_dec[i * m + k, lane]


@piece(_nrt=False)
def clear_lanes(values):
    """Set the numbers of a block to 0."""
    for row in range(len(values)):
        for lane in range(LANES):
            values[row, lane] = 0.0
