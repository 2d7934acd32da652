"""Counter-based random words: Philox4x32 with 7 rounds (Salmon et al. 2011, "Parallel random numbers: as
easy as 1, 2, 3"). A word is a pure function of (key, stream, step, row, column), so that any engine can ask
for the same draw, in any order, and a larger draw contains every smaller one.
"""

from collections.abc import Callable
from enum import IntEnum
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

MASK = 0xFFFFFFFF
MULTIPLIER_0 = 0xD2511F53
MULTIPLIER_1 = 0xCD9E8D57
WEYL_0 = 0x9E3779B9
WEYL_1 = 0xBB67AE85

BLOCK_ROWS = 128
"""Rows whose words come from the same 32 counters: row 128 b + 32 w + j is word w of counter 32 b + j."""

COUNTERS = BLOCK_ROWS // 4


class Stream(IntEnum):
    """What a word is for: the first word of the counter, so that no two uses share a draw."""

    init_W = 0
    init_W_dec = 1
    data = 2
    sets = 3
    evaluation = 4
    evaluation_sets = 5
    finite_table = 6
    attack = 7


def philox4x32(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any, rounds: int = 7) -> tuple[Any, ...]:
    """The four output words of counter (c0, c1, c2, c3) under key (k0, k1).

    Arguments are 32-bit words held in int64: NumPy arrays (not 0-d), torch tensors or, compiled by numba,
    scalars; they broadcast, and Python ints may be mixed in. An int64 product wraps, but its low 64 bits are
    right, so both halves are exact once the sign bits that the shift drags in are masked off.
    """
    for _ in range(rounds):
        product_0 = c0 * MULTIPLIER_0
        product_1 = c2 * MULTIPLIER_1
        c0 = ((product_1 >> 32) & MASK) ^ c1 ^ k0
        c1 = product_1 & MASK
        c2 = ((product_0 >> 32) & MASK) ^ c3 ^ k1
        c3 = product_0 & MASK
        k0 = (k0 + WEYL_0) & MASK
        k1 = (k1 + WEYL_1) & MASK
    return c0, c1, c2, c3


def words(
    xp: ModuleType,
    key: npt.NDArray[np.uint64],
    stream: int,
    step: int,
    rows: tuple[int, int],
    columns: int,
    device: Any = None,
) -> Any:
    """Random 32-bit words as int64 (K, stop - start, columns), for K keys and rows (start, stop).

    `xp` is numpy or torch; `device` is where the words are made. `start` is a multiple of 128, `stop` is any.
    Counter: c0 stream, c1 step, c2 q, c3 column; word w of counter q belongs to row
    128 (q div 32) + 32 w + (q mod 32). Four words go to four rows, so none is wasted when columns are few.
    """
    return words_at(xp, key, stream, rows, columns, device)(int(step))


def words_at(
    xp: ModuleType,
    key: npt.NDArray[np.uint64],
    stream: int,
    rows: tuple[int, int],
    columns: int,
    device: Any = None,
) -> Callable[[Any], Any]:
    """`words` as a function of the step, a number or an int64 tensor (1,) of it on the device.

    All that does not depend on the step is on the device already.
    """
    start, stop = rows
    assert start % BLOCK_ROWS == 0, "a draw starts at a multiple of 128 rows"
    first, last = start // BLOCK_ROWS, -(-stop // BLOCK_ROWS)
    low, high = ((key >> np.uint64(shift) & np.uint64(MASK)).astype(np.int64) for shift in (0, 32))
    # The first rows of a block are the first words of its counters: a few of them need no others.
    few = stop - start <= COUNTERS
    counter = np.arange(COUNTERS * first, COUNTERS * first + stop - start if few else COUNTERS * last)
    counters = (
        xp.asarray(counter, device=device)[None, :, None],
        xp.asarray(np.arange(columns, dtype=np.int64), device=device)[None, None, :],
        xp.asarray(low, device=device)[:, None, None],
        xp.asarray(high, device=device)[:, None, None],
    )

    def draw(step: Any) -> Any:
        output = philox4x32(int(stream), step, *counters)
        if few:
            return output[0]
        blocks = [word.reshape(len(key), last - first, COUNTERS, columns) for word in output]
        return xp.stack(blocks, 2).reshape(len(key), -1, columns)[:, : stop - start]

    return draw
