"""The Geometry of Superposition: small models that are one uniform polytope each."""

from fractions import Fraction

import numpy as np

from superpose_cli.claims.base import Measured, claim
from superpose_cli.claims.stored import models, need, need_setting
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import solution_name

SECTION = "The Geometry of Superposition: uniform polytopes"

POLYTOPES = (
    (3, "triangle", Fraction(2, 3)),
    (4, "tetrahedron", Fraction(3, 4)),
    (5, "pentagon", Fraction(2, 5)),
    (8, "square antiprism", Fraction(3, 8)),
)
"""n, the shape of the whole model, and D_i of all its features."""
ENOUGH = 64
"""Restarts among which each shape is found."""


@claim(
    "pure-polytopes",
    section=SECTION,
    source="theory",
    citation="D_i = m / n where all features are alike and fill the space: 2/3, 3/4, 2/5, 3/8",
    experiment="polytopes",
    expected="the best restart of each size has that name, and every D_i within 0.01 of the fraction",
    tolerance="0.01: the antiprism's two squares are not quite so far apart as in a tight frame",
)
def pure_polytopes(run: Run) -> Measured:
    """Small models are one uniform polytope each: triangle, tetrahedron, pentagon, square antiprism."""
    need_setting(run, restarts=32, steps=3000, data_kind="independent")
    told, right, off = [], [], {}
    for n, name, fraction in POLYTOPES:
        (model,) = models(run, n_features=n)
        whole, own = solution_name(model.factors), model.features["dimensionality"]
        off[f"error_{n}"] = float(np.abs(own - float(fraction)).max())
        right.append(whole == name and off[f"error_{n}"] <= 0.01)
        told.append(f"n = {n}: {whole}, D_i {own.min():.3f} to {own.max():.3f}")
    # One start in sixteen ends in a tetrahedron: none of 32 does for one seed in eight.
    need(all(right) or run.restarts >= ENOUGH, f"needs {ENOUGH} restarts, the run has {run.restarts}: {told}")
    return Measured(all(right), "; ".join(told), off)


@claim(
    "signed-sums-measure-nothing",
    section=SECTION,
    source="theory",
    citation="the rows of G of an antipodal pair and of every regular polygon sum to 0, as an ignored "
    "feature's do",
    experiment="polytopes",
    expected="|row sum| below 0.1 and interference above 0.25 for every feature of every polytope",
    tolerance="0.1 of a dedicated feature's row sum 1: trained polytopes are regular to a few per cent",
)
def signed_sums_measure_nothing(run: Run) -> Measured:
    """The signed sum of a row of W W^T says nothing about superposition; interference does."""
    need_setting(run, restarts=ENOUGH, steps=3000, data_kind="independent")
    found = [models(run, n_features=n)[0] for n, _, _ in POLYTOPES]
    signed = max(float(np.abs(model.features["row_sum"]).max()) for model in found)
    least = min(float(model.features["interference"].min()) for model in found)
    return Measured(
        signed < 0.1 and least > 0.25,
        f"|row sum| up to {signed:.3f}, interference from {least:.2f}",
        {"row_sum_max": signed, "interference_min": least},
    )


@claim(
    "polygon-norm-and-bias",
    section=SECTION,
    source="measured",
    citation="trained regular pentagons; 1 to 1.5 times -b_i over k-gons, k = 4 .. 8",
    experiment="polytopes",
    expected="||W_i||^2 - 1 between 0.97 and 1.1 times -b_i, b_i < -0.1, for all features of a pentagon",
    tolerance="3 % below: what 5,000 steps leave to go; 10 % above: trained ones have up to 2 %",
    departs="The paper gives ||W_i|| = 1 / (1 - b_i), with b_i of the other sign, as a heuristic; it is not "
    "met.",
)
def polygon_norm_and_bias(run: Run) -> Measured:
    """In a regular pentagon longer features go with a negative bias, which cuts the interference off."""
    need_setting(run, restarts=32, steps=3000, data_kind="independent")
    (model,) = models(run, n_features=5)
    shape = solution_name(model.factors)
    ratio = (model.features["norm"].astype(np.float64) ** 2 - 1) / np.where(model.b < 0, -model.b, np.nan)
    return Measured(
        bool(shape == "pentagon" and model.b.max() < -0.1 and ratio.min() >= 0.97 and ratio.max() <= 1.1),
        f"{shape}; (||W_i||^2 - 1) / -b_i is {ratio.min():.3f} to {ratio.max():.3f}, b_i {model.b.min():.3f} "
        f"to {model.b.max():.3f}",
        {"ratio_min": ratio.min(), "ratio_max": ratio.max(), "bias_max": model.b.max()},
    )


CLAIMS = (pure_polytopes, signed_sums_measure_nothing, polygon_norm_and_bias)
