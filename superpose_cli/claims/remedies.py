"""The Strategic Picture of Superposition: models without superposition, by an L1 penalty on h."""

import numpy as np

from superpose_cli.claims.base import Measured, claim
from superpose_cli.claims.stored import Model, models, must, need, need_setting
from superpose_cli.results.run import Run

SECTION = "The Strategic Picture of Superposition"


def _by_penalty(run: Run) -> dict[float, Model]:
    """By lambda / p, ascending, the best restart; Inconclusive unless it runs from 0.002 to 0.3."""
    need_setting(run, restarts=16, steps=3000, tied=True, n_features=20, n_hidden=5)
    found = {float(model.row["hidden_l1"]) / model.p: model for model in models(run)}
    need(
        len(found) >= 6 and min(found) <= 0.002 and max(found) >= 0.3,
        "needs 6 penalties with lambda / p from 0.002 to 0.3",
    )
    return dict(sorted(found.items()))


def _dedicated(model: Model) -> float:
    """The loss ratio of the m most important features, each with a dimension of its own."""
    importance = model.features["importance"]
    return float(np.sort(importance)[: -model.n_hidden].sum() / importance.sum())


def _told(counts: dict[float, int]) -> str:
    return ", ".join(f"{count} at {penalty:.2g}" for penalty, count in counts.items())


@claim(
    "l1-removes-superposition",
    section=SECTION,
    source="paper",
    citation="models without superposition: L1 regularisation of h",
    experiment="remedies",
    expected="features in superposition at lambda = 0.001 p, none from lambda = 0.056 p on, where the loss "
    "is at most 1.1 times that of m dedicated features",
    tolerance="none: features with D_i < 0.9 are counted; 10 %: what the penalty takes off their lengths",
    departs="It takes many starts: of eight, one finds the free model at 0.056 p, or none does, and then a "
    "model with a pair of features is the best.",
)
def l1_removes_superposition(run: Run) -> Measured:
    """An L1 penalty on the hidden layer removes superposition, at little more cost than that of the features
    that have no dimension of their own.
    """
    found = _by_penalty(run)
    counts = {penalty: int(model.superposed.sum()) for penalty, model in found.items()}
    strong = [penalty for penalty in found if penalty >= 0.05]
    first = found[strong[0]]
    cost = float(first.row["loss_ratio"]) / _dedicated(first)
    return Measured(
        next(iter(counts.values())) > 0 and not any(counts[penalty] for penalty in strong) and cost <= 1.1,
        f"superposed, by lambda / p: {_told(counts)}; {first.represented.sum()} features represented at "
        f"{strong[0]:.2g}, at {cost:.3f} times the loss of m dedicated ones",
        {"cost": cost} | {f"superposed_at_{penalty:.2g}": count for penalty, count in counts.items()},
    )


@claim(
    "l1-aligns-with-neurons",
    section=SECTION,
    source="theory",
    citation="of all rotations of h, which leave the loss as it is, those along the axes have the least L1 "
    "norm",
    experiment="remedies",
    expected="mean basis alignment of the represented features at least 0.99 where lambda is 0.005 .. 0.06 "
    "p, with features still in superposition at its lower end, and below 0.9 at 0.001 p",
    tolerance="1 %: a feature on one neuron has 1, one in a random direction of five dimensions 0.6",
)
def l1_aligns_with_neurons(run: Run) -> Measured:
    """Before it removes superposition, the penalty turns features to the axes of the hidden layer."""
    found = _by_penalty(run)
    aligned = {
        penalty: float(model.features["basis_alignment"][model.represented].mean())
        for penalty, model in found.items()
        if model.represented.any()
    }
    need(sum(0.005 <= penalty <= 0.06 for penalty in found) >= 2, "needs 2 penalties in 0.005 .. 0.06 p")
    middle = {penalty: share for penalty, share in aligned.items() if 0.005 <= penalty <= 0.06}
    must(len(middle) >= 2, "no feature is represented at penalties in 0.005 .. 0.06 p")
    weakest = next(iter(aligned.values()))
    first = found[next(iter(middle))]
    return Measured(
        bool(min(middle.values()) >= 0.99 and first.superposed.any() and weakest < 0.9),
        f"{min(middle.values()):.3f} at least there, {weakest:.2f} at the weakest penalty; "
        f"{first.superposed.sum()} features still in superposition at {next(iter(middle)):.2g} p",
        {"alignment_min": min(middle.values()), "alignment_weakest": weakest},
    )


@claim(
    "l1-costs-features",
    section=SECTION,
    source="paper",
    citation="models without superposition: they perform worse",
    experiment="remedies",
    expected="features represented never increase with lambda by more than one, from more than m to none; "
    "the loss without any superposition is at least that of m dedicated features less 5 %, and twice the "
    "weakest penalty's",
    tolerance="5 %: the m most important features, each dedicated, have the linear optimum's loss",
)
def l1_costs_features(run: Run) -> Measured:
    """The penalty that removes superposition costs features: fewer are represented, and the loss rises."""
    found = _by_penalty(run)
    counts = {penalty: int(model.represented.sum()) for penalty, model in found.items()}
    falling = bool((np.diff(list(counts.values())) <= 1).all())
    ratio = {penalty: float(model.row["loss_ratio"]) for penalty, model in found.items()}
    without = [ratio[penalty] for penalty, model in found.items() if not model.superposed.any()]
    must(bool(without), "every model has features in superposition")
    free = min(without)
    weakest, model = next(iter(ratio.values())), next(iter(found.values()))
    dedicated = _dedicated(model)
    return Measured(
        falling
        and counts[min(counts)] > model.n_hidden
        and counts[max(counts)] == 0
        and free >= 0.95 * dedicated
        and free >= 2 * weakest,
        f"represented, by lambda / p: {_told(counts)}; loss ratio {free:.3f} without superposition "
        f"({dedicated:.3f} of m dedicated features), {weakest:.3f} at the weakest penalty",
        {"loss_ratio_free": free, "loss_ratio_dedicated": dedicated, "loss_ratio_weakest": weakest},
    )


CLAIMS = (l1_aligns_with_neurons, l1_removes_superposition, l1_costs_features)
