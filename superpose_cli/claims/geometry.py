"""The Geometry of Superposition: sticky dimensions, fractions, polytopes, and how they deform."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from superpose_cli.claims.base import Measured, claim
from superpose_cli.claims.stored import Model, models, must, need, need_setting
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import SHARE, on_fraction, solution_name
from superpose_cli.toy_model.metrics import F64

SECTION = "The Geometry of Superposition"

HALF = (0.48, 0.54)
"""D* while it sticks at 1/2."""


def _shared_dimensions(found: Sequence[Model]) -> F64:
    """D_i of the represented features of all models."""
    return np.concatenate([model.features["dimensionality"][model.represented] for model in found])


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
    "line-at-half",
    section=SECTION,
    source="paper",
    citation="feature dimensionality, the scatter of D_i with lines at simple fractions",
    experiment="dimensionality",
    expected="a line at 1/2 that holds more features than any other of 3/4, 2/3, 2/5, 3/8",
    tolerance="a line: at least 10 features within 0.005 of the fraction, and twice as many as 0.0125 beside "
    "it",
    departs="The paper's lines at 3/4, 2/3, 2/5 and 3/8 are no lines by this measure in this scatter: few "
    "features have these D_i, or as many beside them.",
)
def line_at_half(run: Run) -> Measured:
    """Features cluster at D_i = 1/2, far more than at any other simple fraction."""
    need_setting(run, steps=3000, data_kind="independent", importance_kind="uniform")
    found = models(run)
    own = _shared_dimensions(found)
    need(len(found) >= 12 or len(own) >= 500, f"needs 12 densities, the run has {len(found)}")
    must(len(own) >= 500, f"of all features {len(own)} are represented: fewer than 500")
    others = [Fraction(3, 4), Fraction(2, 3), Fraction(2, 5), Fraction(3, 8)]
    here, line = on_fraction(own, Fraction(1, 2))
    counts = {fraction: on_fraction(own, fraction) for fraction in others}
    told = ", ".join(
        f"{fraction}: {count}{' (a line)' if is_line else ''}"
        for fraction, (count, is_line) in counts.items()
    )
    return Measured(
        line and here > max(count for count, _ in counts.values()),
        f"{here} of {len(own)} features at 1/2{'' if line else ', no line'}; {told}",
        {"at_1/2": here, **{f"at_{fraction}": count for fraction, (count, _) in counts.items()}},
    )


@claim(
    "tegum-products",
    section=SECTION,
    source="paper",
    citation="feature dimensionality: solutions as tegum products of uniform polytopes",
    experiment="dimensionality",
    expected="at every p in 0.26 .. 0.46, 90 % of the represented features belong to a shape of two features "
    "and more, and have its D_i in the whole model",
    tolerance="angles to within 10 degrees, right angles as well; 0.02 in D_i; 10 % of features may be "
    "elsewhere",
    departs="Below p = 0.26 the shapes begin to lean on one another, with some seeds: at 0.22 angles still "
    "fit, but two pentagons and 28 digons would need 32 of 30 dimensions, and the digons have a D_i of "
    "0.465. From 0.19 down nearly all features are in one irregular component.",
)
def tegum_products(run: Run) -> Measured:
    """A large model falls apart into small shapes in orthogonal spaces (a tegum product): at these densities
    digons, nearly all of them.
    """
    need_setting(run, steps=3000, data_kind="independent", importance_kind="uniform")
    found = [model for model in models(run) if 0.26 <= model.p <= 0.46]
    need(len(found) >= 3, f"needs 3 densities with p in 0.26 .. 0.46, the run has {len(found)}")
    shares = []
    for model in found:
        own = model.features["dimensionality"]
        apart = sum(
            len(shape.features)
            for shape in model.factors
            if len(shape.features) > 1 and (abs(own[list(shape.features)] - shape.expected) <= SHARE).all()
        )
        shares.append(apart / max(int(model.represented.sum()), 1))
    example = max(found, key=lambda model: len({factor.name for factor in model.factors}))
    return Measured(
        min(shares) >= 0.9,
        f"{100 * min(shares):.0f} to {100 * max(shares):.0f} % at {len(found)} densities; at p = "
        f"{example.p:.3g}: {solution_name(example.factors)}",
        {"share_apart_min": min(shares)},
    )


@claim(
    "pentagons-and-antiprisms",
    section=SECTION,
    source="theory",
    citation="D_i = m / n of a regular pentagon and of a square antiprism",
    experiment=("dimensionality", "geometry"),
    expected="for p in 0.22 .. 0.26 two pentagons at least, every D_i of theirs, and of square antiprisms "
    "where there are any, within 0.015 of 2/5 and 3/8 in the whole model; over all densities of `geometry` a "
    "line at 2/5",
    tolerance="0.015: what trained shapes of this size leave, 0.012 with the worst of four seeds; a line as "
    "for line-at-half",
    departs="Antiprisms are few: three models with one seed have none, with three others they have one to "
    "three. The scatter of `dimensionality`, whose densities are closer, has no line at 2/5 or 3/8: "
    "from p = 0.2 down irregular shapes fill the gaps, where D_i passes these fractions. Of 3/8 "
    "`geometry` has few features, too few to require.",
)
def pentagons_and_antiprisms(run: Run, coarse: Run) -> Measured:
    """Past the plateau at 1/2 the next shapes are pentagons, with D_i of 2/5, and now and then a square
    antiprism, with 3/8.
    """
    need_setting(run, steps=3000, data_kind="independent", importance_kind="uniform")
    found = [model for model in models(run) if 0.22 <= model.p <= 0.26]
    need(len(found) >= 2, f"needs 2 densities with p in 0.22 .. 0.26, the run has {len(found)}")
    own = {
        name: [
            value
            for model in found
            for factor in model.factors
            if factor.name == name
            for value in model.features["dimensionality"][list(factor.features)]
        ]
        for name in ("pentagon", "square antiprism")
    }
    need_setting(coarse, steps=3000, data_kind="independent", importance_kind="uniform")
    scatter = _shared_dimensions(models(coarse))
    lines = {fraction: on_fraction(scatter, fraction) for fraction in (Fraction(2, 5), Fraction(3, 8))}
    must(len(own["pentagon"]) >= 10, f"{len(own['pentagon'])} features are in pentagons: fewer than 10")
    off = {
        name: float(np.abs(np.array(own[name]) - fraction).max(initial=0))
        for name, fraction in zip(own, (0.4, 0.375), strict=True)
    }
    told = ", ".join(
        f"{len(values)} features in {name}s, off by {off[name]:.4f}" for name, values in own.items()
    )
    at = ", ".join(
        f"{count} at {fraction}{' (a line)' if is_line else ''}"
        for fraction, (count, is_line) in lines.items()
    )
    return Measured(
        max(off.values()) <= 0.015 and lines[Fraction(2, 5)][1],
        f"{told}; of {len(scatter)} features of `geometry` {at}",
        {f"error_{name}": value for name, value in off.items()}
        | {f"at_{fraction}": count for fraction, (count, _) in lines.items()},
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
    line_at_half,
    tegum_products,
    pentagons_and_antiprisms,
    dimensions_add_up,
)
