"""One suite for every engine: a new engine adds a row here, not a file."""

from dataclasses import replace

import numba
import numpy as np
import pytest
import torch

from superpose_cli.engines import ENGINES, choose_engine
from superpose_cli.engines.base import Engine, concatenate, take
from superpose_cli.experiment.config import DataKind, Dtype, EngineConfig, Objective
from superpose_cli.toy_model.metrics import dimensionality, norms, regime
from superpose_cli.toy_model.model import forward, target_of
from superpose_cli.toy_model.sampling import evaluation_rows, finite_table
from tests.engines.batches import BASE, FAMILIES, make_batch, overflowing_bias, parameters_of, reference_train

# float32 rounds at 6e-8; Adam's first step is rate * sign(gradient), so a gradient near 0 may turn it round:
# tight after one step, and after 50 as far as 50 roundings of weights of size 1 go.
TOLERANCE = {("float64", 1): 1e-12, ("float64", 50): 1e-10, ("float32", 1): 2e-6, ("float32", 50): 5e-6}


ON_CPU = [
    pytest.param((name, dtype), id=f"{name}-{dtype}")
    for name, entry in ENGINES.items()
    for dtype in entry.dtypes
    if "cpu" in entry.devices
]
TRITON = [
    pytest.param(("triton", "cpu"), id="triton-interpreted", marks=pytest.mark.slow),
    pytest.param(("triton", "cuda"), id="triton-cuda", marks=pytest.mark.gpu),
]
TORCH_ON_GPU = [
    pytest.param(("torch on cuda", dtype), id=f"torch-cuda-{dtype}", marks=pytest.mark.gpu)
    for dtype in ENGINES["torch"].dtypes
]


@pytest.fixture(params=[*ON_CPU, *TRITON, *TORCH_ON_GPU])
def engine(request) -> Engine:
    name, what = request.param
    if name == "triton":
        return pytest.importorskip("superpose_cli.engines.triton_gpu").TritonEngine(what)
    if name == "torch on cuda":
        return choose_engine(EngineConfig(name="torch", device="cuda", dtype=Dtype(what)), []).engine
    chosen = choose_engine(EngineConfig(name=name, device="cpu", dtype=Dtype(what)), []).engine
    assert (chosen.name, chosen.dtype) == (name, what)
    return chosen


def fewer(engine: Engine, count: int, least: int) -> int:
    """`count` steps, instances or rows; for the interpreter of Triton, a second a step, at least `least`."""
    return least if (engine.name, engine.device) == ("triton", "cpu") else count


@pytest.fixture(params=FAMILIES, ids=str)
def batch(request):
    return make_batch(FAMILIES[request.param])


def assert_own(found, expected, engine, where=""):
    """An instance's numbers are its own, whatever the pack: every bit; on torch and a GPU to rounding."""
    if (engine.name, engine.device) != ("torch", "cuda"):
        np.testing.assert_array_equal(found, expected, err_msg=where)
        return
    tolerance = 1e-10 if engine.dtype == "float64" else 1e-4
    np.testing.assert_allclose(found * 1.0, expected * 1.0, rtol=tolerance, atol=tolerance, err_msg=where)


def assert_same_bits(found, expected, where=""):
    found, expected = parameters_of(found), parameters_of(expected)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=f"{name} {where}")


@pytest.mark.parametrize("steps", [1, 50])
def test_weights_follow_the_definition(engine, batch, steps):
    if refusal := engine.refuses(batch.family):
        pytest.skip(refusal)
    steps, tolerance = fewer(engine, steps, min(steps, 5)), TOLERANCE[engine.dtype, steps]
    found = parameters_of(engine.advance(batch, engine.initialise(batch), steps))
    expected = reference_train(batch, steps)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == engine.dtype
        np.testing.assert_allclose(found[name], values, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_extreme_hyper_parameters_are_honoured(engine, optimizer):
    """1 - beta2 must be taken before it is rounded: at 1 - 1e-7 a float32 difference is off by 20 %."""
    family = replace(BASE, optimizer=optimizer, schedule="constant")
    batch = make_batch(
        family,
        6,
        beta1=np.array([0.0, 0.9, 0.99, 0.999, 0.9, 0.5]),
        beta2=np.array([0.0, 0.9999, 0.999999, 1 - 1e-7, 1 - 1e-8, 0.5]),
        eps=np.array([1e-12, 1e-8, 1e-3, 1e-8, 1e-10, 1.0]),
        weight_decay=np.array([0.0, 0.5, 1e-3, 0.0, 0.1, -0.1]),
        momentum=np.array([0.0, 0.99, 0.9, 0.5, 0.1, 0.9]),
    )
    steps = fewer(engine, 20, 5)
    found, expected = engine.advance(batch, engine.initialise(batch), steps), reference_train(batch, steps)
    tolerance = 1e-11 if engine.dtype == "float64" else 5e-6
    for name, value in parameters_of(found).items():
        np.testing.assert_allclose(value, expected[name], rtol=tolerance, atol=tolerance, err_msg=name)


def test_a_vanishing_eps_ends_one_instance_only(engine):
    """0 / 0 where eps rounds to 0 and a gradient is 0: that instance fails, no exception ends the others."""
    eps = np.array([1e-46, 1e-8])
    p = np.full((2, 5), 0.2)
    batch = make_batch(BASE, 2, eps=eps, feature_probability=p, importance=np.array([[1.0] * 4 + [0.0]] * 2))
    batch = replace(batch, init_std=np.array([0.0, 0.5]), hidden_l1=np.zeros(2), weight_decay=np.zeros(2))
    state = engine.advance(batch, engine.initialise(batch), 3)
    assert state.failed_step[1] == -1
    assert np.isfinite(state.W[1]).all()


def test_bits_do_not_depend_on_how_steps_are_cut(engine, batch):
    last = fewer(engine, 23, 5)
    whole = engine.advance(batch, engine.initialise(batch), last)
    state = engine.initialise(batch)
    for stop in (1, 2, min(9, last - 1), last):
        state = engine.advance(batch, state, stop)
    assert state.step == whole.step == last
    assert_same_bits(state, whole)


@pytest.mark.parametrize("size", [1, 5])
def test_bits_do_not_depend_on_the_pack(engine, batch, size):
    """Adding, removing and reordering instances leaves every other instance's bits unchanged."""
    count, steps, rows = fewer(engine, 19, 6), fewer(engine, 12, 2), fewer(engine, 1500, 150)
    many = make_batch(batch.family, count)
    order = np.random.default_rng(3).permutation(count)[:size]
    all_of_them = engine.advance(many, engine.initialise(many), steps)
    some = many.take(order)
    state = engine.advance(some, engine.initialise(some), steps)
    for name, value in parameters_of(take(all_of_them, order)).items():
        assert_own(getattr(state, name), value, engine, f"{name} in a pack of {size}")
    wide, narrow = engine.evaluate(many, all_of_them, rows), engine.evaluate(some, state, rows)
    for name in ("loss", "loss_stderr", "feature_loss", "hidden_l1", "hidden_mean", "hidden_cov", "dead"):
        assert_own(getattr(narrow, name), getattr(wide, name)[order], engine, name)


def test_bits_do_not_depend_on_threads(engine, batch):
    if engine.name == "triton":
        pytest.skip("engine triton has no threads")
    threads = torch.get_num_threads()
    wide = replace(batch.family, n_batch=batch.family.n_batch and 1024)
    batch = make_batch(wide, 12)
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            numba.set_num_threads(count)
            state = engine.advance(batch, engine.initialise(batch), 6)
            results.append((state, engine.evaluate(batch, state, 4096)))
    finally:
        torch.set_num_threads(threads)
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert_same_bits(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1].loss, results[1][1].loss)
    np.testing.assert_array_equal(results[0][1].feature_loss, results[1][1].feature_loss)


def test_input_state_is_left_alone(engine):
    batch = make_batch(BASE)
    start = engine.initialise(batch)
    kept = {name: value.copy() for name, value in parameters_of(start).items()}
    engine.advance(batch, start, 5)
    for name, value in parameters_of(start).items():
        np.testing.assert_array_equal(value, kept[name])
    assert start.step == 0
    assert all((moment == 0).all() for moment in start.moment1.values())


@pytest.mark.parametrize("rows", [100, 5000])
def test_evaluation_is_the_mean_over_its_rows(engine, batch, rows):
    rows = fewer(engine, rows, min(rows, 200))
    state = engine.advance(batch, engine.initialise(batch), 3)
    family = batch.family
    x = evaluation_rows(
        np,
        family.law,
        key=batch.evaluation_key,
        rows=(0, rows),
        feature_probability=batch.feature_probability,
        high=batch.high,
        correlation=batch.correlation,
        unit_norm=family.unit_norm,
    ).astype(np.float64)
    check_evaluation(engine.evaluate(batch, state, rows), x, batch, state, engine.dtype)


def test_all_rows_count_for_every_measure(engine):
    """h >= 0, so the mean of ||h||_1 is the sum of its means: both over the same rows."""
    batch = make_batch(FAMILIES["relu_hidden"], 2)
    found = engine.evaluate(batch, engine.initialise(batch), fewer(engine, 200_000, 300))
    np.testing.assert_allclose(found.hidden_mean.sum(1), found.hidden_l1, rtol=1e-6)


def test_evaluation_on_the_table(engine):
    family = FAMILIES["finite_full"]
    batch = make_batch(family)
    state = engine.advance(batch, engine.initialise(batch), 3)
    x = finite_table(
        np,
        family.law,
        key=batch.table_key,
        n_rows=family.n_rows,
        feature_probability=batch.feature_probability,
        high=batch.high,
        unit_norm=True,
    ).astype(np.float64)
    np.testing.assert_allclose((x * x).sum(2), 1, rtol=1e-6)
    check_evaluation(engine.evaluate_table(batch, state), x, batch, state, engine.dtype)


def check_evaluation(found, x, batch, state, dtype):
    """Every measured number against plain NumPy in float64 on the same rows."""
    model, rows = batch.family.model, x.shape[1]
    weights = {name: value.astype(np.float64) for name, value in parameters_of(state).items()}
    h, y = forward(x, weights, model)
    target = target_of(x, model.target)
    error = batch.importance[:, None] * (target - y) ** 2
    row = error.mean(2)
    close = {"rtol": 1e-10} if dtype == "float64" else {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(found.loss, row.mean(1), **close)
    np.testing.assert_allclose(found.feature_loss, error.mean(1), **close)
    np.testing.assert_allclose(found.loss_stderr, row.std(1, ddof=1) / np.sqrt(rows), **close)
    np.testing.assert_allclose(found.hidden_l1, abs(h).sum(2).mean(1), **close)
    np.testing.assert_allclose(found.hidden_mean, h.mean(1), **close)
    for i in range(len(batch)):
        expected = np.cov(h[i].T, bias=True).reshape(h.shape[2], h.shape[2])
        # A difference of sums of h^2, to whose size it is rounded.
        atol = 1e-6 * max(1.0, (h[i] ** 2).mean(0).max())
        np.testing.assert_allclose(found.hidden_cov[i], expected, rtol=1e-5, atol=atol)
    if batch.family.unit_norm:
        np.testing.assert_allclose(found.target_mean, target.mean(1), **close)
        np.testing.assert_allclose(found.target_square, (target**2).mean(1), **close)
    else:
        assert found.target_mean is None
    assert not found.dead.any()


@pytest.mark.slow
def test_statistics_agree_after_thousands_of_steps(engine):
    """Rounding may send a start elsewhere, rarely: losses and regimes as the float64 reference has them."""
    if fewer(engine, 4000, 0) == 0:
        pytest.skip("the interpreter takes a second a step")
    family = replace(BASE, steps=4000, n_batch=256)
    p = np.repeat(np.geomspace(1, 0.05, 4), 12)
    same = {
        "feature_probability": np.repeat(p[:, None], 5, axis=1),
        "importance": np.tile(0.9 ** np.arange(5), (48, 1)),
        "hidden_l1": np.zeros(48),
        "weight_decay": np.zeros(48),
        "learning_rate": np.full(48, 3e-3),
        "high": np.ones(48),
    }
    batch = make_batch(family, 48, **same)
    reference = choose_engine(EngineConfig(name="torch", device="cpu", dtype=Dtype.float64), []).engine
    if engine.numerics == reference.numerics:
        pytest.skip("this is the reference")
    losses, regimes = [], []
    for each in (reference, engine):
        state = each.advance(batch, each.initialise(batch), family.steps)
        losses.append(reference.evaluate(batch, state, 1 << 16).loss)
        regimes.append(regime(norms(state.W), dimensionality(state.W)))
    close = abs(losses[1] / losses[0] - 1) < 0.01
    assert close.mean() >= 0.9
    assert (regimes[1] == regimes[0]).mean() >= 0.9
    best = [loss.reshape(4, 12).min(axis=1) for loss in losses]
    np.testing.assert_allclose(best[1], best[0], rtol=0.01)
    counts = [np.bincount(found.ravel(), minlength=3) for found in regimes]
    assert abs(counts[1] - counts[0]).max() <= 0.05 * regimes[0].size


def test_a_failing_instance_harms_no_other(engine):
    """One overflows and is flagged with its step; the rest keep the bits that they have without it."""
    batch = make_batch(replace(BASE, loss_reduction="sum", optimizer="sgd", schedule="constant"), 5)
    rates = batch.learning_rate.copy()
    rates[2] = 1e30
    wild = replace(batch, learning_rate=rates)
    steps = fewer(engine, 30, 4)
    state = engine.advance(wild, engine.initialise(wild), steps)
    assert state.failed_step[2] >= 0
    assert not np.isfinite(state.W[2]).all()
    others = np.array([0, 1, 3, 4])
    assert (state.failed_step[others] == -1).all()
    assert_same_bits(
        take(state, others), take(engine.advance(batch, engine.initialise(batch), steps), others)
    )
    # The flag is the first bad step, however the steps are cut.
    failed = int(state.failed_step[2])
    before = engine.advance(wild, engine.initialise(wild), failed)
    assert np.isfinite(before.W[2]).all()
    after = engine.advance(wild, before, failed + 1)
    assert not np.isfinite(after.W[2]).all()
    assert not np.isfinite(engine.evaluate(wild, state, 100).loss[2])


@pytest.mark.parametrize("size", [(3, 2), (20, 5), (70, 18)], ids=str)
def test_a_bias_alone_that_overflows_is_a_failure(engine, size):
    batch, parameters = overflowing_bias(*size, engine.dtype)
    state = engine.advance(batch, replace(engine.initialise(batch), **parameters), 2)
    assert np.isfinite(state.W).all()
    assert np.isfinite(state.W_dec).all()
    np.testing.assert_array_equal(np.isfinite(state.b).all(axis=1), [True, False, True])
    np.testing.assert_array_equal(state.failed_step, [-1, 0, -1])


def test_dead_models_are_flagged(engine):
    batch = make_batch(BASE, 3, hidden_l1=np.zeros(3), weight_decay=np.zeros(3))
    state = engine.initialise(batch)
    state.W[1] = 0
    assert state.b is not None
    state.b[1] = -1
    np.testing.assert_array_equal(engine.evaluate(batch, state, 500).dead, [False, True, False])
    np.testing.assert_array_equal(engine.advance(batch, state, 5).W[1], 0)


def test_memory_estimate_is_positive_and_grows(engine):
    small, large = engine.bytes_per_instance(BASE), engine.bytes_per_instance(replace(BASE, n_features=500))
    assert 0 < small < large
    assert engine.pack_instances(BASE, 1) == 1
    assert engine.pack_instances(BASE, 10 * small) <= 10


def test_concatenate_undoes_take(engine):
    batch = make_batch(FAMILIES["absolute_value"])
    state = engine.advance(batch, engine.initialise(batch), 2)
    again = concatenate([take(state, slice(0, 2)), take(state, slice(2, 6))])
    assert_same_bits(again, state)
    for name in state.moment2:
        np.testing.assert_array_equal(again.moment2[name], state.moment2[name])


def test_refusals_say_what_to_do():
    torch_engine = choose_engine(EngineConfig(name="torch", device="cpu"), []).engine
    refusal = torch_engine.refuses(replace(BASE, objective=Objective.population))
    assert refusal is not None
    assert "train.objective=sampled" in refusal
    assert all(torch_engine.refuses(family) is None for family in FAMILIES.values())
    assert {family.data for family in FAMILIES.values()} == set(DataKind)
