"""The population objective and evaluation: against closed forms, finite differences and drawn rows."""

from dataclasses import replace
from itertools import product
from typing import Any

import numba
import numpy as np
import pytest

from superpose_cli.engines import population
from superpose_cli.engines.base import State, take
from superpose_cli.engines.lanes import LANES
from superpose_cli.engines.numba_cpu import NumbaEngine
from superpose_cli.engines.population import check_population, population_evaluation, population_refuses
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.config import (
    Activation,
    DataKind,
    Objective,
    Optimizer,
    Reduction,
    Schedule,
    Target,
    ValueKind,
)
from superpose_cli.experiment.instances import Family, InstanceBatch
from superpose_cli.toy_model.model import PARAMETERS
from superpose_cli.toy_model.objective import objective_of
from superpose_cli.toy_model.theory import (
    antipodal_pair_loss,
    best_solution,
    ignored_feature_loss,
    phase_2_in_1,
    polygon,
    polygon_optimum,
)
from tests.engines.batches import BASE, make_batch, parameters_of, reference_train

ENGINE = NumbaEngine()
EXACT = replace(BASE, objective=Objective.population, n_batch=0, steps=300)
PAIR = replace(EXACT, n_features=2, n_hidden=1)
FAMILIES = {
    "relu_output": EXACT,
    "pair": PAIR,
    "untied": replace(EXACT, tied=False, hidden_bias=True, loss_reduction=Reduction.sum),
    "tied_hidden_bias": replace(EXACT, hidden_bias=True, bias=False),
    "signed": replace(EXACT, n_features=4, signed=True),
    "absolute": replace(EXACT, n_features=4, signed=True, target=Target.abs),
    "sets": replace(EXACT, output_activation=Activation.identity, data=DataKind.correlated, set_size=3),
    "constant": replace(EXACT, value=ValueKind.constant),
    "signed_constant": replace(EXACT, n_features=4, value=ValueKind.constant, signed=True),
    "correlated": replace(EXACT, data=DataKind.correlated, set_size=2),
    "anticorrelated": replace(EXACT, data=DataKind.anticorrelated, set_size=3),
    "exactly_k": replace(EXACT, data=DataKind.exactly_k, k=3),
}


def some(family: Family, count: int = 4, **given: Any) -> InstanceBatch:
    return make_batch(family, count, **({"hidden_l1": np.zeros(count)} | given))


def scattered(batch: InstanceBatch, dtype: str = "float64", seed: int = 0) -> State:
    """Weights and biases at random, so that outputs have kinks everywhere."""
    state, rng = ENGINE.initialise(batch), np.random.default_rng(seed)
    given = {name: getattr(state, name) for name in PARAMETERS}
    values = {name: rng.normal(0, 0.5, v.shape).astype(dtype) for name, v in given.items() if v is not None}
    return replace(state, **values)


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_the_mean_of_drawn_rows(name):
    """Against a million rows: the loss within 5 standard errors, its parts and the moments of h nearby."""
    batch = some(FAMILIES[name])
    state = scattered(batch, "float32")
    exact, drawn = population_evaluation(batch, state), ENGINE.evaluate(batch, state, 1_000_000)
    assert abs((exact.loss - drawn.loss) / drawn.loss_stderr).max() < 5
    assert (exact.loss_stderr < 1e-5 * exact.loss).all()
    np.testing.assert_allclose(exact.feature_loss.mean(1), exact.loss, rtol=1e-12)
    np.testing.assert_allclose(exact.feature_loss, drawn.feature_loss, rtol=0.02, atol=1e-4)
    np.testing.assert_allclose(exact.hidden_mean, drawn.hidden_mean, atol=5e-3)
    np.testing.assert_allclose(exact.hidden_cov, drawn.hidden_cov, rtol=0.01, atol=5e-3)
    np.testing.assert_array_equal(exact.dead, drawn.dead)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_gradient_is_the_derivative(name):
    """Central differences of the objective in float64, in every parameter of every instance."""
    batch = some(FAMILIES[name], 2)
    state, step = scattered(batch), 1e-5
    _, gradient, _ = population._measured(batch, state, 16)

    def objective(moved: State) -> np.ndarray:
        gain, _, _ = population._measured(batch, moved, 16)
        loss = (batch.importance * gain).mean(axis=1)
        family = batch.family
        return objective_of(loss, np.zeros(2), family.n_features, family.loss_reduction, np.zeros(2))

    column = 0
    for parameter in PARAMETERS:
        value = getattr(state, parameter)
        if value is None:
            continue
        for index in product(*map(range, value.shape[1:])):
            sides = []
            for sign in (1, -1):
                moved = value.copy()
                moved[:, *index] += sign * step
                sides.append(objective(replace(state, **{parameter: moved})))
            slope = (sides[0] - sides[1]) / (2 * step)
            np.testing.assert_allclose(
                gradient[:, column], slope, rtol=1e-4, atol=1e-7, err_msg=f"{parameter}{index}"
            )
            column += 1
    assert column == gradient.shape[1]


def with_weights(batch: InstanceBatch, W: np.ndarray, b: np.ndarray) -> State:
    return replace(ENGINE.initialise(batch), W=np.asarray(W), b=np.asarray(b))


OPTIMIZERS = {
    "adam": {"optimizer": Optimizer.adam, "schedule": Schedule.cosine, "warmup_steps": 3},
    "adamw": {"optimizer": Optimizer.adamw, "schedule": Schedule.linear},
    "sgd": {"optimizer": Optimizer.sgd, "schedule": Schedule.constant},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["relu_output", "untied", "pair"])
def test_weights_follow_the_definition(name, optimizer):
    """Updates along the exact gradient, with hyper-parameters that differ between instances."""
    count = LANES + 3
    family = replace(FAMILIES[name], steps=20, **OPTIMIZERS[optimizer])
    batch = some(
        family,
        count,
        beta1=np.linspace(0.5, 0.95, count),
        beta2=np.linspace(0.9, 0.9999, count),
        weight_decay=np.linspace(0, 0.3, count),
    )

    def slopes_at(weights, step):
        given = {name: weights.get(name) for name in PARAMETERS}
        state = replace(ENGINE.initialise(batch), **given)
        _, flat, _ = population._measured(batch, state, population.TRAINING_NODES)
        sizes = [weights[name][0].size for name in PARAMETERS if name in weights]
        parts = np.split(flat, np.cumsum(sizes)[:-1], axis=1)
        names = [name for name in PARAMETERS if name in weights]
        return {n: part.reshape(weights[n].shape) for n, part in zip(names, parts, strict=True)}

    found = parameters_of(ENGINE.advance(batch, ENGINE.initialise(batch), 20))
    for part, values in reference_train(batch, 20, slopes_at).items():
        np.testing.assert_allclose(found[part], values, rtol=3e-6, atol=3e-6, err_msg=part)


@pytest.mark.parametrize("name", ["relu_output", "untied"])
def test_overflow_is_noted_where_it_happens(name):
    batch = some(replace(FAMILIES[name], optimizer=Optimizer.sgd, output_activation=Activation.identity), 5,
                 learning_rate=np.array([1e-2, 1e30, 1e-2, 1e25, 1e-2]))  # fmt: skip
    state = ENGINE.advance(batch, ENGINE.initialise(batch), 9)
    failed = state.failed_step
    assert (failed[[0, 2, 4]] == -1).all()
    for i in (1, 3):
        assert 0 <= failed[i] < 9
        before = ENGINE.advance(batch, ENGINE.initialise(batch), int(failed[i]))
        after = ENGINE.advance(batch, ENGINE.initialise(batch), int(failed[i]) + 1)
        assert all(np.isfinite(values[i]).all() for values in parameters_of(before).values())
        assert not all(np.isfinite(values[i]).all() for values in parameters_of(after).values())


def test_the_pair_costs_what_theory_says():
    """Facts T1 and T2, to rounding: an antipodal pair, and one feature dedicated beside one at its best
    constant."""
    p, r = np.array([1e-6, 3e-4, 0.01, 0.1, 0.5, 1.0]), np.array([1.0, 1.0, 0.1, 1.0, 3.0, 10.0])
    batch = some(
        PAIR,
        6,
        feature_probability=np.repeat(p[:, None], 2, axis=1),
        importance=np.stack([np.ones(6), r], axis=1),
        high=np.ones(6),
    )
    antipodal = with_weights(batch, np.array([[[1.0], [-1.0]]] * 6), np.zeros((6, 2)))
    found = population_evaluation(batch, antipodal)
    np.testing.assert_allclose(2 * found.loss, antipodal_pair_loss(p, r), rtol=1e-9)
    assert (found.loss_stderr == 0).all()
    ignoring = with_weights(batch, np.array([[[1.0], [0.0]]] * 6), np.stack([np.zeros(6), p / 2], axis=1))
    found = population_evaluation(batch, ignoring)
    np.testing.assert_allclose(2 * found.loss, r * ignored_feature_loss(p), rtol=1e-12)


@pytest.mark.parametrize("k", [3, 4, 5, 7])
def test_polygons_are_critical_points(k):
    """Fact T7: with exactly one feature on, the regular k-gon of the closed form leaves no gradient."""
    family = replace(EXACT, n_features=k, data=DataKind.exactly_k, k=1)
    batch = some(family, 1, importance=np.ones((1, k)), high=np.ones(1))
    best = polygon_optimum(k)
    state = with_weights(batch, best.norm * polygon(k)[None], np.full((1, k), best.bias))
    _, gradient, _ = population._measured(batch, state, 4)
    assert abs(gradient).max() < 1e-5
    moved = replace(state, b=state.b + 0.01)
    assert abs(population._measured(batch, moved, 4)[1]).max() > 1e-4


def test_a_step_has_nodes_enough():
    """With everything on, the worst case: 8 nodes within 1e-4 of 48, by the scale of the gradient."""
    batch = some(EXACT, 12, feature_probability=np.ones((12, 5)))
    state = scattered(batch)
    coarse, fine = (population._measured(batch, state, nodes)[1] for nodes in (8, 48))
    square = batch.high**2 / 3
    assert abs(coarse - fine).max() < 1e-4 * (2 * batch.importance.max() * square.max() / 5)


def test_what_is_left_out_is_bounded(monkeypatch):
    """Fewer patterns, and a bound that holds: against all of them."""
    batch = some(replace(EXACT, n_features=6), feature_probability=np.full((4, 6), 0.1))
    state = scattered(batch)
    full = population_evaluation(batch, state)
    monkeypatch.setattr(population, "LEFT_OUT", 0.2)
    part = population_evaluation(batch, state)
    assert (part.loss_stderr > 10 * full.loss_stderr).all()
    assert (abs(part.loss - full.loss) > 0).all()
    assert (abs(part.loss - full.loss) <= part.loss_stderr).all()


@pytest.mark.parametrize("p", [1e-3, 1e-5])
@pytest.mark.parametrize("correlation", [0.0, 1.0])
def test_rare_meetings_are_not_left_out(p, correlation):
    """Two sets of two at sparse p: what is left out is small beside what their meetings cost."""
    family = replace(EXACT, n_features=4, data=DataKind.correlated, set_size=2)
    batch = some(
        family,
        1,
        feature_probability=np.full((1, 4), p),
        correlation=np.array([correlation]),
        importance=np.ones((1, 4)),
        high=np.ones(1),
    )
    # The two sets share both dimensions, antipodal: nothing is lost unless features of both are on.
    W = np.array([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]])
    found = population_evaluation(batch, with_weights(batch, W, np.zeros((1, 4))))
    # Fact T2 for each of the two antipodal pairs, whose members are of different sets.
    np.testing.assert_allclose(4 * found.loss, 2 * antipodal_pair_loss(p, 1), rtol=1e-6)


def test_many_sparse_features_are_within_reach():
    family = replace(EXACT, n_features=30)
    batch = some(family, 2, feature_probability=np.full((2, 30), 1e-3))
    check_population([batch], training=False)
    state = scattered(batch, "float32")
    exact, drawn = population_evaluation(batch, state), ENGINE.evaluate(batch, state, 1 << 20)
    assert abs((exact.loss - drawn.loss) / drawn.loss_stderr).max() < 5


def test_dead_and_diverged_models_are_told():
    batch = some(PAIR, 3, feature_probability=np.full((3, 2), 0.5))
    state = with_weights(
        batch,
        np.array([[[0.0], [0.0]], [[np.nan], [1.0]], [[1.0], [-1.0]]]),
        np.array([[-1.0, -1.0], [0.0, 0.0], [0.0, 0.0]]),
    )
    found = population_evaluation(batch, state)
    assert found.dead.tolist() == [True, False, False]
    assert np.isfinite(found.loss).tolist() == [True, False, True]


@pytest.mark.parametrize("name", ["relu_output", "pair", "untied", "correlated"])
def test_bits_depend_on_the_instance_alone(name):
    """Not on the pack, its order, the threads, or how the steps are cut."""
    batch = some(FAMILIES[name], 9)
    whole = ENGINE.advance(batch, ENGINE.initialise(batch), 40)
    order = np.array([7, 2, 5])
    part = batch.take(order)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        state = ENGINE.initialise(part)
        for stop in (1, 3, 40):
            state = ENGINE.advance(part, state, stop)
    finally:
        numba.set_num_threads(threads)
    expected = take(whole, order)
    for parameter in PARAMETERS:
        np.testing.assert_array_equal(getattr(state, parameter), getattr(expected, parameter))


def test_training_ends_in_the_phase_of_the_theory():
    """A coarse map of two features in one dimension, best of 8, away from where theory is undecided."""
    p, r = (a.ravel() for a in np.meshgrid(np.geomspace(1, 0.01, 6), np.geomspace(0.1, 10, 6), indexing="ij"))
    family = replace(PAIR, schedule=Schedule.linear, steps=500)
    restarts, cells = 8, len(p)
    cell = np.repeat(np.arange(cells), restarts)
    batch = some(
        family,
        cells * restarts,
        feature_probability=np.repeat(p[cell][:, None], 2, axis=1),
        importance=np.stack([np.ones(len(cell)), r[cell]], axis=1),
        high=np.ones(len(cell)),
        learning_rate=np.full(len(cell), 1e-2),
        weight_decay=np.zeros(len(cell)),
        init_std=np.full(len(cell), 0.8),
    )
    state = ENGINE.advance(batch, ENGINE.initialise(batch), family.steps)
    loss = 2 * population_evaluation(batch, state).loss.reshape(cells, restarts)
    best = state.W.reshape(cells, restarts, 2)[np.arange(cells), loss.argmin(axis=1)]
    losses = phase_2_in_1(p, r)
    ordered = np.sort(np.stack(list(losses.values())), axis=0)
    clear = ordered[1] > 1.1 * ordered[0]
    large = np.abs(best) > 0.5
    phase = np.where(large.all(axis=1), "superposed", np.where(large[:, 1], "dedicated", "ignored"))
    assert clear.sum() > 25
    assert (phase == best_solution(losses))[clear].all()
    # Trained norms and biases are free, which the theory's are not: never worse than it.
    assert (loss.min(axis=1) / ordered[0])[clear].max() < 1.01


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_activation": Activation.relu}, "hidden_activation=identity"),
        ({"value": ValueKind.exponential}, "uniform or constant"),
        ({"data": DataKind.finite, "n_rows": 9}, "table"),
    ],
)
def test_what_has_no_expectation_is_refused(changes, words):
    family = replace(EXACT, **changes)
    assert words in str(population_refuses(family))
    assert words in str(ENGINE.refuses(family))
    for training in (True, False):
        with pytest.raises(ConfigError, match=words):
            check_population([some(family)], training=training)


def test_what_would_take_too_long_is_refused():
    crowd = some(replace(EXACT, n_features=12), feature_probability=np.ones((4, 12)))
    for training, key in ((True, "train.objective=sampled"), (False, "evaluation.method=sampled")):
        with pytest.raises(ConfigError, match=f"up to 12 of n_features=12 are on together.*{key}"):
            check_population([crowd], training=training)
    eight = some(replace(EXACT, n_features=8), feature_probability=np.ones((4, 8)))
    check_population([eight], training=False)
    with pytest.raises(ConfigError, match=r"lower model\.n_features"):
        check_population([eight], training=True)
    linear = replace(EXACT, n_features=80, output_activation=Activation.identity)
    check_population([some(linear)], training=False)  # by the moments of the inputs
    with pytest.raises(ConfigError, match="hidden_l1"):
        check_population([some(linear, hidden_l1=np.ones(4))], training=False)
