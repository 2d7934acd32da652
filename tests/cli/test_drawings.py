"""Pictures of characters: shapes, colours and their plain twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from superpose_cli.cli import drawings


def backgrounds(line: Text) -> list[tuple[int, int, int]]:
    found = [
        span.style.bgcolor for span in line.spans if not isinstance(span.style, str) and span.style.bgcolor
    ]
    return [tuple(colour.get_truecolor()) for colour in found]


def test_signs_have_their_own_colours_and_characters() -> None:
    scale = drawings.signed(np.array([[-1.0, -0.3, 0.0, 0.3, 1.0]]), 1.0)
    assert "".join(scale.glyphs[0]) == "=-.+#"
    red, blue = scale.colours[0, :, 0].astype(int), scale.colours[0, :, 2].astype(int)
    assert np.sign(red - blue).tolist() == [1, 1, -1, -1, -1]
    assert tuple(scale.colours[0, 2]) == drawings.DARK


def test_a_matrix_of_zeros_and_one_of_nans_are_dark() -> None:
    for values in (np.zeros((2, 2)), np.full((2, 2), np.nan)):
        scale = drawings.signed(values, 0.0)
        assert (scale.colours == drawings.DARK).all()


def test_sequential_ends_and_unknown_values() -> None:
    scale = drawings.sequential(np.array([[0.0, 1.0, np.nan, 7.0]]), 0.0, 1.0)
    assert "".join(scale.glyphs[0]) == ".@?@"
    assert [tuple(c) for c in scale.colours[0]] == [
        drawings.VIRIDIS[0],
        drawings.VIRIDIS[-1],
        drawings.GREY,
        drawings.VIRIDIS[-1],
    ]


def test_regimes() -> None:
    scale = drawings.regimes(np.array([["ignored", "superposed"], ["dedicated", ""]], dtype=object))
    assert ["".join(row) for row in scale.glyphs] == [".o", "#?"]


@given(rows=st.integers(1, 130), columns=st.integers(1, 90), colour=st.booleans())
def test_a_picture_fits_and_holds_every_cell(rows: int, columns: int, colour: bool) -> None:
    values = np.arange(rows * columns, dtype=np.float64).reshape(rows, columns)
    lines = drawings.picture(drawings.sequential(values, 0, rows * columns), width=90, colour=colour)
    roomy = 2 * columns <= 90 and rows <= drawings.MOST_LINES
    assert {line.cell_len for line in lines} == {2 * columns if roomy else columns}
    assert len(lines) == (rows if roomy or not colour else -(-rows // 2))
    labels = [str(i) for i in range(rows)]
    drawn = drawings.labelled(lines, labels, ("first", "last"))
    assert len(drawn) == len(lines) + 1
    assert drawn[0].plain.split()[0] == "0"


def test_half_blocks_show_the_upper_and_the_lower_cell() -> None:
    values = np.array([[0.0] * 60, [1.0] * 60, [1.0] * 60])
    first, last = drawings.picture(drawings.sequential(values, 0, 1), width=60, colour=True)
    assert first.plain == last.plain == "▀" * 60
    assert set(backgrounds(first)) == {drawings.VIRIDIS[-1]}
    assert backgrounds(last) == []


def test_numbers_stay_readable_on_light_cells() -> None:
    values = np.array([[1.0, 0.0]])
    (line,) = drawings.number_matrix(values, drawings.signed(values, 1.0), colour=True)
    assert line.plain == "  1.00  0.00"
    inks = [
        span.style.color.name for span in line.spans if not isinstance(span.style, str) and span.style.color
    ]
    assert inks == ["black", "white"]


@pytest.mark.parametrize(
    ("count", "most", "expected"), [(5, 9, [0, 1, 2, 3, 4]), (10, 4, [0, 3, 6, 9]), (3, 0, [0])]
)
def test_thin_keeps_the_ends(count: int, most: int, expected: list[int]) -> None:
    assert drawings.thin(count, most).tolist() == expected
