"""Henighan et al. 2023, Superposition, Memorization, and Double Descent: data points, then features."""

import numpy as np

from superpose_cli.claims.base import Measured, claim
from superpose_cli.claims.stored import Model, models, must, need, need_setting
from superpose_cli.results.best import data_points
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import ring
from superpose_cli.toy_model.metrics import F64, dimensionality

SECTION = "Follow-up: Superposition, Memorization, and Double Descent (2023)"


def _by_rows(run: Run) -> dict[int, Model]:
    """By rows T of the data set, ascending, the best start by the loss on the data."""
    need_setting(run, restarts=2, steps=5000, data_kind="finite", n_hidden=2, unit_norm=True)
    found = {int(model.row["n_rows"]): model for model in models(run)}
    need(len(found) >= 5, f"needs 5 sizes of the data set, the run has {len(found)}")
    return dict(sorted(found.items()))


def _test_loss(model: Model) -> float:
    """Test loss over that of the output 0, which is 1/n on rows of norm 1."""
    return float(model.row["loss"]) * len(model.W)


@claim(
    "data-points-form-polygons",
    section=SECTION,
    source="theory",
    citation="D of a regular T-gon in the plane is 2/T",
    experiment="memorization_reduced",
    expected="for T = 4 .. 8, neighbours 360/T degrees apart to within 20 %, D_X of every data point within "
    "15 % of 2/T, and the data fitted to a loss below 0.03",
    tolerance="20 % and 15 %: rows of a drawn data set are not quite orthogonal, so the polygon is not quite "
    "regular; D_X alone is 2/T for any tight frame, as doubled points are",
    departs="T = 3 is left out: its rows share features, and the triangle is irregular.",
)
def data_points_form_polygons(run: Run) -> Measured:
    """Of few data points, it is the points that are in superposition: T of them form a regular T-gon."""
    found = {T: model for T, model in _by_rows(run).items() if 4 <= T <= 8}
    need(len(found) >= 3, f"needs 3 sizes in 4 .. 8, the run has {len(found)}")
    points = data_points(run, np.array([model.row["cell"] for model in found.values()]), max(found))
    need(len(points) == len(found), "the key of a data set is not stored: train again with --fresh")
    hidden = {T: points[model.row["cell"]] @ model.W for T, model in found.items()}
    ratio = {T: dimensionality(h[None])[0] * T / 2 for T, h in hidden.items()}
    askew = max(float(np.abs(ring(h) * T / 360 - 1).max()) for T, h in hidden.items())
    fitted = max(float(model.row["train_loss"]) * len(model.W) for model in found.values())
    return Measured(
        bool(askew <= 0.2 and max(np.abs(own - 1).max() for own in ratio.values()) <= 0.15 and fitted < 0.03),
        ", ".join(f"{own.min():.2f} to {own.max():.2f} at T = {T}" for T, own in ratio.items())
        + f" of 2/T; angles off by up to {100 * askew:.0f} %; loss on the data up to {fitted:.1g}",
        {"angle_error_max": askew}
        | {f"ratio_min_at_{T}": own.min() for T, own in ratio.items()}
        | {f"ratio_max_at_{T}": own.max() for T, own in ratio.items()},
    )


def _directions(model: Model) -> tuple[int, F64]:
    """How many features are represented, and the gaps in degrees between the directions that they make.

    Neighbours less than 30 degrees apart are one direction, in the middle of theirs by their squared norms.
    """
    W = model.W[model.represented]
    if not len(W):
        return 0, np.empty(0)
    angle = np.degrees(np.arctan2(W[:, 1], W[:, 0])) % 360
    order = np.argsort(angle)
    angle, weight = angle[order], np.square(W).sum(axis=1)[order]
    gaps = np.diff(np.r_[angle, angle[0] + 360])
    start = int(gaps.argmax()) + 1  # begin after the widest gap, so that no direction is cut
    angle, weight = np.roll(angle, -start), np.roll(weight, -start)
    angle = np.where(angle < angle[0], angle + 360, angle)
    group = np.r_[0, np.cumsum(np.diff(angle) >= 30)]
    middle = np.bincount(group, weight * angle) / np.bincount(group, weight)
    return len(W), np.diff(np.r_[middle, middle[0] + 360])


@claim(
    "features-form-a-pentagon",
    section=SECTION,
    source="paper",
    citation="the features' picture at large T: a pentagon, as in the 2022 paper",
    experiment="memorization_reduced",
    expected="at T (1 - S) = 20, five of n features represented, along directions 72 degrees apart, and "
    "||W||_F in 2 .. 3",
    tolerance="10 degrees: the features of a table are not all on equally often",
    departs="At half as many rows a sixth feature still shares a direction.",
)
def features_form_a_pentagon(run: Run) -> Measured:
    """Of many data points, it is features that are in superposition: they lie along five directions, a
    pentagon.
    """
    found = [model for T, model in _by_rows(run).items() if T * model.p >= 19.9]
    need(bool(found), "needs a data set with T (1 - S) of 20 and more")
    model = found[-1]
    seen, gaps = _directions(model)
    size = float(np.sqrt(model.row["frobenius_norm_sq"]))
    return Measured(
        seen == len(gaps) == 5 and float(np.abs(gaps - 72).max()) <= 10 and 2 <= size <= 3,
        f"{seen} features represented, along {len(gaps)} directions, "
        f"{', '.join(f'{gap:.0f}' for gap in gaps[:8])} degrees apart; ||W||_F {size:.2f}",
        {"represented": seen, "directions": len(gaps), "frobenius_norm": size},
    )


@claim(
    "data-points-first-features-later",
    section=SECTION,
    source="theory",
    citation="the output 0 has a loss of 1 in these units",
    experiment="memorization_reduced",
    expected="test loss in 0.99 .. 1.05 for T = 4 .. 50, each data set fitted to below 0.8, below 1 at the "
    "largest T",
    tolerance="5 %: small T disturb fresh rows a little; 0.8: two dimensions hold little of 50 rows",
    departs="T = 3 is left out: its three long vectors cost fresh rows 4 to 12 %. Rows of W are not short at "
    "small T: features of the data points count as represented (5 at T = 4, 185 at T = 50), but serve the "
    "points alone.",
)
def data_points_first(run: Run) -> Measured:
    """Models of few data points learn nothing that serves fresh data: their loss there is that of the output
    0; models of many learn features that do.
    """
    found = _by_rows(run)
    small = {T: _test_loss(model) for T, model in found.items() if 4 <= T <= 50}
    need(len(small) >= 3 and max(found) * found[max(found)].p >= 9.9, "needs T in 4 .. 50, T (1 - S) >= 10")
    fitted = max(float(found[T].row["train_loss"]) * len(found[T].W) for T in small)
    last = _test_loss(found[max(found)])
    return Measured(
        min(small.values()) >= 0.99 and max(small.values()) <= 1.05 and fitted < 0.8 and last < 1,
        f"{min(small.values()):.3f} to {max(small.values()):.3f} for T = 4 .. 50, whose data are fitted to "
        f"{fitted:.2f} and below; {last:.3f} at T = {max(found)}",
        {"test_loss_small_max": max(small.values()), "test_loss_last": last, "train_loss_small_max": fitted},
    )


@claim(
    "no-grokking",
    section=SECTION,
    source="measured",
    citation="the project's own question; the note shows no such history",
    experiment="memorization_reduced",
    expected="at the T of the highest test loss, test loss rises by at least 0.5 after the first tenth of "
    "training while the loss on the data falls; at no T does it fall by more than 0.05 from then on",
    tolerance="0.05 of the output 0's loss: what the last steps of the cosine polish",
)
def no_grokking(run: Run) -> Measured:
    """Generalisation does not come late in training here; the reverse happens: test loss rises while the loss
    on the data falls.
    """
    found = _by_rows(run)
    history = run.history(["cell", "restart", "step", "loss", "train_loss"])
    cell, restart = history["cell"].to_numpy(), history["restart"].to_numpy()
    records = {name: history[name].to_numpy(np.float64) for name in ("step", "loss", "train_loss")}
    rise, fall = {}, {}
    for T, model in found.items():
        mine = (cell == model.row["cell"]) & (restart == model.row["restart"])
        own = {name: values[mine] for name, values in records.items()}
        late = own["step"] >= model.row["steps"] / 10
        need(int(late.sum()) >= 3, "needs a history: history.every=1000")
        test, data = (own[name][late] * len(model.W) for name in ("loss", "train_loss"))
        rise[T], fall[T] = float(test[-1] - test[0]), float(data[0] - data[-1])
    peak = max(found, key=lambda T: _test_loss(found[T]))
    return Measured(
        rise[peak] >= 0.5 and fall[peak] > 0 and min(rise.values()) >= -0.05,
        f"at T = {peak} test loss rises by {rise[peak]:.2f} while the loss on the data falls by "
        f"{fall[peak]:.2f}; the largest fall of test loss at any T is {max(-min(rise.values()), 0):.3f}",
        {"rise_at_peak": rise[peak], "least_rise": min(rise.values())},
    )


def _curves(run: Run, weight_decay: float, n_hidden: int) -> dict[int, float]:
    """By T, ascending, the mean test loss over the data seeds, in units of the output 0's."""
    found = models(run, weight_decay=weight_decay, n_hidden=n_hidden)
    need(all(model.row["unit_norm"] for model in found), "needs rows of norm 1")
    by_rows: dict[int, list[float]] = {}
    for model in found:
        by_rows.setdefault(int(model.row["n_rows"]), []).append(_test_loss(model))
    need(len(by_rows) >= 5, f"needs 5 sizes of the data set, the run has {len(by_rows)}")
    least = min(map(len, by_rows.values()))
    need(least >= 3, f"needs 3 data sets of each size, the run has {least}")
    return {T: float(np.mean(losses)) for T, losses in sorted(by_rows.items())}


def _told(curve: dict[int, float]) -> str:
    return ", ".join(f"{loss:.2f} at T = {T}" for T, loss in curve.items())


@claim(
    "double-descent",
    section=SECTION,
    source="paper",
    citation="double descent over the size of the data set",
    experiment="double_descent_reduced",
    expected="m = 2: a peak of at least 1.5 between a start within 0.1 of 1 and an end below 1, its onset "
    "(1.2) at T (1 - S) in 1 .. 3",
    tolerance="means over 3 and more data sets; the note's onset is at about 1",
)
def double_descent(run: Run) -> Measured:
    """Test loss gets worse and then better as the data set grows, where data points give way to features."""
    need_setting(run, steps=5000, data_kind="finite")
    curve = _curves(run, 0.01, 2)
    T, loss = np.array(list(curve)), np.array(list(curve.values()))
    p = models(run, n_hidden=2)[0].p
    onset = float(T[loss > 1.2][0] * p) if (loss > 1.2).any() else np.inf
    return Measured(
        bool(loss.max() >= 1.5 and abs(loss[0] - 1) <= 0.1 and loss[-1] < 1 and 1 <= onset <= 3),
        f"{_told(curve)}; above 1.2 from T (1 - S) = {onset:g}",
        {"peak": loss.max(), "first": loss[0], "last": loss[-1], "onset": onset},
    )


@claim(
    "weight-decay-removes-the-bump",
    section=SECTION,
    source="paper",
    citation="the effect of weight decay on double descent",
    experiment="double_descent_reduced",
    expected="more than 85 % of the peak's excess over 1 is gone, where it was at least 0.5; models of the "
    "largest data sets still learn, to a test loss below 1",
    tolerance="15 % of the excess: the means of 3 and more data sets scatter; dead models have none either",
)
def weight_decay_removes_the_bump(run: Run) -> Measured:
    """Weight decay of 1 removes the bump in test loss."""
    need_setting(run, steps=5000, data_kind="finite")
    weak, strong = (_curves(run, decay, 2) for decay in (0.01, 1.0))
    with_bump, without, last = max(weak.values()), max(strong.values()), strong[max(strong)]
    must(with_bump > 1, f"there is no peak with 0.01 either: {_told(weak)}")
    gone = 1 - (without - 1) / (with_bump - 1)
    return Measured(
        with_bump >= 1.5 and gone > 0.85 and last < 1,
        f"the peak is {with_bump:.2f} with 0.01 and {without:.3f} with 1: {100 * gone:.0f} % is gone; with 1 "
        f"the test loss is {last:.3f} at T = {max(strong)}",
        {"peak_0.01": with_bump, "peak_1": without, "share_gone": gone, "last_1": last},
    )


@claim(
    "larger-models-need-more-data",
    section=SECTION,
    source="paper",
    citation="double descent over the size of the data set and of the model",
    experiment="double_descent_reduced",
    expected="the highest test loss of m = 4 is at a larger T than that of m = 2, at which m = 4 is still "
    "below 1.2; each rises to its peak without a fall of more than 0.1",
    tolerance="0.1: means over 3 and more data sets scatter; T is counted in steps of the grid",
    departs="The bump of m = 4 is not seen to end: its highest loss is at the largest T there is, so "
    "its peak is at that T or beyond.",
)
def larger_models_need_more_data(run: Run) -> Measured:
    """With more hidden dimensions the bump comes at more data."""
    need_setting(run, steps=5000, data_kind="finite")
    small, large = (_curves(run, 0.01, m) for m in (2, 4))
    at, later = (max(curve, key=lambda T: curve[T]) for curve in (small, large))
    end = ", the largest, or beyond" if later == max(large) else ""
    rising = all(
        np.diff([curve[T] for T in curve if peak >= T]).min(initial=0) >= -0.1
        for curve, peak in ((small, at), (large, later))
    )
    return Measured(
        bool(later > at and large[later] > 1.2 and large[at] < 1.2 and rising),
        f"m = 2 peaks at T = {at} ({small[at]:.2f}), where m = 4 has {large[at]:.2f}, m = 4 at T = "
        f"{later} ({large[later]:.2f}){end}",
        {"peak_rows_2": at, "peak_rows_4": later, "loss_4_at_peak_of_2": large[at]},
    )


CLAIMS = (
    data_points_form_polygons,
    features_form_a_pentagon,
    data_points_first,
    no_grokking,
    double_descent,
    weight_decay_removes_the_bump,
    larger_models_need_more_data,
)
