"""Vectors of float32 in LLVM code: what the hand-written kernels are spelled with.

LLVM takes a vector type of any width on any machine and splits it as needed, so a width is a choice of speed,
not of correctness.
"""

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic

from superpose_cli.engines.compiling import piece

_features = llvmlite.binding.get_host_cpu_features()
WIDE = bool(_features.get("avx512f"))
LANES = 16 if WIDE else 8
"""float32 numbers in a vector."""
FLOAT = ir.FloatType()
FLOATS = ir.VectorType(FLOAT, LANES)
BITS = ir.VectorType(ir.IntType(32), LANES)
ZERO = ir.Constant(FLOATS, [0.0] * LANES)


intrinsic: Any = numba_intrinsic
"""For a type checker the function below it keeps the typing context that numba passes; nobody else does."""


@piece()
def address(array):
    """Where an array starts, as int64: a sum of an unsigned and a signed number is a float for numba."""
    return np.int64(array.ctypes.data)


def data(context: Any, builder: Any, kind: Any, value: ir.Value, element: ir.Type = FLOAT) -> ir.Value:
    """The pointer to an array's first element; `value` may also be an address of `element`s."""
    if isinstance(kind, types.Integer):
        return builder.inttoptr(value, element.as_pointer())
    return context.make_array(kind)(context, builder, value).data


def load(builder: Any, base: ir.Value, index: ir.Value) -> ir.Value:
    """The vector of float32 that starts at base[index]."""
    pointer = builder.bitcast(builder.gep(base, [index]), FLOATS.as_pointer())
    return builder.load(pointer, align=4)


def store(builder: Any, vector: Any, base: ir.Value, index: ir.Value) -> None:
    """Write a vector of 32-bit numbers from base[index] on."""
    pointer = builder.bitcast(builder.gep(base, [index]), vector.type.as_pointer())
    builder.store(vector, pointer, align=4)


def splat(builder: Any, scalar: ir.Value, kind: ir.VectorType = FLOATS) -> ir.Value:
    """A vector with the scalar in each lane."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), mask)


def fma(builder: Any, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a * b + c."""
    kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    return builder.call(function, [a, b, c])


def lane_sums(builder: Any, vectors: list[ir.Value]) -> ir.Value:
    """A vector whose lane s is the sum over the lanes of vectors[s], by a tree: 3 instructions a vector.

    There are 1, 2, 4, ... of them, at most LANES.
    """
    width = LANES
    while len(vectors) > 1:
        vectors = [_merged(builder, a, b, width) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
        width //= 2
    (merged,) = vectors
    while width > 1:
        # Merged with itself the second half repeats the first, and sum number s ends in lane s.
        merged, width = _merged(builder, merged, merged, width), width // 2
    return merged


def _merged(builder: Any, a: ir.Value, b: ir.Value, width: int) -> ir.Value:
    """Two vectors whose runs of `width` lanes hold parts of a sum each, as one with runs half as long."""
    lanes = [lane for run in range(0, LANES, width) for lane in range(run, run + width // 2)]
    index = ir.VectorType(ir.IntType(32), LANES)
    low = [*lanes, *(lane + LANES for lane in lanes)]
    halves = [
        builder.shuffle_vector(a, b, ir.Constant(index, [lane + shift for lane in low]))
        for shift in (0, width // 2)
    ]
    return builder.fadd(*halves)


@intrinsic
def fold(typing: Any, out, sums, count, add):
    """out[j] = (out[j] if `add`) + the sum over the lanes of vector j of `sums`, for j < count; those vectors
    become 0. Arrays or addresses of float32, with room for `count` rounded up to a multiple of LANES."""
    signature = types.void(out, sums, types.int64, types.boolean)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
        out, sums, count, add = args
        out, sums = data(context, builder, sig.args[0], out), data(context, builder, sig.args[1], sums)
        lanes = ir.Constant(count.type, LANES)
        turns = builder.sdiv(builder.add(count, ir.Constant(count.type, LANES - 1)), lanes)
        with cgutils.for_range(builder, turns) as loop:
            first = builder.mul(loop.index, lanes)
            base = builder.mul(first, lanes)
            offsets = [builder.add(base, ir.Constant(count.type, LANES * number)) for number in range(LANES)]
            totals = lane_sums(builder, [load(builder, sums, offset) for offset in offsets])
            for offset in offsets:
                store(builder, ZERO, sums, offset)
            before = builder.select(add, load(builder, out, first), ZERO)
            store(builder, builder.fadd(before, totals), out, first)
        return context.get_dummy_value()

    return signature, emit
