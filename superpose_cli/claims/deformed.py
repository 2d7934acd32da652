"""The Geometry of Superposition: a pentagon whose last feature is rarer or more frequent than the others."""

import numpy as np

from superpose_cli.claims.base import Measured, claim
from superpose_cli.claims.stored import models, must, need, need_fine, need_setting, restart_weights, restarts
from superpose_cli.results.run import Run
from superpose_cli.toy_model.branches import Branch, crossing, pentagon_or_digons
from superpose_cli.toy_model.geometry import solution_name

SECTION = "The Geometry of Superposition: non-uniform superposition"

GOALS = 0.45, 1.0, 2.5
"""Ratios of the last feature's density to the others' at which a pentagon is looked at."""


def _branches(run: Run) -> tuple[Branch, Branch, float]:
    """Lowest losses over the last feature's p, of two digons without it and of pentagons; the others' p."""
    rows = restarts(run, ["last_probability", "loss", "loss_ratio"], ["feature_probability"])
    others = np.unique(rows["feature_probability"][:, 0])
    need(len(others) == 1, "needs one density that the other features share")
    shape = np.array([pentagon_or_digons(W) for W in restart_weights(run)])
    digons, pentagon = (
        Branch.least(*(rows[column][shape == name] for column in ("last_probability", "loss", "loss_ratio")))
        for name in ("digons", "pentagon")
    )
    return digons, pentagon, float(others[0])


@claim(
    "pentagon-deforms",
    section=SECTION,
    source="paper",
    citation="non-uniform superposition, features of different sparsity",
    experiment="perturbed_pentagon",
    expected="max - min of D_i below 0.005 at equal densities, at least 0.015 at 0.45 and 2.5 times them: "
    "the last feature's D_i is the largest by 0.005 at the former, the smallest by 0.005 at the latter",
    tolerance="0.005: what training leaves of five equal features; 0.015 is three times that",
)
def pentagon_deforms(run: Run) -> Measured:
    """Before it snaps a pentagon deforms: its shares are equal at equal densities, and get unequal as the
    densities do, the rarer feature's the largest.
    """
    need_setting(run, restarts=16, steps=3000, n_features=5, n_hidden=2)
    found = {
        float(model.row["last_probability"] / model.features["feature_probability"][0]): model
        for model in models(run)
    }
    near = [min(found, key=lambda ratio: abs(np.log(ratio / goal))) for goal in GOALS]
    need(
        all(0.8 <= ratio / goal <= 1.25 for ratio, goal in zip(near, GOALS, strict=True)),
        "needs cells at about 0.45, 1 and 2.5 times the others' density",
    )
    places = ", ".join(f"{ratio:.2f}" for ratio in near)
    shapes = [solution_name(found[ratio].factors) for ratio in near]
    must(set(shapes) == {"pentagon"}, f"{', '.join(shapes)} at {places} times, not pentagons")
    shares = [found[ratio].features["dimensionality"] for ratio in near]
    rare, equal, frequent = (float(np.ptp(some)) for some in shares)
    above, below = shares[0][-1] - shares[0][:-1].max(), shares[-1][:-1].min() - shares[-1][-1]
    return Measured(
        bool(equal < 0.005 and min(rare, frequent) >= 0.015 and min(above, below) >= 0.005),
        f"{rare:.3f}, {equal:.4f} and {frequent:.3f} at {places} times; the last feature's share is "
        f"{above:.4f} above all others where it is rare, {below:.4f} below where it is frequent",
        {
            "spread_rare": rare,
            "spread_equal": equal,
            "spread_frequent": frequent,
            "lead_rare": above,
            "lag_frequent": below,
        },
    )


@claim(
    "pentagon-snaps",
    section=SECTION,
    source="measured",
    citation="non-uniform superposition; the crossing by root-finding on both stored branches",
    experiment="perturbed_pentagon",
    expected="the best of each density is a square of four or a pentagon of all five; the square wins below, "
    "the pentagon above a ratio of densities in 0.24 .. 0.30, with slopes d ln L / d ln p that differ by at "
    "least 0.2",
    tolerance="0.03 in the ratio: half a step of the grid; the branches are interpolated inside it. The "
    "pentagon is deformed there: angles between its neighbours are within 25 degrees of 72",
)
def pentagon_snaps(run: Run) -> Measured:
    """A pentagon whose last feature gets rarer snaps to two digons that leave it out; the two solutions'
    losses cross with different slopes.
    """
    need_setting(run, restarts=16, steps=3000, n_features=5, n_hidden=2, loss_method="population")
    found = models(run)
    neither = sum(not pentagon_or_digons(model.W) for model in found)
    if neither:
        return Measured(False, f"the best of {neither} densities is neither shape", {"neither": neither})
    digons, pentagon, p = _branches(run)
    ratio = np.array([model.row["last_probability"] for model in found]) / p
    need(
        bool((ratio < 0.24).sum() >= 2 and (ratio > 0.30).sum() >= 2),
        "needs two densities on either side of 0.24 .. 0.30 times the others'",
    )
    need_fine(np.unique(ratio))
    shared = np.intersect1d(digons.density, pentagon.density)
    need(len(shared) >= 3, f"needs 3 densities that both branches are stored at, the run has {len(shared)}")
    cross = crossing(digons, pentagon)
    if cross is None:
        return Measured(False, "the branches do not cross", {"shared": len(shared)})
    return Measured(
        0.24 <= cross.at / p <= 0.30 and cross.slope - cross.other_slope >= 0.2,
        f"at {cross.at / p:.3f} times the others' p, slopes {cross.slope:.2f} and "
        f"{cross.other_slope:.2f}, both "
        f"branches at {len(shared)} densities",
        {"ratio": cross.at / p, "slope_digons": cross.slope, "slope_pentagon": cross.other_slope},
    )


CLAIMS = (pentagon_deforms, pentagon_snaps)
