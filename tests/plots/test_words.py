"""Numbers as a reader wants them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpose_cli.plots.words import Words, counted, counted_span, listed, number, sentence, share, span


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1, "1"), (20, "20"), (0.05, "0.05"), (1.0004, "1"), (21.544, "21.5"), (1234.6, "1235"),
        (0.012345, "0.0123"), (-0.2823, "−0.282"), (2.1e-7, "2.1e−7"), (1e-5, "1e−5"), (3.25e8, "3.25e8"),
        (float("inf"), "not finite"), (float("nan"), "not finite"),
    ],
)  # fmt: skip
def test_number(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(1e-12, 1e12))
def test_number_keeps_three_digits(value: float) -> None:
    assert float(number(value).replace("−", "-")) == pytest.approx(value, rel=5.01e-3)
    assert number(-value) == f"−{number(value)}"


def test_span_share_and_lists() -> None:
    assert span([0.5, 0.2, 0.3]) == "0.2 to 0.5"
    assert span([1.0, 1.0001]) == "1"
    assert share(381, 400) == "95.2 % (381 of 400)"
    assert [listed(list("abc"[:k])) for k in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert [counted(k, "cell") for k in (1, 7)] == ["1 cell", "7 cells"]
    assert sentence("from here") == "From here"
    assert sentence("n = 6: small") == "n = 6: small"


def test_counts_agree_with_their_noun() -> None:
    told = [counted_span(counts, "dimension") for counts in ([1], [2, 2], [1, 3])]
    assert told == ["1 dimension", "2 dimensions", "1 to 3 dimensions"]


def test_markdown_has_all_parts_in_order() -> None:
    text = Words(title="T", paragraphs=("one", "two"), reading="look", source="there").markdown()
    assert text == "# T\n\none\n\ntwo\n\n**How to read it.** look\n\n**Such a figure in the paper.** there\n"
