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
PART = 128
"""Inputs that `combine` sums before it turns to the next outputs."""
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
    start: list[list[ir.Value]],
    count: ir.Value,
    inputs: Callable[[ir.Value], tuple[list[ir.Value], Callable[[int], ir.Value]]],
) -> list[list[ir.Value]]:
    """start[k][v] + sum over j < count of left[k] * vectors[v], for each k and v of a tile.

    inputs(j): vectors and left."""
    slots = [[cgutils.alloca_once_value(builder, value) for value in row] for row in start]
    with cgutils.for_range(builder, count) as loop:
        vectors, left = inputs(loop.index)
        for k, row in enumerate(slots):
            factor = left(k)
            for slot, vector in zip(row, vectors, strict=True):
                builder.store(fma(builder, factor, vector, builder.load(slot)), slot)
    return [[builder.load(slot) for slot in row] for row in slots]


def _combined(
    builder: Any, sums: list[list[ir.Value]], panel: Any, coefficient: Any, count: Any
) -> list[list[ir.Value]]:
    """`sums` and those of a `combine` tile; `panel` is (base, first, stride), `coefficient` (base, first,
    next_k, next_i)."""
    base, first, stride = panel
    factors, start, next_k, next_i = coefficient

    def inputs(i: ir.Value) -> tuple[list[ir.Value], Callable[[int], ir.Value]]:
        at = builder.add(first, builder.mul(i, stride))
        from_here = builder.add(start, builder.mul(i, next_i))

        def factor(k: int) -> ir.Value:
            index = builder.add(from_here, builder.mul(next_k, ir.Constant(_INT, k)))
            return splat(builder, builder.load(builder.gep(factors, [index])))

        return [load(builder, base, builder.add(at, _INT(v * LANES))) for v in range(len(sums[0]))], factor

    return _sums_over(builder, sums, count, inputs)


def _combine_tile(outputs: int, vectors: int) -> Any:
    """out[k, r] for `outputs` values of k and `vectors` * LANES values of r; added to it unless `fresh`."""

    @intrinsic
    def tile(typing: Any, out, at, panel, start, stride, coefficient, first, next_k, next_i, count, fresh):
        signature = types.void(
            out, at, panel, start, stride, coefficient, first, next_k, next_i, count, fresh
        )

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
            out, at, panel, start, stride, coefficient, first, next_k, next_i, count, fresh = args
            out, panel, coefficient = (
                data(context, builder, sig.args[position], value)
                for position, value in ((0, out), (2, panel), (5, coefficient))
            )
            places = [
                [
                    builder.add(builder.add(at, builder.mul(stride, ir.Constant(_INT, k))), _INT(v * LANES))
                    for v in range(vectors)
                ]
                for k in range(outputs)
            ]
            before = [
                [builder.select(fresh, ZERO, load(builder, out, place)) for place in row] for row in places
            ]
            factors = (coefficient, first, next_k, next_i)
            totals = _combined(builder, before, (panel, start, stride), factors, count)
            for row, there in zip(totals, places, strict=True):
                for total, place in zip(row, there, strict=True):
                    store(builder, total, out, place)
            return context.get_dummy_value()

        return signature, emit

    return tile


def _slopes_tile(outputs: int, vectors: int) -> Any:
    """`slopes_of` for `outputs` outputs from number k on, and `vectors` * LANES batch rows from r on."""

    @intrinsic
    def tile(typing: Any, out, k, r, h, stride, decoder, first, m, slopes, absolute):
        signature = types.void(out, k, r, h, stride, decoder, first, m, slopes, absolute)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
            out, k, r, h, stride, decoder, first, m, slopes, absolute = args
            out, h, decoder = (
                data(context, builder, sig.args[position], value)
                for position, value in ((0, out), (3, h), (5, decoder))
            )
            x, b, scales, limits, sums = (
                builder.inttoptr(builder.extract_value(slopes, number), FLOAT.as_pointer())
                for number in range(len(Slopes._fields))
            )
            places = [builder.add(k, ir.Constant(_INT, number)) for number in range(outputs)]
            biases = [splat(builder, builder.load(builder.gep(b, [i]))) for i in places]
            factors = (decoder, builder.add(first, builder.mul(k, m)), m, ir.Constant(_INT, 1))
            totals = _combined(builder, [[bias] * vectors for bias in biases], (h, r, stride), factors, m)
            word = BITS.element
            kept = splat(builder, builder.select(absolute, word(2**31 - 1), word(-1)), BITS)
            offsets = [builder.add(r, ir.Constant(_INT, v * LANES)) for v in range(vectors)]
            bounds = [load(builder, limits, offset) for offset in offsets]
            for i, row in zip(places, totals, strict=True):
                scale = splat(builder, builder.load(builder.gep(scales, [i])))
                at = builder.mul(i, stride)
                place = builder.mul(i, ir.Constant(_INT, LANES))
                total = load(builder, sums, place)
                for y, offset, bound in zip(row, offsets, bounds, strict=True):
                    index = builder.add(at, offset)
                    bits = builder.bitcast(load(builder, x, index), BITS)
                    target = builder.bitcast(builder.and_(bits, kept), FLOATS)
                    slope = builder.fmul(builder.fsub(y, target), scale)
                    slope = builder.select(builder.fcmp_unordered(">", y, bound), slope, ZERO)
                    store(builder, slope, out, index)
                    total = builder.fadd(total, slope)
                store(builder, total, sums, place)
            return context.get_dummy_value()

        return signature, emit

    return tile


def _correlate_tile(size_a: int, size_b: int) -> Any:
    """out[i, k] += sum over r of a[i, r] b[k, r] for size_a values of i, size_b of k."""

    @intrinsic
    def tile(typing: Any, out, at, next_i, a, start_a, b, start_b, stride, vectors):
        signature = types.void(out, at, next_i, a, start_a, b, start_b, stride, vectors)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
            out, at, next_i, a, start_a, b, start_b, stride, vectors = args
            out, a, b = (
                data(context, builder, sig.args[position], value)
                for position, value in ((0, out), (3, a), (5, b))
            )
            sums = [cgutils.alloca_once_value(builder, ZERO) for _ in range(size_a * size_b)]
            with cgutils.for_range(builder, vectors) as loop:
                offset = builder.mul(loop.index, ir.Constant(_INT, LANES))

                def row(base: ir.Value, start: ir.Value, number: int) -> ir.Value:
                    index = builder.add(start, builder.mul(stride, ir.Constant(_INT, number)))
                    return load(builder, base, builder.add(index, offset))

                rights = [row(b, start_b, k) for k in range(size_b)]
                lefts = [row(a, start_a, i) for i in range(size_a)]
                for slot, (x, y) in zip(sums, product(lefts, rights), strict=True):
                    builder.store(fma(builder, x, y, builder.load(slot)), slot)
            totals = lane_sums(builder, [builder.load(slot) for slot in sums])
            kind = ir.VectorType(FLOAT, size_b)
            for i in range(size_a):
                numbers = [i * size_b + k for k in range(size_b)]
                lanes = ir.Constant(ir.VectorType(ir.IntType(32), size_b), numbers)
                row_sums = builder.shuffle_vector(totals, ir.Constant(FLOATS, ir.Undefined), lanes)
                index = builder.add(at, builder.mul(next_i, ir.Constant(_INT, i)))
                pointer = builder.bitcast(builder.gep(out, [index]), kind.as_pointer())
                before = builder.load(pointer, align=4)
                builder.store(builder.fadd(before, row_sums), pointer, align=4)
            return context.get_dummy_value()

        return signature, emit

    return tile


def _combine_with(outputs: int, vectors: int) -> Any:
    """Outputs from number k on by tiles of one size, as many as fit; the number of the next output."""
    tile, width = _combine_tile(outputs, vectors), vectors * LANES

    @piece()
    def combine_from(k, out, panel, start, rows, coefficient, first, next_k, next_i, total, count, fresh):
        while total - k >= outputs:
            from_here = first + k * next_k
            for r in range(0, rows, width):
                at = k * rows + r
                tile(out, at, panel, start + r, rows, coefficient, from_here, next_k, next_i, count, fresh)
            k += outputs
        return k

    return combine_from


def _slopes_with(outputs: int, vectors: int) -> Any:
    tile, width = _slopes_tile(outputs, vectors), vectors * LANES

    @piece()
    def slopes_from(k, out, h, rows, decoder, first, n, m, slopes, absolute):
        while n - k >= outputs:
            for r in range(0, rows, width):
                tile(out, k, r, h, rows, decoder, first, m, slopes, absolute)
            k += outputs
        return k

    return slopes_from


_first, _second, _third, _fourth, _last = (_combine_with(*size) for size in COMBINE_TILES)
_most_slopes, _some_slopes, _last_slopes = (
    _slopes_with(*size) for size in (COMBINE_TILES[0], COMBINE_TILES[2], COMBINE_TILES[4])
)


@piece()
def combine(out, panel, rows, coefficient, start, next_k, next_i, outputs, count, fresh):
    """out[k, r] = sum over i < count of coefficient[start + k next_k + i next_i] * panel[i, r], k < outputs.

    Added to what is there unless `fresh`. `out` and `panel` are panels of `rows` columns (a multiple of 4
    vectors), `coefficient` a flat matrix.
    """
    # A part of a tall panel at a time, which all outputs read from the first-level cache.
    for i in range(0, count, PART):
        part, at, first, new = min(PART, count - i), i * rows, start + i * next_i, fresh and i == 0
        k = _first(0, out, panel, at, rows, coefficient, first, next_k, next_i, outputs, part, new)
        k = _second(k, out, panel, at, rows, coefficient, first, next_k, next_i, outputs, part, new)
        k = _third(k, out, panel, at, rows, coefficient, first, next_k, next_i, outputs, part, new)
        k = _fourth(k, out, panel, at, rows, coefficient, first, next_k, next_i, outputs, part, new)
        _last(k, out, panel, at, rows, coefficient, first, next_k, next_i, outputs, part, new)


@piece()
def slopes_of(out, h, rows, decoder, first, n, m, slopes, absolute):
    """out[i, r] = scales[i] (y - target) where y = b[i] + (decoder h)[i, r] is on, else 0, for i < n.

    The target is x[i, r], or |x| if `absolute`; see `Slopes`, to whose sums those over r are added. The
    decoder's row of output 0 starts at decoder[first].
    """
    i = _most_slopes(0, out, h, rows, decoder, first, n, m, slopes, absolute)
    i = _some_slopes(i, out, h, rows, decoder, first, n, m, slopes, absolute)
    _last_slopes(i, out, h, rows, decoder, first, n, m, slopes, absolute)


def _correlate_with(size: int) -> Any:
    """`correlate` for rows of `a` from number i on by tiles of one size; the number of the next row."""
    pair, single = _correlate_tile(size, 2), _correlate_tile(size, 1)

    @piece()
    def correlate_from(i, out, first, next_i, a, size_a, b, from_b, size_b, rows, vectors):
        while size_a - i >= size:
            at = first + i * next_i
            for k in range(0, size_b - 1, 2):
                pair(out, at + k, next_i, a, i * rows, b, (from_b + k) * rows, rows, vectors)
            if size_b % 2:
                k = size_b - 1
                single(out, at + k, next_i, a, i * rows, b, (from_b + k) * rows, rows, vectors)
            i += size
        return i

    return correlate_from


_correlate_most, _correlate_some, _correlate_one = (_correlate_with(size) for size in (MOST_A, SOME_A, 1))


@piece()
def correlate(out, at, next_i, a, size_a, b, from_b, size_b, rows):
    """out[at + i next_i + k] += sum over r of a[i, r] b[from_b + k, r] for i < size_a and k < size_b.

    Both are panels of `rows` columns.
    """
    vectors = rows // LANES
    i = _correlate_most(0, out, at, next_i, a, size_a, b, from_b, size_b, rows, vectors)
    i = _correlate_some(i, out, at, next_i, a, size_a, b, from_b, size_b, rows, vectors)
    _correlate_one(i, out, at, next_i, a, size_a, b, from_b, size_b, rows, vectors)
