"""The Geometry of Superposition: three correlated pairs collapse, pair by pair, on the way to PCA."""

from itertools import pairwise

import numpy as np

from superpose_cli.claims.base import Measured, claim
from superpose_cli.claims.correlated import SECTION, partners
from superpose_cli.claims.stored import Model, models, must, need, need_setting
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import MERGED, solution_name
from superpose_cli.toy_model.metrics import F64


def _collapse(run: Run) -> dict[float, Model]:
    """By density, the ReLU models of three correlated pairs in the plane."""
    need_setting(run, restarts=16, steps=4000, data_kind="correlated", n_features=6, n_hidden=2, set_size=2)
    found = {model.p: model for model in models(run, output_activation="relu")}
    need(len(found) >= 6, f"needs 6 densities, the run has {len(found)}")
    # One pair may be short: in the end any plane among the sums of the three will do.
    must(all(model.represented.any() for model in found.values()), "a model represents no feature")
    return dict(sorted(found.items()))


@claim(
    "collapse-staircase",
    section=SECTION,
    source="paper",
    citation="collapsing of correlated features",
    experiment="correlated_collapse",
    expected="collapsed pairs (cos > 0.97) never decrease with p: 0 for p <= 0.05, one or two between, 3 for "
    "p >= 0.5",
    tolerance="cos 0.97 is 14 degrees; partners of a hexagon are 60 degrees apart",
)
def collapse_staircase(run: Run) -> Measured:
    """As correlated features get denser they collapse pair by pair, first none, then one after the other, at
    last all.
    """
    merged = {p: int((partners(model) > MERGED).sum()) for p, model in _collapse(run).items()}
    sparse = [count for p, count in merged.items() if p <= 0.05]
    dense = [count for p, count in merged.items() if p >= 0.5]
    need(bool(sparse and dense), "needs cells with p <= 0.05 and with p >= 0.5")
    rising = all(left <= right for left, right in pairwise(merged.values()))
    between = {1, 2} & set(merged.values())
    return Measured(
        rising and bool(between) and set(sparse) == {0} and set(dense) == {3},
        ", ".join(f"{count} at p = {p:g}" for p, count in merged.items()),
        {f"merged_at_{p:g}": count for p, count in merged.items()},
    )


@claim(
    "collapse-starts-as-hexagon",
    section=SECTION,
    source="paper",
    citation="collapsing of correlated features",
    experiment="correlated_collapse",
    expected="for p <= 0.05 a hexagon, partners 45 to 75 degrees apart",
    tolerance="15 degrees around the hexagon's 60",
)
def collapse_starts_as_hexagon(run: Run) -> Measured:
    """While they are sparse, three correlated pairs form a hexagon, partners side by side."""
    found = [model for p, model in _collapse(run).items() if p <= 0.05]
    need(bool(found), "needs a cell with p <= 0.05")
    angles = np.degrees(np.arccos(np.concatenate([partners(model) for model in found])))
    shapes = {solution_name(model.factors) for model in found}
    return Measured(
        bool(shapes == {"hexagon"} and angles.min() >= 45 and angles.max() <= 75),
        f"{', '.join(sorted(shapes))}, partners {angles.min():.0f} to {angles.max():.0f} degrees apart",
        {"angle_min": angles.min(), "angle_max": angles.max()},
    )


def _of_sums(W: F64) -> float:
    """The share of the subspace of inputs that W (n, m) reads that lies among the sums of pairs of features.

    The mean squared cosine of its principal angles with x_2i = x_2i+1; PCA of equal pairs has 1.
    """
    basis = np.linalg.svd(W, full_matrices=False)[0]
    return float((((basis[0::2] + basis[1::2]) ** 2).sum() / 2) / W.shape[1])


@claim(
    "collapse-ends-in-pca",
    section=SECTION,
    source="theory",
    citation="the linear model on the same data, whose optimum is PCA (Eckart & Young 1936)",
    experiment="correlated_collapse",
    expected="at the densest p both models read a plane of the pairs' sums (a share of 0.99 of it), and the "
    "loss over the linear model's is 0.97 to 1.01; at the sparsest the ReLU model's share is below 0.85, its "
    "loss below 0.9",
    tolerance="0.01: 6 degrees; a hexagon of neighbours has a share of 3/4, random weights 1/2. 3 %: the "
    "paper says that it becomes PCA, the ReLU still helps a little; 1 % above for sampling",
    departs="The pictures need not be alike: the sums of the three pairs have one variance, so that any "
    "plane of theirs is as good for PCA.",
)
def collapse_ends_in_pca(run: Run) -> Measured:
    """In the end the model of collapsed pairs does what PCA does."""
    relu = _collapse(run)
    linear = {model.p: model for model in models(run, output_activation="identity")}
    both = sorted(set(relu) & set(linear))
    need(bool(both) and both[-1] >= 0.6 and both[0] <= 0.05, "needs linear models at p <= 0.05 and p >= 0.6")
    first, last = both[0], both[-1]
    must(bool(linear[last].represented.any()), "the linear model represents no feature")
    before, after = (relu[p].row["loss"] / linear[p].row["loss"] for p in (first, last))
    hexagon, ends, pca = (_of_sums(model.W) for model in (relu[first], relu[last], linear[last]))
    return Measured(
        bool(0.97 <= after <= 1.01 and before < 0.9 and min(ends, pca) >= 0.99 and hexagon < 0.85),
        f"loss over the linear model's {after:.3f} at p = {last:g}, {before:.3f} at p = {first:g}; share of "
        f"the pairs' sums in the plane {ends:.3f} (linear {pca:.3f}), {hexagon:.3f}",
        {
            "loss_over_linear_densest": after,
            "loss_over_linear_sparsest": before,
            "share_densest": ends,
            "share_linear": pca,
            "share_sparsest": hexagon,
        },
    )


CLAIMS = (collapse_starts_as_hexagon, collapse_staircase, collapse_ends_in_pca)
