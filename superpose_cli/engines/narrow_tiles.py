"""Narrow models, with few hidden units, in one pass over the rows: h, y, the slopes and the gradient's sums.

A vector of rows goes through forward and backward with h and dh of all hidden units in registers, so that
nothing but x is stored. One function is emitted for each number of hidden units; n is an argument. The sums
over rows stay spread over the lanes of a vector until the end of a step (`fold`), which also makes them
independent of how the rows were cut into blocks.

The cases of the family cost no branch: a tied model hands over the same arrays for encoder and decoder, one
without biases zeros, and activations are limits (see `on_above`) that rows past the end of a batch use too.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from superpose_cli.engines.lanes import (
    FLOAT,
    FLOATS,
    LANES,
    WIDE,
    ZERO,
    data,
    fma,
    lane_sums,
    load,
    splat,
    store,
)

MOST_HIDDEN = 10 if WIDE else 5
"""Hidden units whose h and dh the registers hold."""
_INT = ir.IntType(64)
_BITS = ir.VectorType(ir.IntType(32), LANES)


class Limits(NamedTuple):
    """For each row of a block: a unit is on where its input is not at most this. 0 for a ReLU, NaN for the
    identity, and infinity for rows that do not count. Addresses of float32 (rows,)."""

    output: int
    hidden: int


class Parameters(NamedTuple):
    """Addresses of one instance's float32 parameters, or of their gradients: vectors of LANES each."""

    W: int
    """n m."""
    decoder: int
    """n m: W itself if tied."""
    b: int
    """n, zeros in a model without."""
    b_hidden: int


def _vectors(hidden: int) -> int:
    """Vectors of rows that go through together: as many as the registers hold beside h and dh."""
    registers = 24 if WIDE else 10
    return next((vectors for vectors in (4, 2) if 2 * hidden * vectors <= registers), 1)


class _Pass:
    """The code of one pass of `vectors` vectors of rows; `at` is the first of their rows."""

    def __init__(self, builder: Any, hidden: int, arrays: dict[str, ir.Value], at: ir.Value) -> None:
        self.builder, self.hidden, self.arrays, self.at = builder, hidden, arrays, at
        self.vectors = range(_vectors(hidden))

    def offset(self, base: ir.Value, number: int) -> ir.Value:
        return self.builder.add(base, ir.Constant(_INT, number))

    def rows_of(self, name: str, base: ir.Value) -> list[ir.Value]:
        """The vectors of rows from arrays[name][base] on."""
        return [load(self.builder, self.arrays[name], self.offset(base, LANES * v)) for v in self.vectors]

    def everywhere(self, name: str, index: ir.Value) -> ir.Value:
        return splat(self.builder, self.builder.load(self.builder.gep(self.arrays[name], [index])))

    def add_to(self, name: str, index: ir.Value, left: list[ir.Value], right: list[ir.Value] | None) -> None:
        """Add left (times right) to the vector number `index` of an array of sums.

        Only the last addition waits for the sum that was stored before."""
        builder = self.builder
        total = left[0] if right is None else builder.fmul(left[0], right[0])
        for v in self.vectors[1:]:
            total = builder.fadd(total, left[v]) if right is None else fma(builder, left[v], right[v], total)
        index = builder.mul(index, ir.Constant(_INT, LANES))
        stored = load(builder, self.arrays[name], index)
        store(builder, builder.fadd(stored, total), self.arrays[name], index)

    def slots(self, values: list[list[ir.Value]]) -> list[list[ir.Value]]:
        """Variables for each hidden unit and vector of rows."""
        slots = [[cgutils.alloca_once(self.builder, FLOATS) for _ in row] for row in values]
        self.assign(slots, values)
        return slots

    def assign(self, slots: list[list[ir.Value]], values: list[list[ir.Value]]) -> None:
        for slot_row, row in zip(slots, values, strict=True):
            for slot, value in zip(slot_row, row, strict=True):
                self.builder.store(value, slot)

    def values(self, slots: list[list[ir.Value]]) -> list[list[ir.Value]]:
        return [[self.builder.load(slot) for slot in row] for row in slots]

    def on_above(self, value: ir.Value, limit: ir.Value) -> ir.Value:
        """Whether a unit is on: true also for NaN, which must stay NaN."""
        return self.builder.fcmp_unordered(">", value, limit)

    def limited(self, values: list[list[ir.Value]], inputs: list[list[ir.Value]]) -> list[list[ir.Value]]:
        """The values, 0 where a hidden unit is off."""
        limits = self.rows_of("limits_hidden", self.at)
        return [
            [
                self.builder.select(self.on_above(h, limit), value, ZERO)
                for value, h, limit in zip(*rows, limits, strict=True)
            ]
            for rows in zip(values, inputs, strict=True)
        ]

    def forward(self, n: ir.Value, x_at: Callable[[ir.Value], ir.Value]) -> list[list[ir.Value]]:
        """Variables with h before its activation."""
        biases = [self.everywhere("b_hidden", ir.Constant(_INT, k)) for k in range(self.hidden)]
        slots = self.slots([[bias] * len(self.vectors) for bias in biases])
        with cgutils.for_range(self.builder, n) as loop:
            x = self.rows_of("x", x_at(loop.index))
            start = self.builder.mul(loop.index, ir.Constant(_INT, self.hidden))
            for k, row in enumerate(slots):
                weight = self.everywhere("W", self.offset(start, k))
                for slot, value in zip(row, x, strict=True):
                    self.builder.store(fma(self.builder, weight, value, self.builder.load(slot)), slot)
        return slots

    def output(
        self,
        i: ir.Value,
        x: list[ir.Value],
        h: list[list[ir.Value]],
        d_h: list[list[ir.Value]],
        kept: ir.Value,
    ) -> None:
        """Output i: its slope, what it adds to dh, and the gradient of its bias and of its decoder's row."""
        builder, limits = self.builder, self.rows_of("limits_output", self.at)
        start = builder.mul(i, ir.Constant(_INT, self.hidden))
        weights = [self.everywhere("decoder", self.offset(start, k)) for k in range(self.hidden)]
        scale, bias = self.everywhere("scales", i), self.everywhere("b", i)
        slopes = []
        for v in self.vectors:
            y = bias
            for weight, row in zip(weights, h, strict=True):
                y = fma(builder, weight, row[v], y)
            target = builder.bitcast(builder.and_(builder.bitcast(x[v], _BITS), kept), FLOATS)
            slope = builder.fmul(builder.fsub(y, target), scale)
            slopes.append(builder.select(self.on_above(y, limits[v]), slope, ZERO))
        for weight, row in zip(weights, d_h, strict=True):
            for slot, slope in zip(row, slopes, strict=True):
                builder.store(fma(builder, weight, slope, builder.load(slot)), slot)
        self.add_to("sum_b", i, slopes, None)
        for k, row in enumerate(h):
            self.add_to("sum_decoder", self.offset(start, k), slopes, row)

    def add_l1(
        self, d_h: list[list[ir.Value]], h: list[list[ir.Value]], l1: ir.Value
    ) -> list[list[ir.Value]]:
        """dh + l1 sign(h)."""

        def added(slope: ir.Value, value: ir.Value) -> ir.Value:
            builder = self.builder
            up = builder.select(builder.fcmp_ordered(">", value, ZERO), l1, ZERO)
            down = builder.select(builder.fcmp_ordered("<", value, ZERO), l1, ZERO)
            return builder.fadd(slope, builder.fsub(up, down))

        return [[added(*pair) for pair in zip(*rows, strict=True)] for rows in zip(d_h, h, strict=True)]

    def encoder(self, n: ir.Value, x_at: Callable[[ir.Value], ir.Value], d_h: list[list[ir.Value]]) -> None:
        """The gradient of the hidden biases and of W."""
        for k, row in enumerate(d_h):
            self.add_to("sum_b_hidden", ir.Constant(_INT, k), row, None)
        with cgutils.for_range(self.builder, n) as loop:
            x = self.rows_of("x", x_at(loop.index))
            start = self.builder.mul(loop.index, ir.Constant(_INT, self.hidden))
            for k, row in enumerate(d_h):
                self.add_to("sum_W", self.offset(start, k), x, row)


@intrinsic
def narrow(typing: Any, m, x, rows, n, parameters, sums, scales, l1, limits, bend, absolute):
    """Add the gradient of a block of rows to `sums`, for m <= MOST_HIDDEN hidden units.

    `x` is the address of the panel (n, rows), rows a multiple of 128; `scales` of the factors (n,) of a
    residual in the gradient; `l1` the weight of |h|; `limits` count where `bend`: hidden units have a ReLU or
    a weight; `absolute`: the target is |x|.
    """
    signature = types.void(m, x, rows, n, parameters, sums, scales, l1, limits, bend, absolute)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
        m, x, rows, n, parameters, sums, scales, l1, limits, bend, absolute = args

        def pointer(address: ir.Value) -> ir.Value:
            return builder.inttoptr(address, FLOAT.as_pointer())

        arrays = {"x": pointer(x), "scales": pointer(scales)}
        for prefix, names, addresses in (
            ("", Parameters._fields, parameters),
            ("sum_", Parameters._fields, sums),
            ("limits_", Limits._fields, limits),
        ):
            for number, name in enumerate(names):
                arrays[prefix + name] = pointer(builder.extract_value(addresses, number))
        word = ir.IntType(32)
        kept = builder.select(absolute, word(2**31 - 1), word(-1))
        settings = _Settings(n, rows, splat(builder, l1), bend, splat(builder, kept, _BITS))
        done = builder.append_basic_block("narrow.done")
        switch = builder.switch(m, done)
        for hidden in range(1, MOST_HIDDEN + 1):
            block = builder.append_basic_block(f"narrow.{hidden}")
            switch.add_case(ir.Constant(m.type, hidden), block)
            builder.position_at_end(block)
            _emit_passes(builder, hidden, arrays, settings)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, emit


class _Settings(NamedTuple):
    n: ir.Value
    rows: ir.Value
    l1: ir.Value
    bend: ir.Value
    kept: ir.Value
    """The bits of x that its target keeps."""


def _emit_passes(builder: Any, hidden: int, arrays: dict[str, ir.Value], settings: _Settings) -> None:
    """The passes over a block for one number of hidden units."""
    n, rows, l1, bend, kept = settings
    step = ir.Constant(_INT, _vectors(hidden) * LANES)
    with cgutils.for_range(builder, builder.sdiv(rows, step)) as loop:
        at = builder.mul(loop.index, step)
        code = _Pass(builder, hidden, arrays, at)

        def x_at(i: ir.Value) -> ir.Value:
            return builder.add(at, builder.mul(i, rows))

        h = code.forward(n, x_at)
        with builder.if_then(bend):
            code.assign(h, code.limited(code.values(h), code.values(h)))
        d_h = code.slots([[ZERO] * len(code.vectors)] * hidden)
        inner = code.values(h)
        with cgutils.for_range(builder, n) as features:
            code.output(features.index, code.rows_of("x", x_at(features.index)), inner, d_h, kept)
        with builder.if_then(bend):
            slopes = code.add_l1(code.values(d_h), inner, l1)
            code.assign(d_h, code.limited(slopes, inner))
        code.encoder(n, x_at, code.values(d_h))


@intrinsic
def fold(typing: Any, out, sums, count):
    """out[j] = the sum over the lanes of vector number j of `sums`, for j < count; those vectors become 0.

    `count` is rounded up to a multiple of LANES in both."""
    signature = types.void(out, sums, count)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
        out, sums, count = args
        out, sums = data(context, builder, sig.args[0], out), data(context, builder, sig.args[1], sums)
        lanes = ir.Constant(_INT, LANES)
        turns = builder.sdiv(builder.add(count, ir.Constant(_INT, LANES - 1)), lanes)
        with cgutils.for_range(builder, turns) as loop:
            first = builder.mul(loop.index, lanes)
            base = builder.mul(first, lanes)
            offsets = [builder.add(base, ir.Constant(_INT, LANES * number)) for number in range(LANES)]
            totals = lane_sums(builder, [load(builder, sums, offset) for offset in offsets])
            for offset in offsets:
                store(builder, ZERO, sums, offset)
            store(builder, totals, out, first)
        return context.get_dummy_value()

    return signature, emit
