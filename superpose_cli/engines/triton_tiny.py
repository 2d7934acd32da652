# type: ignore  # Triton compiles this: its names and operators are not those that a checker knows
"""Tiny models on a GPU: a warp trains one instance, every weight a number in its registers.

A lane draws four rows at a time and keeps its own sums of the gradient; lanes meet once a step. Weights and
moments are the same in all lanes of a warp: tuples of (INSTANCES, LANES) tensors, one layout throughout, so
that nothing is exchanged but the sums. Only the last weights and moments are written to memory.
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
def write(pointer, i, size: tl.constexpr, values, mask, lane):
    """Store what `read` gives, in one piece as well."""
    WIDTH: tl.constexpr = triton.next_power_of_2(size)
    column = tl.arange(0, WIDTH)[None, :]
    piece = (i[:, None] + column).to(tl.float32) * 0
    for p in tl.static_range(size):
        once = tl.sum(tl.where(lane == 0, values[p], 0.0), axis=1)
        piece = tl.where(column == p, once[:, None], piece)
    tl.store(pointer + i[:, None] * size + column, piece, mask=mask[:, None] & (column < size))


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
            total += x[4 * j + w] * weight[j * spec.m + k]
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
            y += h[k] * weight[spec.dec + j * spec.m + k]
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
            total += dy[j] * weight[spec.dec + j * spec.m + k]
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
        total = slopes[p] + x[4 * (p // spec.m) + w] * dh[p % spec.m]
        if spec.tied:
            total += dy[p // spec.m] * h[p % spec.m]
        found = found + (total,)
    if not spec.tied:
        for p in tl.static_range(weights):
            found = found + (slopes[spec.dec + p] + dy[p // spec.m] * h[p % spec.m],)
    if spec.bias:
        for j in tl.static_range(n):
            found = found + (slopes[spec.b + j] + dy[j],)
    if spec.hidden_bias:
        for k in tl.static_range(m):
            found = found + (slopes[spec.b_hidden + k] + dh[k],)
    return found


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
    others = (
        tl.load(rows.set_scale + i, mask=mask, other=0.0),
        tl.load(rows.last_coin + i, mask=mask, other=0),
        rows.table + tl.load(rows.table_of + i, mask=mask, other=0) * n_rows * spec.n,
        tl.load(hyper.l1 + i, mask=mask, other=0.0),
    )
    set_scale, last_coin, table, l1 = spread(others, 4, shape)
    scale = read(hyper.scale, i, n, mask, shape)
    rates = rates_of(hyper, i, mask)
    constants = spread(rates, 3, shape) + read(hyper.numbers, i, 6, mask, shape)
    weight = read(trained.weight, i, size, mask, shape)
    first = read(trained.first, i, size, mask, shape)
    second = read(trained.second, i, size, mask, shape)
    failed = tl.broadcast_to(tl.load(trained.failed + i, mask=mask, other=0)[:, None], shape)
    for at in range(n_steps):
        slopes = zeros(lane, size)
        for first_counter in range(0, (n_batch + BLOCK_ROWS - 1) // BLOCK_ROWS * COUNTERS, LANES):
            x = draw_four(
                rows,
                spec,
                limits,
                keys,
                set_scale,
                last_coin,
                table,
                start + at,
                first_counter,
                n_batch,
                n_rows,
                lane,
            )
            for w in tl.static_range(4):
                valid = row_of(lane + first_counter, w) < n_batch
                h = hidden(x, w, weight, spec)
                dy = residuals(x, w, h, weight, scale, valid, spec)
                dh = hidden_slopes(dy, h, weight, l1, valid, spec)
                slopes = added(slopes, x, w, h, dy, dh, spec)
        c = spread(coefficients(hyper, rates, spec.optimizer, at, n_steps, mask), 5, shape)
        new_weight, new_first, new_second = (), (), ()
        wild = tl.zeros(shape, tl.float32)
        for p in tl.static_range(size):
            # No lane is below 0: the sum in all lanes, in the layout of the weights. Broadcast it would have
            # another, and what it is added to would go through shared memory.
            slope = tl.where(lane < 0, slopes[p], tl.sum(slopes[p], axis=1, keep_dims=True))
            now = updated(weight[p], slope, first[p], second[p], c, constants, spec.optimizer)
            new_weight, new_first = new_weight + (now[0],), new_first + (now[1],)
            new_second = new_second + (now[2],)
            wild += now[0] * 0
        weight, first, second = new_weight, new_first, new_second
        # 0 times an infinity or NaN is NaN; and what is added to NaN stays so.
        failed = tl.where((failed < 0) & (wild != 0), (start + at).to(tl.int64), failed)
    write(trained.weight, i, size, weight, mask, lane)
    write(trained.first, i, size, first, mask, lane)
    write(trained.second, i, size, second, mask, lane)
    tl.store(trained.failed + i, tl.max(failed, axis=1), mask=mask)
