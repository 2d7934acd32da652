"""Narrow models, with few hidden units, in one pass over the rows: h, y, the slopes and the gradient's sums.

A vector of rows goes through forward and backward with h and dh of all hidden units in registers, so that
nothing but x is stored. One function is emitted for each number of hidden units; n is an argument. The sums
over rows stay spread over the lanes of a vector until the end of a step (`fold`), which also makes them
independent of how the rows were cut into blocks.

The cases of the family cost no branch: a tied model hands over the same arrays for encoder and decoder, one
without biases zeros, and activations are limits (see `on_above`) that rows past the end of a batch use too.
"""

from functools import reduce
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils

from superpose_cli.engines.lanes import (
    BITS,
    FLOAT,
    FLOATS,
    LANES,
    WIDE,
    ZERO,
    fma,
    intrinsic,
    load,
    splat,
    store,
)

MOST_HIDDEN = 8 if WIDE else 6
"""Wider models are faster by panels: the registers hold h and dh of too few rows."""
FEW_HIDDEN = 2
"""Up to here a block is short of independent sums rather than of instructions."""
_INT = ir.IntType(64)


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


Block = list[list[ir.Value]]
"""The vectors of rows of each hidden unit: values, or variables that hold them."""


class _Pass:
    """The code of one pass of `vectors` vectors of rows; `at` is the first of their rows."""

    def __init__(
        self, builder: Any, hidden: int, arrays: dict[str, ir.Value], at: ir.Value, rows: ir.Value
    ) -> None:
        self.builder, self.hidden, self.arrays, self.at, self.rows = builder, hidden, arrays, at, rows
        self.vectors = range(_vectors(hidden))

    def x_at(self, i: ir.Value) -> ir.Value:
        """Where the pass finds feature i in the panel of x."""
        return self.builder.add(self.at, self.builder.mul(i, self.rows))

    def slopes_at(self, i: ir.Value) -> ir.Value:
        """Where the slopes of output i are kept."""
        return self.builder.mul(i, ir.Constant(_INT, LANES * len(self.vectors)))

    def offset(self, base: ir.Value, number: int) -> ir.Value:
        return self.builder.add(base, ir.Constant(_INT, number))

    def rows_of(self, name: str, base: ir.Value) -> list[ir.Value]:
        """The vectors of rows from arrays[name][base] on."""
        return [load(self.builder, self.arrays[name], self.offset(base, LANES * v)) for v in self.vectors]

    def everywhere(self, name: str, index: ir.Value) -> ir.Value:
        return splat(self.builder, self.builder.load(self.builder.gep(self.arrays[name], [index])))

    def add_to(self, name: str, index: ir.Value, left: list[ir.Value], right: list[ir.Value] | None) -> None:
        """Add left (times right) to the vector number `index` of an array of sums.

        Where sums are few, only the last addition waits for the one that was stored before."""
        builder, index = self.builder, self.builder.mul(index, ir.Constant(_INT, LANES))
        stored = load(builder, self.arrays[name], index)
        if right is None:
            total = builder.fadd(stored, reduce(builder.fadd, left))
        elif self.hidden <= FEW_HIDDEN:
            total = builder.fmul(left[0], right[0])
            for pair in zip(left[1:], right[1:], strict=True):
                total = fma(builder, *pair, total)
            total = builder.fadd(stored, total)
        else:
            total = stored
            for pair in zip(left, right, strict=True):
                total = fma(builder, *pair, total)
        store(builder, total, self.arrays[name], index)

    def add_rows(self, name: str, i: ir.Value, values: list[ir.Value], units: Block) -> None:
        """Add the products of feature i's values and each hidden unit's to row i of a gradient."""
        start = self.builder.mul(i, ir.Constant(_INT, self.hidden))
        for k, row in enumerate(units):
            self.add_to(name, self.offset(start, k), values, row)

    def slots(self, values: Block) -> Block:
        """Variables for each hidden unit and vector of rows."""
        slots = [[cgutils.alloca_once(self.builder, FLOATS) for _ in row] for row in values]
        self.assign(slots, values)
        return slots

    def assign(self, slots: Block, values: Block) -> None:
        for slot_row, row in zip(slots, values, strict=True):
            for slot, value in zip(slot_row, row, strict=True):
                self.builder.store(value, slot)

    def values(self, slots: Block) -> Block:
        return [[self.builder.load(slot) for slot in row] for row in slots]

    def on_above(self, value: ir.Value, limit: ir.Value) -> ir.Value:
        """Whether a unit is on: true also for NaN, which must stay NaN."""
        return self.builder.fcmp_unordered(">", value, limit)

    def limited(self, values: Block, inputs: Block) -> Block:
        """The values, 0 where a hidden unit is off."""
        limits = self.rows_of("limits_hidden", self.at)
        return [
            [
                self.builder.select(self.on_above(h, limit), value, ZERO)
                for value, h, limit in zip(*rows, limits, strict=True)
            ]
            for rows in zip(values, inputs, strict=True)
        ]

    def forward(self, n: ir.Value) -> Block:
        """Variables with h before its activation."""
        biases = [self.everywhere("b_hidden", ir.Constant(_INT, k)) for k in range(self.hidden)]
        slots = self.slots([[bias] * len(self.vectors) for bias in biases])
        with cgutils.for_range(self.builder, n) as loop:
            x = self.rows_of("x", self.x_at(loop.index))
            start = self.builder.mul(loop.index, ir.Constant(_INT, self.hidden))
            for k, row in enumerate(slots):
                weight = self.everywhere("W", self.offset(start, k))
                for slot, value in zip(row, x, strict=True):
                    self.builder.store(fma(self.builder, weight, value, self.builder.load(slot)), slot)
        return slots

    def output(self, i: ir.Value, h: Block, d_h: Block, kept: ir.Value) -> None:
        """Output i: its slope, what that adds to dh, and the gradient of its bias.

        The slope is stored for the gradient of the decoder, or enters it at once where hidden units are few.
        """
        builder, limits = self.builder, self.rows_of("limits_output", self.at)
        x = self.rows_of("x", self.x_at(i))
        start = builder.mul(i, ir.Constant(_INT, self.hidden))
        weights = [self.everywhere("decoder", self.offset(start, k)) for k in range(self.hidden)]
        scale, bias = self.everywhere("scales", i), self.everywhere("b", i)
        slopes = []
        for v in self.vectors:
            # Two chains of additions, as the next output is too far away to fill the time that one takes.
            parts = [bias, ZERO] if self.hidden > FEW_HIDDEN else [bias]
            for k, (weight, row) in enumerate(zip(weights, h, strict=True)):
                parts[k % len(parts)] = fma(builder, weight, row[v], parts[k % len(parts)])
            y = reduce(builder.fadd, parts)
            target = builder.bitcast(builder.and_(builder.bitcast(x[v], BITS), kept), FLOATS)
            slope = builder.fmul(builder.fsub(y, target), scale)
            slopes.append(builder.select(self.on_above(y, limits[v]), slope, ZERO))
        for weight, row in zip(weights, d_h, strict=True):
            for slot, slope in zip(row, slopes, strict=True):
                builder.store(fma(builder, weight, slope, builder.load(slot)), slot)
        self.add_to("sum_b", i, slopes, None)
        if self.hidden <= FEW_HIDDEN:
            self.add_rows("sum_decoder", i, slopes, h)
            return
        for v, slope in enumerate(slopes):
            store(builder, slope, self.arrays["slopes"], self.offset(self.slopes_at(i), LANES * v))

    def add_l1(self, d_h: Block, h: Block, l1: ir.Value) -> Block:
        """dh + l1 sign(h)."""

        def added(slope: ir.Value, value: ir.Value) -> ir.Value:
            builder = self.builder
            up = builder.select(builder.fcmp_ordered(">", value, ZERO), l1, ZERO)
            down = builder.select(builder.fcmp_ordered("<", value, ZERO), l1, ZERO)
            return builder.fadd(slope, builder.fsub(up, down))

        return [[added(*pair) for pair in zip(*rows, strict=True)] for rows in zip(d_h, h, strict=True)]

    def add_encoder(self, n: ir.Value, d_h: Block) -> None:
        """The gradient of W as the encoder."""
        with cgutils.for_range(self.builder, n) as loop:
            self.add_rows("sum_W", loop.index, self.rows_of("x", self.x_at(loop.index)), d_h)

    def add_decoder(self, n: ir.Value, h: Block) -> None:
        """The gradient of the decoder from the slopes that `output` stored."""
        with cgutils.for_range(self.builder, n) as loop:
            slopes = self.rows_of("slopes", self.slopes_at(loop.index))
            self.add_rows("sum_decoder", loop.index, slopes, h)

    def add_tied(self, n: ir.Value, h: Block, d_h: Block) -> None:
        """Both at once: half of the loads and stores of sums."""
        both = [row + other for row, other in zip(h, d_h, strict=True)]
        with cgutils.for_range(self.builder, n) as loop:
            slopes = self.rows_of("slopes", self.slopes_at(loop.index))
            self.add_rows("sum_W", loop.index, slopes + self.rows_of("x", self.x_at(loop.index)), both)


@intrinsic
def narrow(typing: Any, m, x, slopes, rows, n, parameters, sums, scales, l1, limits, bend, absolute):
    """Add the gradient of a block of rows to `sums`, for m <= MOST_HIDDEN hidden units.

    `x` is the address of the panel (n, rows), rows a multiple of 128; `slopes` of room for 4 LANES n numbers;
    `scales` of the factors (n,) of a residual in the gradient; `l1` the weight of |h|; `limits` count where
    `bend`: hidden units have a ReLU or a weight; `absolute`: the target is |x|.
    """
    signature = types.void(m, x, slopes, rows, n, parameters, sums, scales, l1, limits, bend, absolute)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
        m, x, slopes, rows, n, parameters, sums, scales, l1, limits, bend, absolute = args

        def pointer(address: ir.Value) -> ir.Value:
            return builder.inttoptr(address, FLOAT.as_pointer())

        arrays = {"x": pointer(x), "slopes": pointer(slopes), "scales": pointer(scales)}
        for prefix, names, addresses in (
            ("", Parameters._fields, parameters),
            ("sum_", Parameters._fields, sums),
            ("limits_", Limits._fields, limits),
        ):
            for number, name in enumerate(names):
                arrays[prefix + name] = pointer(builder.extract_value(addresses, number))
        word = ir.IntType(32)
        kept = builder.select(absolute, word(2**31 - 1), word(-1))
        settings = _Settings(n, rows, splat(builder, l1), bend, splat(builder, kept, BITS))
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
    tied = builder.icmp_unsigned("==", arrays["sum_W"], arrays["sum_decoder"])
    with cgutils.for_range(builder, builder.sdiv(rows, step)) as loop:
        code = _Pass(builder, hidden, arrays, builder.mul(loop.index, step), rows)
        slots = code.forward(n)
        with builder.if_then(bend):
            code.assign(slots, code.limited(code.values(slots), code.values(slots)))
        h = code.values(slots)
        slots = code.slots([[ZERO] * len(code.vectors)] * hidden)
        with cgutils.for_range(builder, n) as features:
            code.output(features.index, h, slots, kept)
        with builder.if_then(bend):
            code.assign(slots, code.limited(code.add_l1(code.values(slots), h, l1), h))
        d_h = code.values(slots)
        for k, row in enumerate(d_h):
            code.add_to("sum_b_hidden", ir.Constant(_INT, k), row, None)
        if hidden <= FEW_HIDDEN:
            code.add_encoder(n, d_h)
        else:
            with builder.if_else(tied) as (then, otherwise):
                with then:
                    code.add_tied(n, h, d_h)
                with otherwise:
                    code.add_encoder(n, d_h)
                    code.add_decoder(n, h)
