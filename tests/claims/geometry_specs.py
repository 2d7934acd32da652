"""Right and wrong runs for the claims about the geometry of superposition."""

from collections.abc import Callable

import numpy as np

from superpose_cli.toy_model.theory import (
    ignored_feature_loss,
    polygon,
    simplex,
    square_antiprism,
)
from tests.claims.specs import P, Spec, place, rotation, with_others

R = "importance.last_importance"
DIGON = simplex(1)


def uniform(name: str, densities: np.ndarray, shapes: Callable[[float], np.ndarray]) -> Spec:
    return Spec(experiment=name, W=[shapes(float(p)) for p in densities], axes={P: densities.tolist()})


def _sticky(p: float) -> np.ndarray:
    """30 features alone, then 30 digons, then 15 growing pentagons, in 30 dimensions; digons from p = 0.6."""
    x = np.log(1 / p)
    pairs = int(np.clip(30 * (x - 0.5) / 0.2, 0, 30))
    if x > 1.5:
        size = np.exp(0.4 * (x - 1.5))
        return size * place(400, 30, *((range(5 * k, 5 * k + 5), polygon(5)) for k in range(15)))
    single = np.ones((1, 1))
    paired = [((2 * k, 2 * k + 1), DIGON) for k in range(pairs)]
    return place(400, 30, *paired, *(((2 * pairs + k,), single) for k in range(30 - pairs)))


def geometry() -> Spec:
    return uniform("geometry", np.geomspace(1, 0.05, 40), _sticky)


def crosses() -> Spec:
    """Four features 45 degrees apart in each of 15 planes: every D_i is 1/2, and nothing antipodal."""
    half = np.sqrt(0.5)
    cross = np.array([[1, 0], [0, 1], [half, half], [-half, half]])
    W = place(400, 30, *((range(4 * k, 4 * k + 4), cross) for k in range(15)))
    return uniform("geometry", np.geomspace(1, 0.05, 40), lambda p: W)


def half_empty() -> Spec:
    """15 digons in 30 dimensions, of which 15 are not used."""
    W = place(400, 30, *(((2 * k, 2 * k + 1), DIGON) for k in range(15)))
    return uniform("geometry", np.geomspace(1, 0.05, 40), lambda p: W)


def smooth() -> Spec:
    """D* falls evenly with ln 1/p."""
    return uniform("geometry", np.geomspace(1, 0.05, 40), lambda p: np.eye(400, 30) * (1 - np.log(p)))


def knee() -> Spec:
    """D* falls steeply to 0.55, then evenly and less, without a plateau."""

    def shape(p: float) -> np.ndarray:
        x = -np.log(p)
        return np.eye(400, 30) / np.sqrt(max(1 - 2.2 * max(x - 0.2, 0), 0.55 - 0.15 * (x - 0.4045), 0.1))

    return uniform("geometry", np.geomspace(1, 0.05, 40), shape)


def dimensionality(shared: bool = True, digons: bool = True) -> Spec:
    """Digons, then also antiprisms and pentagons; or no feature that shares (not `shared`), or few digons."""

    def shapes(p: float) -> np.ndarray:
        if not shared:
            return np.eye(400, 30)
        if p > 0.26 or not digons:
            return _sticky(0.3 if digons or p > 0.4 else 0.1)
        parts = [(range(8), square_antiprism()), (range(8, 13), polygon(5)), (range(13, 18), polygon(5))]
        return place(400, 30, *parts, *(((18 + 2 * k, 19 + 2 * k), DIGON) for k in range(23)))

    densities = [0.45, 0.42, 0.4, 0.37, 0.35, 0.32, 0.3, 0.28, 0.27, 0.25, 0.22, 0.21]
    return uniform("dimensionality", np.array(densities), shapes)


def leaning() -> Spec:
    """45 digons in 30 dimensions, all but at right angles: by angles a tegum product, but D_i is 1/3."""
    directions = rotation(45)[:, :30]
    for _ in range(200):  # alternate between small cosines and rank 30
        G = directions @ directions.T
        length = np.sqrt(np.diag(G))
        G = np.clip(G / length / length[:, None], -0.14, 0.14)
        np.fill_diagonal(G, 1)
        values, vectors = np.linalg.eigh(G)
        directions = vectors[:, -30:] * np.sqrt(values[-30:])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    W = np.zeros((400, 30))
    W[:90] = np.kron(directions, DIGON)
    return uniform("dimensionality", np.array([0.45, 0.35, 0.27]), lambda p: W)


def polytopes(bias: float = -0.21, size: float = 1.0) -> Spec:
    best = [size * W for W in (polygon(3), simplex(3), 1.1 * polygon(5), square_antiprism())]
    weights, instances = with_others(best, 64)
    return Spec(
        experiment="polytopes", W=best, all_W=weights, instances=instances, restarts=64,
        axes={"seed": [0, 1, 2, 3]}, tables={"b": bias},
    )  # fmt: skip


def perturbed(rigid: bool = False, digons_cost: float = 1.0, digons_slope: float = 0.72) -> Spec:
    """Digons below 0.27 times the others' density, above it a pentagon that deforms unless it is rigid."""
    ratio = np.geomspace(0.1, 10, 25)
    digons = np.vstack([polygon(4), np.zeros((1, 2))])
    pentagons = [polygon(5) * np.r_[np.ones(4), 1 if rigid else 1 - 0.08 * np.log(x)][:, None] for x in ratio]
    cost = digons_cost * (ratio / 0.27) ** digons_slope, ratio**0.31 / 0.27**0.31
    weights = [W for W in pentagons for W in [digons] * 8 + [W] * 8]
    loss = np.repeat(np.stack(cost, axis=1).reshape(-1), 8)
    p = np.full((25, 5), 0.05)
    p[:, 4] *= ratio
    constant = np.repeat(ignored_feature_loss(p).sum(axis=1), 16)
    return Spec(
        experiment="perturbed_pentagon", W=pentagons, all_W=weights, restarts=16,
        axes={"data.last_probability": (0.05 * ratio).tolist()}, columns={"loss_method": "population"},
        instances={"objective": loss, "loss": loss, "loss_ratio": loss / constant},
        tables={"feature_probability": p},
    )  # fmt: skip
