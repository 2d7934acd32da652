"""Base-2 logarithm in integer arithmetic, for the same bits on every machine and engine.

Math libraries (libm, SVML, CUDA) round their logarithms differently; integers do not.
"""

from types import ModuleType
from typing import Any

FRACTION_BITS = 32
"""A fixed-point logarithm counts units of 2^-32."""

ARGUMENT_BITS = 31
"""The fraction f of a mantissa 1 + f is held in units of 2^-31: exact for every integer up to 2^32."""

# (log2(1 + f) - f) / (f (1 - f)) on [0, 1] = C0 - f (C1 - f (C2 - ...)), interpolated at the 11 Chebyshev
# nodes, in units of 2^-32. The nested terms stay in (0, 2^31), so every product below is under 2^63.
COEFFICIENTS = (
    1901360720,
    1196802686,
    868614893,
    680046808,
    555475204,
    456913028,
    355293914,
    236551560,
    118923742,
    38334212,
    5783109,
)


def log2_mantissa(fraction: Any) -> Any:
    """log2(1 + f) in units of 2^-32, for f = `fraction` * 2^-31 in [0, 1]; ends exact, error under 2^-31.

    Rises with every one of the 2^31 fractions (all were tried), so that a difference is never negative.
    Works on int64 arrays and tensors and, compiled by numba, on int64 scalars.
    """
    bend = COEFFICIENTS[10]
    bend = COEFFICIENTS[9] - (fraction * bend >> ARGUMENT_BITS)
    bend = COEFFICIENTS[8] - (fraction * bend >> ARGUMENT_BITS)
    bend = COEFFICIENTS[7] - (fraction * bend >> ARGUMENT_BITS)
    bend = COEFFICIENTS[6] - (fraction * bend >> ARGUMENT_BITS)
    bend = COEFFICIENTS[5] - (fraction * bend >> ARGUMENT_BITS)
    bend = COEFFICIENTS[4] - (fraction * bend >> ARGUMENT_BITS)
    bend = COEFFICIENTS[3] - (fraction * bend >> ARGUMENT_BITS)
    bend = COEFFICIENTS[2] - (fraction * bend >> ARGUMENT_BITS)
    bend = COEFFICIENTS[1] - (fraction * bend >> ARGUMENT_BITS)
    bend = COEFFICIENTS[0] - (fraction * bend >> ARGUMENT_BITS)
    between = fraction * ((1 << ARGUMENT_BITS) - fraction) >> 30
    return (fraction << 1) + (between * bend >> 32)


def log2_fixed(xp: ModuleType, integer: Any) -> Any:
    """log2 of integers in [1, 2^32], in units of 2^-32: int64 in, int64 out, strictly increasing.

    `xp` is numpy or torch and `integer` its int64 array. The exponent comes from the exact float64 of the
    integer; the rest is integer arithmetic.
    """
    _, exponent = xp.frexp(xp.asarray(integer, dtype=xp.float64))
    exponent = xp.asarray(exponent, dtype=xp.int64) - 1
    # Two shifts, as 2^32 would need a negative one; the mask takes the leading 1 off.
    fraction = (integer << (32 - exponent) >> 1) & ((1 << ARGUMENT_BITS) - 1)
    return (exponent << FRACTION_BITS) + log2_mantissa(fraction)
