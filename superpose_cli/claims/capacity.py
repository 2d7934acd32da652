"""Scherlis et al. 2022, Polysemanticity and Capacity in Neural Networks: C_i is D_i here."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from superpose_cli.claims.base import Measured, claim
from superpose_cli.claims.stored import Model, models, must, need, need_setting
from superpose_cli.results.run import Run
from superpose_cli.toy_model.metrics import F64

SECTION = "Follow-up: Polysemanticity and Capacity in Neural Networks (2022)"


def _alive(run: Run) -> list[Model]:
    """The best restart of each cell; capacities do not depend on the length of W."""
    found = models(run)
    must(all(model.represented.any() for model in found), "a model represents no feature")
    return found


def _last_capacity(run: Run) -> dict[float, tuple[F64, F64]]:
    """By density, ascending: the last feature's importance, ascending, and its capacity."""
    need_setting(run, restarts=4, steps=2000, data_kind="independent")
    found = sorted(_alive(run), key=lambda model: (model.p, model.row["last_importance"]))
    pairs = {
        p: np.array(
            [
                (model.row["last_importance"], model.features["dimensionality"][-1])
                for model in found
                if model.p == p
            ]
        ).T
        for p in sorted({model.p for model in found})
    }
    need(len(pairs) >= 3, f"needs 3 densities, the run has {len(pairs)}")
    least = min(len(r) for r, _ in pairs.values())
    need(least >= 5, f"needs 5 importances at each density, the run has {least}")
    return {p: (r, capacity) for p, (r, capacity) in pairs.items()}


def _partial(capacity: F64) -> npt.NDArray[np.bool_]:
    """Where a feature has a part of a dimension, neither none nor a whole one."""
    return (capacity > 0.1) & (capacity < 0.9)


@claim(
    "capacity-is-used-up",
    section=SECTION,
    source="theory",
    citation="sum C_i <= m, with equality for an efficient (block-orthogonal, tight) embedding, section 3",
    experiment="capacity",
    expected="sum of C_i at least 0.99 m in every cell, and never above m",
    tolerance="1 %: what training leaves to go; a Gaussian W of 6 x 3 has 0.75 m",
)
def capacity_is_used_up(run: Run) -> Measured:
    """The capacities of all features, represented or not, add up to the number of dimensions: none is
    wasted.
    """
    need_setting(run, restarts=4, steps=2000, data_kind="independent")
    found = _alive(run)
    total = np.array([model.features["dimensionality"].sum() / model.n_hidden for model in found])
    return Measured(
        bool(total.min() >= 0.99 and total.max() <= 1 + 1e-4),
        f"{total.min():.4f} to {total.max():.4f} m in {len(total)} cells",
        {"sum_over_m_min": total.min(), "sum_over_m_max": total.max()},
    )


@claim(
    "capacity-follows-importance",
    section=SECTION,
    source="theory",
    citation="capacity goes where its marginal value is greatest, section 2",
    experiment="capacity",
    expected="at every p < 1 the last feature's capacity never falls as its importance grows, rises by "
    "0.03 at least from r = 0.05 to r = 20, and takes values in 0.1 .. 0.9 on the way",
    tolerance="0.01 against a fall: restarts of one class differ so far; a linear model's capacity is 0 or 1",
)
def capacity_follows_importance(run: Run) -> Measured:
    """Capacity moves to a feature as it gains importance, and never away from it."""
    need_setting(run, restarts=6)
    found = {p: capacity for p, (_, capacity) in _last_capacity(run).items() if p < 1}
    falls = max(float(-np.diff(capacity).min()) for capacity in found.values())
    rises = {p: float(capacity[-1] - capacity[0]) for p, capacity in found.items()}
    parts = {p: int(_partial(capacity).sum()) for p, capacity in found.items()}
    told = ", ".join(f"{rise:.2f} at p = {p:g} ({parts[p]} partial)" for p, rise in rises.items())
    return Measured(
        falls <= 0.01 and min(rises.values()) >= 0.03 and min(parts.values()) >= 1,
        f"largest fall {max(falls, 0):.3f}; rises by {told}",
        {"largest_fall": falls, **{f"rise_at_{p:g}": rise for p, rise in rises.items()}},
    )


@claim(
    "dense-features-get-all-or-nothing",
    section=SECTION,
    source="theory",
    citation="without sparsity the marginal value of capacity does not fall, so the optimum is at its ends, "
    "section 2",
    experiment="capacity",
    expected="at p = 1 the last feature's capacity is below 0.05 for r <= 0.7 and above 0.95 for r >= 1.5",
    tolerance="0.05: what training leaves to go; r between is too near to the others' 1 to be settled",
    departs="Features of equal importance, the other five here, share what is left of the dimensions in any "
    "proportion even at p = 1: to the loss all orthogonal bases of that space are the same.",
)
def dense_features_get_all_or_nothing(run: Run) -> Measured:
    """A dense feature of another importance than the others' gets a whole dimension or none: which of them is
    decided by its importance alone.
    """
    found = _last_capacity(run)
    need(1.0 in found, "needs cells at p = 1")
    r, capacity = found[1.0]
    need(bool((r <= 0.7).any() and (r >= 1.5).any()), "needs importances below 0.7 and above 1.5")
    low, high = float(capacity[r <= 0.7].max()), float(capacity[r >= 1.5].min())
    return Measured(
        low < 0.05 and high > 0.95,
        f"{low:.3f} at most below, {high:.3f} at least above",
        {"capacity_below_max": low, "capacity_above_min": high},
    )


@claim(
    "sparse-features-share",
    section=SECTION,
    source="theory",
    citation="with sparsity (kurtosis) the marginal value of capacity falls, so the optimum is inside, "
    "section 4",
    experiment="capacity",
    expected="the range of ln r with a capacity in 0.1 .. 0.9 grows from each density to the next sparser "
    "one, until it is the whole range",
    tolerance="none: ranges are counted in steps of the grid",
)
def sparse_features_share(run: Run) -> Measured:
    """The sparser the features, the wider the range of importances over which they share dimensions."""
    found = _last_capacity(run)
    shared = {p: float(_partial(capacity).mean()) for p, (_, capacity) in reversed(found.items())}
    growing = all(left < right or right == 1 for left, right in pairwise(shared.values()))
    ends = list(shared.values())
    return Measured(
        growing and ends[-1] == 1 and ends[0] < 0.2,
        "shared over " + ", ".join(f"{100 * part:.0f} % at p = {p:g}" for p, part in shared.items()),
        {f"shared_at_{p:g}": part for p, part in shared.items()},
    )


CLAIMS = (
    capacity_is_used_up,
    capacity_follows_importance,
    dense_features_get_all_or_nothing,
    sparse_features_share,
)
