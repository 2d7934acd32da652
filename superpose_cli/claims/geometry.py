"""The Geometry of Superposition: dimensions per feature, where they stick, and what they add up to."""

from collections.abc import Sequence

import numpy as np

from superpose_cli.claims.base import Measured, claim
from superpose_cli.claims.stored import Model, models, must, need, need_setting
from superpose_cli.results.run import Run

SECTION = "The Geometry of Superposition"

HALF = (0.48, 0.54)
"""D* while it sticks at 1/2."""


def _slope(found: Sequence[Model], low: float, high: float) -> tuple[float, float]:
    """Mean |d ln D* / d ln p| while D*, interpolated between the cells, lies within low .. high.

    And for how much of ln p it does; a slope of inf where for none.
    """
    x = -np.log([model.p for model in found])
    order = np.argsort(x)
    stars = np.array([float(model.row["dims_per_feature"]) for model in found])
    fine = np.linspace(x.min(), x.max(), 20001)
    inside = np.interp(fine, x[order], stars[order])
    inside = inside[(inside >= low) & (inside <= high)]
    width = float(len(inside) / len(fine) * (x.max() - x.min()))
    return (float(np.ptp(np.log(inside))) / width if width else np.inf), width


def _sticks(
    run: Run, name: str, band: tuple[float, float], beside: Sequence[tuple[float, float]]
) -> Measured:
    """Whether D* changes at most half as fast in a band as in each of the bands beside it."""
    need_setting(run, steps=3000, data_kind="independent", importance_kind="uniform")
    found = models(run)
    need(len(found) >= 12, f"needs 12 densities, the run has {len(found)}")
    densities = [model.p for model in found]
    need(max(densities) == 1 and min(densities) <= 0.1, "needs densities from 1 to 0.1 and below")
    own, width = _slope(found, *band)
    others = {(low, high): _slope(found, low, high)[0] for low, high in beside}
    missing = [f"{low:g} .. {high:g}" for (low, high), slope in others.items() if np.isinf(slope)]
    must(not missing, f"D* is never in {' or '.join(missing)}")
    told = ", ".join(f"{slope:.2f} in {low:g} .. {high:g}" for (low, high), slope in others.items())
    seen = [
        int(model.represented.sum()) for model in found if band[0] <= model.row["dims_per_feature"] <= band[1]
    ]
    return Measured(
        own <= min(others.values()) / 2,
        f"d ln D* / d ln p is {own:.2f} for {width:.2f} of ln 1/p, {told}; features represented there: "
        f"{', '.join(map(str, sorted(seen))) or 'no density'}",
        {f"slope_at_{name}": own, "slope_beside_min": min(others.values()), f"width_at_{name}": width},
    )


@claim(
    "sticky-half",
    section=SECTION,
    source="paper",
    citation="uniform superposition, the figure of D* = m / ||W||_F^2 over 1/(1-S)",
    experiment="geometry",
    expected="the mean slope d ln D* / d ln p while D* is in 0.48 .. 0.54 is at most half that in 0.38 "
    ".. 0.48 and in 0.54 .. 0.68",
    tolerance="a factor of 2 tells a plateau from a slope; the bands beside it reach a quarter further "
    "down and up",
)
def sticky_half(run: Run) -> Measured:
    """As features get sparser, dimensions per feature, m / ||W||_F^2, stick at 1/2 over a range of
    sparsities.
    """
    return _sticks(run, "half", HALF, ((0.38, HALF[0]), (HALF[1], 0.68)))


@claim(
    "sticky-one",
    section=SECTION,
    source="paper",
    citation="uniform superposition, the figure of D* over 1/(1-S)",
    experiment="geometry",
    expected="the mean slope d ln D* / d ln p while D* is above 0.94 is at most half that in 0.74 .. 0.94",
    tolerance="as for sticky-half",
    departs="At the densest p this is no dimension for each of m features: of 400 equally important "
    "ones none is represented, W is a projector on 30 dimensions that mix them all, of which ||W||_F^2 = "
    "m as well.",
)
def sticky_one(run: Run) -> Measured:
    """Dimensions per feature, m / ||W||_F^2, stick at 1 while features are dense."""
    return _sticks(run, "one", (0.94, 1.06), ((0.74, 0.94),))


@claim(
    "half-is-antipodal-pairs",
    section=SECTION,
    source="paper",
    citation="uniform superposition; D_i = 1/2 is an antipodal pair's share",
    experiment="geometry",
    expected="for 1/p in 2.4 .. 3.4, 95 % of the represented features are in digons with D_i in 0.48 .. "
    "0.52, and D* is in 0.48 .. 0.54",
    tolerance="angles to within 10 degrees; 0.02 in D_i: lengths of paired features differ a little; 5 % for "
    "a few triangles and singles",
)
def half_is_antipodal_pairs(run: Run) -> Measured:
    """Where D* sticks at 1/2, the features are antipodal pairs."""
    need_setting(run, steps=3000, data_kind="independent", importance_kind="uniform")
    found = [model for model in models(run) if 2.4 <= 1 / model.p <= 3.4]
    need(bool(found), "needs a density with 1/p in 2.4 .. 3.4")
    seen = sum(int(model.represented.sum()) for model in found)
    own = [
        value
        for model in found
        for factor in model.factors
        if factor.name == "digon"
        for value in model.features["dimensionality"][list(factor.features)]
    ]
    near = sum(0.48 <= value <= 0.52 for value in own) / max(seen, 1)
    stars = np.array([float(model.row["dims_per_feature"]) for model in found])
    return Measured(
        bool(near >= 0.95 and (stars >= HALF[0]).all() and (stars <= HALF[1]).all()),
        f"{100 * near:.1f} % of {seen} features, D* {stars.min():.3f} to {stars.max():.3f}, at {len(found)} "
        f"densities",
        {"share_in_digons": near, "dims_per_feature_min": stars.min(), "dims_per_feature_max": stars.max()},
    )


@claim(
    "twice-the-dimensions-twice-the-features",
    section=SECTION,
    source="theory",
    citation="a sum of two models in orthogonal spaces has twice the dimensions and features, at equal D*",
    experiment="doubling",
    expected="||W||_F^2 and the number of represented features, more than m, both 1.9 to 2.5 times as large "
    "for each doubling of m at one p, up to the size at which all n features are represented; D_i add up to "
    "0.97 m in each model",
    tolerance="two small models side by side are a large one of twice the features, which may find better "
    "shapes still; 5 % below for what training leaves",
    departs="They do depend on the size where features are sparse: at p = 0.1 D* falls from 0.27 at m = "
    "5 to 0.21 at m = 20, as small models have no room for the better shapes. Whether it stays there is not "
    "seen: at m = 40 all of the 200 features are represented, and there are no more.",
)
def twice_the_dimensions(run: Run) -> Measured:
    """Twice the hidden dimensions hold about twice the features: dimensions per feature depend on sparsity,
    and little on the size of the model.
    """
    need_setting(run, steps=3000, data_kind="independent", importance_kind="uniform")
    found = [model for model in models(run) if not model.represented.all()]
    held = {
        (model.p, model.n_hidden): (float(model.row["frobenius_norm_sq"]), int(model.represented.sum()))
        for model in found
    }
    must(all(count for _, count in held.values()), "a model represents no feature")
    ratio = {(p, m): np.divide(held[p, 2 * m], own) for (p, m), own in held.items() if (p, 2 * m) in held}
    need(len(ratio) >= 3, f"needs 3 doublings of m with features to spare, the run has {len(ratio)}")
    both = np.array(list(ratio.values()))
    told = ", ".join(
        f"{size:.2f} and {count:.2f} from m = {m} at p = {p:g}" for (p, m), (size, count) in ratio.items()
    )
    cells = ", ".join(f"{model.represented.sum()} ({model.row['dims_per_feature']:.2f})" for model in found)
    shared = all(count > m for (_, m), (_, count) in held.items())
    packed = min(float(model.features["dimensionality"].sum()) / model.n_hidden for model in found)
    return Measured(
        bool(shared and both.min() >= 1.9 and both.max() <= 2.5 and packed >= 0.97),
        f"||W||_F^2 and features: {told}; features (D*) by cell {cells}; D_i add up to {packed:.3f} m",
        {f"size_from_{m}_at_{p:g}": size for (p, m), (size, _) in ratio.items()}
        | {f"features_from_{m}_at_{p:g}": count for (p, m), (_, count) in ratio.items()},
    )


@claim(
    "dimensions-add-up",
    section=SECTION,
    source="theory",
    citation="D_i <= leverage_i, which sum to the rank of W; equality where each W_i is an eigenvector of "
    "W^T W",
    experiment="geometry",
    expected="sum of (leverage_i - D_i) below 0.01 m at every p >= 0.1 with superposition, where a Gaussian "
    "W of this shape has 0.07 m, and sum of D_i at least 0.99 m",
    tolerance="1 % of m, a seventh of a random W's gap: the sum alone proves little, the gap alone is small "
    "for any W that leaves dimensions unused",
)
def dimensions_add_up(run: Run) -> Measured:
    """The rows of W, represented or not, share out all hidden dimensions: the sum of D_i is m, and models are
    orthogonal sums of tight frames.
    """
    need_setting(run, steps=3000, data_kind="independent", importance_kind="uniform")
    every = [model for model in models(run) if 0.1 <= model.p < 1]
    need(sum(model.p <= 0.5 for model in every) >= 4, "needs 4 densities with p in 0.1 .. 0.5")
    found = [model for model in every if model.superposed.any()]
    must(
        len(found) >= 4,
        f"of {len(every)} densities from 0.1 on {len(found)} have superposition: fewer than 4",
    )
    gap = [
        float((model.features["leverage"] - model.features["dimensionality"]).sum()) / model.n_hidden
        for model in found
    ]
    total = [float(model.features["dimensionality"].sum()) / model.n_hidden for model in found]
    seen = [
        float(model.features["dimensionality"][model.represented].sum()) / model.n_hidden for model in found
    ]
    return Measured(
        max(gap) < 0.01 and min(total) >= 0.99,
        f"gap {min(gap):.3f} to {max(gap):.3f} m; the sum of D_i is {min(total):.3f} to {max(total):.3f} m, "
        f"{min(seen):.2f} to {max(seen):.2f} m of it of represented features",
        {"gap_over_m_max": max(gap), "sum_over_m_min": min(total)},
    )


CLAIMS = (
    sticky_one,
    sticky_half,
    half_is_antipodal_pairs,
    twice_the_dimensions,
    dimensions_add_up,
)
