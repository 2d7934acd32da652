"""No claim passes vacuously: each holds for a right run, fails for wrong ones, and leaves short ones open."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from superpose_cli.claims.base import Measured
from superpose_cli.claims.registry import claims
from superpose_cli.results.run import Run, load_run
from tests.claims.cases import CASES, Builder
from tests.claims.specs import Spec, dead, linear, random_directions
from tests.synthetic import write_run

CLAIMS = {claim.id: claim for claim in claims()}
Store = Callable[[Builder], Run]
WORLDS = {"linear": linear, "dead": dead, "random": random_directions}
TRUE_OF = {
    "linear": {
        "linear-keeps-the-top": "it is about linear models",
        "linear-never-superposes": "it is about linear models",
        "capacity-is-used-up": "their projector wastes nothing",
        "dense-features-get-all-or-nothing": "theory's dense features do what a linear model's do",
    },
    "dead": {"ignored-features-get-their-mean": "all features are ignored, and get their mean"},
    "random": {
        "ignored-features-get-their-mean": "it is about features without a direction",
        "superposition-pays": "it is about losses, which stay",
        "vulnerability-follows-crowding": "it is about lengths and measured attacks, which stay",
        "sticky-one": "it is about D*, which is of lengths alone",
        "sticky-half": "it is about D*; half-is-antipodal-pairs is about the shape",
        "analogies-are-exact": "it is an identity for any W, and a hidden ReLU breaks it for any",
        "l1-costs-features": "it is about counts and losses, which stay",
        "computing-in-superposition": "it is about losses, which stay",
        "best-neurons-are-rare": "it is about losses, which stay",
        "data-points-first-features-later": "it is about losses, which stay",
        "no-grokking": "it is about losses, which stay",
        "double-descent": "it is about losses, which stay",
        "weight-decay-removes-the-bump": "it is about losses, which stay",
        "larger-models-need-more-data": "it is about losses, which stay",
    },
}
"""By world, claims that its models fulfil as well or that are about something else, and why."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Stores what a builder makes, once for all claims that share it."""
    kept: dict[object, Run] = {}

    def stored(builder: Builder) -> Run:
        if builder not in kept:
            kept[builder] = load_run(
                write_run(tmp_path_factory.mktemp("run") / "run", **builder().arguments())
            )
        return kept[builder]

    return stored


def test_every_claim_has_a_right_run_and_a_wrong_one() -> None:
    assert set(CASES) == set(CLAIMS)
    assert all(case.right and case.wrong for case in CASES.values())


@pytest.mark.parametrize("id", CASES)
def test_a_right_run_holds(id: str, store: Store) -> None:
    claim = CLAIMS[id]
    runs = dict(zip(claim.experiments, map(store, CASES[id].right), strict=True))
    assert all(run.name == name for name, run in runs.items())
    found = claim.check(runs)
    assert (found.verdict, found.measured) == ("holds", found.measured)
    assert found.values
    assert found.n_restarts == min(run.restarts for run in runs.values())


@pytest.mark.parametrize(("id", "wrong"), [(id, wrong) for id, case in CASES.items() for wrong in case.wrong])
def test_a_wrong_run_fails(id: str, wrong: str, store: Store) -> None:
    claim, case = CLAIMS[id], CASES[id]
    runs = dict(zip(claim.experiments, map(store, case.right), strict=True))
    run = store(case.wrong[wrong])
    assert run.name in runs
    found = claim.check(runs | {run.name: run})
    assert (found.verdict, found.measured) == ("fails", found.measured)


@cache
def other_models(builder: Builder, world: str) -> Builder:
    """The same settings, and models of such a world."""
    return lambda: WORLDS[world](builder())


@pytest.mark.parametrize(
    ("id", "world"),
    [
        pytest.param(id, world, marks=[] if world == "linear" else pytest.mark.slow)
        for world in WORLDS
        for id in CASES
        if id not in TRUE_OF[world]
    ],
)
def test_a_world_of_other_models_is_refuted(id: str, world: str, store: Store) -> None:
    """Nothing is "inconclusive" for what should have come out of training, and did not."""
    claim, runs = CLAIMS[id], [store(other_models(builder, world)) for builder in CASES[id].right]
    found = claim.check(dict(zip(claim.experiments, runs, strict=True)))
    assert (found.verdict, found.measured) == ("fails", found.measured)
    assert "mistake" not in found.measured


@cache
def short(builder: Builder) -> Builder:
    """The same after three steps of training."""

    def build() -> Spec:
        spec = builder()
        return replace(spec, columns={**spec.columns, "steps": 3})

    return build


@pytest.mark.parametrize("id", CASES)
def test_too_short_a_training_decides_nothing(id: str, store: Store) -> None:
    claim, case = CLAIMS[id], CASES[id]
    runs = map(store, (short(case.right[0]), *case.right[1:]))
    found = claim.check(dict(zip(claim.experiments, runs, strict=True)))
    assert found.verdict == "inconclusive"
    assert "training steps, the run has 3" in found.measured


@pytest.mark.parametrize("id", CASES)
def test_a_run_that_diverged_holds_nothing_and_stops_nothing(id: str, store: Store) -> None:
    claim, runs = CLAIMS[id], [store(lost(builder)) for builder in CASES[id].right]
    found = claim.check(dict(zip(claim.experiments, runs, strict=True)))
    assert found.verdict in ("fails", "inconclusive")
    assert "mistake" not in found.measured


@cache
def lost(builder: Builder) -> Builder:
    """The same where every training diverged."""

    def build() -> Spec:
        spec = builder()
        every = None if spec.all_W is None else [np.full_like(W, np.nan, float) for W in spec.all_W]
        instances = {"objective": np.full(len(spec.W) * spec.restarts, np.nan)}
        return replace(
            spec,
            W=[np.full_like(W, np.nan, float) for W in spec.W],
            all_W=every,
            columns={**spec.columns, "status": "diverged"},
            instances={**spec.instances, **instances},
        )

    return build


def test_a_mistake_of_a_measurement_stops_nothing(store: Store) -> None:
    def stumbles(_: Run) -> Measured:
        raise ZeroDivisionError("by zero")

    claim = replace(CLAIMS["axes-square-pentagon"], measure=stumbles)
    found = claim.check({"intro": store(CASES["axes-square-pentagon"].right[0])})
    assert found.verdict == "fails"
    assert found.measured == "could not be measured (ZeroDivisionError: by zero): a mistake of superpose"
