"""The draws of `toy_model/sampling.py` compiled for the CPU: the same bits, many times faster.

The pieces work on a block of 128 rows of one column, contiguous, which is what one turn of 32 Philox counters
gives; a fused kernel can call them on its own scratch. Words are made by `philox_lanes`, in one pass with the
values in the usual case; the logarithm is the very function of `toy_model`, compiled on scalars; LLVM turns
the loops over a block into vector instructions. No fastmath.
"""

from typing import NamedTuple

import numba
import numpy as np

from superpose_cli.engines.compiling import compiled, piece
from superpose_cli.engines.philox_lanes import uniform_of_panel, words_of_block
from superpose_cli.toy_model import fixed_log, sampling
from superpose_cli.toy_model.fixed_log import ARGUMENT_BITS, FRACTION_BITS
from superpose_cli.toy_model.philox import BLOCK_ROWS
from superpose_cli.toy_model.sampling import ALWAYS, F32, F64, NEVER, U64, Law

INDEPENDENT, CORRELATED, ANTICORRELATED, EXACTLY_K = range(4)
KINDS = {
    "independent": INDEPENDENT,
    "finite": INDEPENDENT,
    "correlated": CORRELATED,
    "anticorrelated": ANTICORRELATED,
    "exactly_k": EXACTLY_K,
}
UNIFORM, CONSTANT, EXPONENTIAL = range(3)
VALUES = {"uniform": UNIFORM, "constant": CONSTANT, "exponential": EXPONENTIAL}

TASK_ROWS = 1024
"""Rows of one instance that a thread takes at a time."""


log2_mantissa = piece()(fixed_log.log2_mantissa)


@piece()
def fill_words(words, key, stream, step, block, column):
    """The 128 words (uint32) of row block `block` of a column under a uint64 key."""
    words_of_block(words, key, stream, step, block, column)


@piece()
def log2_fixed(integer):
    """`toy_model.fixed_log.log2_fixed` of one int64; the exponent is read from the float64's bits."""
    exponent = (np.float64(integer).view(np.int64) >> 52) - 1023
    fraction = (integer << (32 - exponent) >> 1) & ((1 << ARGUMENT_BITS) - 1)
    return (exponent << FRACTION_BITS) + log2_mantissa(fraction)


@piece()
def fill_values(x, words, value, signed, scale, top):
    """x (float32) of a block as if it were on everywhere; see `sampling.Bounds` for scale and top."""
    if value == UNIFORM:
        for r in range(BLOCK_ROWS):
            x[r] = np.float32(words[r]) * scale
    elif value == CONSTANT:
        for r in range(BLOCK_ROWS):
            x[r] = scale
    else:
        for r in range(BLOCK_ROWS):
            x[r] = np.float32(top - log2_fixed(np.int64(words[r]) + 1)) * scale
    if signed:
        for r in range(BLOCK_ROWS):
            x[r] = -x[r] if words[r] & np.uint32(1) else x[r]


@piece()
def keep_at_most(x, words, last):
    """Set x to 0 where its word is above `last`."""
    bound = np.uint32(last)
    for r in range(BLOCK_ROWS):
        x[r] = x[r] if words[r] <= bound else np.float32(0)


@piece()
def keep_between(x, words, first, last):
    """Set x to 0 where its word is outside first .. last (both int64)."""
    for r in range(BLOCK_ROWS):
        x[r] = x[r] if first <= np.int64(words[r]) <= last else np.float32(0)


@piece()
def take_above(x, other, words, last):
    """Set x to `other` where the word is above `last`."""
    bound = np.uint32(last)
    for r in range(BLOCK_ROWS):
        below, above = x[r], other[r]  # loaded before the choice, or LLVM makes it a branch
        x[r] = above if words[r] > bound else below


@piece()
def keep_chosen(x, words, chosen, k, left):
    """One step of selection sampling: `left` features are still to be decided, `chosen` (int64) are on."""
    for r in range(BLOCK_ROWS):
        on = np.int64(words[r]) * left < (k - chosen[r]) << 32
        chosen[r] += np.int64(on)
        x[r] = x[r] if on else np.float32(0)


@piece()
def fill_independent(x, row, draw, key, block, last, scale, top, words):
    """A row block of one instance, feature-major: 128 columns of x (n, ...) from column `row`; `last`,
    `scale` and `top` are the instance's rows of `sampling.Bounds`. Scratch: words, uint32 (128,)."""
    for i in range(len(x)):
        column = x[i, row : row + BLOCK_ROWS]
        fill_words(words, key, draw.stream, draw.step, block, i)
        fill_values(column, words, draw.value, draw.signed, scale[i], top[i])
        keep_at_most(column, words, last[i])


@piece()
def fill_exactly_k(x, row, draw, key, block, set_scale, set_top, words, set_words, chosen):
    """As `fill_independent`, for exactly k features on. Scratch besides: chosen, int64 (128,)."""
    for r in range(BLOCK_ROWS):
        chosen[r] = 0
    for i in range(len(x)):
        column = x[i, row : row + BLOCK_ROWS]
        fill_words(words, key, draw.stream, draw.step, block, i)
        fill_words(set_words, key, draw.set_stream, draw.step, block, i)
        fill_values(column, words, draw.value, draw.signed, set_scale, set_top)
        keep_chosen(column, set_words, chosen, draw.k, len(x) - i)


@piece()
def fill_anticorrelated(x, row, draw, key, block, last, set_scale, set_top, words, set_words):
    """As `fill_independent`, for sets with at most one feature on."""
    for first in range(0, len(x), draw.set_size):
        fill_words(set_words, key, draw.set_stream, draw.step, block, first // draw.set_size)
        for i in range(first, min(first + draw.set_size, len(x))):
            column, low = x[i, row : row + BLOCK_ROWS], (i - first) * (last[i] + 1)
            fill_words(words, key, draw.stream, draw.step, block, i)
            fill_values(column, words, draw.value, draw.signed, set_scale, set_top)
            keep_between(column, set_words, low, low + last[i])


@piece()
def fill_correlated(
    x, row, draw, key, block, last, scale, top, set_scale, set_top, last_coin, words, set_words, coins, own
):
    """As `fill_independent`, for sets that go together. Scratch besides: coins and own (float32), (128,)."""
    n_sets = -(-len(x) // draw.set_size)
    for first in range(0, len(x), draw.set_size):
        fill_words(set_words, key, draw.set_stream, draw.step, block, first // draw.set_size)
        for i in range(first, min(first + draw.set_size, len(x))):
            column = x[i, row : row + BLOCK_ROWS]
            fill_words(words, key, draw.stream, draw.step, block, i)
            fill_values(column, words, draw.value, draw.signed, set_scale, set_top)
            keep_at_most(column, set_words, last[i])
            if last_coin != ALWAYS:
                fill_values(own, words, draw.value, draw.signed, scale[i], top[i])
                keep_at_most(own, words, last[i])
                fill_words(coins, key, draw.set_stream, draw.step, block, n_sets + i)
                take_above(column, own, coins, last_coin)


@piece()
def transpose_into(rows, x):
    """rows (at most 128, n) = x^T, for x (n, 128). Strided stores of a column beat a tiled transpose here."""
    for i in range(len(x)):
        for r in range(len(rows)):
            rows[r, i] = x[i, r]


@piece()
def is_plain(draw):
    """Whether words and values are made in one pass: unsigned uniform draws of independent features."""
    return draw.kind == INDEPENDENT and draw.value == UNIFORM and not draw.signed


@piece()
def fill_panel(x, draw, key, first_block, bounds, i, words, own, chosen):
    """Instance i's draw from row block `first_block` on, into x (n, a multiple of 128), feature-major.

    Scratch: words, uint32 (3, 128); own, float32 (128,); chosen, int64 (128,). Views are made here, once for
    all blocks: counting their references costs more than a small block.
    """
    last, scale, top = bounds.last[i], bounds.scale[i], bounds.top[i]
    set_scale, set_top, last_coin = bounds.set_scale[i, 0], bounds.set_top, bounds.last_coin[i]
    word, shared, coins = words[0], words[1], words[2]
    if is_plain(draw):
        n, rows = x.shape
        uniform_of_panel(x, rows, n, key, draw.stream, draw.step, first_block, last, scale)
        return
    for row in range(0, x.shape[1], BLOCK_ROWS):
        block = first_block + row // BLOCK_ROWS
        if draw.kind == EXACTLY_K:
            fill_exactly_k(x, row, draw, key, block, set_scale, set_top, word, shared, chosen)
        elif draw.kind == ANTICORRELATED:
            fill_anticorrelated(x, row, draw, key, block, last, set_scale, set_top, word, shared)
        elif draw.kind == CORRELATED and last_coin != NEVER:
            fill_correlated(
                x, row, draw, key, block, last, scale, top,
                set_scale, set_top, last_coin, word, shared, coins, own,
            )  # fmt: skip
        else:
            fill_independent(x, row, draw, key, block, last, scale, top, word)


@compiled(parallel=True)
def _fill(out, draw, key, first_block, bounds):
    n_instances, n_rows, n = out.shape
    n_tasks = -(-n_rows // TASK_ROWS)
    for task in numba.prange(n_instances * n_tasks):
        i, start = task // n_tasks, TASK_ROWS * (task % n_tasks)
        own_key = key[i % len(key)]
        words = np.empty((3, BLOCK_ROWS), np.uint32)
        own, chosen = np.empty(BLOCK_ROWS, np.float32), np.empty(BLOCK_ROWS, np.int64)
        x = np.empty((n, BLOCK_ROWS), np.float32)
        for row in range(start, min(start + TASK_ROWS, n_rows), BLOCK_ROWS):
            block = first_block + row // BLOCK_ROWS
            fill_panel(x, draw, own_key, block, bounds, i, words, own, chosen)
            transpose_into(out[i, row : row + BLOCK_ROWS], x)


class Draw(NamedTuple):
    """What is drawn, in numbers: a `Law` and the first two words of its Philox counters."""

    kind: int
    value: int
    signed: bool
    set_size: int
    k: int
    stream: int
    set_stream: int
    step: int


def new_draw(law: Law, *, stream: int, set_stream: int, step: int) -> Draw:
    """The compiled form of a draw of `law`."""
    kind, value = KINDS[law.kind], VALUES[law.value]
    return Draw(kind, value, law.signed, law.set_size, law.k, int(stream), int(set_stream), int(step))


def fill_rows(
    out: F32,
    law: Law,
    *,
    key: U64,
    stream: int,
    set_stream: int,
    step: int,
    start: int,
    feature_probability: F64,
    high: F64,
    correlation: F64,
) -> None:
    """Write rows start .. start + rows - 1 of a draw into `out`, C-contiguous float32 (I, rows, n).

    The bits of `sampling.draw` with the same arguments, on as many threads as `numba.get_num_threads()`,
    which do not affect them. `start` is a multiple of 128; `key` is (I,) or (1,).
    """
    assert start % BLOCK_ROWS == 0, "a draw starts at a multiple of 128 rows"
    assert len(key) in (1, len(out)), "one key, or one for each instance"
    assert out.dtype == np.float32
    assert out.flags.c_contiguous, "one kernel is compiled, for this layout"
    draw = new_draw(law, stream=stream, set_stream=set_stream, step=step)
    limits = sampling.bounds(law, feature_probability, high, correlation)
    # A copy of the keys, as numba compiles anew for an array that is read-only or strided.
    _fill(out, draw, np.array(key), start // BLOCK_ROWS, limits)
