"""Vectors of float32 in LLVM code: what the hand-written kernels are spelled with.

LLVM takes a vector type of any width on any machine and splits it as needed, so a width is a choice of speed,
not of correctness.
"""

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils

_features = llvmlite.binding.get_host_cpu_features()
WIDE = bool(_features.get("avx512f"))
LANES = 16 if WIDE else 8
"""float32 numbers in a vector."""
FLOAT = ir.FloatType()
FLOATS = ir.VectorType(FLOAT, LANES)
ZERO = ir.Constant(FLOATS, [0.0] * LANES)


def data(context: Any, builder: Any, kind: types.Array, value: ir.Value) -> ir.Value:
    """The pointer to an array's first element."""
    return context.make_array(kind)(context, builder, value).data


def load(builder: Any, base: ir.Value, index: ir.Value) -> ir.Value:
    """The vector of float32 that starts at base[index]."""
    pointer = builder.bitcast(builder.gep(base, [index]), FLOATS.as_pointer())
    return builder.load(pointer, align=4)


def store(builder: Any, vector: ir.Value, base: ir.Value, index: ir.Value) -> None:
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
