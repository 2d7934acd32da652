"""What fused training and evaluation share: the panels of one thread, the rows, forward and backward.

Rows of the batch go through in blocks; each block is a set of panels (feature-major, rows contiguous) that
fit the cache: x and dy (n, rows), h and dh (m, rows). The products are `tiles.combine` and `tiles.correlate`,
the draws the pieces of `compiled_sampling`; what stands between is elementwise. Nothing is allocated inside a
step.

Fast-math only where a sum over rows is to be split over lanes (`reassoc contract nsz`): never what assumes
that there is no NaN or infinity.
"""

from typing import NamedTuple

import numpy as np

from superpose_cli.engines.compiled_sampling import Draw, fill_panel, fill_words
from superpose_cli.engines.compiling import piece
from superpose_cli.engines.lanes import LANES, address, fold
from superpose_cli.engines.outer_tiles import add_outer, turn, turned_columns
from superpose_cli.engines.tiles import Slopes, combine, correlate, slopes_of
from superpose_cli.toy_model.philox import BLOCK_ROWS
from superpose_cli.toy_model.sampling import Bounds

FEATURES = 64
"""Features whose slopes are worked out at a time."""
SUMS = {"reassoc", "contract", "nsz"}
"""Freedom to reorder a sum and to fuse multiply and add; NaN and infinity keep their meaning. Such a function
is always inlined: a process that compiles may link another copy of it than one that loads the kernel from the
cache, and two copies may then differ in the last bit."""


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
    n_rows: int
    """Rows of the finite table; 0: rows are drawn."""
    full_table: bool
    """Each step sees the whole table."""


class Rows(NamedTuple):
    """Where the rows of I instances come from."""

    draw: Draw
    key: np.ndarray
    """uint64 (I,)."""
    bounds: Bounds
    tables: np.ndarray
    """float32 (K, n, n_rows): the fixed tables, where rows are not drawn."""
    table_of: np.ndarray
    """int64 (I,)."""


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
    """(n, rows): y; of a few features at a time, the objective's gradient with respect to y before its
    activation."""
    h: np.ndarray
    """(m, rows)."""
    d_h: np.ndarray
    """(m, rows)."""
    turned: np.ndarray
    """(rows, m rounded up to whole vectors): h, then d_h, with contiguous hidden units."""
    words: np.ndarray
    """uint32 (3, 128)."""
    own: np.ndarray
    chosen: np.ndarray
    whole: tuple[np.ndarray, np.ndarray]
    """`new_limits` of the blocks of a step but the last."""
    last: tuple[np.ndarray, np.ndarray]
    none: np.ndarray
    """Zeros in the place of absent biases."""
    sums: np.ndarray
    """Running sums of the outputs' slopes, a vector of LANES each."""


@piece()
def aligned(count):
    """float32 (count,) that starts at a multiple of 64 bytes: a load across two cache lines costs twice."""
    held = np.empty(count + LANES, np.float32)
    skip = -(held.ctypes.data // 4) % LANES
    return held[skip : skip + count]


@piece()
def whole_vectors(count):
    """The next multiple of LANES: `fold` works on whole vectors."""
    return -(-count // LANES) * LANES


@piece()
def put(values, start, stop, number):
    """values[start:stop] = number, which as such takes numba a second to compile at each place."""
    wanted = np.float32(number)
    for j in range(start, stop):
        values[j] = wanted


@piece()
def zeros(count):
    """`aligned`, all 0."""
    array = aligned(count)
    put(array, 0, count, 0)
    return array


@piece()
def new_limits(spec, valid):
    """Limits of outputs and hidden units of a block whose first `valid` rows count.

    A unit is on where its input is not at most the limit: 0 for a ReLU, NaN for the identity, and infinity in
    rows that do not count.
    """
    output, hidden = aligned(spec.rows), aligned(spec.rows)
    put(output, 0, valid, 0 if spec.output_relu else np.nan)
    put(hidden, 0, valid, 0 if spec.hidden_relu else np.nan)
    put(output, valid, spec.rows, np.inf)
    put(hidden, valid, spec.rows, np.inf)
    return output, hidden


@piece()
def new_scratch(spec):
    """Scratch for one thread."""
    n, m, rows = spec.n, spec.m, spec.rows
    last = (spec.n_batch - 1) % rows + 1
    return Scratch(
        aligned(n * rows).reshape(n, rows),
        aligned(n * rows).reshape(n, rows),
        zeros(whole_vectors(m) * rows).reshape(whole_vectors(m), rows)[:m],
        zeros(whole_vectors(m) * rows).reshape(whole_vectors(m), rows)[:m],
        aligned(rows * whole_vectors(m)).reshape(rows, whole_vectors(m)),
        np.empty((3, BLOCK_ROWS), np.uint32),
        np.empty(BLOCK_ROWS, np.float32),
        np.empty(BLOCK_ROWS, np.int64),
        new_limits(spec, rows),
        new_limits(spec, last),
        zeros(max(n, m)),
        zeros(whole_vectors(n) * LANES),
    )


@piece()
def fill_x(s, spec, rows, i, step, first_row):
    """Rows first_row .. first_row + spec.rows - 1 of instance i at a step, drawn or of its table."""
    drawn = rows.draw
    draw = Draw(
        drawn.kind, drawn.value, drawn.signed, drawn.set_size, drawn.k, drawn.stream, drawn.set_stream, step
    )
    if spec.n_rows:
        copy_table(s, spec, draw, rows.key[i], first_row, rows.tables[rows.table_of[i]])
    else:
        block = first_row // BLOCK_ROWS
        fill_panel(s.x, draw, rows.key[i], block, rows.bounds, i, s.words, s.own, s.chosen)


@piece()
def copy_table(s, spec, draw, key, first_row, table):
    """Rows of a fixed table (n, n_rows) into s.x: in order, or drawn with replacement for a mini-batch."""
    if spec.full_table:
        count = min(spec.rows, spec.n_rows - first_row)
        for i in range(len(s.x)):
            for r in range(spec.rows):
                s.x[i, r] = table[i, first_row + r] if r < count else np.float32(0)
        return
    for row in range(0, spec.rows, BLOCK_ROWS):
        fill_words(s.words[0], key, draw.stream, draw.step, (first_row + row) // BLOCK_ROWS, 0)
        for r in range(BLOCK_ROWS):
            s.chosen[r] = np.int64(s.words[0, r]) * spec.n_rows >> 32
        for i in range(len(s.x)):
            for r in range(BLOCK_ROWS):
                s.x[i, row + r] = table[i, s.chosen[r]]


@piece(inline="always")
def encode(s, spec, w):
    """h of the rows in s.x; w: one instance's weights."""
    n, m, rows = spec.n, spec.m, spec.rows
    combine(s.h, s.x, rows, w.W, 0, 1, m, m, n, True)
    if spec.hidden_bias or spec.hidden_relu:
        for k in range(m):
            shift = w.b_hidden[k] if spec.hidden_bias else np.float32(0)
            activate(s.h[k], shift, spec.hidden_relu)


@piece(inline="always")
def forward(s, spec, w):
    """h and y before the output's bias and activation, of the rows in s.x."""
    encode(s, spec, w)
    combine(s.y, s.h, spec.rows, w.W if spec.tied else w.W_dec, 0, spec.m, 1, spec.n, spec.m, True)


@piece()
def activate(z, shift, relu):
    """z + shift, and 0 where that is below 0 if `relu`; NaN stays."""
    if relu:
        for r in range(len(z)):
            value = z[r] + shift
            z[r] = np.float32(0) if value <= 0 else value
    else:
        for r in range(len(z)):
            z[r] += shift


@piece(fastmath=SUMS, forceinline=True)
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


@piece(inline="always")
def backward(s, spec, row, w, scales, l1, slopes):
    """Add to `slopes` the gradient of the block in s.x and s.h, whose first row is number `row` of the step.

    scales (n,): 2 I_i / (rows n)."""
    n, m, rows = spec.n, spec.m, spec.rows
    valid = min(rows, spec.n_batch - row)
    decoder = w.W if spec.tied else w.W_dec
    slope = slopes.W if spec.tied else slopes.W_dec
    limits = s.whole if valid == rows else s.last
    b = w.b if spec.bias else s.none
    turn(s.turned, s.turned.shape[1], s.h, turned_columns(m), rows)
    # A few features at a time: the slopes of y are used before they leave the cache.
    for i in range(0, n, FEATURES):
        count = min(FEATURES, n - i)
        outputs = Slopes(
            address(s.x) + 4 * i * rows,
            address(b) + 4 * i,
            address(scales) + 4 * i,
            address(limits[0]),
            address(s.sums) + 4 * LANES * i,
        )
        slopes_of(s.y, s.h, rows, decoder, i * m, count, m, outputs, spec.absolute)
        combine(s.d_h, s.y, rows, decoder, i * m, 1, m, m, count, i == 0)
        add_products(slope, i * m, s.y, count, s.h, s.turned, m, rows)
    if spec.bias:
        fold(slopes.b, s.sums, n, True)
    if spec.hidden_relu or spec.hidden_bias or l1 != 0:
        for k in range(m):
            total = hidden_slope(s.d_h[k, :valid], s.h[k, :valid], l1, spec.hidden_relu)
            if spec.hidden_bias:
                slopes.b_hidden[k] += total
    turn(s.turned, s.turned.shape[1], s.d_h, turned_columns(m), rows)
    add_products(slopes.W, 0, s.x, n, s.d_h, s.turned, m, rows)


@piece()
def add_products(out, at, a, size_a, b, turned, m, rows):
    """out[at + i m + k] += sum over r of a[i, r] b[k, r] for i < size_a and k < m; `turned` is b turned."""
    columns = turned_columns(m)
    add_outer(out, at, m, a, size_a, turned, turned.shape[1], columns, rows)
    correlate(out, at + columns, m, a, size_a, b, columns, m - columns, rows)


@piece()
def of_instance(weights, i):
    """The weights (or moments) of instance i."""
    return Weights(weights.W[i], weights.W_dec[i], weights.b[i], weights.b_hidden[i])


@piece()
def new_slopes(weights):
    """Room for the gradient of one instance."""
    return Weights(
        np.empty(weights.W.shape[1], np.float32),
        np.empty(weights.W_dec.shape[1], np.float32),
        aligned(whole_vectors(weights.b.shape[1]))[: weights.b.shape[1]],
        np.empty(weights.b_hidden.shape[1], np.float32),
    )


@piece()
def clear(slopes):
    """Set a gradient to 0."""
    put(slopes.W, 0, len(slopes.W), 0)
    put(slopes.W_dec, 0, len(slopes.W_dec), 0)
    put(slopes.b, 0, len(slopes.b), 0)
    put(slopes.b_hidden, 0, len(slopes.b_hidden), 0)
