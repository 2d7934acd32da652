"""Plateaus, the jumps between them, and what of the loss falls while features jump."""

import numpy as np
import pytest

from superpose_cli.toy_model.levels import in_jumps, jumps, share_of_fall

STEPS = np.arange(0, 2001, 10)


def stairs(*levels: float) -> np.ndarray:
    """Levels of equal length with ramps of 100 steps between them."""
    at = np.linspace(0, 2000, len(levels) + 1)[1:-1]
    x = np.concatenate([[0], np.repeat(at, 2) + np.tile([-50, 50], len(at)), [2000]])
    return np.interp(STEPS, x, np.repeat(levels, 2))


def test_a_jump_joins_two_plateaus() -> None:
    D = np.stack([stairs(0.2, 0.5), stairs(0.4, 0.4), stairs(0.0, 0.33, 0.5)], axis=1)
    found = jumps(STEPS, D)
    assert [(jump.feature, round(jump.before, 2), round(jump.after, 2)) for jump in found] == [
        (0, 0.2, 0.5), (2, 0.0, 0.33), (2, 0.33, 0.5)
    ]  # fmt: skip
    first = found[0]
    assert STEPS[first.start] == pytest.approx(950, abs=30)
    assert STEPS[first.stop] == pytest.approx(1050, abs=30)


def test_small_steps_slow_drifts_and_short_records_are_no_jumps() -> None:
    assert not jumps(STEPS, stairs(0.40, 0.44)[:, None])
    assert not jumps(STEPS, np.linspace(0.1, 0.9, len(STEPS))[:, None])
    assert not jumps(STEPS[:10], np.full((10, 1), 0.5))


def test_the_fall_is_shared_between_jumps_and_the_rest() -> None:
    D = stairs(0.2, 0.5)
    covered = in_jumps(jumps(STEPS, D[:, None]), len(STEPS))
    loss = 1 - D
    assert share_of_fall(loss, covered) > 0.75
    assert share_of_fall(loss, np.roll(covered, 60)) == pytest.approx(0), "windows elsewhere hold nothing"
    assert np.isnan(share_of_fall(np.ones(5), np.zeros(4, bool)))
