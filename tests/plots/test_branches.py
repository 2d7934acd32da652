"""`branches`: the losses of classes of solutions that compete, and where they cross."""

import numpy as np
import pytest

from superpose_cli.plots.registry import PLOTS
from superpose_cli.plots.stored import Lacks
from superpose_cli.plots.style import STYLES, find_style
from superpose_cli.results.run import load_run
from superpose_cli.toy_model.theory import ignored_feature_loss, phase_2_in_1, phase_boundary, polygon
from tests.plots.test_registry import assert_fits
from tests.synthetic import write_run

PLOT = PLOTS["branches"]
LIGHT = find_style("light")
W = {"ignored": [[1.0], [0]], "dedicated": [[0.0], [1]], "superposed": [[1.0], [-1]]}
P = np.geomspace(1, 0.01, 20)
R = np.array([0.5, 2.0])
UNIT = ignored_feature_loss(P)


@pytest.fixture
def phases(tmp_path):
    """Theory's losses of all three solutions, a restart each, and a fourth in none of them."""
    theory = phase_2_in_1(*np.meshgrid(P, R, indexing="ij"))
    loss = np.stack([*(theory[name] for name in W), np.full((20, 2), 1e-9)], axis=2).ravel() / 2
    axes = {"data.feature_probability": P.tolist(), "importance.last_importance": R.tolist()}
    weights = np.tile([*W.values(), [[1.0], [1]]], (40, 1, 1))
    unit = np.repeat(np.outer(UNIT, 1 + R).ravel() / 2, 4)
    columns = {"loss": loss, "objective": loss, "loss_ratio": loss / unit}
    return load_run(write_run(tmp_path / "run", weights, axes=axes, restarts=4, columns=columns))


def test_theorys_solutions_cross_on_theorys_boundary(phases) -> None:
    data = PLOT.select(phases)
    assert data.classes == ("ignored", "dedicated", "superposed")
    assert data.labels == ("r = 0.5", "r = 2")
    theory = phase_2_in_1(P, 0.5)
    for got, name in zip(data.ratio[0], data.classes, strict=True):
        np.testing.assert_allclose(got, theory[name] / (1.5 * UNIT), rtol=1e-6)
    for found, r, above in zip(data.meetings, R, ("ignored", "dedicated"), strict=True):
        (meeting,) = found
        assert (meeting.below, meeting.above) == ("superposed", above)
        at = float(phase_boundary(r))
        np.testing.assert_allclose([meeting.at, meeting.ratio], [at, 1 / 3], rtol=1e-5)
        slopes = 2, (1 / 3 - at / 2) / (1 / 3 - at / 4)
        np.testing.assert_allclose(meeting.slopes, slopes, rtol=1e-4)
        assert meeting.ends["superposed"][0] == pytest.approx(P[at > P][0])
        assert meeting.ends[above][0] == pytest.approx(P[at < P][-1])
    assert data.several == (40, 40)
    assert data.unnamed == (40, 160)


def test_words_and_marks_say_where(phases) -> None:
    plotted = PLOT(phases, LIGHT)
    first = plotted.figure.axes[0]
    (meeting,) = PLOT.select(phases).meetings[0]
    assert [np.asarray(line.get_xdata())[0] for line in first.lines][-1] == pytest.approx(1 / meeting.at)
    assert [text.get_text() for text in first.texts] == [f"p = {meeting.at:.3g}"]
    text = plotted.words.paragraphs[0]
    assert f"costs as much as “the last feature ignored” at p = {meeting.at:.3g}, and less below" in text
    assert "25 % (40 of 160) of the restarts are in none" in plotted.words.paragraphs[1]
    for style in STYLES:
        assert_fits(PLOT, phases, find_style(style))


def test_both_classes_are_dashed_from_their_last_point_to_the_ring(phases) -> None:
    at = float(phase_boundary(R[0]))
    end = P[at > P][0]
    meeting = PLOT.select(phases).meetings[0][0]
    assert meeting.ends["superposed"] == pytest.approx((end, end**2 / 6 / UNIT[at > P][0]))
    assert meeting.ends["ignored"][1] == pytest.approx(1 / 3)
    dashed = PLOT(phases, LIGHT).figure.axes[0].lines[3]
    assert (dashed.get_linestyle(), dashed.get_color()) == ("--", LIGHT.superposed)
    np.testing.assert_allclose(np.asarray(dashed.get_xdata()), [1 / end, 1 / at])
    np.testing.assert_allclose(np.asarray(dashed.get_ydata()), [meeting.ends["superposed"][1], 1 / 3])


def test_a_crossing_far_from_stored_points_is_not_told(tmp_path) -> None:
    """The feature alone is stored at two densities on one side only."""
    theory = phase_2_in_1(P, 2.0)
    loss = np.stack([theory["dedicated"], theory["superposed"]], axis=1) / 2
    weights = np.tile([W["dedicated"], W["superposed"]], (20, 1, 1))
    weights[0:14:2] = [[1.0], [1]]  # the seven densest
    weights[18::2] = [[1.0], [1]]
    axes = {"data.feature_probability": P.tolist(), "importance.last_importance": [2.0, 3.0]}
    both = np.concatenate([weights.reshape(20, 1, 2, 2, 1)] * 2, axis=1).reshape(80, 2, 1)
    columns = {"loss": np.stack([loss, loss], axis=1).ravel(), "loss_ratio": 1.0}
    run = load_run(write_run(tmp_path / "run", both, axes=axes, restarts=2, columns=columns))
    data = PLOT.select(run)
    assert np.isfinite(data.ratio[0]).sum(axis=1).tolist() == [2, 20]
    assert data.meetings == ((), ())
    assert "No crossing lies beside stored points of both its classes" in PLOT.words(data).paragraphs[0]


def test_pentagon_and_digons_over_the_last_features_density(tmp_path) -> None:
    """Power laws that cross at half of the others' density, which is between two of the axis."""
    p = np.geomspace(0.005, 0.5, 8)
    digons = np.vstack([[[1.0, 0], [0, 1], [-1, 0], [0, -1]], np.zeros((1, 2))])
    loss = np.stack([(p / 0.025) ** 1.5, (p / 0.025) ** 0.5, np.full(8, 0.1)], axis=1)
    run = load_run(
        write_run(
            tmp_path / "run",
            np.tile([digons, polygon(5), digons], (8, 1, 1)),
            axes={"data.last_probability": p.tolist()},
            restarts=3,
            columns={
                "loss": loss.ravel(),
                "loss_ratio": loss.ravel(),
                "status": np.tile(["ok", "ok", "diverged"], 8),
            },
            feature_probability=np.array([[0.05] * 4 + [0.1]] * 24),
        )
    )
    data = PLOT.select(run)
    ((meeting,),) = data.meetings
    assert (meeting.below, meeting.above) == ("digons", "pentagon")
    np.testing.assert_allclose([meeting.at, meeting.ratio], [0.025, 1], rtol=1e-6)
    assert "at p = 0.025, 0.5 times that of the others, and less below" in PLOT.words(data).paragraphs[0]
    assert_fits(PLOT, run, LIGHT)


def test_which_runs_are_refused(tmp_path) -> None:
    with pytest.raises(Lacks, match=r"trained once; train with restarts=8"):
        PLOT.select(load_run(write_run(tmp_path / "one", np.ones((1, 3, 2)))))
    with pytest.raises(Lacks, match=r"competing solutions are known.*sweep experiment=perturbed_pentagon"):
        PLOT.select(load_run(write_run(tmp_path / "two", np.ones((2, 3, 2)), restarts=2)))
