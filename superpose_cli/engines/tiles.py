"""Register tiles: the small matrix products that a fused step of wide models is made of, as vector code.

A *panel* is a matrix of float32 whose rows are features or hidden units and whose columns are rows of the
batch, so every product runs over contiguous vectors of batch rows. LLVM alone keeps neither the sums of such
a product in registers nor several of them in flight; these functions emit that code directly, once for each
tile size, and leave the choice of instructions to LLVM (a vector type of any width is legal everywhere).

`combine` (W^T x, W h, W^T dy):   out[k, r] = sum_i coefficient[k, i] * panel[i, r]
`slopes_of` (dy from h and x):    the same with W and h, turned into the objective's gradient on the way out
`correlate` (x dh^T, dy h^T):     out[i, k] += sum_r a[i, r] * b[k, r]

Functions take arrays with element offsets, and check neither. The order of every sum is fixed by the tile, so
bits depend on the shapes and the instruction set alone.
"""

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils

from superpose_cli.engines.compiling import piece
from superpose_cli.engines.lanes import (
    BITS,
    FLOAT,
    FLOATS,
    LANES,
    WIDE,
    ZERO,
    data,
    fma,
    intrinsic,
    lane_sums,
    load,
    splat,
    store,
)  # fmt: skip

COMBINE_TILES = (
    ((12, 2), (8, 2), (4, 4), (2, 4), (1, 4)) if WIDE else ((6, 2), (4, 2), (3, 2), (2, 4), (1, 4))
)
"""Outputs and vectors of batch rows of the `combine` tiles: as many sums as the 32 (AVX2: 16) registers hold,
and more outputs than vectors: a panel comes from the second-level cache, the coefficients from the first. The
width of a panel is a multiple of 4 vectors."""
MOST_A, SOME_A = (8, 4) if WIDE else (4, 2)
"""Rows of `a` in a `correlate` tile, beside 2 of `b`: `a` stays in the first-level cache, `b` does not."""
_INT = ir.IntType(64)


class Slopes(NamedTuple):
    """Addresses of what turns W h into the gradient of the outputs' squared errors; see `slopes_of`."""

    x: int
    """A panel like that of the outputs."""
    b: int
    scales: int
    limits: int
    """float32 for each batch row: an output is on where it is not at most this."""
    sums: int
    """A vector of LANES for each output: the running sum of its slopes."""


def _sums_over(
    builder: Any,
    shape: tuple[int, int],
    count: ir.Value,
    inputs: Callable[[ir.Value], tuple[list[ir.Value], Callable[[int], ir.Value]]],
) -> list[list[ir.Value]]:
    """sum over j < count of left[k] * vectors[v], for each k and v of a tile; inputs(j): vectors and left."""
    slots = [[cgutils.alloca_once(builder, FLOATS) for _ in range(shape[1])] for _ in range(shape[0])]
    for row in slots:
        for slot in row:
            builder.store(ZERO, slot)
    with cgutils.for_range(builder, count) as loop:
        vectors, left = inputs(loop.index)
        for k, row in enumerate(slots):
            factor = left(k)
            for slot, vector in zip(row, vectors, strict=True):
                builder.store(fma(builder, factor, vector, builder.load(slot)), slot)
    return [[builder.load(slot) for slot in row] for row in slots]


def _combined(builder: Any, shape: tuple[int, int], panel: Any, coefficient: Any, count: Any) -> Any:
    """The sums of a `combine` tile; `panel` is (base, first, stride), `coefficient` (base, first, next_k,
    next_i)."""
    base, first, stride = panel
    factors, start, next_k, next_i = coefficient

    def inputs(i: ir.Value) -> tuple[list[ir.Value], Callable[[int], ir.Value]]:
        at = builder.add(first, builder.mul(i, stride))
        from_here = builder.add(start, builder.mul(i, next_i))

        def factor(k: int) -> ir.Value:
            index = builder.add(from_here, builder.mul(next_k, ir.Constant(_INT, k)))
            return splat(builder, builder.load(builder.gep(factors, [index])))

        return [load(builder, base, builder.add(at, _INT(v * LANES))) for v in range(shape[1])], factor

    return _sums_over(builder, shape, count, inputs)


def _combine_tile(outputs: int, vectors: int) -> Any:
    """out[k, r] for `outputs` values of k and `vectors` * LANES values of r."""

    @intrinsic
    def tile(typing: Any, out, at, panel, start, stride, coefficient, first, next_k, next_i, count):
        signature = types.void(out, at, panel, start, stride, coefficient, first, next_k, next_i, count)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
            out, at, panel, start, stride, coefficient, first, next_k, next_i, count = args
            out, panel, coefficient = (
                data(context, builder, sig.args[position], value)
                for position, value in ((0, out), (2, panel), (5, coefficient))
            )
            factors = (coefficient, first, next_k, next_i)
            totals = _combined(builder, (outputs, vectors), (panel, start, stride), factors, count)
            for k, row in enumerate(totals):
                base = builder.add(at, builder.mul(stride, ir.Constant(_INT, k)))
                for v, total in enumerate(row):
                    store(builder, total, out, builder.add(base, ir.Constant(_INT, v * LANES)))
            return context.get_dummy_value()

        return signature, emit

    return tile


def _slopes_tile(outputs: int, vectors: int) -> Any:
    """`slopes_of` for `outputs` outputs from number k on, and `vectors` * LANES batch rows from r on."""

    @intrinsic
    def tile(typing: Any, out, k, r, h, stride, decoder, m, slopes, absolute):
        signature = types.void(out, k, r, h, stride, decoder, m, slopes, absolute)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
            out, k, r, h, stride, decoder, m, slopes, absolute = args
            out, h, decoder = (
                data(context, builder, sig.args[position], value)
                for position, value in ((0, out), (3, h), (5, decoder))
            )
            x, b, scales, limits, sums = (
                builder.inttoptr(builder.extract_value(slopes, number), FLOAT.as_pointer())
                for number in range(len(Slopes._fields))
            )
            factors = (decoder, builder.mul(k, m), m, ir.Constant(_INT, 1))
            totals = _combined(builder, (outputs, vectors), (h, r, stride), factors, m)
            word = BITS.element
            kept = splat(builder, builder.select(absolute, word(2**31 - 1), word(-1)), BITS)
            offsets = [builder.add(r, ir.Constant(_INT, v * LANES)) for v in range(vectors)]
            bounds = [load(builder, limits, offset) for offset in offsets]
            for number, row in enumerate(totals):
                i = builder.add(k, ir.Constant(_INT, number))
                bias, scale = (splat(builder, builder.load(builder.gep(base, [i]))) for base in (b, scales))
                at = builder.mul(i, stride)
                place = builder.mul(i, ir.Constant(_INT, LANES))
                total = load(builder, sums, place)
                for product_, offset, bound in zip(row, offsets, bounds, strict=True):
                    index = builder.add(at, offset)
                    bits = builder.bitcast(load(builder, x, index), BITS)
                    target = builder.bitcast(builder.and_(bits, kept), FLOATS)
                    y = builder.fadd(product_, bias)
                    slope = builder.fmul(builder.fsub(y, target), scale)
                    slope = builder.select(builder.fcmp_unordered(">", y, bound), slope, ZERO)
                    store(builder, slope, out, index)
                    total = builder.fadd(total, slope)
                store(builder, total, sums, place)
            return context.get_dummy_value()

        return signature, emit

    return tile


def _correlate_tile(size_a: int, size_b: int) -> Any:
    """out[i, k] += sum over r of a[i, r] b[k, r] (+ c[i, r] d[k, r]) for size_a values of i, size_b of k."""

    @intrinsic
    def tile(typing: Any, out, at, next_i, a, start_a, b, start_b, stride, c, d, vectors, second):
        signature = types.void(out, at, next_i, a, start_a, b, start_b, stride, c, d, vectors, second)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
            out, at, next_i, a, start_a, b, start_b, stride, c, d, vectors, second = args
            out, a, b, c, d = (
                data(context, builder, sig.args[position], value)
                for position, value in ((0, out), (3, a), (5, b), (8, c), (9, d))
            )
            sums = [cgutils.alloca_once(builder, FLOATS) for _ in range(size_a * size_b)]
            for slot in sums:
                builder.store(ZERO, slot)

            def add_products(left: ir.Value, right: ir.Value, count: ir.Value) -> None:
                with cgutils.for_range(builder, count) as loop:
                    offset = builder.mul(loop.index, ir.Constant(_INT, LANES))

                    def row(base: ir.Value, start: ir.Value, number: int) -> ir.Value:
                        index = builder.add(start, builder.mul(stride, ir.Constant(_INT, number)))
                        return load(builder, base, builder.add(index, offset))

                    rights = [row(right, start_b, k) for k in range(size_b)]
                    lefts = [row(left, start_a, i) for i in range(size_a)]
                    for slot, (x, y) in zip(sums, product(lefts, rights), strict=True):
                        builder.store(fma(builder, x, y, builder.load(slot)), slot)

            add_products(a, b, vectors)
            add_products(c, d, second)
            totals = lane_sums(builder, [builder.load(slot) for slot in sums])
            kind = ir.VectorType(FLOAT, size_b)
            for i in range(size_a):
                numbers = [i * size_b + k for k in range(size_b)]
                lanes = ir.Constant(ir.VectorType(ir.IntType(32), size_b), numbers)
                row = builder.shuffle_vector(totals, ir.Constant(FLOATS, ir.Undefined), lanes)
                index = builder.add(at, builder.mul(next_i, ir.Constant(_INT, i)))
                pointer = builder.bitcast(builder.gep(out, [index]), kind.as_pointer())
                before = builder.load(pointer, align=4)
                builder.store(builder.fadd(before, row), pointer, align=4)
            return context.get_dummy_value()

        return signature, emit

    return tile


def _combine_with(outputs: int, vectors: int) -> Any:
    """Outputs from number k on by tiles of one size, as many as fit; the number of the next output."""
    tile, width = _combine_tile(outputs, vectors), vectors * LANES

    @piece()
    def combine_from(k, out, panel, rows, coefficient, next_k, next_i, total, count):
        while total - k >= outputs:
            for r in range(0, rows, width):
                at = k * rows + r
                tile(out, at, panel, r, rows, coefficient, k * next_k, next_k, next_i, count)
            k += outputs
        return k

    return combine_from


def _slopes_with(outputs: int, vectors: int) -> Any:
    tile, width = _slopes_tile(outputs, vectors), vectors * LANES

    @piece()
    def slopes_from(k, out, h, rows, decoder, n, m, slopes, absolute):
        while n - k >= outputs:
            for r in range(0, rows, width):
                tile(out, k, r, h, rows, decoder, m, slopes, absolute)
            k += outputs
        return k

    return slopes_from


_first, _second, _third, _fourth, _last = (_combine_with(*size) for size in COMBINE_TILES)
_most_slopes, _some_slopes, _last_slopes = (
    _slopes_with(*size) for size in (COMBINE_TILES[0], COMBINE_TILES[2], COMBINE_TILES[4])
)


@piece()
def combine(out, panel, rows, coefficient, next_k, next_i, outputs, count):
    """out[k, r] = sum over i < count of coefficient[k next_k + i next_i] * panel[i, r] for k < outputs.

    `out` and `panel` are panels of `rows` columns (a multiple of 4 vectors), `coefficient` a flat matrix.
    """
    k = _first(0, out, panel, rows, coefficient, next_k, next_i, outputs, count)
    k = _second(k, out, panel, rows, coefficient, next_k, next_i, outputs, count)
    k = _third(k, out, panel, rows, coefficient, next_k, next_i, outputs, count)
    k = _fourth(k, out, panel, rows, coefficient, next_k, next_i, outputs, count)
    _last(k, out, panel, rows, coefficient, next_k, next_i, outputs, count)


@piece()
def slopes_of(out, h, rows, decoder, n, m, slopes, absolute):
    """out[i, r] = scales[i] (y - target) where y = b[i] + (decoder h)[i, r] is on, else 0, for i < n.

    The target is x[i, r], or |x| if `absolute`; see `Slopes`, to whose sums those over r are added.
    """
    i = _most_slopes(0, out, h, rows, decoder, n, m, slopes, absolute)
    i = _some_slopes(i, out, h, rows, decoder, n, m, slopes, absolute)
    _last_slopes(i, out, h, rows, decoder, n, m, slopes, absolute)


def _correlate_with(size: int) -> Any:
    """`correlate` for rows of `a` from number i on by tiles of one size; the number of the next row."""
    pair, single = _correlate_tile(size, 2), _correlate_tile(size, 1)

    @piece()
    def correlate_from(i, out, next_i, a, size_a, b, size_b, c, d, rows, vectors, more):
        while size_a - i >= size:
            for k in range(0, size_b - 1, 2):
                pair(out, i * next_i + k, next_i, a, i * rows, b, k * rows, rows, c, d, vectors, more)
            if size_b % 2:
                k = size_b - 1
                single(out, i * next_i + k, next_i, a, i * rows, b, k * rows, rows, c, d, vectors, more)
            i += size
        return i

    return correlate_from


_correlate_most, _correlate_some, _correlate_one = (_correlate_with(size) for size in (MOST_A, SOME_A, 1))


@piece()
def correlate(out, next_i, a, size_a, b, size_b, c, d, rows, second):
    """out[i next_i + k] += sum over r of a[i, r] b[k, r], and of c[i, r] d[k, r] where `second`.

    All four are panels of `rows` columns; i < size_a, k < size_b.
    """
    vectors = rows // LANES
    more = vectors if second else 0
    i = _correlate_most(0, out, next_i, a, size_a, b, size_b, c, d, rows, vectors, more)
    i = _correlate_some(i, out, next_i, a, size_a, b, size_b, c, d, rows, vectors, more)
    _correlate_one(i, out, next_i, a, size_a, b, size_b, c, d, rows, vectors, more)
