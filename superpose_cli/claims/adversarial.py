"""Superposition and Adversarial Robustness: interference is what an attacker of the inputs pulls at."""

import numpy as np
import numpy.typing as npt

from superpose_cli.claims.base import Measured, claim
from superpose_cli.claims.stored import models, need, need_setting
from superpose_cli.results.run import Run
from superpose_cli.toy_model.metrics import F64
from superpose_cli.toy_model.ranks import rank_correlation

SECTION = "Superposition and Adversarial Robustness"


def _attacked(run: Run) -> tuple[F64, F64, F64, npt.NDArray[np.bool_]]:
    """1/p, vulnerability, features per dimension 1/D*, and whether a feature is superposed, by density."""
    need_setting(run, steps=3000, data_kind="independent", importance_kind="uniform")
    found = models(run)
    need(len(found) >= 8, f"needs 8 densities, the run has {len(found)}")
    names = ("vulnerability", "dims_per_feature")
    vulnerability, stars = (np.array([float(model.row[name]) for model in found]) for name in names)
    need(bool(np.isfinite(vulnerability).all()), "no attack was tried: train with evaluation.attack=0.1")
    superposed = np.array([bool(model.superposed.any()) for model in found])
    return 1 / np.array([model.p for model in found]), vulnerability, 1 / stars, superposed


@claim(
    "superposition-is-vulnerable",
    section=SECTION,
    source="paper",
    citation="vulnerability over sparsity; here the loss that the best attack along an output's weights "
    "adds, over its squared norm, which is 1 for orthogonal features",
    experiment="adversarial",
    expected="0.95 .. 1.1 for 1/p <= 1.3, where no feature is superposed; above 3 for 1/p >= 4.9, where some "
    "are",
    tolerance="5 to 10 % around 1: importances are 1, but trained dense models are a projector, not quite "
    "axes",
)
def superposition_is_vulnerable(run: Run) -> Measured:
    """As superposition grows, models become more than three times as vulnerable to small changes of their
    input as models without it are.
    """
    sparsity, vulnerability, _, superposed = _attacked(run)
    need(bool(sparsity.min() <= 1.3 and sparsity.max() >= 20), "needs 1/p from 1.3 and below to 20 and above")
    dense, sparse = vulnerability[sparsity <= 1.3], vulnerability[sparsity >= 4.9]
    without, with_it = ~superposed[sparsity <= 1.3], superposed[sparsity >= 4.9]
    return Measured(
        bool(
            without.all()
            and with_it.all()
            and dense.min() >= 0.95
            and dense.max() <= 1.1
            and sparse.min() > 3
        ),
        f"{dense.min():.2f} to {dense.max():.2f} for 1/p <= 1.3, {sparse.min():.2f} to {sparse.max():.1f} "
        f"for 1/p >= 4.9; {without.sum()} of {len(without)} without superposition there, {with_it.sum()} of "
        f"{len(with_it)} with it here",
        {"dense_max": dense.max(), "sparse_min": sparse.min(), "sparse_max": sparse.max()},
    )


@claim(
    "vulnerability-follows-crowding",
    section=SECTION,
    source="paper",
    citation="vulnerability beside features per dimension, which look alike",
    experiment="adversarial",
    expected="rank correlation (Spearman) with 1/D* at least 0.95, and vulnerability between 1/D* and "
    "(1/D*)^2 to within 20 %",
    tolerance="0.05: neighbours at the dense and the sparse end differ by noise; a tight frame of unit rows "
    "suggests the range, which is no bound",
)
def vulnerability_follows_crowding(run: Run) -> Measured:
    """Vulnerability rises with the number of features that share a dimension."""
    _, vulnerability, crowding, _ = _attacked(run)
    together = rank_correlation(vulnerability, crowding)
    low, high = vulnerability / crowding, vulnerability / crowding**2
    return Measured(
        bool(together >= 0.95 and low.min() >= 0.8 and high.max() <= 1.2),
        f"{together:.3f}; {low.min():.2f} to {low.max():.2f} times 1/D*",
        {"rank_correlation": together, "over_crowding_min": low.min(), "over_its_square_max": high.max()},
    )


CLAIMS = (superposition_is_vulnerable, vulnerability_follows_crowding)
