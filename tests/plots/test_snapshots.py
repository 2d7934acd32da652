"""Snapshots of W beside the loss: which records, what they show, and what ties them to the curve."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import ConnectionPatch

from superpose_cli.plots.registry import PLOTS
from superpose_cli.plots.snapshots import before_and_after, posed, stretches
from superpose_cli.plots.style import STYLES, find_style
from superpose_cli.results.run import load_run
from superpose_cli.toy_model.theory import polygon
from tests.plots.test_registry import assert_fits
from tests.synthetic import write_run

LIGHT = find_style("light")
STEPS = list(range(0, 1000, 20))


def test_the_jumps_in_which_the_loss_falls_most_are_shown() -> None:
    loss = np.repeat([1.0, 0.9, 0.5, 0.1], 10)
    covered = np.zeros(39, bool)
    covered[[9, 10, 19, 29, 30, 31]] = True
    assert stretches(covered) == [(9, 11), (19, 20), (29, 32)]
    assert before_and_after(loss, covered, 8) == (0, 9, 11, 19, 20, 29, 32, 39)
    assert before_and_after(loss, covered, 6) == (0, 19, 20, 29, 32, 39)
    assert before_and_after(loss, covered, 4) == (0, 29, 32, 39)


def test_without_jumps_the_loss_decides() -> None:
    loss = np.exp(-np.arange(31) / 10)
    assert before_and_after(loss, np.zeros(30, bool), 6) == (0, 10, 20, 30)
    assert before_and_after(np.ones(5), np.zeros(4, bool), 6) == (0, 4)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_all_records_are_turned_as_the_last_one(m: int) -> None:
    W = np.random.default_rng(m).normal(size=(4, 5, m))
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(m, m)))[0]
    assert posed(W).shape == (4, 5, 2)
    np.testing.assert_allclose(posed(W @ turn), posed(W), atol=1e-12)
    if m < 3:
        np.testing.assert_allclose(np.linalg.norm(posed(W), axis=2), np.linalg.norm(W, axis=2))


def learning(tmp_path, **more):
    """Feature 4 comes in between steps 400 and 600; the loss falls there."""
    T = len(STEPS)
    course = np.tile(polygon(5), (1, T, 1, 1))
    course[0, :, 4] *= np.clip((np.array(STEPS) - 400) / 200, 0, 1)[:, None]
    loss = np.clip(1 - (np.array(STEPS)[None] - 400) / 400, 0.5, 1)
    path = write_run(
        tmp_path / "run", course[:, -1], steps=STEPS, course=course, history_loss=loss, record_weights=True,
        **more,
    )  # fmt: skip
    return load_run(path)


def test_snapshots_show_the_geometry_before_and_after_the_jump(tmp_path) -> None:
    run = learning(tmp_path)
    (course,) = PLOTS["trajectories"].select(run).courses
    assert len(course.shown) == 4
    first, before, after, last = (course.steps[at] for at in course.shown)
    assert (first, last) == (0, 980)
    assert 380 <= before <= 460
    assert 540 <= after <= 620
    plotted = PLOTS["trajectories"](run, LIGHT)
    top, bottom, room = plotted.figure.axes
    panels = room.child_axes
    assert [ax.get_title() for ax in panels] == [f"{step}" for step in (first, before, after, last)]
    for ax, at in zip(panels, course.shown, strict=True):
        tips = [line.get_xydata()[0] for line in ax.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(
            np.linalg.norm(tips, axis=1), np.linalg.norm(course.W[at], axis=1), atol=1e-6
        )
    ties = [artist for artist in plotted.figure.artists if isinstance(artist, ConnectionPatch)]
    starts = [tie.xy1 for tie in ties]
    np.testing.assert_allclose(starts, [(course.steps[at], course.loss[at]) for at in course.shown])
    dots = [line.get_xdata()[0] for line in bottom.lines if line.get_marker() == "o"]
    assert dots == [first, before, after, last]
    assert [line.get_xdata()[0] for line in top.lines[-4:]] == dots
    assert "980: pentagon." in plotted.words.paragraphs[0]
    assert f"{before}: " in plotted.words.paragraphs[0]
    for style in STYLES:
        assert_fits(PLOTS["trajectories"], run, find_style(style))


def test_sets_colour_the_lines_and_the_snapshots(tmp_path) -> None:
    run = learning(tmp_path, columns={"data_kind": "correlated", "set_size": 3, "correlation": 1.0})
    plotted = PLOTS["trajectories"](run, LIGHT)
    top, _, room = plotted.figure.axes
    wanted = [LIGHT.series[i] for i in (0, 0, 0, 1, 1)]
    assert [to_hex(line.get_color()) for line in top.lines[:5]] == wanted
    tips = [line for line in room.child_axes[-1].lines if line.get_marker() == "o"]
    assert [to_hex(line.get_color()) for line in tips] == wanted
    assert "Features of one colour are one set" in plotted.words.reading


def test_wide_models_have_no_snapshots(tmp_path) -> None:
    W = np.random.default_rng(0).normal(size=(1, 6, 4))
    run = load_run(write_run(tmp_path / "run", W, steps=STEPS, record_weights=True))
    plotted = PLOTS["trajectories"](run, LIGHT)
    assert len(plotted.figure.axes) == 2
    assert "Between them" not in plotted.words.reading
