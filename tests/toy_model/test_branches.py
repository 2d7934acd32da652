"""Classes of solutions: which one a model is in, and where the losses of two cross."""

import numpy as np
import pytest

from superpose_cli.toy_model.branches import Branch, crossing, fates, pentagon_or_digons
from superpose_cli.toy_model.metrics import REGIMES, feature_metrics
from superpose_cli.toy_model.theory import polygon

SQUARE = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.7])
def test_power_laws_cross_where_they_are_equal(ratio: float) -> None:
    """Between densities that do not contain the crossing, and where one branch ends before it."""
    density = np.geomspace(0.1, 10, 8)
    one, other = Branch(density, (density / ratio) ** 2.0), Branch(density, (density / ratio) ** 0.5)
    found = crossing(one, other)
    assert found is not None
    np.testing.assert_allclose([found.at, found.slope, found.other_slope, found.loss], [ratio, 2, 0.5, 1])
    ended = density < ratio
    again = crossing(Branch(density[ended], one.loss[ended]), other)
    assert again is not None
    np.testing.assert_allclose(again.at, ratio)
    assert crossing(other, one) is None


def test_a_branch_keeps_the_lowest_loss_at_each_density() -> None:
    branch = Branch.least([2.0, 1.0, 2.0, 1.0], [5, 4, 3, 6])
    assert (branch.density.tolist(), branch.loss.tolist()) == ([1, 2], [4, 3])


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
