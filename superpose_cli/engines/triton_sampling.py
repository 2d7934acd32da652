# type: ignore  # Triton compiles this: its names and operators are not those that a checker knows
"""The draws of `toy_model/sampling.py` as Triton functions: the same bits, in the registers of a GPU.

One turn of Philox gives four words, which go to four rows 32 apart; every function here gives the four, or a
tile of 128 rows made of them. All of on/off is decided on integers. A value is one float32 product that goes
through a choice before it is used, so that no compiler can fuse the product into a later sum.
"""
# ruff: noqa: RUF005 (Triton knows no starred tuples)

from typing import Any, NamedTuple

import triton
import triton.language as tl

from superpose_cli.toy_model import fixed_log, philox

MULTIPLIER_0 = tl.constexpr(philox.MULTIPLIER_0)
MULTIPLIER_1 = tl.constexpr(philox.MULTIPLIER_1)
WEYL_0 = tl.constexpr(philox.WEYL_0)
WEYL_1 = tl.constexpr(philox.WEYL_1)
COEFFICIENTS = tl.constexpr(fixed_log.COEFFICIENTS)
ARGUMENT_BITS = tl.constexpr(fixed_log.ARGUMENT_BITS)
FRACTION_BITS = tl.constexpr(fixed_log.FRACTION_BITS)
ONE = tl.constexpr(1 << fixed_log.ARGUMENT_BITS)
COUNTERS = tl.constexpr(philox.COUNTERS)
BLOCK_ROWS = tl.constexpr(philox.BLOCK_ROWS)


class Rows(NamedTuple):
    """Where the rows of I instances come from: device arrays, or in a kernel pointers to them."""

    key: Any
    """int32 (I, 2): the low and the high word of the Philox key."""
    last: Any
    """int32 (I, n), the bits of uint32; this and the next three as in `sampling.Bounds`."""
    scale: Any
    """float32 (I, n)."""
    top: Any
    """int64 (I, n)."""
    set_scale: Any
    """float32 (I,)."""
    last_coin: Any
    """int64 (I,)."""
    table: Any
    """float32 (K, T, n): rows of the tables; one number where there are none."""
    table_of: Any
    """int64 (I,): each instance's table."""


@triton.jit
def round_keys(rows, i, mask):
    """The keys of the 7 rounds for each instance: two words a round, one round after the other."""
    k0, k1 = load_word(rows.key + 2 * i, mask), load_word(rows.key + 2 * i + 1, mask)
    keys = (k0, k1)
    for _ in tl.static_range(6):
        k0 = tl.add(k0, WEYL_0, sanitize_overflow=False)
        k1 = tl.add(k1, WEYL_1, sanitize_overflow=False)
        keys = keys + (k0, k1)
    return keys


@triton.jit
def four_words(keys, stream: tl.constexpr, step, counter, column):
    """The four words of a counter for a column (both uint32, broadcast), 7 rounds of Philox4x32."""
    c0, c1 = tl.full([1, 1], stream, tl.uint32), step.to(tl.uint32)
    c2, c3 = counter, column
    for r in tl.static_range(7):
        high_0, high_1 = tl.umulhi(c0, MULTIPLIER_0), tl.umulhi(c2, MULTIPLIER_1)
        low_0 = tl.mul(c0, MULTIPLIER_0, sanitize_overflow=False)
        low_1 = tl.mul(c2, MULTIPLIER_1, sanitize_overflow=False)
        c0, c1 = high_1 ^ c1 ^ keys[2 * r], low_1
        c2, c3 = high_0 ^ c3 ^ keys[2 * r + 1], low_0
    return c0, c1, c2, c3


@triton.jit
def log2_fixed(integer):
    """`toy_model.fixed_log.log2_fixed` of int64; the exponent is read from the float64's bits."""
    exponent = (integer.to(tl.float64).to(tl.int64, bitcast=True) >> 52) - 1023
    fraction = ((integer << (32 - exponent)) >> 1) & (ONE - 1)
    bend = fraction * 0 + COEFFICIENTS[10]
    for i in tl.static_range(1, 11):
        bend = -((fraction * bend) >> ARGUMENT_BITS) + COEFFICIENTS[10 - i]
    between = (fraction * (-fraction + ONE)) >> 30
    return (exponent << FRACTION_BITS) + (fraction << 1) + ((between * bend) >> 32)


@triton.jit
def value_if(on, word, scale, top, spec: tl.constexpr):
    """The value that a word stands for where `on`, else 0."""
    if spec.magnitude == "uniform":
        value = word.to(tl.float32) * scale
    elif spec.magnitude == "constant":
        value = scale
    else:
        value = (top - log2_fixed(word.to(tl.int64) + 1)).to(tl.float32) * scale
    if spec.signed:
        value = tl.where((word & 1) == 1, -value, value)
    return tl.where(on, value, 0.0)


@triton.jit
def is_member(word, last, place):
    """Whether a set's draw picks its member number `place`: (0 .. last) + place (last + 1)."""
    first = place * (last + 1)
    return (word >= first) & (word - first <= last)


@triton.jit
def is_chosen(word, left, wanted):
    """Selection sampling, one step: word / 2^32 < wanted / left."""
    return tl.umulhi(word, left).to(tl.int32) < wanted


@triton.jit
def load_word(pointer, mask):
    """uint32 from where its bits lie as int32."""
    return tl.load(pointer, mask=mask, other=0).to(tl.uint32, bitcast=True)


@triton.jit
def table_row(word, n_rows):
    """Which row of a table of `n_rows` a word picks."""
    return tl.umulhi(word, n_rows.to(tl.uint32)).to(tl.int32)


@triton.jit
def one_tile(w0, w1, w2, w3):
    """Four (Q, N) as (4 Q, N): row 4 j + w is row j of word w. Within a thread: nothing moves."""
    halves = tl.join(tl.join(w0, w2), tl.join(w1, w3))
    Q: tl.constexpr = w0.shape[0]
    N: tl.constexpr = w0.shape[1]
    return halves.reshape(Q, N, 4).permute(0, 2, 1).reshape(4 * Q, N)


@triton.jit
def row_of(counter, w: tl.constexpr):
    """The row that gets word w of a counter (int32)."""
    return counter % COUNTERS + (counter // COUNTERS) * BLOCK_ROWS + w * COUNTERS.value


@triton.jit
def tile_rows(block):
    """int32 (128, 1): the row numbers of a tile of row block `block`, in the order of `one_tile`."""
    at = tl.arange(0, BLOCK_ROWS)[:, None]
    return at // 4 + (at % 4) * COUNTERS + block * BLOCK_ROWS


@triton.jit
def tile_words(keys, stream: tl.constexpr, step, block, column):
    """uint32 (128, N): the words of a row block, for columns (1, N) in int32."""
    counter = (tl.arange(0, COUNTERS) + block * COUNTERS).to(tl.uint32)[:, None]
    shape: tl.constexpr = [COUNTERS, column.shape[1]]
    w0, w1, w2, w3 = four_words(keys, stream, step, counter, column.to(tl.uint32))
    return one_tile(
        tl.broadcast_to(w0, shape),
        tl.broadcast_to(w1, shape),
        tl.broadcast_to(w2, shape),
        tl.broadcast_to(w3, shape),
    )


@triton.jit
def chosen_in_tile(keys, spec: tl.constexpr, step, block, column):
    """Which of the columns (1, N) are among the k of each row; a choice depends on all features before it."""
    zero = tl.full([1, 1], 0, tl.int32)
    chosen = tl.zeros([BLOCK_ROWS, 1], tl.int32)
    on = (chosen + column) < 0
    for j in range(spec.n):
        word = tile_words(keys, spec.set_stream, step, block, zero + j)
        now = is_chosen(word, (zero + (spec.n - j)).to(tl.uint32), spec.k - chosen)
        chosen += now.to(tl.int32)
        on = on | (now & (column == j))
    return on


@triton.jit
def draw_tile(rows, spec: tl.constexpr, i, step, block, first, n_batch, n_rows, N: tl.constexpr):
    """x (128, N) of instance i (int64): a row block, features from `first` on; 0 beyond the last feature."""
    column = first + tl.arange(0, N)[None, :]
    inside = column < spec.n
    keys = round_keys(rows, i, True)
    if spec.law == "table":
        row = tile_rows(block)
        valid = row < n_batch
        if not spec.in_order:
            zero = tl.full([1, 1], 0, tl.int32)
            row = table_row(tile_words(keys, spec.stream, step, block, zero), n_rows)
        table = rows.table + tl.load(rows.table_of + i) * n_rows * spec.n
        return tl.load(table + row.to(tl.int64) * spec.n + column, mask=valid & inside, other=0.0)
    at = i * spec.n + column
    last = load_word(rows.last + at, inside)
    scale = tl.load(rows.scale + at, mask=inside, other=0.0)
    top = tl.load(rows.top + at, mask=inside, other=0) if spec.magnitude == "exponential" else 0
    word = tile_words(keys, spec.stream, step, block, column)
    if spec.law == "independent":
        return value_if(word <= last, word, scale, top, spec)
    set_scale = tl.where(inside, tl.load(rows.set_scale + i), 0.0)
    set_top: tl.constexpr = spec.set_top
    if spec.law == "exactly_k":
        on = chosen_in_tile(keys, spec, step, block, column)
        return value_if(on, word, set_scale, set_top, spec)
    shared = tile_words(keys, spec.set_stream, step, block, column // spec.set_size)
    if spec.law == "anticorrelated":
        place = (column % spec.set_size).to(tl.uint32)
        return value_if(is_member(shared, last, place), word, set_scale, set_top, spec)
    coin = tile_words(keys, spec.set_stream, step, block, spec.n_sets + column)
    follows = coin.to(tl.int64) <= tl.load(rows.last_coin + i)
    together = value_if(shared <= last, word, set_scale, set_top, spec)
    return tl.where(follows, together, value_if(word <= last, word, scale, top, spec))


@triton.jit
def spread(values, count: tl.constexpr, shape: tl.constexpr):
    """Numbers of each instance (I,), a tuple, given to all its lanes (`shape`: I, LANES)."""
    found = ()
    for p in tl.static_range(count):
        found = found + (tl.broadcast_to(values[p][:, None], shape),)
    return found


@triton.jit
def read(pointer, i, size: tl.constexpr, mask, shape: tl.constexpr):
    """The `size` numbers of each instance, a tuple, in all its lanes.

    Memory is read in one piece, of which each number is the sum of itself and zeros: Triton walks through the
    whole kernel for every access to memory, and took a minute over a model of 5 features.
    """
    WIDTH: tl.constexpr = triton.next_power_of_2(size)
    column = tl.arange(0, WIDTH)[None, :]
    piece = tl.load(pointer + i[:, None] * size + column, mask=mask[:, None] & (column < size), other=0)
    found = ()
    for p in tl.static_range(size):
        found = found + (tl.sum(tl.where(column == p, piece, 0), axis=1),)
    return spread(found, size, shape)


@triton.jit
def limits_of(rows, spec: tl.constexpr, i, mask, shape: tl.constexpr):
    """What `draw_four` needs of each instance (I,), for every feature: (last, scale, top), flat.

    The top is there for exponential values alone.
    """
    n: tl.constexpr = spec.n
    last, scale = read(rows.last, i, n, mask, shape), read(rows.scale, i, n, mask, shape)
    top = read(rows.top, i, n, mask, shape) if spec.magnitude == "exponential" else last
    found = ()
    for j in tl.static_range(n):
        found = found + (last[j].to(tl.uint32, bitcast=True), scale[j], top[j])
    return found


@triton.jit
def draw_four(
    rows, spec: tl.constexpr, limits, keys, set_scale, last_coin, table, step, first, n_batch, n_rows, lane
):
    """x of four rows for each counter from `first` on: a flat tuple, feature j of row w at 4 j + w.

    All arguments but numbers are (I, LANES), a lane a counter; `table` points to the instance's own.
    """
    n: tl.constexpr = spec.n
    counter = (lane + first).to(tl.uint32)
    set_top: tl.constexpr = spec.set_top
    x = ()
    if spec.law == "table":
        picked = four_words(keys, spec.stream, step, counter, 0 * counter)
        for j in tl.static_range(n):
            for w in tl.static_range(4):
                row = row_of(lane + first, w)
                valid = row < n_batch
                if not spec.in_order:
                    row = table_row(picked[w], n_rows)
                x = x + (tl.load(table + row.to(tl.int64) * spec.n + j, mask=valid, other=0.0),)
        return x
    none = tl.full(lane.shape, 0, tl.int32)
    chosen = (none, none, none, none)
    for j in tl.static_range(n):
        last, scale, top = limits[3 * j], limits[3 * j + 1], limits[3 * j + 2]
        word = four_words(keys, spec.stream, step, counter, 0 * counter + j)
        if spec.law == "exactly_k":
            shared = four_words(keys, spec.set_stream, step, counter, 0 * counter + j)
            decided = ()
            for w in tl.static_range(4):
                on = is_chosen(shared[w], 0 * counter + (spec.n - j), spec.k - chosen[w])
                decided = decided + (chosen[w] + on.to(tl.int32),)
                x = x + (value_if(on, word[w], set_scale, set_top, spec),)
            chosen = decided
        elif spec.law == "anticorrelated":
            shared = four_words(keys, spec.set_stream, step, counter, 0 * counter + j // spec.set_size)
            place = 0 * counter + j % spec.set_size
            for w in tl.static_range(4):
                x = x + (value_if(is_member(shared[w], last, place), word[w], set_scale, set_top, spec),)
        elif spec.law == "correlated":
            shared = four_words(keys, spec.set_stream, step, counter, 0 * counter + j // spec.set_size)
            coin = four_words(keys, spec.set_stream, step, counter, 0 * counter + spec.n_sets + j)
            for w in tl.static_range(4):
                together = value_if(shared[w] <= last, word[w], set_scale, set_top, spec)
                own = value_if(word[w] <= last, word[w], scale, top, spec)
                x = x + (tl.where(coin[w].to(tl.int64) <= last_coin, together, own),)
        else:
            for w in tl.static_range(4):
                x = x + (value_if(word[w] <= last, word[w], scale, top, spec),)
    return x
