"""Classes of solutions: which one a model is in, and where the losses of two cross."""

import numpy as np
import pytest

from superpose_cli.toy_model.branches import Branch, crossing, fates, pentagon_or_digons
from superpose_cli.toy_model.metrics import REGIMES, feature_metrics
from superpose_cli.toy_model.theory import ignored_feature_loss, phase_2_in_1, phase_boundary, polygon

SQUARE = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.7])
def test_power_laws_cross_where_they_are_equal(ratio: float) -> None:
    """Between densities that do not contain the crossing, and where one branch ends before it."""
    density = np.geomspace(0.1, 10, 8)
    constant = np.full(8, 2.0)
    one, other = (Branch(density, (density / ratio) ** power, constant) for power in (2.0, 0.5))
    found = crossing(one, other)
    assert found is not None
    np.testing.assert_allclose([found.at, found.slope, found.other_slope, found.ratio], [ratio, 2, 0.5, 0.5])
    ended = density < ratio
    again = crossing(Branch(density[ended], one.loss[ended], constant[ended]), other)
    assert again is not None
    np.testing.assert_allclose(again.at, ratio)
    assert crossing(other, one) is None


@pytest.mark.parametrize("r", [0.1, 0.264, 0.695, 1.44, 3.79, 10])
def test_theorys_branches_cross_where_theory_has_it(r: float) -> None:
    """Crossing, ratio and slopes are the closed forms', also where the pair is not stored beyond, or what
    is stored there is stuck. d ln (p/3 - p^2/4) / d ln p = (1/3 - p/2) / (1/3 - p/4) is far from straight.
    """
    p = np.geomspace(0.01, 1, 20)
    losses, constant = phase_2_in_1(p, r), (1 + r) * ignored_feature_loss(p)
    pair, alone = losses["superposed"], losses["ignored" if r < 1 else "dedicated"]
    at = float(phase_boundary(r))
    slope = (1 / 3 - at / 2) / (1 / 3 - at / 4)
    beyond = p > at
    for stored in (pair, np.where(beyond, 1.6 * pair, pair), np.where(beyond, np.nan, pair)):
        there = np.isfinite(stored)
        found = crossing(Branch(p[there], stored[there], constant[there]), Branch(p, alone, constant))
        assert found is not None
        got = [found.at, found.slope, found.other_slope, found.ratio]
        np.testing.assert_allclose(got, [at, 2, slope, min(1, r) / (1 + r)], rtol=1e-8)


def test_one_density_on_a_side_is_no_branch_to_extrapolate() -> None:
    p = np.array([1.0, 2, 3, 4])
    one, flat = Branch(p, p, np.ones(4)), np.ones(4)
    assert crossing(one, Branch(p, 1.5 * flat, flat)) is None
    assert crossing(one, Branch(p, 3.5 * flat, flat)) is None
    found = crossing(one, Branch(p, 2.5 * flat, flat))
    assert found is not None
    np.testing.assert_allclose([found.at, found.ratio], 2.5)


def test_a_branch_keeps_the_lowest_loss_at_each_density() -> None:
    branch = Branch.least([2.0, 1.0, 2.0, 1.0], [5, 4, 3, 6], [0.5, 0.8, 0.3, 1.2])
    assert (branch.density.tolist(), branch.loss.tolist()) == ([1, 2], [4, 3])
    np.testing.assert_allclose(branch.constant, [5, 10])
    np.testing.assert_allclose(branch.ratio, [0.8, 0.3])


@pytest.mark.parametrize("turn", [0.0, 1.0])
def test_five_features_are_a_pentagon_or_digons_without_the_last(turn: float) -> None:
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    deformed = polygon(5) * [1.0, 0.75]
    without, between = (np.vstack([SQUARE, [last, last]]) for last in (0.1, 0.7))
    first_out = without[[4, 0, 1, 2, 3]]
    shapes = [polygon(5), deformed, without, between, first_out, 0.1 * polygon(5)]
    names = [pentagon_or_digons(W @ rotation) for W in shapes]
    assert names == ["pentagon", "pentagon", "digons", "", "", ""]


def test_fates_are_those_of_theory() -> None:
    def named(*W) -> list[str]:
        measured = feature_metrics(np.array(W, float))
        regime = np.array(REGIMES)[measured["regime"]]
        return fates(regime, measured["norm"], measured["row_sum"]).tolist()

    in_one = named([[1], [0]], [[0], [1]], [[1], [-1]], [[1], [1]], [[0.1], [0.1]])
    assert in_one == ["ignored", "dedicated", "superposed", "", ""]
    in_two = named(
        [[1, 0], [0, 1], [0, 0.1]],
        [[1, 0], [0, 0], [0, 1]],
        [[1, 0], [0, 1], [0, -1]],
        [[1, 0], [-1, 0], [0, 1]],
        [[1, 0], [1, 0], [0, 1]],
        polygon(3),
    )
    assert in_two == ["ignored", "dedicated", "superposed", "others_superposed", "", ""]
