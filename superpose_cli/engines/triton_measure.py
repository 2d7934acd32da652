# type: ignore  # Triton compiles this: its names and operators are not those that a checker knows
"""What instances are measured on, on a GPU: sums over evaluation rows, a program an instance.

The sums of a row block run in float32 and are added up in float64.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

from superpose_cli.engines.triton_sampling import BLOCK_ROWS, draw_tile, tile_rows
from superpose_cli.engines.triton_tiles import (
    add_to,
    feature_place,
    hidden_of_tiles,
    hidden_place,
    hidden_slopes,
    matrix_place,
    outputs,
    product,
    residuals,
    target_of,
)


class Sums(NamedTuple):
    """Running sums over rows: float64 device arrays, or in a kernel pointers to them."""

    feature: Any
    """(I, n): weighted squared errors."""
    row: Any
    """(I, 2): of the loss of each row, and of its square."""
    h: Any
    """(I, m)."""
    h_abs: Any
    """(I,)."""
    hh: Any
    """(I, m, m)."""
    target: Any
    """(I, n)."""
    target_square: Any
    """(I, n)."""
    alive: Any
    """int32 (I,): 1 where some gradient is not 0."""


@triton.jit
def any_of(flags):
    """int32 (rows, 1): whether any flag of a row is set."""
    return tl.max(flags.to(tl.int32), axis=1)[:, None]


@triton.jit
def column_sums(values):
    """float64 (1, N)."""
    return tl.sum(values, axis=0)[None, :].to(tl.float64)


@triton.jit
def add_hidden(sums, i, h, spec: tl.constexpr, M: tl.constexpr):
    """Add the moments of h (128, M)."""
    place, inside = hidden_place(i * spec.m, spec, M)
    add_to(sums.h + place, inside, column_sums(h), 0)
    total = tl.sum(tl.sum(tl.abs(h), axis=1), axis=0).to(tl.float64)
    tl.store(sums.h_abs + i, tl.load(sums.h_abs + i) + total)
    j, k = tl.arange(0, M)[:, None], tl.arange(0, M)[None, :]
    place = i * spec.m * spec.m + j * spec.m + k
    products = product(tl.trans(h), h, None, spec.precision).to(tl.float64)
    add_to(sums.hh + place, (j < spec.m) & (k < spec.m), products, 0)


@triton.jit(do_not_specialize=["n_batch", "n_rows"])
def measure(
    rows,
    weight,
    importance,
    hidden_l1,
    sums,
    n_batch,
    n_rows,
    spec: tl.constexpr,
    N: tl.constexpr,
    M: tl.constexpr,
    TILES: tl.constexpr,
):
    """Add rows 0 .. n_batch - 1 to the sums of an instance.

    A gradient is a sum of products over rows; it counts as not 0 where one of them is not.
    """
    i = tl.program_id(0).to(tl.int64)
    base = i * spec.size
    l1 = tl.load(hidden_l1 + i)
    step = n_batch * 0
    total, square = tl.zeros([BLOCK_ROWS, 1], tl.float64), tl.zeros([BLOCK_ROWS, 1], tl.float64)
    alive = tl.zeros([BLOCK_ROWS, 1], tl.int32)
    for block in range((n_batch + BLOCK_ROWS - 1) // BLOCK_ROWS):
        valid = tile_rows(block) < n_batch
        h = hidden_of_tiles(rows, weight, i, step, block, n_batch, n_rows, spec, spec.precision, N, M, TILES)
        h = tl.where(valid, h, 0.0)
        loss = tl.zeros([BLOCK_ROWS, 1], tl.float32)
        has_x, has_dy = tl.zeros([BLOCK_ROWS, 1], tl.int32), tl.zeros([BLOCK_ROWS, 1], tl.int32)
        dh = tl.zeros([BLOCK_ROWS, M], tl.float32)
        for tile in range(TILES):
            x = tl.where(valid, draw_tile(rows, spec, i, step, block, tile * N, n_batch, n_rows, N), 0.0)
            place, inside = matrix_place(base + spec.dec, tile * N, spec, N, M)
            dec = tl.load(weight + place, mask=inside, other=0.0)
            y = outputs(h, dec, weight, base, tile * N, spec, spec.precision, N)
            place, has = feature_place(i * spec.n, tile * N, spec, N)
            scale = tl.load(importance + place, mask=has, other=0.0)
            dy = residuals(x, y, scale, valid, spec)
            dh = product(dy, dec, dh, spec.precision)
            has_x |= any_of(x != 0)
            has_dy |= any_of(dy != 0)
            target = target_of(x, spec)
            z = tl.where(y <= 0, 0.0, y) if spec.output_relu else y
            error = tl.where(valid, scale * (target - z) * (target - z), 0.0)
            loss += tl.sum(error, axis=1)[:, None]
            add_to(sums.feature + place, has, column_sums(error), 0)
            add_to(sums.target + place, has, column_sums(target), 0)
            add_to(sums.target_square + place, has, column_sums(target * target), 0)
        has_dh = any_of(hidden_slopes(dh, h, l1, valid, spec) != 0)
        alive |= has_dy & any_of(h != 0) | has_x & has_dh
        if spec.bias:
            alive |= has_dy
        if spec.hidden_bias:
            alive |= has_dh
        mean = loss.to(tl.float64) / spec.n
        total += mean
        square += mean * mean
        add_hidden(sums, i, h, spec, M)
        tl.debug_barrier()
    tl.store(sums.row + 2 * i, tl.load(sums.row + 2 * i) + tl.sum(tl.sum(total, axis=1), axis=0))
    tl.store(sums.row + 2 * i + 1, tl.load(sums.row + 2 * i + 1) + tl.sum(tl.sum(square, axis=1), axis=0))
    tl.store(sums.alive + i, tl.load(sums.alive + i) | tl.max(tl.max(alive, axis=1), axis=0))
