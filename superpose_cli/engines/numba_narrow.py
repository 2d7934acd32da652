"""The gradient of narrow models: `narrow_tiles` on the arrays of one thread and one instance."""

from typing import NamedTuple

import numpy as np

from superpose_cli.engines.compiling import piece
from superpose_cli.engines.lanes import LANES, address
from superpose_cli.engines.narrow_tiles import MOST_HIDDEN, Limits, Parameters, narrow
from superpose_cli.engines.numba_kernels import Weights, aligned, whole_vectors, zeros
from superpose_cli.engines.philox_lanes import uniform_of_panel
from superpose_cli.toy_model.philox import BLOCK_ROWS


class LaneScratch(NamedTuple):
    """What a thread needs to train narrow models, besides a panel of x; empty where models are wide."""

    sums: np.ndarray
    """The running gradient, a vector of LANES for each number: W, W_dec unless tied, b, b_hidden."""
    folded: np.ndarray
    """The gradient in that order, with room up to a multiple of LANES."""


@piece()
def fits(spec):
    """Whether a model is narrow: its rows go through in one pass."""
    return spec.m <= MOST_HIDDEN


@piece()
def new_lane_scratch(spec):
    """Scratch for one thread."""
    n, m = spec.n, spec.m
    count = (n * m * (1 if spec.tied else 2) + n + m) if fits(spec) else 0
    count = whole_vectors(count)
    return LaneScratch(zeros(count * LANES), aligned(count))


@piece()
def narrow_slopes(lanes, spec):
    """The gradient after `fold`, in the order of `LaneScratch.sums`."""
    size, folded = spec.n * spec.m, lanes.folded
    b = size if spec.tied else 2 * size
    b_hidden = b + spec.n
    return Weights(
        folded[:size],
        folded[size:b],
        folded[b : b_hidden if spec.bias else b],
        folded[b_hidden : b_hidden + spec.m if spec.hidden_bias else b_hidden],
    )


class Narrow(NamedTuple):
    """What the loop over the steps of a narrow instance needs: addresses and numbers."""

    x: int
    slopes: int
    """Room for the slopes of a few vectors of rows."""
    key: np.uint64
    stream: int
    last_on: int
    scale_on: int
    """Of the draw: see `sampling.Bounds`."""
    parameters: Parameters
    sums: Parameters
    folded: int
    size: int
    """Numbers of the gradient."""
    scales: int
    l1: np.float32
    whole: Limits
    last: Limits
    bend: bool
    """Hidden units have a ReLU or a weight."""


@piece(inline="always")
def new_narrow(s, lanes, spec, rows, i, w, scales, l1):
    """Everything about instance i; the arrays must outlive the loop."""
    W, none, sums = address(w.W), address(s.none), address(lanes.sums)
    vectors = 4 * LANES
    size = spec.n * spec.m
    b = sums + vectors * (size if spec.tied else 2 * size)
    return Narrow(
        address(s.x),
        address(s.y),
        rows.key[i],
        rows.draw.stream,
        address(rows.bounds.last[i]),
        address(rows.bounds.scale[i]),
        Parameters(
            W,
            W if spec.tied else address(w.W_dec),
            address(w.b) if spec.bias else none,
            address(w.b_hidden) if spec.hidden_bias else none,
        ),
        Parameters(sums, sums if spec.tied else sums + vectors * size, b, b + vectors * spec.n),
        address(lanes.folded),
        len(lanes.folded),
        address(scales),
        l1,
        Limits(address(s.whole[0]), address(s.whole[1])),
        Limits(address(s.last[0]), address(s.last[1])),
        spec.hidden_relu or l1 != 0,
    )


@piece(inline="always")
def draw_narrow(p, spec, step, row):
    """Plain draws into the panel of x, from row number `row` of the step on."""
    block = row // BLOCK_ROWS
    uniform_of_panel(p.x, spec.rows, spec.n, p.key, p.stream, step, block, p.last_on, p.scale_on)


@piece(inline="always")
def add_narrow(p, spec, row):
    """Add the gradient of the block in the panel of x, whose first row is number `row` of the step."""
    limits = p.last if row + spec.rows >= spec.n_batch else p.whole
    narrow(
        spec.m,
        p.x,
        p.slopes,
        spec.rows,
        spec.n,
        p.parameters,
        p.sums,
        p.scales,
        p.l1,
        limits,
        p.bend,
        spec.absolute,
    )
