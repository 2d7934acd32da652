"""Superposition and Learning Dynamics: jumps between levels of D_i, and an octahedron learnt in stages."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from superpose_cli.claims.base import Measured, claim
from superpose_cli.claims.stored import must, need, need_setting
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import cosines, solution_name, tegum_factors
from superpose_cli.toy_model.levels import in_jumps, jumps, share_of_fall
from superpose_cli.toy_model.metrics import F64, dimensionality, represented

SECTION = "Superposition and Learning Dynamics"


@dataclass(frozen=True, kw_only=True)
class Course:
    """The training of one restart, record by record."""

    steps: npt.NDArray[np.int64]
    """(T,)."""
    W: F64
    """(T, n, m)."""
    loss_ratio: F64
    """(T,): loss over that of the best constant output."""


def _courses(run: Run, **settings: str) -> Iterator[Course]:
    """All restarts, but the diverged, of the cells with these settings; Inconclusive without weights."""
    rows = run.instances(
        ["cell", "restart", "status", "loss", "loss_ratio", "n_features", "n_hidden", *settings]
    )
    for name, value in settings.items():
        rows = rows.loc[rows[name].to_numpy() == value]
    rows = rows.loc[rows["status"].to_numpy() != "diverged"]
    need(
        len(rows) > 0, f"no restart has {', '.join(f'{name} = {value}' for name, value in settings.items())}"
    )
    history = run.history(["cell", "restart", "step", "loss", "W"], cells=rows["cell"].unique())
    need(
        len(history) > 0 and bool(history["W"].notna().to_numpy().all()),
        "needs recorded weights: history.weights=true",
    )
    records = dict(list(history.groupby(["cell", "restart"])))
    for row in rows.to_dict("records"):
        own = records[row["cell"], row["restart"]].sort_values("step")
        W = np.stack(own["W"].to_list()).astype(np.float64)
        yield Course(
            steps=own["step"].to_numpy(np.int64),
            W=W.reshape(len(W), int(row["n_features"]), int(row["n_hidden"])),
            loss_ratio=own["loss"].to_numpy(np.float64) * row["loss_ratio"] / row["loss"],
        )


@claim(
    "jumps-hold-the-drops",
    section=SECTION,
    source="paper",
    citation="discrete energy level jumps",
    experiment="energy_levels",
    expected="after the first eighth of training, in every start the steps with a jump hold at least 0.8 of "
    "the fall of the loss, in the median start at least twice their share of the time; moved in time they "
    "rarely do (at most 5 % of all shifts, in the median start); at least 75 % of the jumps end within 0.05 "
    "of 0, 1/2 or 1, and at most 25 % of the features jump twice",
    tolerance="a plateau is D_i within 0.02 for 150 steps, a jump joins two more than 0.05 apart; 0.8: drawn "
    "rows blur the ends of a fall, and the last jumps are not quite done when training ends",
    departs="In the eighth that is left out three quarters of the whole fall are over, before most features "
    "leave their first values: over all of training the jumps hold a third of it. The paper's features jump "
    "between discrete levels, several times, and the loss with each. Here "
    "they leave the values that a random start gave them, which are no levels, glide, and come to rest once. "
    "The jumps of 60 features run into one another and fill most of the time in which the loss falls at "
    "all: the first records, as many as those with a jump, hold as much of the fall. That a drop belongs to "
    "a jump of its own is not shown. In one start of four an eighth of the fall lies outside all jumps.",
)
def jumps_hold_the_drops(run: Run) -> Measured:
    """Each feature passes, most of them once, from the D_i that it started with to none, a half or a whole
    dimension; after a first eighth of training the loss falls while some do, and little once they rest.
    """
    need_setting(run, steps=2000)
    held, time, chance, first, ends, again, whole = [], [], [], [], [], [], []
    for course in _courses(run):
        late = len(course.steps) // 8
        need(late >= 20, "needs 160 recorded steps: history.every=10")
        found = jumps(course.steps, dimensionality(course.W))
        must(bool(found), "no feature's D_i jumps in one of the starts")
        covered, loss = in_jumps(found, len(course.steps))[late:], course.loss_ratio[late:]
        shifted = [share_of_fall(loss, np.roll(covered, shift)) for shift in range(1, len(covered))]
        held.append(share_of_fall(loss, covered))
        whole.append(share_of_fall(course.loss_ratio, in_jumps(found, len(course.steps))))
        time.append(float(covered.mean()))
        chance.append(float((np.array(shifted) >= held[-1]).mean()))
        first.append(share_of_fall(loss, np.arange(len(covered)) < covered.sum()))
        ends += [min(abs(jump.after - level) for level in (0, 0.5, 1)) <= 0.05 for jump in found]
        times = np.bincount([jump.feature for jump in found], minlength=course.W.shape[1])
        again.append(float((times > 1).sum() / max((times > 0).sum(), 1)))
    return Measured(
        min(held) >= 0.8
        and float(np.median(np.divide(held, time))) >= 2
        and float(np.median(chance)) <= 0.05
        and float(np.mean(ends)) >= 0.75
        and max(again) <= 0.25,
        f"{min(held):.2f} to {max(held):.2f} of the fall in {min(time):.2f} to {max(time):.2f} of the time, "
        f"{100 * max(chance):.1f} % of all shifts as good, in {len(held)} starts (over all of training "
        f"{min(whole):.2f} to {max(whole):.2f} of the fall); as many "
        f"records from the first on hold {min(first):.2f} to {max(first):.2f}; {100 * np.mean(ends):.0f} % "
        f"of {len(ends)} jumps end at a level, {100 * max(again):.0f} % of the features at most jump twice",
        {
            "held_min": min(held),
            "held_of_whole_fall_min": min(whole),
            "held_by_first_min": min(first),
            "time_max": max(time),
            "shifts_as_good_max": max(chance),
            "at_levels": float(np.mean(ends)),
            "again_max": max(again),
        },
    )


@claim(
    "octahedron",
    section=SECTION,
    source="paper",
    citation="learning as geometric transformations",
    experiment="octahedron",
    expected="of Xavier's starts that end within 10 % of the best objective, six at least, all but one have "
    "|cos| at most 0.1 inside the triples and a partner across for each feature with cos below -0.97",
    tolerance="6 and 14 degrees: sampled rows leave it a little askew, one start more so; where triples do "
    "not matter, 6 of 15 octahedra have right angles inside them",
)
def octahedron(run: Run) -> Measured:
    """Two correlated triples in three dimensions become an octahedron: right angles inside a triple, each
    feature antipodal to one of the other triple.
    """
    need_setting(run, restarts=4, steps=15_000, n_features=6, n_hidden=3, set_size=3, correlation=1.0)
    rows = run.instances(["cell", "init_kind", "objective", "status"])
    usable = (rows["status"] != "diverged").to_numpy() & (rows["init_kind"] == "xavier_normal").to_numpy()
    need(bool(usable.any()), "no restart has init_kind = xavier_normal")
    cells, objective = rows["cell"].to_numpy()[usable], rows["objective"].to_numpy()[usable]
    need(len(set(cells.tolist())) == 1, "needs one cell of Xavier's start")
    (block,) = run.weights(cells[:1], best=False)
    diverged = (rows["status"] == "diverged").to_numpy()[(rows["cell"] == cells[0]).to_numpy()]
    near = block.W[~diverged].astype(np.float64)[objective <= 1.1 * objective.min()]
    need(len(near) >= 6, f"needs 6 starts near the best, the run has {len(near)}")
    C = np.stack([cosines(W @ W.T) for W in near])
    own, cross = np.stack([C[:, :3, :3], C[:, 3:, 3:]], axis=1) - np.eye(3), C[:, :3, 3:]
    inside = np.abs(own).max(axis=(1, 2, 3))
    across = np.maximum(cross.min(axis=1).max(axis=1), cross.min(axis=2).max(axis=1))
    seen = represented(np.linalg.norm(near, axis=2)).all(axis=1)
    right = seen & (inside <= 0.1) & (across < -0.97)
    return Measured(
        bool(right.sum() >= len(near) - 1),
        f"{right.sum()} of {len(near)} starts; |cos| {inside.max():.3f} at most inside the triples, "
        f"partners across at {across.max():.3f} at most",
        {"octahedra": right.sum(), "near_best": len(near), "cosine_inside": inside.max()},
    )


STAGES = (2, 3, 3)
"""Ranks of W on the plateaus that a small start passes ..."""
FALL = 1.3
"""... on each of which the loss is less than that of the one before over this."""


def _plateaus(course: Course) -> list[tuple[int, float]]:
    """Rank of W and loss ratio where the loss stays within 6 % for 300 steps, in order.

    The rank counts singular values above a quarter of the largest.
    """
    log_loss = np.log(course.loss_ratio)
    width = int(np.searchsorted(course.steps, course.steps[0] + 300)) + 1
    if width > len(log_loss):
        return []
    windows = np.lib.stride_tricks.sliding_window_view(log_loss, width)
    flat = np.ptp(windows, axis=1) <= 0.06
    edges = np.flatnonzero(np.diff(flat.astype(np.int8), prepend=0, append=0))
    found = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        values = np.linalg.svd(course.W[(first + last + width) // 2 - 1], compute_uv=False)
        level = float(np.exp(log_loss[first : last + width - 1].mean()))
        found.append((int((values > 0.25 * values[0]).sum()), level))
    return found


@claim(
    "octahedron-in-stages",
    section=SECTION,
    source="measured",
    citation="learning as geometric transformations; the plateaus' levels are measured here",
    experiment="octahedron",
    expected="at least a third of the small starts pass a plateau of the loss where W has rank 2, one of "
    "rank 3 at a loss at least 1.3 times lower, and end in an octahedron, another 1.3 times lower",
    tolerance="1.3: of loss ratios of 0.18, 0.10 and 0.05, which the drawn rows of a history move together; "
    "a third of the starts: others skip a stage, or end with one triple turned against the other",
    departs="The paper shows one training; which stages are passed depends on the start, and one of rank 1 "
    "is passed by few.",
)
def octahedron_in_stages(run: Run) -> Measured:
    """A small start learns two correlated triples in stages: plateaus of the loss, with falls between them,
    on which W has rank 2, then 3, and becomes an octahedron.
    """
    need_setting(run, restarts=4, steps=15_000, n_features=6, n_hidden=3, set_size=3)
    whole, first_rank, octahedra, n_starts = 0, 0, 0, 0
    for course in _courses(run, init_kind="normal"):
        found, n_starts = _plateaus(course), n_starts + 1
        at, level = 0, np.inf
        for rank, loss in found:
            if at < len(STAGES) and rank == STAGES[at] and loss * FALL <= level:
                at, level = at + 1, loss
        ends = solution_name(tegum_factors(course.W[-1] @ course.W[-1].T)) == "octahedron"
        whole += at == len(STAGES) and ends
        first_rank += any(rank == 1 for rank, _ in found)
        octahedra += ends
    return Measured(
        3 * whole >= n_starts,
        f"{whole} of {n_starts} small starts pass all three and end in an octahedron, as {octahedra} do in "
        f"all; {first_rank} pass one of rank 1",
        {"whole": whole, "rank_one": first_rank, "octahedra": octahedra, "starts": n_starts},
    )


@claim(
    "ranks-in-turn",
    section=SECTION,
    source="theory",
    citation="Saxe et al. 2014: from small weights a linear network learns its singular directions in turn, "
    "strong ones first; here the two sets' sums, of variance 5p/6 - 3p^2/4 each, then all else, of p/12",
    experiment="octahedron",
    expected="from W's reaching 1/2 of its final first singular value to the second's fewer than 500 steps "
    "pass in most small starts, from there to the third's at least 500; in most of Xavier's fewer to each",
    tolerance="500 steps: Xavier's start has all directions at once",
    departs="The first two directions do not come in turn, as they are equally strong.",
)
def ranks_in_turn(run: Run) -> Measured:
    """A small start learns two equally strong directions first and the weaker third long after them, a random
    one of Xavier's size all at once.
    """
    need_setting(run, restarts=4, steps=15_000, n_features=6, n_hidden=3, set_size=3)

    def waits(kind: str) -> list[float]:
        """Steps from the first singular value's reaching half of its last size to the second's, and on to the
        third's: medians over restarts.
        """
        reached = []
        for course in _courses(run, init_kind=kind):
            values = np.linalg.svd(course.W, compute_uv=False)
            must(bool((values[-1] > 0.5).all()), "a start ends with fewer than three directions")
            reached.append(course.steps[(values >= values[-1] / 2).argmax(axis=0)])
        return np.median(np.diff(reached, axis=1), axis=0).tolist()

    small, xavier = waits("normal"), waits("xavier_normal")
    return Measured(
        small[0] < 500 <= small[1] and max(xavier) < 500,
        f"{small[0]:.0f} steps to the second and {small[1]:.0f} more to the third from small starts, "
        f"{xavier[0]:.0f} and {xavier[1]:.0f} from Xavier's (medians)",
        {
            f"steps_to_{name}_{kind}": steps
            for kind, both in (("normal", small), ("xavier_normal", xavier))
            for name, steps in zip(("second", "third"), both, strict=True)
        },
    )


CLAIMS = (jumps_hold_the_drops, octahedron, octahedron_in_stages, ranks_in_turn)
