"""Sets of correlated features have one colour each, in every plot of directions."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.quiver import Quiver

from superpose_cli.plots.registry import PLOTS
from superpose_cli.plots.sets import MOST, sets_of, tell_angles
from superpose_cli.plots.style import STYLES, find_style
from superpose_cli.results.run import load_run
from superpose_cli.toy_model.theory import polygon
from tests.plots.test_registry import assert_fits
from tests.synthetic import write_run

STYLE = find_style("light")
FIRST, SECOND = STYLE.series[:2]
SQUARE = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
PAIRS = {"data_kind": "correlated", "set_size": 2, "correlation": 1.0}


def stored(tmp_path, W, **more):
    return load_run(write_run(tmp_path / "run", W, **({"columns": PAIRS} | more)))


def colours_of(figure) -> list[str]:
    """Of arrows, nodes or points of the first panel."""
    ax = figure.axes[0]
    if quivers := [child for child in ax.collections if isinstance(child, Quiver)]:
        return [to_hex(colour) for colour in quivers[0].get_facecolors()]
    if ax.collections:
        return [to_hex(colour) for colour in ax.collections[-1].get_facecolors()]
    points = {float(line.get_xdata()[0]): line for line in ax.lines if line.get_marker() == "o"}
    return sorted(to_hex(line.get_color()) for line in points.values())


def test_arrows_of_one_set_share_a_colour(tmp_path) -> None:
    plotted = PLOTS["arrows"](stored(tmp_path, SQUARE[None]), STYLE)
    assert colours_of(plotted.figure) == [FIRST, FIRST, SECOND, SECOND]
    assert [text.get_text() for text in plotted.figure.legends[0].get_texts()] == ["set 0", "set 1"]
    assert "Between members of one set there are 90°" in plotted.words.paragraphs[1]
    assert "Features of one colour are one set" in plotted.words.reading


def test_importances_that_differ_keep_the_colours(tmp_path) -> None:
    run = stored(tmp_path, SQUARE[None], importance=0.5 ** np.arange(4)[None])
    plotted = PLOTS["arrows"](run, STYLE)
    assert plotted.figure.legends == []
    assert len(set(colours_of(plotted.figure))) == 4
    assert "one colour" not in plotted.words.reading


def test_nodes_and_points_of_one_set_share_a_colour(tmp_path) -> None:
    W = np.concatenate([np.eye(3), -np.eye(3)])[[0, 1, 4, 2, 3, 5]]  # 1 and 2 are antipodal
    run = stored(tmp_path, W[None], columns=PAIRS | {"set_size": 3})
    graph = PLOTS["geometry_graph"](run, STYLE)
    assert sorted(colours_of(graph.figure)) == sorted([FIRST] * 3 + [SECOND] * 3)
    assert len(graph.figure.axes) == 1, "no colour bar beside the sets"
    solid = PLOTS["polyhedron"](run, STYLE)
    assert set(colours_of(solid.figure)) == {FIRST, SECOND}
    for plotted in (graph, solid):
        assert "Between members of one set there are 90 to 180° at" in plotted.words.paragraphs[1]


def test_strips_beside_the_matrix_tell_the_sets(tmp_path) -> None:
    plotted = PLOTS["wtw"](stored(tmp_path, SQUARE[None]), STYLE)
    strips = {
        to_hex(line.get_color()): list(line.get_ydata())
        for line in plotted.figure.axes[0].lines
        if np.max(line.get_xdata()) < 0
    }
    assert strips == {FIRST: [0, 2], SECOND: [2, 4]}
    assert "Rows with one colour at their left are one set" in plotted.words.reading


def test_sets_are_known_for_few_sets_only(tmp_path) -> None:
    few = stored(tmp_path / "few", polygon(5)[None])
    assert [own.tolist() for own in sets_of(few, np.array([0]))] == [[0, 0, 1, 1, 2]]
    many = stored(tmp_path / "many", polygon(2 * MOST + 1)[None])
    independent = stored(tmp_path / "none", polygon(5)[None], columns={})
    for run in (many, independent):
        assert [own.tolist() for own in sets_of(run, np.array([0]))] == [[]]


def test_angles_are_those_between_represented_members() -> None:
    W = np.array([[1.0, 0], [0.0, 2], [-1, 0], [0.1, 0]])
    told = tell_angles(["a", "b", "c"], [W, W, W[:0]], (np.array([0, 0, 1, 1]), *[np.empty(0, int)] * 2))
    assert told == "Between members of one set there are 90° at a."
    assert "no two of them represented" in tell_angles([""], [W[2:]], (np.array([1, 1]),))
    assert tell_angles([""], [W], (np.empty(0, int),)) == ""


def test_starts_that_end_with_other_angles_are_counted(tmp_path) -> None:
    """A square whose partners are opposite is another arrangement than one where they are at right angles."""
    turned, opposite, dead = SQUARE @ [[0, 1], [1, 0]], SQUARE[[0, 2, 1, 3]], 0.1 * SQUARE
    run = stored(tmp_path, np.stack([SQUARE, turned, opposite, dead]), restarts=4)
    told = PLOTS["arrows"](run, STYLE).words.paragraphs[2]
    assert told.startswith("Starts that end with these angles, to within 10°: 2 of 4 at ")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", ["arrows", "wtw", "geometry_graph"])
def test_legends_fit(tmp_path, name: str, style: str) -> None:
    axes = {"data.feature_probability": [0.3, 0.2, 0.1, 0.05, 0.02, 0.01]}
    run = stored(tmp_path, np.tile(polygon(6), (6, 1, 1)), axes=axes)
    assert_fits(PLOTS[name], run, find_style(style))
