"""What surrounds engines: recorded steps, packs, progress, flags, interrupts."""

from dataclasses import replace

import numpy as np
import pytest

from superpose_cli.engines import choose_engine
from superpose_cli.engines.base import Engine
from superpose_cli.engines.training import history_steps, train_shard
from superpose_cli.engines.watch import SILENT, Interrupted, Progress
from superpose_cli.experiment.config import (
    EngineConfig,
    EvaluationConfig,
    EvaluationMethod,
    HistoryConfig,
    Spacing,
)
from tests.engines.batches import BASE, FAMILIES, make_batch, parameters_of

SHORT = EvaluationConfig(n_rows=2000)
NO_HISTORY = HistoryConfig(every=0)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return choose_engine(EngineConfig(name="torch", device="cpu"), []).engine


class Recorder:
    """A watch that keeps what it is told."""

    def __init__(self) -> None:
        self.instances: list[float] = []
        self.steps: list[int] = []

    def started(self, n_instances: int, n_stored: int, engine: str, reason: str) -> None: ...
    def compiling(self, seconds: float | None) -> None: ...
    def committed(self, instances: int) -> None: ...
    def said(self, message: str) -> None: ...
    def finished(self, status: str) -> None: ...
    def progressed(self, instances: float, loss: float, instance_steps: int) -> None:
        self.instances.append(instances)
        self.steps.append(instance_steps)


def train(
    engine, batch, *, evaluation=SHORT, history=NO_HISTORY, memory=1 << 30, watch=SILENT, stop=lambda: False
):
    (trained,) = train_shard(
        engine,
        [batch],
        evaluation=evaluation,
        history=history,
        memory=memory,
        progress=Progress(watch),
        stop=stop,
    )
    return trained


@pytest.mark.parametrize(
    ("every", "spacing", "steps", "expected"),
    [
        (0, Spacing.linear, 100, []),
        (30, Spacing.linear, 100, [0, 30, 60, 90, 100]),
        (50, Spacing.linear, 100, [0, 50, 100]),
        (1000, Spacing.linear, 100, [0, 100]),
        (1, Spacing.linear, 3, [0, 1, 2, 3]),
        (25, Spacing.log, 10_000, None),
        (50, Spacing.log, 1, [0, 1]),
    ],
)
def test_recorded_steps(every, spacing, steps, expected):
    found = history_steps(HistoryConfig(every=every, spacing=spacing), steps)
    if expected is None:
        assert (found[0], found[1], found[-1]) == (0, 1, steps)
        ratios = np.diff(np.log(found[-20:]))
        np.testing.assert_allclose(ratios, ratios.mean(), rtol=0.05)
    else:
        assert found == expected


@pytest.mark.parametrize("name", ["relu_output", "absolute_value", "finite_full"])
def test_results_do_not_depend_on_packs_or_history(engine, name):
    """Small memory means many packs; recording cuts the steps; neither may change a bit."""
    batch = make_batch(FAMILIES[name], 9)
    recorded = HistoryConfig(every=7, weights=True)
    whole = train(engine, batch)
    packed = train(engine, batch, history=recorded, memory=4 * engine.bytes_per_instance(batch.family))
    for parameter, value in parameters_of(whole.state).items():
        np.testing.assert_array_equal(parameters_of(packed.state)[parameter], value)
    np.testing.assert_array_equal(packed.objective, whole.objective)
    np.testing.assert_array_equal(packed.status, whole.status)
    history = packed.history
    assert history.loss.shape == (len(history.steps), 9)
    assert history.steps[0] == 0
    assert history.weights.keys() == parameters_of(whole.state).keys()
    assert all(len(values) == len(history.steps) for values in history.weights.values())
    np.testing.assert_array_equal(history.weights["W"][-1], whole.state.W)
    assert (history.weights["W"][0] != history.weights["W"][1]).any()
    assert (history.train_loss is not None) == (name == "finite_full")


def test_progress_ends_at_all_instances_and_steps(engine):
    watch, batch = Recorder(), make_batch(BASE, 5)
    train(engine, batch, watch=watch, memory=2 * engine.bytes_per_instance(BASE))
    assert watch.instances[-1] == pytest.approx(5)
    assert watch.steps[-1] == 5 * BASE.steps
    assert all(a <= b for a, b in zip(watch.instances, watch.instances[1:], strict=False))


def test_a_stop_is_seen_between_chunks(engine):
    asked = iter([False, False, True])
    watch = Recorder()
    with pytest.raises(Interrupted):
        train(engine, make_batch(BASE, 3), watch=watch, stop=lambda: next(asked))
    assert 0 < watch.steps[-1] < 3 * BASE.steps


def test_status_tells_divergence_and_death(engine):
    family = replace(BASE, optimizer="sgd", schedule="constant", loss_reduction="sum")
    rates = np.array([1e-3, 1e30, 1e-3])
    batch = make_batch(family, 3, learning_rate=rates, weight_decay=np.zeros(3), hidden_l1=np.zeros(3))
    dead = replace(batch, init_std=np.array([0.5, 0.5, 0.0]), feature_probability=batch.feature_probability)
    found = train(engine, dead)
    assert found.status[0] == "ok"
    assert found.status[1] == "diverged"
    assert 0 <= found.failed_step[1] < family.steps
    assert found.failed_step[0] == -1
    # W = 0 with a bias still learns the bias; without one nothing has a gradient.
    no_bias = make_batch(replace(family, bias=False), 2, init_std=np.array([0.5, 0.0]), hidden_l1=np.zeros(2))
    assert train(engine, no_bias).status.tolist() == ["ok", "dead"]


def test_an_objective_that_blew_up_counts_as_diverged(engine):
    """Finite, but far above its first value: marked at the last step."""
    family = replace(BASE, optimizer="sgd", schedule="constant", output_activation="identity", steps=1)
    batch = make_batch(family, 2, learning_rate=np.array([1e-3, 5.0]), hidden_l1=np.zeros(2))
    found = train(engine, batch)
    assert np.isfinite(found.objective).all()
    assert found.status.tolist() == ["ok", "diverged"]
    assert found.failed_step[1] == 1


@pytest.mark.parametrize("name", ["relu_output", "finite_full"])
def test_a_bad_start_is_no_divergence(engine, name):
    """Far above what a constant costs to the end, but no worse than it began."""
    family = replace(FAMILIES[name], steps=1)
    batch = make_batch(family, 3, init_std=np.array([0.1, 30.0, 30.0]), hidden_l1=np.zeros(3))
    found = train(engine, batch)
    assert (found.objective[1:] > 1000 * found.objective[0]).all()
    assert found.status.tolist() == ["ok"] * 3


def test_the_objective_is_what_was_trained(engine):
    batch = make_batch(replace(BASE, loss_reduction="sum"), 4)
    found = train(engine, batch)
    expected = 5 * found.evaluation.loss + batch.hidden_l1 * found.evaluation.hidden_l1
    np.testing.assert_allclose(found.objective, expected, rtol=1e-12)
    finite = train(engine, make_batch(FAMILIES["finite_full"], 4, hidden_l1=np.zeros(4)))
    assert finite.table is not None
    np.testing.assert_array_equal(finite.objective, finite.table.loss)


@pytest.mark.parametrize(
    "changes",
    [{}, {"tied": False, "hidden_bias": True}, {"bias": False, "value": "exponential", "signed": True}],
)
def test_population_evaluation_equals_its_samples(engine, changes):
    """The closed form of a linear model against a large sample, within its standard error."""
    family = replace(FAMILIES["linear"], **changes)
    batch = make_batch(family, 4, hidden_l1=np.zeros(4))
    exact = train(engine, batch, evaluation=EvaluationConfig(method=EvaluationMethod.population)).evaluation
    trained = train(engine, batch, evaluation=EvaluationConfig(n_rows=200_000))
    # A linear model is always judged exactly; what has no closed form is as measured.
    np.testing.assert_array_equal(trained.evaluation.loss, exact.loss)
    assert trained.loss_method == "population"
    assert np.isfinite(trained.evaluation.hidden_l1).all()
    sampled = engine.evaluate(batch, trained.state, 200_000)
    assert (exact.loss_stderr == 0).all()
    assert abs((sampled.loss - exact.loss) / sampled.loss_stderr).max() < 4
    np.testing.assert_allclose(exact.feature_loss.mean(1), exact.loss, rtol=1e-12)
    np.testing.assert_allclose(sampled.hidden_cov, exact.hidden_cov, atol=0.02)
    np.testing.assert_allclose(sampled.hidden_mean, exact.hidden_mean, atol=0.01)


def test_sparse_cells_are_judged_by_the_exact_baseline(engine):
    """At p = 1e-4 the first rows hold almost nothing: neither that nor an empty sample is a failure."""
    family = replace(BASE, n_features=2, n_hidden=1, steps=20)
    for p in (1e-4, 1e-6):
        batch = make_batch(family, 3, feature_probability=np.full((3, 2), p), hidden_l1=np.zeros(3))
        found = train(engine, batch, evaluation=EvaluationConfig(n_rows=50_000))
        assert found.status.tolist() == ["ok"] * 3


def test_a_stop_is_seen_during_evaluation(engine, monkeypatch):
    """A long evaluation looks up between parts of the batch."""
    monkeypatch.setattr("superpose_cli.engines.training.EVALUATED_VALUES", 1)
    asked, batch, advance = [], make_batch(BASE, 40), engine.advance

    def trained(*arguments):
        asked.clear()
        return advance(*arguments)

    monkeypatch.setattr(engine, "advance", trained)

    def stop() -> bool:
        asked.append(True)
        return False

    cut = train(engine, batch, stop=stop)
    assert len(asked) == 3
    np.testing.assert_array_equal(cut.evaluation.loss, train(engine, batch).evaluation.loss)
