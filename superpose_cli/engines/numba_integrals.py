"""Integrals of the expected loss over one and two magnitudes, exact, in float64.

z = z0 + g1 v1 + g2 v2 is an output before its activation, t = t0 + t1 v1 + t2 v2 its target, with v uniform
on the unit interval or square, which z = 0 cuts in two. Each function returns averages of delta = z - t where
z > 0 (everywhere for an identity output), of delta v_a, and of the gain (z - t)^2 - t^2 there.

The formulas serve single numbers, compiled by numba, and vectors of instances (`lane_numbers`) alike.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from superpose_cli.engines import lane_numbers
from superpose_cli.engines.compiling import piece
from superpose_cli.engines.lane_numbers import Lanes, add_to, flag, load
from superpose_cli.engines.lanes import intrinsic

GAUSS = 0.5 / np.sqrt(3.0)
"""Two nodes at 1/2 -+ this on the unit interval integrate a cubic exactly."""


class Formulas(NamedTuple):
    """What both kinds of numbers go through."""

    least: Callable[..., Any]
    greatest: Callable[..., Any]
    line: Callable[..., Any]
    strip: Callable[..., Any]
    strips: Callable[..., Any]
    whole: Callable[..., Any]


def _formulas(where: Any, ready: Callable[[Any], Any]) -> Formulas:
    """The formulas with `where(condition, yes, no)`; `ready` turns a function into what others may call."""

    def least(a, b):
        return where(a < b, a, b)

    def greatest(a, b):
        return where(a > b, a, b)

    least, greatest = ready(least), ready(greatest)

    def line(z0, g, inverse, t0, t):
        """Averages over one magnitude v in (0, 1], where z = z0 + g v > 0; inverse = 1 / g, finite."""
        zero = least(greatest(-z0 * inverse, 0.0), 1.0)
        low, up = where(g > 0, zero, 0.0), where(g > 0, 1.0, zero)
        low2, up2 = low * low, up * up
        s1, s2, s3 = up - low, 0.5 * (up2 - low2), (up * up2 - low * low2) * (1 / 3)
        c, d = z0 - t0, g - t
        e, f = c - t0, d - t
        return c * s1 + d * s2, c * s2 + d * s3, z0 * e * s1 + (z0 * f + g * e) * s2 + g * f * s3

    line = ready(line)

    def strip(z0, g1, g2, inverse, t0, t1, t2, start, width):
        """The part of `pair` with v_1 from `start` on, over which averages over v_2 are one cubic of v_1."""
        v, u = start + (0.5 - GAUSS) * width, start + (0.5 + GAUSS) * width
        p, p2, gain = line(z0 + g1 * v, g2, inverse, t0 + t1 * v, t2)
        q, q2, more = line(z0 + g1 * u, g2, inverse, t0 + t1 * u, t2)
        half = 0.5 * width
        return half * (p + q), half * (p * v + q * u), half * (p2 + q2), half * (gain + more)

    def strips(z0, g1, g2):
        """Where v_1 is cut: between the zeros of the square's corners, in (0, 1)."""
        first, last = -z0 / g1, -(z0 + g2) / g1
        low = least(greatest(least(first, last), 0.0), 1.0)
        up = least(greatest(greatest(first, last), 0.0), 1.0)
        return where(abs(g1) > 0, low, 0.0), where(abs(g1) > 0, up, 1.0)

    def whole(z0, g1, g2, t0, t1, t2):
        """`pair` where z > 0 on all of the square."""
        z, d1, d2 = z0 + 0.5 * (g1 + g2), g1 - t1, g2 - t2
        delta = z - t0 - 0.5 * (t1 + t2)
        gain = z * (2 * delta - z) + (g1 * (d1 - t1) + g2 * (d2 - t2)) * (1 / 12)
        return delta, 0.5 * delta + d1 * (1 / 12), 0.5 * delta + d2 * (1 / 12), gain

    return Formulas(least, greatest, line, ready(strip), ready(strips), ready(whole))


_inlined = piece(_nrt=False, forceinline=True)


@_inlined
def _where(condition, yes, no):
    return yes if condition else no


_scalar = _formulas(_where, _inlined)
_least, _greatest, _strip, _strips, _whole = (
    _scalar.least, _scalar.greatest, _scalar.strip, _scalar.strips, _scalar.whole
)  # fmt: skip
_vector = _formulas(lane_numbers.where, lambda formula: formula)


@_inlined
def pair(z0, g1, g2, t0, t1, t2, relu):
    """Averages of delta, delta v_1, delta v_2 and the gain over two magnitudes in (0, 1]."""
    lowest = z0 + _least(g1, 0.0) + _least(g2, 0.0)
    highest = z0 + _greatest(g1, 0.0) + _greatest(g2, 0.0)
    if relu and highest <= 0:
        return 0.0, 0.0, 0.0, 0.0
    if not (relu and lowest < 0):  # all of the box, and whatever is not a number
        return _whole(z0, g1, g2, t0, t1, t2)
    if abs(g1) <= abs(g2):
        return _bent(z0, g1, g2, t0, t1, t2)
    p0, p2, p1, gain = _bent(z0, g2, g1, t0, t2, t1)
    return p0, p1, p2, gain


@_inlined
def _bent(z0, g1, g2, t0, t1, t2):
    """`pair` where z = 0 cuts the square; |g1| <= |g2|."""
    low, up = _strips(z0, g1, g2)
    p0 = p1 = p2 = gain = 0.0
    for third in range(3):
        start = 0.0 if third == 0 else (low if third == 1 else up)
        width = (low if third == 0 else (up if third == 1 else 1.0)) - start
        if width > 0:
            q0, q1, q2, more = _strip(z0, g1, g2, 1.0 / g2, t0, t1, t2, start, width)
            p0 += q0
            p1 += q1
            p2 += q2
            gain += more
    return p0, p1, p2, gain


def _single_lanes(z0: Lanes, g: Lanes, t: Lanes, relu: Lanes) -> tuple[Lanes, ...]:
    """Averages of delta, delta v and the gain over one magnitude in (0, 1]."""
    where, f = lane_numbers.where, _vector
    z, delta = z0 + 0.5 * g, z0 + 0.5 * (g - t)
    whole = delta, 0.5 * delta + (g - t) * (1 / 12), z * (2 * delta - z) + g * (g - 2 * t) * (1 / 12)
    bent = f.line(z0, g, 1.0 / g, 0.0, t)
    off = relu & (f.greatest(z0, z0 + g) <= 0)
    cut = relu & (f.least(z0, z0 + g) < 0)
    return tuple(where(off, 0.0, where(cut, b, w)) for w, b in zip(whole, bent, strict=True))


def _pair_lanes(z0: Lanes, g1: Lanes, g2: Lanes, t1: Lanes, t2: Lanes, relu: Lanes) -> tuple[Lanes, ...]:
    """`pair` with t0 = 0."""
    where, f = lane_numbers.where, _vector
    whole = f.whole(z0, g1, g2, 0.0, t1, t2)
    swap = abs(g1) > abs(g2)
    g, steep = where(swap, g2, g1), where(swap, g1, g2)
    t, other = where(swap, t2, t1), where(swap, t1, t2)
    low, up = f.strips(z0, g, steep)
    inverse, nothing = 1.0 / steep, 0.0 * z0
    bent = (nothing,) * 4
    for start, stop in ((nothing, low), (low, up), (up, nothing + 1.0)):
        parts = f.strip(z0, g, steep, inverse, 0.0, t, other, start, stop - start)
        bent = tuple(sum_ + part for sum_, part in zip(bent, parts, strict=True))
    p0, p, p_steep, gain = bent
    bent = p0, where(swap, p_steep, p), where(swap, p, p_steep), gain
    off = relu & (z0 + f.greatest(g1, 0.0) + f.greatest(g2, 0.0) <= 0)
    cut = relu & (z0 + f.least(g1, 0.0) + f.least(g2, 0.0) < 0)
    return tuple(where(off, 0.0, where(cut, b, w)) for w, b in zip(whole, bent, strict=True))


@intrinsic
def add_single(typing: Any, z0, G, unit, t, probability, relu, shift_slope, slope, gain):
    """Add one pattern's part, of one feature that is on, to the expectations of one output of a block.

    Addresses of vectors of float64: z's constant, G_ij, the feature's largest value, the target's, the
    pattern's probability; and of what is added to: E delta, E delta x_j, the gain.
    """
    kind = types.intp

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
        z0, G, unit, t, probability = (load(builder, at) for at in args[:5])
        delta, part, gain = _single_lanes(z0, G * unit, t, flag(builder, args[5]))
        for at, number in zip(args[6:], (delta, unit * part, gain), strict=True):
            add_to(at, probability * number)
        return context.get_dummy_value()

    return types.void(kind, kind, kind, kind, kind, types.boolean, kind, kind, kind), emit


@intrinsic
def add_pair(
    typing: Any, z0, Gj, Gk, unit, other, t, u, probability, relu, shift_slope, slope_j, slope_k, gain
):
    """`add_single` for two features that are on."""
    kind = types.intp

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
        z0, Gj, Gk, unit, other, t, u, probability = (load(builder, at) for at in args[:8])
        delta, part, rest, gain = _pair_lanes(z0, Gj * unit, Gk * other, t, u, flag(builder, args[8]))
        for at, number in zip(args[9:], (delta, unit * part, other * rest, gain), strict=True):
            add_to(at, probability * number)
        return context.get_dummy_value()

    return types.void(*[kind] * 8, types.boolean, *[kind] * 4), emit
