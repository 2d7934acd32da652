"""`capacity`: the last feature's share of a dimension over its importance, a line for each density."""

import numpy as np
import pytest

from superpose_cli.plots.registry import PLOTS
from superpose_cli.plots.stored import Lacks
from superpose_cli.plots.style import STYLES, find_style
from superpose_cli.results.run import load_run
from tests.plots.test_registry import assert_fits
from tests.synthetic import write_run

PLOT = PLOTS["capacity"]
LIGHT = find_style("light")
WITHOUT = np.array([[1.0, 0], [0, 1], [0, 0.1]])  # a small row is no capacity, whatever its D_i
SHARED = np.array([[1.0, 0], [0, 1], [0, -1]])
ALONE = np.array([[1.0, 0], [-1, 0], [0, 1]])


def test_the_last_feature_gains_capacity_as_it_gains_importance(tmp_path) -> None:
    axes = {"data.feature_probability": [1.0, 0.1], "importance.last_importance": [10.0, 1.0, 0.1]}
    W = [ALONE, WITHOUT, WITHOUT, ALONE, SHARED, np.full((3, 2), np.nan)]
    run = load_run(
        write_run(tmp_path / "run", W, axes=axes, columns={"status": np.array([*["ok"] * 5, "diverged"])})
    )
    data = PLOT.select(run)
    np.testing.assert_allclose(data.x.positions, [0.1, 1, 10])
    np.testing.assert_allclose(data.last, [[0, 0, 1], [np.nan, 0.5, 1]], atol=1e-6)
    np.testing.assert_allclose(data.total[1], [np.nan, 2, 2], atol=1e-6)
    np.testing.assert_allclose(data.total[0], [2, 2, 2], atol=1e-6, err_msg="short rows have their share too")
    np.testing.assert_allclose(data.represented[0], [1.9901, 1.9901, 2], atol=1e-4)
    plotted = PLOT(run, LIGHT)
    left, right = plotted.figure.axes
    np.testing.assert_allclose(left.lines[1].get_ydata(), data.last[1])
    assert right.get_ylim()[1] > 2
    np.testing.assert_allclose([line.get_ydata() for line in right.lines[:2]], data.total)
    np.testing.assert_allclose([line.get_ydata() for line in right.lines[2:4]], data.represented)
    assert "all features together have 2, the represented ones 1.99 to 2" in plotted.words.paragraphs[0]
    text = plotted.words.paragraphs[0]
    assert "1/(1−S) = 1, p = 1: D_i goes from 0 at r = 0.1 to 1 at r = 10" in text
    assert "1/(1−S) = 10, p = 0.1: D_i goes from 0.5 at r = 1 to 1 at r = 10" in text
    for style in STYLES:
        assert_fits(PLOT, run, find_style(style))


def test_capacity_needs_the_importances(tmp_path) -> None:
    with pytest.raises(Lacks, match=r"no axis importance\.last_importance; sweep experiment=capacity"):
        PLOT.select(load_run(write_run(tmp_path / "run", np.ones((1, 3, 2)))))
