"""The Geometry of Superposition: feature dimensionality, lines at fractions, the shapes behind them."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from superpose_cli.claims.base import Measured, claim
from superpose_cli.claims.stored import Model, models, must, need, need_setting
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import SHARE, on_fraction, solution_name
from superpose_cli.toy_model.metrics import F64

SECTION = "The Geometry of Superposition"


def _shared_dimensions(found: Sequence[Model]) -> F64:
    """D_i of the represented features of all models."""
    return np.concatenate([model.features["dimensionality"][model.represented] for model in found])


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


CLAIMS = (line_at_half, tegum_products, pentagons_and_antiprisms)
