"""Sweep syntax: what each text means, as a table; NumPy as the reference of `linspace` and `geomspace`."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpose_cli.errors import ConfigError
from superpose_cli.experiment._hydra import parse_value, quoted
from superpose_cli.experiment.sweeps import MOST_VALUES, Sweep, arithmetic_range, geomspace, linspace, rounded

finite = st.floats(min_value=-1e6, max_value=1e6)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2,3", (1, 2, 3)),
        (" 1 , 2 ", (1, 2)),
        ("choice(a,b)", ("a", "b")),
        ("choice(3)", (3,)),
        ("range(3)", (0, 1, 2)),
        ("range(1,10,3)", (1, 4, 7)),
        ("range(3,0,-1)", (3, 2, 1)),
        ("range(0,0.9,0.3)", (0.0, 0.3, 0.6)),
        ("linspace(0,1,3)", (0.0, 0.5, 1.0)),
        ("linspace(0,1,num=3)", (0.0, 0.5, 1.0)),
        ("linspace(0,1,3),0.05", (0.0, 0.5, 1.0, 0.05)),
        ("choice(7,range(2)),linspace(1,2,1)", (7, 0, 1, 1.0)),
        ("[1,2],[3,4]", ([1, 2], [3, 4])),
        ("null,0.5", (None, 0.5)),
        ("true,false", (True, False)),
        ("'a,b',c", ("a,b", "c")),
    ],
)
def test_sweeps(text: str, values: tuple[object, ...]) -> None:
    assert parse_value("key", text) == Sweep(values)


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("1e-3", 0.001), ("[1,2]", [1, 2]), ("null", None), ("a", "a"), ("", "")]
)
def test_single_values_are_no_sweeps(text: str, value: object) -> None:
    assert parse_value("key", text) == value


@given(finite, finite, st.integers(1, 50))
def test_linspace_is_numpys(start: float, stop: float, num: int) -> None:
    values = linspace(start, stop, num).values
    np.testing.assert_allclose(values, np.linspace(start, stop, num), rtol=1e-12, atol=1e-9)
    assert values[0] == start
    assert num == 1 or values[-1] == stop


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.integers(1, 50))
def test_geomspace_is_numpys(start: float, stop: float, num: int) -> None:
    values = geomspace(start, stop, num).values
    np.testing.assert_allclose(values, np.geomspace(start, stop, num), rtol=1e-12)
    assert values[0] == start
    assert num == 1 or values[-1] == stop


@given(
    st.integers(-50, 50),
    st.integers(-50, 50),
    st.integers(-7, 7).filter(bool),
    st.sampled_from([1, 10, 1000]),
)
def test_range_counts_in_decimals(start: int, stop: int, step: int, scale: int) -> None:
    """A range of decimal fractions is the range of integers, divided; integers stay integers."""
    expected = range(start, stop, step)
    assert arithmetic_range(start, stop, step).values == tuple(expected)
    fractions = arithmetic_range(start / scale, stop / scale, step / scale).values
    assert fractions == tuple(i / scale for i in expected)


@given(st.integers(-(10**11), 10**11), st.integers(-20, 20))
def test_rounding_forgets_the_last_bits(digits: int, exponent: int) -> None:
    """A number of at most 11 digits is also what its neighbours are rounded to."""
    x = float(f"{digits}e{exponent}")
    assert rounded(x) == x
    assert rounded(math.nextafter(x, math.inf)) == x or x == 0
    assert rounded((7, [math.nextafter(x, -math.inf)])) == (7, (x,)) or x == 0


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("interval(0,1)", "linspace"),
        ("glob(*)", "name the options"),
        ("shuffle(1,2)", "list the values"),
        ("logspace(0,-2,3)", "geomspace"),
        ("linspce(0,1,3)", "Did you mean 'linspace'?"),
        ("linspace(0,1)", "linspace(FIRST,LAST,COUNT)"),
        ("linspace(0,1,2.5)", "whole number"),
        ("linspace(0,1,0)", "1 to"),
        (f"linspace(0,1,{MOST_VALUES + 1})", "1 to"),
        ("linspace(0,inf,3)", "finite"),
        ("geomspace(0,1,3)", "positive"),
        ("geomspace(-1,1,3)", "positive"),
        ("range(0,1,0)", "step other than 0"),
        ("range(1,1e9)", "larger step"),
        ("range(0,1e9,1e-300)", "larger step"),
        ("range(nan)", "finite"),
        ("[linspace(0,1,3)]", "inside brackets"),
        ("linspace(0,1,3", "unbalanced parentheses"),
        ("[1,2", "unbalanced brackets"),
        ("(1,2)", "function in front"),
        ("1,,2", "write 1,2,3"),
        ("1,", "write 1,2,3"),
        ("a\nb", "write 1,2,3"),
        ("[" * 300, "unbalanced brackets"),
        ("9" * 5000, "write 1,2,3"),
    ],
)
def test_refusals_say_what_to_write(text: str, advice: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_value("data.high", text)
    message = str(raised.value)
    assert message.startswith("data.high=")
    assert advice in message
    assert "\n" not in message
    assert len(message) < 400


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["Cc"])))
def test_quoting_keeps_any_text(text: str) -> None:
    """Paths of config folders go through the grammar as quoted strings."""
    assert parse_value("key", quoted(text)) == text
