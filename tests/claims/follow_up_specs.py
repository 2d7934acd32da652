"""Right runs of the experiments on neurons, computation, remedies and of the follow-ups."""

from dataclasses import replace

import numpy as np

from superpose_cli.toy_model.sampling import Law, finite_table
from superpose_cli.toy_model.theory import ignored_feature_loss, polygon, simplex
from tests.claims.specs import P, Spec, place, rotation

DIGON = simplex(1)


def _stacked(n: int, m: int, single: int, silent: bool) -> np.ndarray:
    """W (n, m): so many units carry one feature, the others two, or none if `silent`."""
    W = np.eye(n, m)
    for k in range(single, m):
        W[m + k - single, k] = 1.0
    return W * ((np.arange(m) < single) | (not silent))


def neurons(mixed: bool = True, near: int = 1, restarts: int = 200, silent: bool = False) -> Spec:
    """5, 3, 2, 0, 0 monosemantic units of five; where sparse only the first starts, so many, are the best."""
    counts = [5, 3, 2, 0, 0] if mixed else [5, 5, 5, 0, 0]
    objective = np.ones((5, restarts))
    objective[2:, near:] = 2.0
    return Spec(
        experiment="neurons", W=[_stacked(10, 5, count, silent) for count in counts], restarts=restarts,
        axes={P: [0.75, 0.35, 0.1, 0.06, 0.02]}, columns={"hidden_activation": "relu"},
        instances={"objective": objective.reshape(-1)},
    )  # fmt: skip


def unaligned_neurons() -> Spec:
    spec = neurons()
    return replace(spec, W=[W @ rotation(5) for W in spec.W])


def absolute_small(single: bool = False) -> Spec:
    """Two neurons of opposite signs a feature; or both of one sign."""
    W = np.kron(np.eye(3), [[1.0, 1.0 if single else -1.0]])
    return Spec(
        experiment="absolute_small", W=[W], restarts=4, axes={},
        columns={"target": "abs", "signed": True, "loss_ratio": 1e-11}, tables={"W_dec": np.abs(W)[None]},
    )  # fmt: skip


def absolute_large(
    superposes: bool = True, silent: bool = False, dense: int = 19, crossed: bool = False
) -> Spec:
    """Pairs of neurons for 20 features; at p = 0.01 every neuron reads two, and 25 features are computed.

    At p = 0.3 `dense` features are computed. `silent`: at p = 0.01 no neuron reads anything. `crossed`:
    neurons that read one feature write into another.
    """
    densities = np.array([1.0, 0.3, 0.1, 0.01])
    pure = place(100, 40, *(((i,), np.array([[1.0, -1.0]])) for i in range(20)))
    mixed = pure + np.roll(pure, 1, axis=0)
    importance = 0.8 ** np.arange(100)
    computed = np.arange(100) < np.array([[12], [dense], [20], [25 if superposes else 20]])
    ratio = np.where(computed, 0, importance).sum(axis=1) / importance.sum()
    weights = [pure, pure, pure, 0 * pure if silent else mixed if superposes else pure]
    return Spec(
        experiment="absolute_large", W=weights, restarts=2, axes={P: densities.tolist()},
        columns={"target": "abs", "signed": True, "steps": 20_000, "loss_ratio": ratio},
        tables={
            "W_dec": np.roll(np.abs(np.array(weights)), int(crossed), axis=1),
            "importance": importance.tolist(),
            "feature_loss": (
                np.where(computed, 0.01, 1) * importance * ignored_feature_loss(densities)[:, None]
            ),
        },
    )  # fmt: skip


def motif(inhibited: bool = True, third: float = 0.0) -> Spec:
    """The paper's motif on features 0 and 1, and plain neurons for the others.

    `third`: its first neuron's input weight of a third feature.
    """
    W, D = np.zeros((10, 10)), np.zeros((10, 10))
    W[:3, 0], D[:2, 0] = [2, -0.5, third], [0.5, 2]
    if inhibited:
        W[0, 1], D[1, 1] = 1, -3
    for i in range(2, 10):
        W[i, i] = D[i, i] = 1
    return Spec(
        experiment="asymmetric_motif", W=[W], restarts=4, axes={},
        columns={"target": "abs", "signed": True}, tables={"W_dec": D[None]},
    )  # fmt: skip


def gaussian(spec: Spec) -> Spec:
    """Weights drawn at random, read and written."""
    random = np.random.default_rng(0)
    W, decoder = random.normal(size=(2, 10, 10))
    return replace(spec, W=[W], tables={"W_dec": decoder[None]})


def remedies(dead: bool = False, free: float = 0.175, weakest: float = 0.07) -> Spec:
    """Rotated digons, digons along the axes, fewer and fewer features (or none at once if `dead`), none.

    `weakest` and `free`: the loss ratios with the weakest penalty, and with the first without superposition.
    """
    singles = [np.ones((1, 1))] * 5

    def model(alone: int, pairs: int) -> np.ndarray:
        parts = [((i,), singles[i]) for i in range(alone)]
        parts += [((alone + 2 * k, alone + 2 * k + 1), DIGON) for k in range(pairs)]
        return place(20, 5, *parts)

    counts = [(1, 4)] * 5 + [(2, 3)] * 2 + [(5, 0), (4, 0), (3, 0), (2, 0), (1, 0), (0, 0)]
    if dead:
        counts[7:] = [(0, 0)] * 6
    weights = [model(*count) for count in counts]
    weights[0] = weights[0] @ rotation(5)
    ratio = np.array([weakest] * 5 + [0.08] * 2 + [1.0 if dead else free, 0.26, 0.4, 0.5, 0.7, 1.0])
    return Spec(
        experiment="remedies", W=weights, restarts=16,
        axes={"model.hidden_l1": np.geomspace(1e-4, 0.1, 13).tolist()},
        columns={"loss_ratio": ratio}, tables={"importance": (0.7 ** np.arange(20)).tolist()},
    )  # fmt: skip


ROWS = [4, 5, 6, 20, 60, 200]


def memorization(
    polygons: bool = True,
    late: bool = False,
    doubled: bool = False,
    unfitted: bool = False,
    useless: bool = False,
    sixth: bool = False,
    size: float = 1.0,
) -> Spec:
    """Data points in T-gons for small T, five features in a pentagon at T = 200 = 20 / p; n = 60.

    Test loss rises during training where it ends high; `late`: it falls at last. `doubled`: points in twos,
    which are tight frames too where T is 4 or 6. `unfitted`: none is. `useless`: test loss never is below
    the output 0's. `sixth`: a sixth feature lies beside the first. `size`: of all features at T = 200.
    """
    n, p, keys = 60, 0.1, np.arange(len(ROWS), dtype=np.uint64) + 7
    weights, test = [], np.array([1.0, 1.0, 1.0, 1.02, 2.2, 0.98])
    for T, key in zip(ROWS, keys, strict=True):
        rows = finite_table(
            np, Law(kind="finite"), key=np.array([key]), n_rows=T, feature_probability=np.full((1, n), p),
            high=np.ones(1), unit_norm=True,
        )[0].astype(float)  # fmt: skip
        points = polygon(T) if polygons else np.eye(T, 2)
        if doubled and T % 2 == 0:
            points = np.repeat(np.eye(2) if T == 4 else polygon(T // 2), 2, axis=0)
        weights.append(np.linalg.pinv(rows) @ points if T < 40 else np.ones((n, 2)))
    weights[-1] = size * place(n, 2, (range(5), polygon(5)))
    if sixth:
        weights[-1][5] = weights[-1][0]
    if useless:
        test = np.maximum(test, 1.01)
    fitted = np.where(unfitted, 0.9, [0, 0, 0, 0.4, 0.7, 0.95])
    steps = np.arange(0, 5001, 500)
    way = np.clip((steps - 1000) / 3000, 0, 1)
    start = np.where(late, test + 0.6, np.minimum(test, 1))[:, None]
    course = start + (test[:, None] - start) * way
    return Spec(
        experiment="memorization_reduced", W=weights, restarts=2, axes={"data.n_rows": ROWS},
        columns={
            "data_kind": "finite", "unit_norm": True, "table_key": keys, "train_loss": fitted / n,
        },
        tables={
            "feature_probability": p, "feature_loss": test[:, None] / n, "steps": steps.tolist(),
            "history_loss": course / n,
            "history_train_loss": (fitted[:, None] + 0.1 * (1 - way)) / n,
        },
    )  # fmt: skip


def double_descent(
    decayed: bool = True, moved: bool = True, early: bool = False, dead: bool = False, level: float = 0.0
) -> Spec:
    """m = 2 peaks at T = 150, not with weight decay 1 (where `decayed`), m = 4 at 500 (where `moved`).

    `early`: the bump begins at T = 25. `dead`: models of weight decay 1 answer 0. `level`: m = 4 comes to no
    less at any T from 50 on, and to no more than 1.15 if that is below 0.
    """
    n, p, rows = 20, 0.02, [5, 25, 50, 100, 150, 250, 500]
    bump = np.array([1.0, 1.01, 1.03, 1.5, 2.1, 1.4, 0.98])
    if early:
        bump[1:4] = 1.3
    flat, later = np.minimum(bump, 1.01), np.array([1, 1, 1, 1.01, 1.1, 1.4, 1.6])
    later[2:] = np.maximum(later[2:], level) if level >= 0 else np.minimum(later[2:], 1.15)
    flat = np.ones(7) if dead else flat
    curves = np.stack([bump, flat if decayed else bump, later if moved else bump])
    test = np.repeat(curves.reshape(-1), 3) * np.tile([0.99, 1, 1.01], 21)
    return Spec(
        experiment="double_descent_reduced",
        W=[np.zeros((n, 4 if line == 2 else 2)) for line in range(3) for _ in range(21)],
        axes={"train.weight_decay": [0.01, 1.0, 0.01], "data.n_rows": rows, "seed": [0, 1, 2]},
        columns={"data_kind": "finite", "unit_norm": True},
        tables={"feature_probability": p, "feature_loss": test[:, None] / n},
    )


def jumbled_sizes(spec: Spec) -> Spec:
    """The losses of m = 4 stand beside other sizes of the data set; its highest is at the same one."""
    order = np.r_[np.arange(42), 42 + np.ravel(3 * np.array([5, 0, 4, 1, 2, 3, 6])[:, None] + np.arange(3))]
    return replace(spec, tables={**spec.tables, "feature_loss": spec.tables["feature_loss"][order]})


def capacity(falls: bool = False) -> Spec:
    """The last feature shares one dimension with the first; the four others are two digons.

    `falls`: once, as the last feature gets as important as the others.
    """
    importance = [0.05, 0.2, 0.6, 1.0, 2.0, 6.0, 20.0]
    shares = {
        1.0: [0, 0, 0, 0.5, 1, 1, 1],
        0.3: [0, 0, 0.4, 0.3 if falls else 0.5, 0.6, 1, 1],
        0.03: [0.45, 0.46, 0.48, 0.5, 0.52, 0.54, 0.55],
    }
    weights = []
    for own in shares.values():
        for share in own:
            both = np.array([[np.sqrt(1 - share)], [-np.sqrt(share)]])
            weights.append(place(6, 3, ((0, 5), both), ((1, 2), DIGON), ((3, 4), DIGON)))
    return Spec(
        experiment="capacity", W=weights, restarts=6,
        axes={P: list(shares), "importance.last_importance": importance},
        tables={"importance": np.array([[1.0] * 5 + [r] for r in importance * len(shares)])},
    )  # fmt: skip


def incidental(halves: bool = True, opposite: bool = True) -> Spec:
    """n = 32 features; n^2 / (4 m) units carry two, opposite ones: 4 of 64 and 2 of 128 (or 4 of 128)."""
    pair = DIGON if opposite else np.abs(DIGON)
    weights = []
    for m, count in ((64, 4), (128, 2 if halves else 4)):
        shared = [((2 * k, 2 * k + 1), pair) for k in range(count)]
        alone = [((i,), np.ones((1, 1))) for i in range(2 * count, 32)]
        weights.append(place(32, m, *shared, *alone))
    all_W = [W for W in weights for _ in range(10)]
    return Spec(
        experiment="incidental", W=weights, all_W=all_W, restarts=10, axes={"seed": [0, 1]},
        columns={"optimizer": "sgd", "data_kind": "exactly_k", "k": 1}, tables={"b": None},
    )  # fmt: skip
