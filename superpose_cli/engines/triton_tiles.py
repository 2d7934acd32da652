# type: ignore  # Triton compiles this: its names and operators are not those that a checker knows
"""Wider models on a GPU: a program trains one instance, 128 rows and a tile of features at a time.

`train_panel` is for models whose features fit one tile: x is drawn once and stays in registers with the sums
of the gradient. `train_wide` goes over tiles of features three times for each row block (h; then dy and dh;
then x^T dh) and draws x anew each time, which costs less than to keep it: weights, moments and the gradient
of an instance stay in the caches, and nothing of size rows x features is ever stored.
"""

import triton
import triton.language as tl
from triton import knobs

from superpose_cli.engines.triton_sampling import BLOCK_ROWS, draw_tile, tile_rows
from superpose_cli.engines.triton_updates import coefficients, constants_of, update_place

INTERPRETED = tl.constexpr(knobs.runtime.interpret)
"""Whether Triton's interpreter runs the kernels of this process."""


@triton.jit
def matrix_place(base, first, spec: tl.constexpr, N: tl.constexpr, M: tl.constexpr):
    """Where rows first .. first + N - 1 of an (n, m) matrix at `base` lie, padded to (N, M); which exist."""
    feature, k = first + tl.arange(0, N)[:, None], tl.arange(0, M)[None, :]
    return base + feature.to(tl.int64) * spec.m + k, (feature < spec.n) & (k < spec.m)


@triton.jit
def feature_place(base, first, spec: tl.constexpr, N: tl.constexpr):
    """The same of a vector over features, as (1, N)."""
    feature = first + tl.arange(0, N)[None, :]
    return base + feature, feature < spec.n


@triton.jit
def hidden_place(base, spec: tl.constexpr, M: tl.constexpr):
    """The same of a vector over hidden dimensions, as (1, M)."""
    k = tl.arange(0, M)[None, :]
    return base + k, k < spec.m


@triton.jit
def in_tf32(values):
    """Rounded to nearest, to the bits that matrix units take of float32 in a product of TF32; NaN stays NaN.

    They cut off the last 13 bits, which would make every factor, and so gradients, too small.
    """
    bits = (values.to(tl.int32, bitcast=True) + 0x1000) & -0x2000
    return tl.where(values == values, bits.to(tl.float32, bitcast=True), values)


@triton.jit
def in_bf16(values):
    """In bfloat16, to nearest, ties to even. The interpreter has none: there the same numbers in float32."""
    if not INTERPRETED:
        return values.to(tl.bfloat16)
    else:
        bits = values.to(tl.int32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & -0x10000
        return tl.where(values == values, bits.to(tl.float32, bitcast=True), values)


@triton.jit
def product(a, b, total, precision: tl.constexpr):
    """a b in float32, added to `total` unless that is None."""
    if precision == "bf16":
        return tl.dot(in_bf16(a), in_bf16(b), total)
    elif precision == "tf32":
        return tl.dot(in_tf32(a), in_tf32(b), total, input_precision=precision)
    else:
        return tl.dot(a, b, total, input_precision=precision)


@triton.jit
def activated(h, weight, base, spec: tl.constexpr, M: tl.constexpr):
    """The hidden activations from h = x W."""
    if spec.hidden_bias:
        place, inside = hidden_place(base + spec.b_hidden, spec, M)
        h += tl.load(weight + place, mask=inside, other=0.0)
    if spec.hidden_relu:
        h = tl.where(h <= 0, 0.0, h)
    return h


@triton.jit
def target_of(x, spec: tl.constexpr):
    """x, or its magnitude."""
    return tl.abs(x) if spec.absolute else x


@triton.jit
def outputs(h, dec, weight, base, first, spec: tl.constexpr, precision: tl.constexpr, N: tl.constexpr):
    """h W_dec^T + b, before the activation."""
    y = product(h, tl.trans(dec), None, precision)
    if spec.bias:
        place, inside = feature_place(base + spec.b, first, spec, N)
        y += tl.load(weight + place, mask=inside, other=0.0)
    return y


@triton.jit
def residuals(x, y, scale, valid, spec: tl.constexpr):
    """dy = scale * (act(y) - target), 0 where the ReLU cuts and in rows that are not. NaN stays NaN."""
    slope = (y - target_of(x, spec)) * scale
    if spec.output_relu:
        slope = tl.where(y <= 0, 0.0, slope)
    return tl.where(valid, slope, 0.0)


@triton.jit
def hidden_slopes(dh, h, l1, valid, spec: tl.constexpr):
    """dh from dy W_dec."""
    if spec.l1:
        dh += tl.where(h > 0, l1, 0.0) - tl.where(h < 0, l1, 0.0)
    if spec.hidden_relu:
        dh = tl.where(h <= 0, 0.0, dh)
    return tl.where(valid, dh, 0.0)


@triton.jit
def add_to(pointer, mask, value, fresh):
    """Add `value` to what lies at `pointer`, or to 0 where `fresh`."""
    tl.store(pointer, tl.load(pointer, mask=mask & (fresh == 0), other=0.0) + value, mask=mask)


@triton.jit
def wild_sum(values):
    """0, or NaN where a value of the matrix is none that is finite: 0 times an infinity or NaN is NaN."""
    return tl.sum(tl.sum(values * 0, axis=1), axis=0)


@triton.jit(do_not_specialize=["start", "n_steps", "n_batch", "n_rows"])
def train_panel(
    rows,
    trained,
    hyper,
    start,
    n_steps,
    n_batch,
    n_rows,
    spec: tl.constexpr,
    N: tl.constexpr,
    M: tl.constexpr,
):
    """Updates start .. start + n_steps - 1 of an instance with at most N features."""
    i = tl.program_id(0).to(tl.int64)
    base = i * spec.size
    W_place, W_inside = matrix_place(base, 0, spec, N, M)
    dec_place = W_place + spec.dec
    b_place, b_inside = feature_place(base + spec.b, 0, spec, N)
    h_place, h_inside = hidden_place(base + spec.b_hidden, spec, M)
    W = tl.load(trained.weight + W_place, mask=W_inside, other=0.0)
    dec = W if spec.tied else tl.load(trained.weight + dec_place, mask=W_inside, other=0.0)
    scale_place, _ = feature_place(i * spec.n, 0, spec, N)
    scale = tl.load(hyper.scale + scale_place, mask=b_inside, other=0.0)
    l1 = tl.load(hyper.l1 + i)
    constants = constants_of(hyper, i, True)
    failed = tl.load(trained.failed + i)
    for at in range(n_steps):
        W_slope, dec_slope = tl.zeros([N, M], tl.float32), tl.zeros([N, M], tl.float32)
        b_slope, h_slope = tl.zeros([1, N], tl.float32), tl.zeros([1, M], tl.float32)
        for block in range((n_batch + BLOCK_ROWS - 1) // BLOCK_ROWS):
            valid = tile_rows(block) < n_batch
            x = draw_tile(rows, spec, i, start + at, block, 0, n_batch, n_rows, N)
            h = activated(product(x, W, None, spec.precision), trained.weight, base, spec, M)
            y = outputs(h, dec, trained.weight, base, 0, spec, spec.precision, N)
            dy = residuals(x, y, scale, valid, spec)
            dh = hidden_slopes(product(dy, dec, None, spec.precision), h, l1, valid, spec)
            W_slope = product(tl.trans(x), dh, W_slope, spec.precision)
            if spec.tied:
                W_slope = product(tl.trans(dy), h, W_slope, spec.precision)
            else:
                dec_slope = product(tl.trans(dy), h, dec_slope, spec.precision)
            if spec.bias:
                b_slope += tl.sum(dy, axis=0)[None, :]
            if spec.hidden_bias:
                h_slope += tl.sum(dh, axis=0)[None, :]
        c = coefficients(hyper, constants, spec.optimizer, at, n_steps, True)
        tl.debug_barrier()  # biases have been read by all
        wild = wild_sum(update_place(trained, W_place, W_inside, W_slope, c, constants, spec.optimizer))
        if not spec.tied:
            dec = update_place(trained, dec_place, W_inside, dec_slope, c, constants, spec.optimizer)
            wild += wild_sum(dec)
        if spec.bias:
            b = update_place(trained, b_place, b_inside, b_slope, c, constants, spec.optimizer)
            wild += wild_sum(b)
        if spec.hidden_bias:
            b_hidden = update_place(trained, h_place, h_inside, h_slope, c, constants, spec.optimizer)
            wild += wild_sum(b_hidden)
        failed = tl.where((failed < 0) & (wild != 0), (start + at).to(tl.int64), failed)
        tl.debug_barrier()
        # Read again: kept in registers they would be computed a second time, for the threads that need them
        # next, with other roundings than what is stored.
        W = tl.load(trained.weight + W_place, mask=W_inside, other=0.0)
        dec = W if spec.tied else tl.load(trained.weight + dec_place, mask=W_inside, other=0.0)
    tl.store(trained.failed + i, failed)


@triton.jit
def hidden_of_tiles(
    rows,
    weight,
    i,
    step,
    block,
    n_batch,
    n_rows,
    spec: tl.constexpr,
    precision: tl.constexpr,
    N: tl.constexpr,
    M: tl.constexpr,
    TILES: tl.constexpr,
):
    """h (128, M) of a row block, over all tiles of features."""
    base = i * spec.size
    h = tl.zeros([BLOCK_ROWS, M], tl.float32)
    for tile in range(TILES):
        x = draw_tile(rows, spec, i, step, block, tile * N, n_batch, n_rows, N)
        place, inside = matrix_place(base, tile * N, spec, N, M)
        h = product(x, tl.load(weight + place, mask=inside, other=0.0), h, precision)
    return activated(h, weight, base, spec, M)


@triton.jit
def add_slopes(
    rows,
    trained,
    hyper,
    i,
    step,
    block,
    n_batch,
    n_rows,
    spec: tl.constexpr,
    N: tl.constexpr,
    M: tl.constexpr,
    TILES: tl.constexpr,
):
    """Add a row block's gradient to `trained.slope`, which the first block overwrites."""
    base, fresh = i * spec.size, block == 0
    valid = tile_rows(block) < n_batch
    h = hidden_of_tiles(
        rows, trained.weight, i, step, block, n_batch, n_rows, spec, spec.precision, N, M, TILES
    )
    dh = tl.zeros([BLOCK_ROWS, M], tl.float32)
    for tile in range(TILES):
        first = tile * N
        x = draw_tile(rows, spec, i, step, block, first, n_batch, n_rows, N)
        place, inside = matrix_place(base + spec.dec, first, spec, N, M)
        dec = tl.load(trained.weight + place, mask=inside, other=0.0)
        y = outputs(h, dec, trained.weight, base, first, spec, spec.precision, N)
        scale_place, has = feature_place(i * spec.n, first, spec, N)
        scale = tl.load(hyper.scale + scale_place, mask=has, other=0.0)
        dy = residuals(x, y, scale, valid, spec)
        dh = product(dy, dec, dh, spec.precision)
        slope = product(tl.trans(dy), h, None, spec.precision)
        add_to(trained.slope + place, inside, slope, fresh)
        if spec.bias:
            b_place, _ = feature_place(base + spec.b, first, spec, N)
            add_to(trained.slope + b_place, has, tl.sum(dy, axis=0)[None, :], fresh)
    dh = hidden_slopes(dh, h, tl.load(hyper.l1 + i), valid, spec)
    if spec.hidden_bias:
        h_place, h_inside = hidden_place(base + spec.b_hidden, spec, M)
        add_to(trained.slope + h_place, h_inside, tl.sum(dh, axis=0)[None, :], fresh)
    tl.debug_barrier()  # in tied models the next sums join those above
    for tile in range(TILES):
        x = draw_tile(rows, spec, i, step, block, tile * N, n_batch, n_rows, N)
        place, inside = matrix_place(base, tile * N, spec, N, M)
        slope = product(tl.trans(x), dh, None, spec.precision)
        add_to(trained.slope + place, inside, slope, fresh & (not spec.tied))
    tl.debug_barrier()


@triton.jit
def update_from_slope(trained, place, mask, c, constants, optimizer: tl.constexpr):
    """`update_place` with the gradient in `trained.slope`."""
    slope = tl.load(trained.slope + place, mask=mask, other=0.0)
    return update_place(trained, place, mask, slope, c, constants, optimizer)


@triton.jit(do_not_specialize=["start", "n_steps", "n_batch", "n_rows"])
def train_wide(
    rows,
    trained,
    hyper,
    start,
    n_steps,
    n_batch,
    n_rows,
    spec: tl.constexpr,
    N: tl.constexpr,
    M: tl.constexpr,
    TILES: tl.constexpr,
):
    """Updates start .. start + n_steps - 1 of an instance with at most N * TILES features."""
    i = tl.program_id(0).to(tl.int64)
    base = i * spec.size
    constants = constants_of(hyper, i, True)
    failed = tl.load(trained.failed + i)
    for at in range(n_steps):
        for block in range((n_batch + BLOCK_ROWS - 1) // BLOCK_ROWS):
            add_slopes(rows, trained, hyper, i, start + at, block, n_batch, n_rows, spec, N, M, TILES)
        c = coefficients(hyper, constants, spec.optimizer, at, n_steps, True)
        wild, wild_b = tl.zeros([N, M], tl.float32), tl.zeros([1, N], tl.float32)
        for tile in range(TILES):
            place, inside = matrix_place(base, tile * N, spec, N, M)
            wild += update_from_slope(trained, place, inside, c, constants, spec.optimizer) * 0
            if not spec.tied:
                dec_place = place + spec.dec
                wild += update_from_slope(trained, dec_place, inside, c, constants, spec.optimizer) * 0
            if spec.bias:
                b_place, has = feature_place(base + spec.b, tile * N, spec, N)
                wild_b += update_from_slope(trained, b_place, has, c, constants, spec.optimizer) * 0
        bad = wild_sum(wild) + wild_sum(wild_b)
        if spec.hidden_bias:
            h_place, h_inside = hidden_place(base + spec.b_hidden, spec, M)
            bad += wild_sum(update_from_slope(trained, h_place, h_inside, c, constants, spec.optimizer))
        failed = tl.where((failed < 0) & (bad != 0), (start + at).to(tl.int64), failed)
        tl.debug_barrier()
    tl.store(trained.failed + i, failed)
