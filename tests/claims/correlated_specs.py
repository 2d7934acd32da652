"""Right runs of the experiments on correlated and anticorrelated features."""

import numpy as np

from superpose_cli.toy_model.theory import polygon
from tests.claims.specs import P, Spec, random_directions, rotation, with_others


def correlated_sets(
    swapped: bool = False,
    opposite: tuple[int, ...] = (9, 6, 0, 0),
    cost: tuple[float, ...] = (1.05, 3.0, 1.0, 1.0),
    apart: float = 3.0,
    hexagons: int = 1,
) -> Spec:
    """Partners orthogonal, side by side or antipodal as sets want it; swapped: features 1 and 2 change.

    `opposite` and `cost`, at correlations of 0, 0.33, 0.67 and 1: how many of 24 squares have opposite
    partners, and how many times as much as the others these cost. `apart`: the same of a hexagon whose
    partners are opposite, of which there are `hexagons`, and of a square whose anticorrelated ones have right
    angles.
    """
    square, line, hexagon = polygon(4), polygon(4)[[0, 2, 1, 3]], polygon(6)
    weights, objective = [], []
    for count, price in zip(opposite, cost, strict=True):
        weights += [square] * (24 - count) + [line] * count
        objective += [1.0] * (24 - count) + [price] * count
    others, instances = with_others([hexagon, line], 24)
    turned = range(1, 1 + hexagons)
    for restart in (2, 3, *turned):
        others[restart] = hexagon[[0, 3, 1, 4, 2, 5]] if restart in turned else hexagon
    others[25] = square
    instances["objective"][[*turned, 25]] = apart
    weights += others
    if swapped:
        weights = [W[[0, 2, 1, *range(3, len(W))]] for W in weights]
    return Spec(
        experiment="correlated_sets", W=weights[::24], all_W=weights, restarts=24,
        instances={"objective": np.r_[objective, instances["objective"]]},
        axes={"seed": [0, 1, 2, 3, 4, 5]},
        columns={
            "data_kind": np.array(["correlated"] * 5 + ["anticorrelated"], dtype=object),
            "set_size": 2,
            "correlation": np.array([0, 0.33, 0.67, 1, 1, np.nan]),
        },
    )  # fmt: skip


def local_bases(known: int = 20) -> Spec:
    """Bases of both sets, of so many features in all, and at last random directions."""
    both = np.vstack([np.eye(10), rotation(10)])
    own = both * (np.arange(20) < known)[:, None]
    random = random_directions(Spec(experiment="", W=[both], axes={})).W[0]
    return Spec(
        experiment="local_bases", W=[own, own, own, random], restarts=4, axes={P: [0.03, 0.05, 0.1, 0.2]},
        columns={"data_kind": "correlated", "set_size": 10},
    )  # fmt: skip


def collapse(last: float = 0.99, collapses: bool = True) -> Spec:
    """Pairs merge one by one, unless the densest is a hexagon still; it loses `last` of the linear's."""
    densities = [0.02, 0.05, 0.1, 0.2, 0.5, 0.8]
    hexagon = polygon(6)
    merged = [hexagon[[0, 0, 2, 3, 4, 5]], hexagon[[0, 0, 2, 2, 4, 5]], hexagon[[0, 0, 2, 2, 4, 4]]]
    relu = [hexagon, hexagon, merged[0], merged[1], merged[2], merged[2]]
    relu[-1] = relu[-1] if collapses else hexagon
    ratio = np.array([0.16, 0.23, 0.32, 0.47, 0.92, last, *np.ones(6)])
    return Spec(
        experiment="correlated_collapse", W=relu + [merged[2]] * 6, restarts=16,
        axes={"model": ["relu_output", "linear"], P: densities},
        columns={
            "output_activation": np.repeat(np.array(["relu", "identity"], dtype=object), 6),
            "data_kind": "correlated",
            "set_size": 2,
        },
        tables={"feature_loss": ratio[:, None]},
    )  # fmt: skip
