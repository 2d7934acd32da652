"""Register tiles: the three small matrix products that a fused step is made of, as vector instructions.

A *panel* is a matrix of float32 whose rows are features or hidden units and whose columns are rows of the
batch, so every product runs over contiguous vectors of batch rows. LLVM alone keeps neither the sums of such
a product in registers nor several of them in flight; these functions emit that code directly, once for each
tile size, and leave the choice of instructions to LLVM (a vector type of any width is legal everywhere).

`combine` (W^T x, W h, W^T dy):   out[k, r] = sum_i coefficient[k, i] * panel[i, r]
`correlate` (x dh^T, dy h^T):     out[i, k] += sum_r a[i, r] * b[k, r]

Each function takes arrays with element offsets and strides, and does not check them. The order of every sum
is fixed by the tile, so bits depend on the shapes and the instruction set alone.
"""

from itertools import product
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from superpose_cli.engines.compiling import piece
from superpose_cli.engines.lanes import FLOATS, LANES, WIDE, ZERO, data, fma, lane_sums, load, splat

COMBINE_TILES = (
    ((12, 2), (8, 2), (4, 4), (2, 4), (1, 4)) if WIDE else ((6, 2), (4, 2), (3, 2), (2, 4), (1, 4))
)
"""Outputs and vectors of batch rows of the `combine` tiles: as many sums as the 32 (AVX2: 16) registers hold,
and more outputs than vectors: a panel comes from the second-level cache, the coefficients from the first. The
width of a panel is a multiple of 4 vectors."""


def _combine_tile(outputs: int, vectors: int) -> Any:
    """out[k, r] for `outputs` values of k and `vectors` * LANES values of r."""

    @intrinsic
    def tile(
        typing: Any, out, at, stride, panel, start, panel_stride, coefficient, first, next_k, next_i, count
    ):
        signature = types.void(
            out, at, stride, panel, start, panel_stride, coefficient, first, next_k, next_i, count
        )

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
            out, at, stride, panel, start, panel_stride, coefficient, first, next_k, next_i, count = args
            out = data(context, builder, sig.args[0], out)
            panel = data(context, builder, sig.args[3], panel)
            coefficient = data(context, builder, sig.args[6], coefficient)
            intp = count.type
            sums = [[cgutils.alloca_once(builder, FLOATS) for _ in range(vectors)] for _ in range(outputs)]
            for row in sums:
                for slot in row:
                    builder.store(ZERO, slot)
            with cgutils.for_range(builder, count) as loop:
                base = builder.add(start, builder.mul(loop.index, panel_stride))
                inputs = [
                    load(builder, panel, builder.add(base, ir.Constant(intp, v * LANES)))
                    for v in range(vectors)
                ]
                from_here = builder.add(first, builder.mul(loop.index, next_i))
                for k, row in enumerate(sums):
                    index = builder.add(from_here, builder.mul(next_k, ir.Constant(intp, k)))
                    factor = splat(builder, builder.load(builder.gep(coefficient, [index])))
                    for slot, vector in zip(row, inputs, strict=True):
                        builder.store(fma(builder, factor, vector, builder.load(slot)), slot)
            for k, row in enumerate(sums):
                base = builder.add(at, builder.mul(stride, ir.Constant(intp, k)))
                for v, slot in enumerate(row):
                    index = builder.add(base, ir.Constant(intp, v * LANES))
                    pointer = builder.bitcast(builder.gep(out, [index]), FLOATS.as_pointer())
                    builder.store(builder.load(slot), pointer, align=4)
            return context.get_dummy_value()

        return signature, emit

    return tile


def _correlate_tile(size_a: int, size_b: int) -> Any:
    """out[i, k] += sum over r of a[i, r] b[k, r] (+ c[i, r] d[k, r]) for size_a values of i, size_b of k."""

    @intrinsic
    def tile(typing: Any, out, at, stride, a, start_a, b, start_b, width, c, d, vectors, second):
        signature = types.void(out, at, stride, a, start_a, b, start_b, width, c, d, vectors, second)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
            out, at, stride, a, start_a, b, start_b, width, c, d, vectors, second = args
            out, a, b, c, d = (
                data(context, builder, sig.args[position], value)
                for position, value in ((0, out), (3, a), (5, b), (8, c), (9, d))
            )
            intp = at.type
            sums = [cgutils.alloca_once(builder, FLOATS) for _ in range(size_a * size_b)]
            for slot in sums:
                builder.store(ZERO, slot)

            def add_products(left: ir.Value, right: ir.Value, count: ir.Value) -> None:
                with cgutils.for_range(builder, count) as loop:
                    offset = builder.mul(loop.index, ir.Constant(intp, LANES))

                    def row(base: ir.Value, start: ir.Value, number: int) -> ir.Value:
                        index = builder.add(start, builder.mul(width, ir.Constant(intp, number)))
                        return load(builder, base, builder.add(index, offset))

                    lefts = [row(left, start_a, i) for i in range(size_a)]
                    rights = [row(right, start_b, k) for k in range(size_b)]
                    for slot, (x, y) in zip(sums, product(lefts, rights), strict=True):
                        builder.store(fma(builder, x, y, builder.load(slot)), slot)

            add_products(a, b, vectors)
            add_products(c, d, second)
            totals = lane_sums(builder, [builder.load(slot) for slot in sums])
            for number, (i, k) in enumerate(product(range(size_a), range(size_b))):
                total = builder.extract_element(totals, ir.Constant(ir.IntType(32), number))
                row = builder.add(at, builder.mul(stride, ir.Constant(intp, i)))
                pointer = builder.gep(out, [builder.add(row, ir.Constant(intp, k))])
                builder.store(builder.fadd(builder.load(pointer), total), pointer)
            return context.get_dummy_value()

        return signature, emit

    return tile


_correlate_44 = _correlate_tile(4, 4)
_correlate_42 = _correlate_tile(4, 2)
_correlate_41 = _correlate_tile(4, 1)
_correlate_14 = _correlate_tile(1, 4)
_correlate_12 = _correlate_tile(1, 2)
_correlate_11 = _correlate_tile(1, 1)


def _combine_with(outputs: int, vectors: int) -> Any:
    """Outputs from number k on by tiles of one size, as many as fit; the number of the next output."""
    tile, width = _combine_tile(outputs, vectors), vectors * LANES

    @piece()
    def combine_from(k, out, panel, rows, coefficient, next_k, next_i, total, count):
        while total - k >= outputs:
            for r in range(0, rows, width):
                at = k * rows + r
                tile(out, at, rows, panel, r, rows, coefficient, k * next_k, next_k, next_i, count)
            k += outputs
        return k

    return combine_from


_first, _second, _third, _fourth, _last = (_combine_with(*size) for size in COMBINE_TILES)


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
def correlate(out, stride, a, size_a, b, size_b, c, d, rows, second):
    """out[i stride + k] += sum over r of a[i, r] b[k, r], and of c[i, r] d[k, r] where `second`.

    All four are flat panels of `rows` columns; i < size_a, k < size_b.
    """
    vectors = rows // LANES
    more = vectors if second else 0
    i = 0
    while i < size_a:
        four = size_a - i >= 4
        k = 0
        while k < size_b:
            at, start_a, start_b = i * stride + k, i * rows, k * rows
            left = size_b - k
            if left >= 4:
                if four:
                    _correlate_44(out, at, stride, a, start_a, b, start_b, rows, c, d, vectors, more)
                else:
                    _correlate_14(out, at, stride, a, start_a, b, start_b, rows, c, d, vectors, more)
                k += 4
            elif left >= 2:
                if four:
                    _correlate_42(out, at, stride, a, start_a, b, start_b, rows, c, d, vectors, more)
                else:
                    _correlate_12(out, at, stride, a, start_a, b, start_b, rows, c, d, vectors, more)
                k += 2
            else:
                if four:
                    _correlate_41(out, at, stride, a, start_a, b, start_b, rows, c, d, vectors, more)
                else:
                    _correlate_11(out, at, stride, a, start_a, b, start_b, rows, c, d, vectors, more)
                k += 1
        i += 4 if four else 1
