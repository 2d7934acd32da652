"""Gradients of weights as sums of outer products over the rows of a batch.

`tiles.correlate` sums each number of the gradient over lanes, which takes shuffles at the end of every tile.
Here lanes are hidden units instead: a turned panel has contiguous hidden units for each batch row, a
feature's value in that row is spread over a vector, and the sums are ready as they are. That wastes the lanes
beyond the last hidden unit, so `turned_columns` leaves a small remainder to `correlate`.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from superpose_cli.engines.compiling import piece
from superpose_cli.engines.lanes import FLOATS, LANES, WIDE, ZERO, data, fma, intrinsic, load, splat, store

UNROLL = 4
"""Batch rows in a turn of the loop."""
SIZES = (8, 4, 1) if WIDE else (5, 3, 1)
"""Features in a tile, beside up to 2 vectors of hidden units: sums in half of the registers hide latency."""
_INT = ir.IntType(64)


@piece()
def turned_columns(m):
    """How many of m hidden units go through `add_outer`: whole vectors, and a remainder that fills most of
    one."""
    whole = m // LANES * LANES
    return m if 3 * (m - whole) >= 2 * LANES else whole


@intrinsic
def _turn_block(typing: Any, out, at, width, panel, start, stride):
    """out[at + r width + k] = panel[start + k stride + r] for r and k below LANES."""
    signature = types.void(out, at, width, panel, start, stride)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
        out, at, width, panel, start, stride = args
        out, panel = data(context, builder, sig.args[0], out), data(context, builder, sig.args[3], panel)

        def offset(base: ir.Value, step: ir.Value, number: int) -> ir.Value:
            return builder.add(base, builder.mul(step, ir.Constant(_INT, number)))

        rows = [load(builder, panel, offset(start, stride, k)) for k in range(LANES)]
        index = ir.VectorType(ir.IntType(32), LANES)
        distance = 1
        while distance < LANES:
            low = [j if not j & distance else LANES + j - distance for j in range(LANES)]
            high = [j + distance if not j & distance else LANES + j for j in range(LANES)]
            for k in range(LANES):
                if not k & distance:
                    pair = rows[k], rows[k + distance]
                    rows[k] = builder.shuffle_vector(*pair, ir.Constant(index, low))
                    rows[k + distance] = builder.shuffle_vector(*pair, ir.Constant(index, high))
            distance *= 2
        for r in range(LANES):
            store(builder, rows[r], out, offset(at, width, r))
        return context.get_dummy_value()

    return signature, emit


@piece()
def turn(out, width, panel, columns, rows):
    """out[r width + k] = panel[k, r] for k < columns; panel has rows up to the next multiple of LANES."""
    for k in range(0, columns, LANES):
        for r in range(0, rows, LANES):
            _turn_block(out, r * width + k, width, panel, k * rows + r, rows)


def _outer_tile(size: int, vectors: int) -> Any:
    """out[i, k] += sum over r of a[i, r] b[r, k] for `size` values of i and `vectors` vectors of k, of whose
    last vector only the first `tail` count."""

    @intrinsic
    def tile(typing: Any, out, at, next_i, a, start_a, b, start_b, width, rows, tail):
        signature = types.void(out, at, next_i, a, start_a, b, start_b, width, rows, tail)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
            out, at, next_i, a, start_a, b, start_b, width, rows, tail = args
            out, a, b = (
                data(context, builder, sig.args[position], value)
                for position, value in ((0, out), (3, a), (5, b))
            )

            def times(step: ir.Value, number: int) -> ir.Value:
                return builder.mul(step, ir.Constant(_INT, number))

            slots = [[cgutils.alloca_once(builder, FLOATS) for _ in range(vectors)] for _ in range(size)]
            for row in slots:
                for slot in row:
                    builder.store(ZERO, slot)
            begins = [builder.gep(a, [builder.add(start_a, times(rows, i))]) for i in range(size)]
            zero, turn_ = ir.Constant(_INT, 0), ir.Constant(_INT, UNROLL)
            with cgutils.for_range_slice(builder, zero, rows, turn_, _INT) as (first, _):
                for number in range(UNROLL):
                    r = builder.add(first, ir.Constant(_INT, number))
                    base = builder.add(start_b, builder.mul(r, width))
                    units = [load(builder, b, builder.add(base, _INT(v * LANES))) for v in range(vectors)]
                    for begin, row in zip(begins, slots, strict=True):
                        value = splat(builder, builder.load(builder.gep(begin, [r])))
                        for slot, unit in zip(row, units, strict=True):
                            builder.store(fma(builder, value, unit, builder.load(slot)), slot)
            add_masked = _adder(builder, tail)
            for i, row in enumerate(slots):
                for v, slot in enumerate(row):
                    index = builder.add(builder.add(at, times(next_i, i)), _INT(v * LANES))
                    if v < vectors - 1:
                        before = load(builder, out, index)
                        store(builder, builder.fadd(before, builder.load(slot)), out, index)
                    else:
                        add_masked(out, index, builder.load(slot))
            return context.get_dummy_value()

        return signature, emit

    return tile


def _adder(builder: Any, count: ir.Value) -> Any:
    """A function that adds the first `count` lanes of a vector to the numbers at out[index]."""
    pointer, kind = FLOATS.as_pointer(), ir.VectorType(_INT, LANES)
    mask = builder.icmp_signed("<", ir.Constant(kind, list(range(LANES))), splat(builder, count, kind))
    word = ir.IntType(32)
    read = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(FLOATS, [pointer, word, mask.type, FLOATS]),
        f"llvm.masked.load.v{LANES}f32.p0",
    )
    write = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [FLOATS, pointer, word, mask.type]),
        f"llvm.masked.store.v{LANES}f32.p0",
    )

    def add(out: ir.Value, index: ir.Value, vector: ir.Value) -> None:
        place = builder.bitcast(builder.gep(out, [index]), pointer)
        before = builder.call(read, [place, word(4), mask, ZERO])
        builder.call(write, [builder.fadd(before, vector), place, word(4), mask])

    return add


def _outer_with(size: int) -> Any:
    """`add_outer` for features from number i on by tiles of one size; the number of the next one."""
    pair, single = _outer_tile(size, 2), _outer_tile(size, 1)

    @piece()
    def outer_from(i, out, first, next_i, a, size_a, b, width, columns, rows):
        while size_a - i >= size:
            at, start = first + i * next_i, i * rows
            k = 0
            while columns - k > LANES:
                tail = min(columns - k - LANES, LANES)
                pair(out, at + k, next_i, a, start, b, k, width, rows, tail)
                k += 2 * LANES
            if k < columns:
                single(out, at + k, next_i, a, start, b, k, width, rows, columns - k)
            i += size
        return i

    return outer_from


_most, _some, _one = (_outer_with(size) for size in SIZES)


@piece()
def add_outer(out, at, next_i, a, size_a, b, width, columns, rows):
    """out[at + i next_i + k] += sum over r < rows of a[i, r] b[r, k] for i < size_a and k < columns.

    `a` is a panel of `rows` columns, `b` a turned one: `width` numbers for each row.
    """
    i = _most(0, out, at, next_i, a, size_a, b, width, columns, rows)
    i = _some(i, out, at, next_i, a, size_a, b, width, columns, rows)
    _one(i, out, at, next_i, a, size_a, b, width, columns, rows)
