"""Integrals of the expected loss over one and two magnitudes, exact, in float64.

z = z0 + g1 v1 + g2 v2 is an output before its activation, t = t0 + t1 v1 + t2 v2 its target, with v uniform
on the unit interval or square, which z = 0 cuts in two. Each function returns averages of delta = z - t where
z > 0 (everywhere for an identity output), of delta v_a, and of the gain (z - t)^2 - t^2 there.
"""

import numpy as np

from superpose_cli.engines.compiling import piece

GAUSS = 0.5 / np.sqrt(3.0)
"""Two nodes at 1/2 -+ this on the unit interval integrate a cubic exactly."""


@piece(_nrt=False, forceinline=True)
def single(z0, g, t, relu):
    """Averages of delta, delta v and the gain over one magnitude in (0, 1]."""
    if relu and max(z0, z0 + g) <= 0:
        return 0.0, 0.0, 0.0
    if not (relu and min(z0, z0 + g) < 0):
        z, delta = z0 + 0.5 * g, z0 + 0.5 * (g - t)
        return delta, 0.5 * delta + (g - t) * (1 / 12), z * (2 * delta - z) + g * (g - 2 * t) * (1 / 12)
    return line(z0, g, 1.0 / g, 0.0, t)


@piece(_nrt=False, forceinline=True)
def line(z0, g, inverse, t0, t):
    """Averages over one magnitude v in (0, 1], where z = z0 + g v > 0; inverse = 1 / g, finite."""
    zero = min(max(-z0 * inverse, 0.0), 1.0)
    low, up = (zero, 1.0) if g > 0 else (0.0, zero)
    low2, up2 = low * low, up * up
    s1, s2, s3 = up - low, 0.5 * (up2 - low2), (up * up2 - low * low2) * (1 / 3)
    c, d = z0 - t0, g - t
    e, f = c - t0, d - t
    return c * s1 + d * s2, c * s2 + d * s3, z0 * e * s1 + (z0 * f + g * e) * s2 + g * f * s3


@piece(_nrt=False, forceinline=True)
def pair(z0, g1, g2, t0, t1, t2, relu):
    """Averages of delta, delta v_1, delta v_2 and the gain over two magnitudes in (0, 1]."""
    lowest = z0 + min(g1, 0.0) + min(g2, 0.0)
    highest = z0 + max(g1, 0.0) + max(g2, 0.0)
    if relu and highest <= 0:
        return 0.0, 0.0, 0.0, 0.0
    if not (relu and lowest < 0):  # all of the box, and whatever is not a number
        z, d1, d2 = z0 + 0.5 * (g1 + g2), g1 - t1, g2 - t2
        delta = z - t0 - 0.5 * (t1 + t2)
        gain = z * (2 * delta - z) + (g1 * (d1 - t1) + g2 * (d2 - t2)) * (1 / 12)
        return delta, 0.5 * delta + d1 * (1 / 12), 0.5 * delta + d2 * (1 / 12), gain
    if abs(g1) <= abs(g2):
        return bent_pair(z0, g1, g2, t0, t1, t2)
    p0, p2, p1, gain = bent_pair(z0, g2, g1, t0, t2, t1)
    return p0, p1, p2, gain


@piece(_nrt=False, forceinline=True)
def bent_pair(z0, g1, g2, t0, t1, t2):
    """`pair` where z = 0 cuts the square; |g1| <= |g2|. Between the corners' zeros, the averages over v_2 are
    cubics of v_1."""
    low, up, inverse = 0.0, 1.0, 1.0 / g2
    if g1 != 0:
        first, last = -z0 / g1, -(z0 + g2) / g1
        low = min(max(min(first, last), 0.0), 1.0)
        up = min(max(max(first, last), 0.0), 1.0)
    p0 = p1 = p2 = gain = 0.0
    for third in range(3):
        start = 0.0 if third == 0 else (low if third == 1 else up)
        width = (low if third == 0 else (up if third == 1 else 1.0)) - start
        if width > 0:
            for side in range(2):
                v = start + (0.5 + (GAUSS if side else -GAUSS)) * width
                q0, q2, more = line(z0 + g1 * v, g2, inverse, t0 + t1 * v, t2)
                p0 += 0.5 * width * q0
                p1 += 0.5 * width * q0 * v
                p2 += 0.5 * width * q2
                gain += 0.5 * width * more
    return p0, p1, p2, gain
