"""Philox against its published answers, and the laws of its counter layout."""

from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from superpose_cli.toy_model.philox import MASK, Stream, philox4x32, words

# Random123, tests/kat_vectors, philox4x32 with 7 rounds: counter, key, output.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "5f6fb709 0d893f64 4f121f81 4f730a48"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "5207ddc2 45165e59 4d8ee751 8c52f662"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "4dfccaba 190a87f0 c47362ba b6b5242a"),
]
KEYS = np.array([1, 2**63 + 12345, 2**64 - 1], dtype=np.uint64)


@pytest.mark.parametrize("xp", [np, torch])
@pytest.mark.parametrize(("counter", "key", "output"), KNOWN_ANSWERS)
def test_known_answers(xp: ModuleType, counter: str, key: str, output: str) -> None:
    arguments = [xp.asarray([int(word, 16)], dtype=xp.int64) for word in f"{counter} {key}".split()]
    assert [f"{int(word[0]):08x}" for word in philox4x32(*arguments)] == output.split()


def test_words_follow_the_counter_layout() -> None:
    drawn = words(np, KEYS, Stream.sets, 77, (0, 300), 5)
    assert drawn.shape == (3, 300, 5)
    assert drawn.min() >= 0
    assert drawn.max() <= MASK
    for k, row, column in [(0, 0, 0), (1, 31, 4), (1, 32, 1), (2, 127, 2), (2, 128, 3), (0, 299, 4)]:
        counter = (Stream.sets, 77, 32 * (row // 128) + row % 32, column)
        key = (int(KEYS[k]) & MASK, int(KEYS[k]) >> 32)
        # Python integers are exact, so this also checks the wrapped int64 products.
        assert drawn[k, row, column] == philox4x32(*counter, *key)[row % 128 // 32]


def test_torch_words_equal_numpy_words() -> None:
    arguments = (KEYS, Stream.data, 2**32 - 1, (128, 1000), 7)
    np.testing.assert_array_equal(words(torch, *arguments).numpy(), words(np, *arguments))


@given(
    first=st.integers(0, 3),
    length=st.integers(1, 300),
    columns=st.integers(1, 6),
    instance=st.integers(0, 2),
)
def test_a_part_of_a_draw_is_a_slice_of_the_whole(
    first: int, length: int, columns: int, instance: int
) -> None:
    whole = words(np, KEYS, Stream.data, 3, (0, 700), 6)
    start, stop = 128 * first, min(128 * first + length, 700)
    part = words(np, KEYS[instance : instance + 1], Stream.data, 3, (start, stop), columns)
    np.testing.assert_array_equal(part, whole[instance : instance + 1, start:stop, :columns])


def test_words_are_uniform_and_unrelated_to_their_neighbours() -> None:
    """Correlation of neighbours in each direction, two-sided at five standard errors."""
    key = np.arange(20, dtype=np.uint64)
    unit = words(np, key, Stream.data, 0, (0, 1024), 20) / 2**32 - 0.5
    next_step = words(np, key, Stream.data, 1, (0, 1024), 20) / 2**32 - 0.5
    next_stream = words(np, key, Stream.sets, 0, (0, 1024), 20) / 2**32 - 0.5
    assert abs(unit.mean()) < 5 * np.sqrt(1 / 12 / unit.size)
    pairs = {
        "row": (unit[:, 1:], unit[:, :-1]),
        "word of a counter": (unit[:, 32:64], unit[:, :32]),
        "column": (unit[..., 1:], unit[..., :-1]),
        "key": (unit[1:], unit[:-1]),
        "step": (unit, next_step),
        "stream": (unit, next_stream),
    }
    for name, (a, b) in pairs.items():
        assert abs(12 * (a * b).mean()) < 5 / np.sqrt(a.size), name


def test_every_bit_is_fair() -> None:
    drawn = words(np, np.array([5], dtype=np.uint64), Stream.evaluation, 0, (0, 65536), 4)
    for bit in range(32):
        share = (drawn >> bit & 1).mean()
        assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(drawn.size), bit
