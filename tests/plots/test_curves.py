"""Axes over the grid and labels that do not collide."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from superpose_cli.plots.cells import Coordinate, density_coordinate
from superpose_cli.plots.curves import edges, set_horizontal, spread_labels


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.2))
def test_labels_keep_their_distance_and_order(values: list[float], gap: float) -> None:
    placed = np.array(spread_labels(values, gap))
    order = np.argsort(values, kind="stable")
    assert (np.diff(placed[order]) >= gap - 1e-9).all()
    assert abs(placed.mean() - np.mean(values)) < 1e-9


def test_labels_with_room_stay() -> None:
    assert spread_labels([0.1, 0.5, 0.9], 0.05) == [0.1, 0.5, 0.9]


def test_edges_are_half_way_on_the_scale_of_the_axis() -> None:
    np.testing.assert_allclose(
        edges(density_coordinate(np.array([1, 0.1, 0.01]))), 10 ** np.array([-0.5, 0.5, 1.5, 2.5])
    )


def test_density_axis_is_logarithmic_with_plain_numbers() -> None:
    ax = Figure().subplots()
    set_horizontal(ax, density_coordinate(np.geomspace(1, 0.01, 7)))
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "sparsity 1/(1−S)"
    low, high = ax.get_xlim()
    assert low < 1 < 100 < high
    shown = ax.xaxis.get_major_formatter()
    assert [shown(value, 0) for value in (1, 20, 100)] == ["1", "20", "100"]


@pytest.mark.parametrize("named", [False, True])
def test_few_values_are_the_ticks(named: bool) -> None:
    ax = Figure().subplots()
    texts = ("2", "3", "7")
    values = np.arange(3.0) if named else np.array([2.0, 3.0, 7.0])
    set_horizontal(
        ax, Coordinate(name="n_hidden", label="m", positions=values, texts=texts, log=False, named=named)
    )
    assert ax.get_xticks().tolist() == values.tolist()
    assert [label.get_text() for label in ax.get_xticklabels()] == list(texts)


@pytest.mark.parametrize(
    ("names", "turned"), [(("linear", "relu"), False), (("a long name of it",) * 12, True)]
)
def test_names_are_turned_where_they_would_meet(names: tuple[str, ...], turned: bool) -> None:
    figure = Figure()
    ax = figure.subplots()
    x = Coordinate(
        name="model", label="", positions=np.arange(float(len(names))), texts=names, log=False, named=True
    )
    set_horizontal(ax, x)
    figure.draw_without_rendering()
    labels = ax.get_xticklabels()
    assert {label.get_rotation() for label in labels} == {20.0 if turned else 0.0}
    if not turned:
        boxes = [label.get_window_extent() for label in labels]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
