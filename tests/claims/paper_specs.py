"""Right runs of the paper's experiments: what theory and the paper say that they come out as."""

from dataclasses import replace
from functools import partial

import numpy as np

from superpose_cli.toy_model.theory import (
    antipodal_pair_loss,
    ignored_feature_loss,
    phase_3_in_2,
    polygon,
    simplex,
)
from tests.claims.specs import P, Spec, place, rotation, with_others

R = "importance.last_importance"
DIGON = simplex(1)


def basic(
    name: str = "basic_small", n: int = 20, m: int = 5, decay: float = 0.7, turned: bool = True
) -> Spec:
    """The linear model's projector, and ReLU models with more and more digons, less important ones first."""
    densities, counts = np.array([1.0, 0.5, 0.4, 0.3, 0.1, 0.03, 0.01]), np.array([0, 1, 1, 3, 4, 5, 5])
    counts *= m // 5
    k, single = len(densities), np.ones((1, 1))
    turn, relu = rotation(m) if turned else np.eye(m), []
    for count in counts:
        alone = m - count
        shared = [((alone + 2 * k, alone + 2 * k + 1), DIGON) for k in range(count)]
        relu.append(place(n, m, *(((i,), single) for i in range(alone)), *shared))
    W = [np.eye(n, m)] * k + relu
    importance = decay ** np.arange(n)
    p = np.tile(densities, 2)[:, None]
    kept = np.array([np.linalg.norm(w, axis=1) > 0 for w in W])
    cost = np.where(kept, 0.0, ignored_feature_loss(p))
    cost[k:] += np.where(kept[k:] & (np.arange(n) >= m - counts[:, None]), p[k:] ** 2 / 6, 0)
    return Spec(
        experiment=name,
        W=[w @ turn for w in W],
        axes={"model": ["linear", "relu_output"], P: densities.tolist()},
        restarts=8,
        columns={"output_activation": np.repeat(np.array(["identity", "relu"], dtype=object), k)},
        tables={
            "importance": importance.tolist(),
            "b": np.where(kept, 0.0, p / 2),
            "feature_loss": cost * importance,
        },
    )


def superposing(spec: Spec) -> Spec:
    """The ReLU models under the linear model's name, and the reverse."""
    return replace(spec, columns={"output_activation": spec.columns["output_activation"][::-1]})


def no_linear(spec: Spec) -> Spec:
    """Linear models without a feature."""
    half = len(spec.W) // 2
    return replace(spec, W=[*(0 * W for W in spec.W[:half]), *spec.W[half:]])


def all_linear(spec: Spec) -> Spec:
    """The linear models' weights and losses in all cells."""
    half = len(spec.W) // 2
    tables = dict(spec.tables) | {
        name: np.tile(spec.tables[name][:half], (2, 1)) for name in ("b", "feature_loss")
    }
    return replace(spec, W=[*spec.W[:half], *spec.W[:half]], tables=tables)


def least_important_alone(spec: Spec) -> Spec:
    """The importances in reverse."""
    return replace(spec, tables=dict(spec.tables) | {"importance": spec.tables["importance"][::-1]})


def exchanged(spec: Spec, p: float, one: int, other: int) -> Spec:
    """Two features of the ReLU model at p in each other's place."""
    W = list(spec.W)
    cell = len(W) // 2 + list(spec.axes[P]).index(p)
    order = np.arange(len(W[cell]))
    order[[one, other]] = other, one
    W[cell] = W[cell][order]
    return replace(spec, W=W)


def intro() -> Spec:
    square = np.vstack([polygon(4), np.zeros((1, 2))])
    best = [np.eye(5, 2), square, square, 1.1 * polygon(5), 1.1 * polygon(5)]
    weights, instances = with_others(best, 4)
    densities = np.geomspace(1, 0.05, 5).round(6).tolist()
    return Spec(
        experiment="intro", W=best, all_W=weights, instances=instances, restarts=4,
        axes={P: densities}, tables={"importance": (0.9 ** np.arange(5)).tolist()},
    )  # fmt: skip


def two_axes(spec: Spec) -> Spec:
    """The linear solution in every cell."""
    weights, _ = with_others([np.eye(5, 2)] * len(spec.W), spec.restarts)
    return replace(spec, W=[np.eye(5, 2)] * len(spec.W), all_W=weights)


def phase_2(
    shift: float = 1.0,
    pair_slope: float | None = None,
    stuck: bool = True,
    signs: tuple[int, int] = (-1, 1),
    cheap: bool = False,
    densities: int = 20,
) -> Spec:
    """Of eight restarts a cell two are an antipodal pair, two keep a feature alone, four have one sign.

    The pair costs what it does at p / `shift`; or, with `pair_slope`, as much as one feature alone times
    (p / p*)^pair_slope. Without `stuck` all restarts are pairs. `signs`: of the second weight of the pair,
    and of the two others; these cost what a pair does if they are `cheap`.
    """
    p, r = np.geomspace(1, 0.01, densities), np.geomspace(0.1, 10, 12)
    p, r = (grid.reshape(-1) for grid in np.meshgrid(p, r, indexing="ij"))
    alone = np.minimum(r, 1) * ignored_feature_loss(p)
    pair = antipodal_pair_loss(p / shift, r)
    if pair_slope is not None:
        pair = alone * (p / 0.4) ** pair_slope
    other = pair if cheap else np.maximum(r, 1) * ignored_feature_loss(p)
    loss = np.stack([pair, other, alone, other] * 2 if stuck else [pair] * 8, axis=1).reshape(-1)
    both, others = (np.array([[1.0], [sign]]) for sign in signs)
    weights = []
    for keeps_first in r <= 1:
        one = np.eye(2)[:, [0 if keeps_first else 1]]
        weights += [both, others, one, others] * 2 if stuck else [both] * 8
    importance = np.stack([np.ones_like(r), r], axis=1)
    ratio = loss / np.repeat((1 + r) * ignored_feature_loss(p), 8)
    return Spec(
        experiment="phase_2_in_1", W=weights[::8], all_W=weights, restarts=8,
        axes={P: np.geomspace(1, 0.01, densities).tolist(), R: np.geomspace(0.1, 10, 12).tolist()},
        columns={"loss_method": "population"},
        instances={"objective": loss, "loss": loss / 2, "loss_ratio": ratio},
        tables={"importance": importance},
    )  # fmt: skip


def pairs_end(spec: Spec) -> Spec:
    """No restart is a pair where one feature alone is cheaper."""
    pair, alone = (np.asarray(spec.instances["loss"])[k::8] for k in (0, 2))
    ends = np.flatnonzero(pair > alone)
    assert spec.all_W is not None
    weights, loss = list(spec.all_W), np.array(spec.instances["loss"])
    for first in (0, 4):
        for cell in ends.tolist():
            weights[8 * cell + first] = weights[8 * cell + 2]
        loss[8 * ends + first] = alone[ends]
    ratio = spec.instances["loss_ratio"] * loss / spec.instances["loss"]
    return replace(spec, all_W=weights, instances={"objective": 2 * loss, "loss": loss, "loss_ratio": ratio})


def phase_3(fourth: bool = True) -> Spec:
    """All four solutions in each cell; not `fourth`: one of the others alone for the price of their pair."""
    p, r = np.geomspace(1, 0.01, 8), np.geomspace(0.1, 10, 8)
    p_all, r_all = (grid.reshape(-1) for grid in np.meshgrid(p, r, indexing="ij"))
    losses = phase_3_in_2(p_all, r_all)
    loss = np.stack(
        [losses[name] for name in ("ignored", "dedicated", "superposed", "others_superposed")], axis=1
    )
    solutions = [
        np.array([[1, 0], [0, 1], [0, 0]]),
        np.array([[1, 0], [0, 0], [0, 1]]),
        np.array([[1, 0], [0, 1], [0, -1]]),
        np.array([[1, 0], [-1 if fourth else 0, 0], [0, 1]]),
    ]
    return Spec(
        experiment="phase_3_in_2", W=[solutions[0]] * 64, all_W=solutions * 128, restarts=8,
        axes={P: p.tolist(), R: r.tolist()}, instances={"objective": np.tile(loss, 2).reshape(-1)},
    )  # fmt: skip


def reversed_densities(spec: Spec) -> Spec:
    """Each model's weights and losses in reverse order of the density."""

    def turn(values: np.ndarray) -> np.ndarray:
        return np.concatenate([half[::-1] for half in np.split(values, 2)])

    order = turn(np.arange(len(spec.W)))
    tables = {name: v[order] if isinstance(v, np.ndarray) else v for name, v in spec.tables.items()}
    return replace(spec, W=[spec.W[i] for i in order], tables=tables)


STEPS = list(range(0, 4001, 10))


def _pair(angle: np.ndarray) -> np.ndarray:
    """(T, 2, 2): two unit vectors so many degrees apart."""
    a = np.radians(angle)
    return np.stack(
        [np.stack([np.ones_like(a), np.zeros_like(a)], -1), np.stack([np.cos(a), np.sin(a)], -1)], 1
    )


def energy_levels(
    steady: bool = False, wide: bool = False, start: float = 60.0, end: float = 180.0, twice: bool = False
) -> Spec:
    """Two pairs turn from one angle (60 degrees: D = 0.8) to another (D = 1/2); the loss falls then, or not.

    `wide`: that takes long, and the loss falls at one moment of the first. `twice`: by way of D = 1.
    """
    t = np.array(STEPS)
    first, second = (np.clip((t - begin) / (600 if wide else 100), 0, 1) for begin in (1500, 2500))
    courses = np.zeros((len(t), 4, 4))
    for k, way in enumerate((first, second)):
        angle = start + (end - start) * way
        if twice:
            angle = np.where(t < 1500, start, np.where(t < 2500, 90.0, end))
        courses[:, 2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = _pair(angle)
    falls = sum(np.clip((t - begin - 30) / 40, 0, 1) for begin in (1500, 2500))
    if wide:
        falls = np.clip((t - 1800) / 20, 0, 1)
    loss = np.asarray(1 - t / 8000 if steady else 1 - 0.4 * falls)
    return Spec(
        experiment="energy_levels", W=[courses[-1]], axes={}, columns={"loss_ratio": 0.5},
        tables={"steps": STEPS, "course": courses[None], "history_loss": loss[None], "feature_loss": 0.2},
    )  # fmt: skip


def octahedron(
    at_once: bool = False, flat: bool = True, one_by_one: bool = False, lucky: bool = False
) -> Spec:
    """Small starts learn two directions, then the third; Xavier's (or all, `at_once`) three together.

    `lucky`: six of eight octahedra have right angles inside the triples.

    The loss of small starts has plateaus; at once, if not `flat`. `one_by_one`: the second direction comes
    1,000 steps after the first.
    """
    end = np.vstack([np.eye(3), -np.eye(3)])
    t = np.array(STEPS) * 5.0
    grown = np.asarray(np.clip(t / 200, 1e-3, 1))
    late = np.clip((t - 2000) / 300, 1e-3, 1)
    together = np.stack([grown] * 3, axis=1)
    in_turn = np.stack([grown, grown, late], axis=1)
    stages = np.select([t < 300, t < 2000, t < 4000], [1 - 0.816 * t / 300, 0.184, 0.104], 0.0475)
    plain = np.where(t < 300, 1 - 0.9525 * t / 300, 0.0475)
    if one_by_one:
        in_turn[:, 1] = np.clip((t - 1000) / 300, 1e-3, 1)
    small, stages = together if at_once else in_turn, stages if flat else plain
    courses = [end * way[:, None, :] for way in (together, small)]
    every = [end] * 16
    if lucky:
        every[1] = every[3] = end[[0, 3, 1, 2, 4, 5]]
    return Spec(
        experiment="octahedron", W=[end, end], all_W=every, restarts=8,
        axes={"init": ["xavier_normal", "normal"]},
        columns={
            "init_kind": np.array(["xavier_normal", "normal"], dtype=object),
            "data_kind": "correlated",
            "correlation": 1.0,
            "set_size": 3,
            "steps": 20_000,
            "loss_ratio": 0.0475,
        },
        tables={
            "steps": [int(step) for step in t],
            "course": np.stack(courses),
            "history_loss": np.stack([plain, stages]) * 0.02 / 0.0475,
            "feature_loss": 0.02,
        },
    )  # fmt: skip


def adversarial(follows: bool = True, least: float = 0.0) -> Spec:
    """Vulnerability 1/D*, from 1 to 30, but so much at least; or the same numbers in another order.

    Features have a dimension each at the densest p, and are pairs from then on.
    """
    crowding, pairs = np.geomspace(1, 30, 12), np.vstack([np.eye(20), -np.eye(20)])
    order = np.arange(12) if follows else np.array([0, 1, 11, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    return Spec(
        experiment="adversarial", W=[np.eye(40, 20), *(pairs * np.sqrt(x / 2) for x in crowding[1:])],
        axes={P: np.geomspace(1, 0.01, 12).tolist()},
        columns={"vulnerability": np.maximum(crowding[order], least)},
    )  # fmt: skip


large = partial(basic, "basic_large", 80, 20, 0.9)


def doubling(grows: bool = True, longer: bool = False) -> Spec:
    """m / D* features for every m, all of them at the largest; or as many for all, or `longer` ones."""
    return Spec(
        experiment="doubling",
        W=[
            place(40, m, *(((2 * k, 2 * k + 1), DIGON) for k in range(min(m, 20) if grows else 4)))
            * (np.sqrt(m / 4) if longer else 1)
            for m in (4, 8, 16, 32) * 2
        ],
        axes={P: [0.3, 0.2], "seed": [0, 1, 2, 3]},
    )


def analogy(superposed: bool = True, broken: bool = True, alone: int = 0) -> Spec:
    """Six features with a dimension each, then twelve in digons (or six again), each with and without ReLU.

    Not `broken`: those with a hidden ReLU keep to the six, along its axes. `alone`: so many of the superposed
    have a dimension each after all.
    """
    single = place(12, 6, *(((i,), np.ones((1, 1))) for i in range(6)))
    digons = place(12, 6, *(((2 * k, 2 * k + 1), DIGON) for k in range(6)))
    digons[1 : 2 * alone : 2] = 0
    digons = digons @ rotation(6)
    shared = digons if superposed else single
    return Spec(
        experiment="analogy", W=[single, shared, single, shared if broken else single],
        axes={"model": ["relu_output", "relu_hidden"], P: [1.0, 0.01]},
        columns={"hidden_activation": np.repeat(np.array(["identity", "relu"], dtype=object), 2)},
    )  # fmt: skip
