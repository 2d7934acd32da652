"""Philox in vector instructions: the words of `toy_model/philox.py`, several times faster.

LLVM does not find this form of the scalar loop by itself. A 64-bit lane holds one counter and only its low
half counts: a multiplication of low halves (one instruction) then needs no packing, and what the high half
holds is never looked at. Counters with even and odd numbers go through in two such vectors, whose results
interleave to a vector of words in the order of rows.

Only the last word of the counter is the column. Until the third of the seven rounds has mixed it in, half of
the work is the same for all columns: `_common` does that once for a block of 128 rows, `_words` the rest.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils

from superpose_cli.engines.lanes import FLOATS, LANES, WIDE, ZERO, data, intrinsic, splat, store
from superpose_cli.toy_model.philox import (
    BLOCK_ROWS,
    COUNTERS,
    MASK,
    MULTIPLIER_0,
    MULTIPLIER_1,
    WEYL_0,
    WEYL_1,
)

ROUNDS = 7
PAIRS = 2 if WIDE else 1
"""Pairs of vectors that go through the rounds side by side: what the registers hold."""
_INT = ir.IntType(64)
_WIDE = ir.VectorType(_INT, LANES // 2)
_WORDS = ir.VectorType(ir.IntType(32), LANES)


class _Key(NamedTuple):
    """What all counters of a draw share: the words of each round's key, and the first half-round."""

    first: list[ir.Value]
    second: list[ir.Value]
    stream: ir.Value
    """The product of the stream and its multiplier, 64 bits."""
    step: ir.Value


class _Common(NamedTuple):
    """What the columns share of one vector of counters; the names are those of the words that it enters."""

    c0_second: ir.Value
    c0_third: ir.Value
    c1_third: ir.Value
    c2_third: ir.Value


def _constant(value: int) -> ir.Constant:
    return ir.Constant(_WIDE, [value] * (LANES // 2))


def _times(builder: Any, words: Any, multiplier: int) -> ir.Value:
    """The 64-bit products of the lanes' low halves."""
    if words.type == _INT:
        return builder.mul(builder.and_(words, ir.Constant(_INT, MASK)), ir.Constant(_INT, multiplier))
    return builder.mul(builder.and_(words, _constant(MASK)), _constant(multiplier))


def _high(builder: Any, product: Any) -> ir.Value:
    return builder.lshr(product, ir.Constant(_INT, 32) if product.type == _INT else _constant(32))


def _xor(builder: Any, *values: ir.Value) -> ir.Value:
    total = values[0]
    for value in values[1:]:
        total = builder.xor(total, value)
    return total


def _wide(builder: Any, scalar: ir.Value) -> ir.Value:
    return splat(builder, scalar, _WIDE)


def _key_schedule(builder: Any, key: ir.Value, stream: ir.Value, step: ir.Value) -> _Key:
    def rounds(word: ir.Value, weyl: int) -> list[ir.Value]:
        return [builder.add(word, ir.Constant(_INT, weyl * number)) for number in range(ROUNDS)]

    high = builder.lshr(key, ir.Constant(_INT, 32))
    return _Key(rounds(key, WEYL_0), rounds(high, WEYL_1), _times(builder, stream, MULTIPLIER_0), step)


def _common(builder: Any, key: _Key, counters: ir.Value) -> _Common:
    """The first three rounds as far as they do not depend on the column."""
    product = _times(builder, counters, MULTIPLIER_1)
    c0 = _xor(builder, _high(builder, product), _wide(builder, _xor(builder, key.step, key.first[0])))
    c0_second = _xor(builder, product, _wide(builder, key.first[1]))
    product = _times(builder, c0, MULTIPLIER_0)
    c2 = _xor(builder, _high(builder, product), _wide(builder, _xor(builder, key.stream, key.second[1])))
    c2_third = _xor(builder, product, _wide(builder, key.second[2]))
    product = _times(builder, c2, MULTIPLIER_1)
    c0_third = _xor(builder, _high(builder, product), _wide(builder, key.first[2]))
    return _Common(c0_second, c0_third, product, c2_third)


def _words(builder: Any, key: _Key, parts: list[_Common], column: ir.Value) -> list[list[ir.Value]]:
    """The words of a column: for each pair of vectors of even and odd counters, four vectors of words.

    The vectors go through the rounds side by side: each alone would wait for its last multiplication.
    """
    own = _times(builder, _xor(builder, _high(builder, key.stream), column, key.second[0]), MULTIPLIER_1)
    high, low = _wide(builder, _high(builder, own)), _wide(builder, own)
    products = [_times(builder, _xor(builder, part.c0_second, high), MULTIPLIER_0) for part in parts]
    state = [
        (
            _xor(builder, part.c0_third, low),
            part.c1_third,
            _xor(builder, _high(builder, product), part.c2_third),
            product,
        )
        for part, product in zip(parts, products, strict=True)
    ]
    for number in range(3, ROUNDS - 1):
        first, second = _wide(builder, key.first[number]), _wide(builder, key.second[number])
        products = [
            (_times(builder, c0, MULTIPLIER_0), _times(builder, c2, MULTIPLIER_1)) for c0, _, c2, _ in state
        ]
        state = [
            (
                _xor(builder, _high(builder, product_1), c1, first),
                product_1,
                _xor(builder, _high(builder, product_0), c3, second),
                product_0,
            )
            for (product_0, product_1), (_, c1, _, c3) in zip(products, state, strict=True)
        ]
    first, second = _wide(builder, key.first[-1]), _wide(builder, key.second[-1])
    last = [
        (
            _times(builder, c2, MULTIPLIER_1),
            _xor(builder, c1, first),
            _times(builder, c0, MULTIPLIER_0),
            _xor(builder, c3, second),
        )
        for c0, c1, c2, c3 in state
    ]
    return [_interleaved(builder, even, odd) for even, odd in zip(last[::2], last[1::2], strict=True)]


def _interleaved(builder: Any, even: tuple[ir.Value, ...], odd: tuple[ir.Value, ...]) -> list[ir.Value]:
    """The words of even and odd counters by turns, after the last round's multiplications."""

    def taken(number: int, half: int) -> ir.Value:
        """Half 0 (low) or 1 of each 64-bit lane."""
        index = [lane + half + shift for lane in range(0, LANES, 2) for shift in (0, LANES)]
        return builder.shuffle_vector(
            builder.bitcast(even[number], _WORDS),
            builder.bitcast(odd[number], _WORDS),
            ir.Constant(ir.VectorType(ir.IntType(32), LANES), index),
        )

    return [
        builder.xor(taken(0, 1), taken(1, 0)),
        taken(0, 0),
        builder.xor(taken(2, 1), taken(3, 0)),
        taken(2, 0),
    ]


def _for_counters(
    builder: Any, key: _Key, block: ir.Value, body: Callable[[ir.Value, list[_Common]], None]
) -> None:
    """`body(first, parts)` for each PAIRS * LANES counters of a block; their first row is number `first`."""
    with cgutils.for_range(builder, ir.Constant(_INT, COUNTERS // (PAIRS * LANES))) as loop:
        first = builder.mul(loop.index, ir.Constant(_INT, PAIRS * LANES))
        start = _wide(builder, builder.add(builder.mul(block, ir.Constant(_INT, COUNTERS)), first))
        parts = []
        for lane in range(0, PAIRS * LANES, LANES):
            for parity in (0, 1):
                lanes = ir.Constant(_WIDE, list(range(lane + parity, lane + LANES, 2)))
                parts.append(_common(builder, key, builder.add(start, lanes)))
        body(first, parts)


@intrinsic
def words_of_block(typing: Any, words, key, stream, step, block, column):
    """Write the 128 words (uint32) of row block `block` of a column under a uint64 key."""
    signature = types.void(words, types.uint64, *[types.int64] * 4)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
        words, key, stream, step, block, column = args
        words, schedule = (
            data(context, builder, sig.args[0], words),
            _key_schedule(builder, key, stream, step),
        )

        def body(first: ir.Value, parts: list[_Common]) -> None:
            for pair, vectors in enumerate(_words(builder, schedule, parts, column)):
                for number, word in enumerate(vectors):
                    row = ir.Constant(_INT, COUNTERS * number + LANES * pair)
                    store(builder, word, words, builder.add(first, row))

        _for_counters(builder, schedule, block, body)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def uniform_of_panel(typing: Any, x, rows, columns, key, stream, step, block, last, scale):
    """Write unsigned uniform draws into a panel x (columns, rows) from row block `block` on; rows % 128 == 0.

    word * scale[column] where the word is at most last[column] (int64), else 0. The arrays may be addresses.
    """
    signature = types.void(x, *[types.int64] * 2, types.uint64, *[types.int64] * 3, last, scale)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
        x, rows, columns, key, stream, step, block, last, scale = args
        x, scale = data(context, builder, sig.args[0], x), data(context, builder, sig.args[8], scale)
        last = data(context, builder, sig.args[7], last, _INT)
        schedule = _key_schedule(builder, key, stream, step)

        def body(first: ir.Value, parts: list[_Common]) -> None:
            with cgutils.for_range(builder, columns) as loop:
                column = loop.index
                bound = builder.trunc(builder.load(builder.gep(last, [column])), ir.IntType(32))
                bound = splat(builder, bound, _WORDS)
                factor = splat(builder, builder.load(builder.gep(scale, [column])))
                base = builder.add(first, builder.mul(column, rows))
                for pair, vectors in enumerate(_words(builder, schedule, parts, column)):
                    for number, word in enumerate(vectors):
                        value = builder.fmul(builder.uitofp(word, FLOATS), factor)
                        value = builder.select(builder.icmp_unsigned("<=", word, bound), value, ZERO)
                        row = ir.Constant(_INT, COUNTERS * number + LANES * pair)
                        store(builder, value, x, builder.add(base, row))

        block_rows = ir.Constant(_INT, BLOCK_ROWS)
        with cgutils.for_range(builder, builder.sdiv(rows, block_rows)) as loop:
            start = builder.mul(loop.index, block_rows)

            def in_panel(first: ir.Value, parts: list[_Common]) -> None:
                body(builder.add(start, first), parts)

            _for_counters(builder, schedule, builder.add(block, loop.index), in_panel)
        return context.get_dummy_value()

    return signature, emit
