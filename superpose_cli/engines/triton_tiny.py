# type: ignore  # Triton compiles this: its names and operators are not those that a checker knows
"""Small models on a GPU: a warp trains one instance, every number of it in the warp's registers.

In a step every lane has all weights and its own sums of the gradient, numbers that are tuples of
(INSTANCES, LANES) tensors, and draws four rows at a time. Then the lanes share out the parameters, lane q of
chunk c parameter c * LANES + q: each adds up the sums of its own and updates them, beside the moments that it
alone keeps. One layout throughout: what lanes exchange are shuffles. Only the last weights and moments are
written to memory.
"""
# ruff: noqa: RUF005 (Triton knows no starred tuples)

import triton
import triton.language as tl

from superpose_cli.engines.triton_sampling import (
    BLOCK_ROWS,
    COUNTERS,
    draw_four,
    limits_of,
    read,
    round_keys,
    row_of,
    spread,
)
from superpose_cli.engines.triton_updates import coefficients, rates_of, updated

INSTANCES = 4
"""Instances of a program, and its warps."""
LANES = 32
"""Counters that an instance draws at a time: those of a row block, one a thread of its warp."""


@triton.jit
def own_place(i, lane, chunk: tl.constexpr, size: tl.constexpr, mask, LANES: tl.constexpr):
    """Where the lanes' own parameters of a chunk lie, and which exist."""
    own = lane + chunk * LANES
    return i[:, None] * size + own, mask[:, None] & (own < size)


@triton.jit
def loaded(pointer, i, lane, size: tl.constexpr, mask, LANES: tl.constexpr):
    """The lanes' own parameters: a tensor for each chunk."""
    found = ()
    for chunk in tl.static_range((size + LANES - 1) // LANES):
        place, inside = own_place(i, lane, chunk, size, mask, LANES)
        found = found + (tl.load(pointer + place, mask=inside, other=0.0),)
    return found


@triton.jit
def store(pointer, i, lane, values, size: tl.constexpr, mask, LANES: tl.constexpr):
    """The inverse of `loaded`."""
    for chunk in tl.static_range((size + LANES - 1) // LANES):
        place, inside = own_place(i, lane, chunk, size, mask, LANES)
        tl.store(pointer + place, values[chunk], mask=inside)


@triton.jit
def in_all_lanes(own, lane, size: tl.constexpr, LANES: tl.constexpr):
    """Every parameter in all lanes: a tuple of `size`."""
    found = ()
    for p in tl.static_range(size):
        found = found + (tl.gather(own[p // LANES], 0 * lane + p % LANES, axis=1),)
    return found


@triton.jit
def halved(values, lane, half: tl.constexpr):
    """Sums of lanes `half` apart: the one has those of the first `half` values, the other those of the rest.

    Where a value has no counterpart both have its sum.
    """
    found = ()
    for q in tl.static_range(min(len(values), half)):
        value, given = values[q], values[q]
        if q + half < len(values):
            upper = (lane & half) != 0
            value = tl.where(upper, values[q + half], values[q])
            given = tl.where(upper, values[q], values[q + half])
        found = found + (value + tl.gather(given, lane ^ half, axis=1),)
    return found


@triton.jit
def sum_for_owner(values, lane, LANES: tl.constexpr):
    """Lane q: value q, of at most LANES, summed over all lanes; a lane without a value has any sum."""
    for turn in tl.static_range(6):  # LANES is 64 in the interpreter
        if LANES >> turn > 1:
            values = halved(values, lane, LANES >> (turn + 1))
    return values[0]


@triton.jit
def zeros(like, size: tl.constexpr):
    """A tuple of `size` tensors of 0."""
    found = ()
    for _ in tl.static_range(size):
        found = found + (tl.zeros(like.shape, tl.float32),)
    return found


@triton.jit
def hidden(x, w: tl.constexpr, weight, spec: tl.constexpr):
    """h of row w, a tuple."""
    n: tl.constexpr = spec.n
    m: tl.constexpr = spec.m
    found = ()
    for k in tl.static_range(m):
        total = x[w] * weight[k]
        for j in tl.static_range(1, n):
            total = tl.fma(x[4 * j + w], weight[j * spec.m + k], total)
        if spec.hidden_bias:
            total += weight[spec.b_hidden + k]
        if spec.hidden_relu:
            total = tl.where(total <= 0, 0.0, total)
        found = found + (total,)
    return found


@triton.jit
def residuals(x, w: tl.constexpr, h, weight, scale, valid, spec: tl.constexpr):
    """dy of row w, a tuple: scale * (y - target), 0 where the output's ReLU cuts. NaN stays NaN."""
    n: tl.constexpr = spec.n
    m: tl.constexpr = spec.m
    found = ()
    for j in tl.static_range(n):
        y = h[0] * weight[spec.dec + j * spec.m]
        for k in tl.static_range(1, m):
            y = tl.fma(h[k], weight[spec.dec + j * spec.m + k], y)
        if spec.bias:
            y += weight[spec.b + j]
        target = tl.abs(x[4 * j + w]) if spec.absolute else x[4 * j + w]
        slope = (y - target) * scale[j]
        if spec.output_relu:
            slope = tl.where(y <= 0, 0.0, slope)
        if spec.ragged:
            slope = tl.where(valid, slope, 0.0)
        found = found + (slope,)
    return found


@triton.jit
def hidden_slopes(dy, h, weight, l1, valid, spec: tl.constexpr):
    """dh of a row, a tuple."""
    n: tl.constexpr = spec.n
    m: tl.constexpr = spec.m
    found = ()
    for k in tl.static_range(m):
        total = dy[0] * weight[spec.dec + k]
        for j in tl.static_range(1, n):
            total = tl.fma(dy[j], weight[spec.dec + j * spec.m + k], total)
        if spec.l1:
            total += tl.where(h[k] > 0, l1, 0.0) - tl.where(h[k] < 0, l1, 0.0)
        if spec.hidden_relu:
            total = tl.where(h[k] <= 0, 0.0, total)
        if spec.ragged:
            total = tl.where(valid, total, 0.0)
        found = found + (total,)
    return found


@triton.jit
def added(slopes, x, w: tl.constexpr, h, dy, dh, spec: tl.constexpr):
    """The sums of the gradient with row w added."""
    weights: tl.constexpr = spec.n * spec.m
    n: tl.constexpr = spec.n
    m: tl.constexpr = spec.m
    found = ()
    for p in tl.static_range(weights):
        total = tl.fma(x[4 * (p // spec.m) + w], dh[p % spec.m], slopes[p])
        if spec.tied:
            total = tl.fma(dy[p // spec.m], h[p % spec.m], total)
        found = found + (total,)
    if not spec.tied:
        for p in tl.static_range(weights):
            found = found + (tl.fma(dy[p // spec.m], h[p % spec.m], slopes[spec.dec + p]),)
    if spec.bias:
        for j in tl.static_range(n):
            found = found + (slopes[spec.b + j] + dy[j],)
    if spec.hidden_bias:
        for k in tl.static_range(m):
            found = found + (slopes[spec.b_hidden + k] + dh[k],)
    return found


@triton.jit
def shared_numbers(rows, hyper, i, n_rows, mask, spec: tl.constexpr):
    """(set_scale, last_coin, table, l1) of each instance (I,), or 0 where nobody asks.

    For every access to memory Triton walks through the whole kernel.
    """
    none = i * 0
    in_sets: tl.constexpr = spec.set_size > 0 or spec.law == "exactly_k"
    return (
        tl.load(rows.set_scale + i, mask=mask, other=0.0) if in_sets else none,
        tl.load(rows.last_coin + i, mask=mask, other=0) if spec.law == "correlated" else none,
        rows.table + tl.load(rows.table_of + i, mask=mask, other=0) * n_rows * spec.n
        if spec.law == "table"
        else none,
        tl.load(hyper.l1 + i, mask=mask, other=0.0) if spec.l1 else none,
    )


@triton.jit
def gradient(
    rows,
    limits,
    keys,
    others,
    scale,
    weight,
    step,
    n_batch,
    n_rows,
    lane,
    spec: tl.constexpr,
    LANES: tl.constexpr,
):
    """Each lane's sums of the gradient, over its rows of a step."""
    set_scale, last_coin, table, l1 = others[0], others[1], others[2], others[3]
    slopes = zeros(lane, spec.size)
    for first in range(0, (n_batch + BLOCK_ROWS - 1) // BLOCK_ROWS * COUNTERS, LANES):
        x = draw_four(
            rows, spec, limits, keys, set_scale, last_coin, table, step, first, n_batch, n_rows, lane
        )
        for w in tl.static_range(4):
            valid = row_of(lane + first, w) < n_batch
            h = hidden(x, w, weight, spec)
            dy = residuals(x, w, h, weight, scale, valid, spec)
            dh = hidden_slopes(dy, h, weight, l1, valid, spec)
            slopes = added(slopes, x, w, h, dy, dh, spec)
    return slopes


@triton.jit(do_not_specialize=["count", "start", "n_steps", "n_batch", "n_rows"])
def train_tiny(
    rows,
    trained,
    hyper,
    count,
    start,
    n_steps,
    n_batch,
    n_rows,
    spec: tl.constexpr,
    INSTANCES: tl.constexpr,
    LANES: tl.constexpr,
):
    """Updates start .. start + n_steps - 1 of instances 0 .. count - 1."""
    size: tl.constexpr = spec.size
    n: tl.constexpr = spec.n
    shape: tl.constexpr = [INSTANCES, LANES]
    i = tl.program_id(0).to(tl.int64) * INSTANCES + tl.arange(0, INSTANCES)
    mask = i < count
    lane = tl.broadcast_to(tl.arange(0, LANES)[None, :], shape)
    keys = spread(round_keys(rows, i, mask), 14, shape)
    limits = limits_of(rows, spec, i, mask, shape)
    others = spread(shared_numbers(rows, hyper, i, n_rows, mask, spec), 4, shape)
    scale = read(hyper.scale, i, n, mask, shape)
    rates = rates_of(hyper, i, mask)
    constants = spread(rates, 3, shape) + read(hyper.numbers, i, 6, mask, shape)
    own = loaded(trained.weight, i, lane, size, mask, LANES)
    first = loaded(trained.first, i, lane, size, mask, LANES)
    second = loaded(trained.second, i, lane, size, mask, LANES)
    failed = tl.broadcast_to(tl.load(trained.failed + i, mask=mask, other=0)[:, None], shape)
    for at in range(n_steps):
        weight = in_all_lanes(own, lane, size, LANES)
        slopes = gradient(
            rows, limits, keys, others, scale, weight, start + at, n_batch, n_rows, lane, spec, LANES
        )
        c = spread(coefficients(hyper, rates, spec.optimizer, at, n_steps, mask), 5, shape)
        new_own, new_first, new_second = (), (), ()
        wild = tl.zeros(shape, tl.float32)
        for chunk in tl.static_range((size + LANES - 1) // LANES):
            slope = sum_for_owner(slopes[chunk * LANES : (chunk + 1) * LANES], lane, LANES)
            now = updated(own[chunk], slope, first[chunk], second[chunk], c, constants, spec.optimizer)
            new_own, new_first = new_own + (now[0],), new_first + (now[1],)
            new_second = new_second + (now[2],)
            # 0 times an infinity or NaN is NaN; and what is added to NaN stays so.
            wild += tl.where(lane + chunk * LANES < size, now[0] * 0, 0.0)
        own, first, second = new_own, new_first, new_second
        failed = tl.where((failed < 0) & (wild != 0), (start + at).to(tl.int64), failed)
    store(trained.weight, i, lane, own, size, mask, LANES)
    store(trained.first, i, lane, first, size, mask, LANES)
    store(trained.second, i, lane, second, size, mask, LANES)
    earliest = tl.min(failed.to(tl.uint64, bitcast=True), axis=1)  # of the lanes; -1 is the largest
    tl.store(trained.failed + i, earliest.to(tl.int64, bitcast=True), mask=mask)
