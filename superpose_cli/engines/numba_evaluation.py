"""What instances are measured on: the sums over evaluation rows, fused like the training step.

A panel's sums run in float32 over at most 1,024 rows and are added up in float64.
"""

from typing import NamedTuple

import numpy as np

from superpose_cli.engines.compiling import compiled, piece
from superpose_cli.engines.numba_kernels import (
    SUMS,
    backward,
    clear,
    fill_x,
    forward,
    new_scratch,
    new_slopes,
    of_instance,
    put,
)
from superpose_cli.engines.tiles import correlate


class Sums(NamedTuple):
    """Running sums over the rows that instances are measured on, float64."""

    feature: np.ndarray
    """(I, n): weighted squared errors."""
    row: np.ndarray
    """(I, 2): of the loss of each row, and of its square."""
    h: np.ndarray
    """(I, m)."""
    h_abs: np.ndarray
    """(I,)."""
    hh: np.ndarray
    """(I, m, m)."""
    target: np.ndarray
    """(I, n), where moments of the target are wanted; else (I, 0)."""
    target_square: np.ndarray
    alive: np.ndarray
    """bool (I,): some gradient is not 0."""


@piece(fastmath=SUMS, forceinline=True)
def row_errors(y, x, shift, importance, relu, absolute, row_loss):
    """Add importance * (target - act(y + shift))^2 to row_loss; the sum over rows."""
    total = np.float32(0)
    for r in range(len(y)):
        z = y[r] + shift
        if relu and z <= 0:
            z = np.float32(0)
        error = (abs(x[r]) if absolute else x[r]) - z
        square = importance * error * error
        row_loss[r] += square
        total += square
    return total


@piece(fastmath=SUMS, forceinline=True)
def sum_and_square(values, scale):
    """The sums of scale * value and of its square, in float64."""
    total, square = 0.0, 0.0
    for value in values:
        wide = np.float64(value) * scale
        total += wide
        square += wide * wide
    return total, square


@piece(fastmath=SUMS, forceinline=True)
def sum_abs(values):
    """The sums of the values and of their magnitudes."""
    total, magnitude = np.float32(0), np.float32(0)
    for value in values:
        total += value
        magnitude += abs(value)
    return total, magnitude


@piece()
def measure_panel(i, s, spec, valid, b, importance, row_loss, hh, sums):
    """Add the first `valid` rows of the block to the sums of instance i."""
    n, m, rows = spec.n, spec.m, spec.rows
    put(row_loss, 0, valid, 0)
    for j in range(n):
        shift = b[j] if spec.bias else np.float32(0)
        x = s.x[j, :valid]
        errors = row_errors(
            s.y[j, :valid], x, shift, importance[j], spec.output_relu, spec.absolute, row_loss
        )
        sums.feature[i, j] += errors
        if sums.target.shape[1]:
            total, magnitude = sum_abs(x)
            sums.target[i, j] += magnitude if spec.absolute else total
            sums.target_square[i, j] += sum_and_square(x, 1.0)[1]
    total, square = sum_and_square(row_loss[:valid], 1 / n)
    sums.row[i, 0] += total
    sums.row[i, 1] += square
    for k in range(m):
        put(s.h[k], valid, rows, 0)
        total, magnitude = sum_abs(s.h[k, :valid])
        sums.h[i, k] += total
        sums.h_abs[i] += magnitude
    put(hh, 0, m * m, 0)
    correlate(hh, 0, m, s.h, m, s.h, 0, m, rows)
    for k in range(m):
        for j in range(m):
            sums.hh[i, k, j] += hh[k * m + j]


@compiled(nogil=True)
def measure(begin, end, spec, rows, weights, importance, scales, l1, sums):
    """Add the spec.n_batch rows of instances begin .. end - 1 to their sums; scales and l1 as in training."""
    s, slopes = new_scratch(spec), new_slopes(weights)
    row_loss, hh = np.empty(spec.rows, np.float32), np.empty(spec.m * spec.m, np.float32)
    for i in range(begin, end):
        w = of_instance(weights, i)
        for row in range(0, spec.n_batch, spec.rows):
            fill_x(s, spec, rows, i, 0, row)
            forward(s, spec, w)
            valid = min(spec.rows, spec.n_batch - row)
            measure_panel(i, s, spec, valid, w.b, importance[i], row_loss, hh, sums)
            if not sums.alive[i]:
                clear(slopes)
                backward(s, spec, row, w, scales[i], l1[i], slopes)
                sums.alive[i] = (
                    slopes.W.any() or slopes.W_dec.any() or slopes.b.any() or slopes.b_hidden.any()
                )
