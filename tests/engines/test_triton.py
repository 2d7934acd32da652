"""The GPU's kernels under Triton's interpreter, on few rows and steps: an operation takes half a millisecond.

The conformance suite holds them to all that it asks of engines, among the slow tests and on a GPU.
"""

import sys
from dataclasses import fields, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")

from superpose_cli.engines import choose_engine, triton_plans, triton_tiny  # noqa: E402
from superpose_cli.engines.base import take  # noqa: E402
from superpose_cli.engines.training import train_shard  # noqa: E402
from superpose_cli.engines.triton_gpu import TritonEngine  # noqa: E402
from superpose_cli.engines.triton_plans import plan_training  # noqa: E402
from superpose_cli.engines.triton_sampling import draw_four, draw_tile, limits_of, round_keys  # noqa: E402
from superpose_cli.engines.triton_spec import Spec  # noqa: E402
from superpose_cli.engines.watch import SILENT, Progress  # noqa: E402
from superpose_cli.experiment.config import (  # noqa: E402
    Activation,
    DataKind,
    EngineConfig,
    EvaluationConfig,
    HistoryConfig,
    Optimizer,
    Reduction,
    Target,
    ValueKind,
)
from tests.engines import launches  # noqa: E402
from tests.engines.batches import (  # noqa: E402
    BASE,
    make_batch,
    overflowing_bias,
    parameters_of,
    reference_rows,
    reference_train,
)

SMALL = replace(BASE, n_features=3, n_hidden=2, n_batch=100)
FAMILIES = {
    "tiny": SMALL,
    "tiny, all parts": replace(
        SMALL,
        hidden_activation=Activation.relu,
        tied=False,
        hidden_bias=True,
        target=Target.abs,
        signed=True,
        optimizer=Optimizer.adamw,
    ),
    "tiny, two chunks": replace(
        SMALL, n_features=7, n_hidden=5, hidden_bias=True, tied=False, optimizer=Optimizer.adamw
    ),
    "tiny, sgd": replace(
        SMALL, bias=False, optimizer=Optimizer.sgd, loss_reduction=Reduction.sum, n_batch=256
    ),
    "panel": replace(SMALL, n_features=24, n_hidden=5),
    "panel, adamw": replace(SMALL, n_features=24, n_hidden=5, optimizer=Optimizer.adamw),
    "panel, all parts": replace(
        SMALL,
        n_features=17,
        n_hidden=18,
        hidden_activation=Activation.relu,
        tied=False,
        hidden_bias=True,
        output_activation=Activation.identity,
        optimizer=Optimizer.sgd,
        n_batch=256,
    ),
    "wide": replace(SMALL, n_features=35, n_hidden=17, n_batch=130),
    "wide, all parts": replace(
        SMALL,
        n_features=33,
        n_hidden=18,
        hidden_activation=Activation.relu,
        tied=False,
        hidden_bias=True,
        optimizer=Optimizer.adamw,
    ),
    "table": replace(SMALL, data=DataKind.finite, n_rows=40, n_batch=0, unit_norm=True),
    "panel, table": replace(SMALL, n_features=24, n_hidden=5, data=DataKind.finite, n_rows=90, n_batch=50),
}
LAWS = {
    "uniform": replace(SMALL, n_features=5, n_batch=200),
    "constant, signed": replace(SMALL, n_features=5, value=ValueKind.constant, signed=True, n_batch=200),
    "exponential": replace(SMALL, n_features=5, value=ValueKind.exponential, n_batch=200),
    "correlated": replace(SMALL, n_features=5, data=DataKind.correlated, set_size=2, n_batch=200),
    "correlated, exponential": replace(
        SMALL, n_features=3, data=DataKind.correlated, set_size=3, value=ValueKind.exponential, n_batch=200
    ),
    "anticorrelated": replace(
        SMALL, n_features=5, data=DataKind.anticorrelated, set_size=3, signed=True, n_batch=200
    ),
    "exactly_k": replace(SMALL, n_features=5, data=DataKind.exactly_k, k=2, n_batch=200),
    "table": replace(SMALL, n_features=5, data=DataKind.finite, n_rows=70, n_batch=200),
    "table in order": replace(SMALL, data=DataKind.finite, n_rows=70, n_batch=0, unit_norm=True),
}


@pytest.fixture(scope="module")
def engine() -> TritonEngine:
    return TritonEngine("cpu")


@triton.jit
def store_four(rows, out, step, n_batch, n_rows, count, spec: tl.constexpr, I: tl.constexpr, L: tl.constexpr):  # noqa: E741
    lane = tl.broadcast_to(tl.arange(0, L)[None, :], [I, L])
    own = tl.arange(0, I).to(tl.int64)
    i = tl.broadcast_to(own[:, None], [I, L])
    mask = i < count
    keys, limits = round_keys(rows, i, mask), limits_of(rows, spec, own, own < count, [I, L])
    set_scale, coin = tl.load(rows.set_scale + i, mask=mask), tl.load(rows.last_coin + i, mask=mask)
    table = rows.table + tl.load(rows.table_of + i, mask=mask) * n_rows * spec.n
    x = draw_four(rows, spec, limits, keys, set_scale, coin, table, step, 0, n_batch, n_rows, lane)
    for at in tl.static_range(4 * spec.n):
        row = lane % 32 + lane // 32 * 128 + 32 * (at % 4)
        tl.store(out + (i * 4 * L + row) * spec.n + at // 4, x[at], mask=mask)


@triton.jit
def store_tile(rows, out, step, n_batch, n_rows, first, spec: tl.constexpr, N: tl.constexpr):
    i, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    x = draw_tile(rows, spec, i, step, block, first, n_batch, n_rows, N)
    at = tl.arange(0, 128)[:, None]
    row = at // 4 + (at % 4) * 32 + block * 128
    column = tl.arange(0, N)[None, :] + first
    tl.store(out + (i * 256 + row) * spec.n + column, x, mask=column < spec.n)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shape", ["tiny", "tiles"])
def test_rows_have_the_bits_of_numpy(engine, law, shape):
    batch = make_batch(LAWS[law], 3)
    family, step = batch.family, 5
    expected = reference_rows(batch, step)
    plan = plan_training(batch, "cpu", "float32", sys.maxsize)
    tables = engine._tables(batch)
    rows = engine._rows(batch, batch.generator_key, tables)
    out = torch.full((3, 256, family.n_features), np.nan)
    n_batch = family.n_batch or family.n_rows
    if shape == "tiny":
        store_four[(1,)](rows, out, step, n_batch, family.n_rows, 3, plan.spec, 4, 64)
    else:
        for first in (0, 4):
            store_tile[(3, 2)](rows, out, step, n_batch, family.n_rows, first, plan.spec, 4)
    np.testing.assert_array_equal(out.numpy()[:, :n_batch], expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_one_step_follows_the_definition(engine, name):
    batch = make_batch(FAMILIES[name], 3)
    found = parameters_of(engine.advance(batch, engine.initialise(batch), 1))
    expected = reference_train(batch, 1)
    assert found.keys() == expected.keys()
    for parameter, values in expected.items():
        assert found[parameter].dtype == np.float32
        np.testing.assert_allclose(found[parameter], values, rtol=2e-6, atol=2e-6, err_msg=parameter)


@pytest.mark.parametrize("name", ["tiny", "tiny, all parts", "tiny, two chunks"])
def test_programs_of_the_gpus_shape_follow_the_definition(engine, name, monkeypatch):
    """4 instances, a warp each; the other tests interpret fewer and larger programs."""
    monkeypatch.setattr(triton_plans, "INTERPRETED", (triton_tiny.INSTANCES, triton_tiny.LANES))
    batch = make_batch(replace(FAMILIES[name], n_batch=200), 6)
    assert plan_training(batch, "cpu", "float32", sys.maxsize).grid(6) == (2,)
    found = parameters_of(engine.advance(batch, engine.initialise(batch), 2))
    for parameter, values in reference_train(batch, 2).items():
        np.testing.assert_allclose(found[parameter], values, rtol=2e-6, atol=2e-6, err_msg=parameter)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("one number", 20),
        ("tiny, two chunks", 3),
        ("panel", 20),
        ("panel, adamw", 20),
        ("wide, all parts", 3),
        pytest.param("wide, all parts", 20, marks=pytest.mark.slow),
    ],
)
def test_more_steps_follow_the_definition_however_they_are_cut(engine, name, steps):
    one = replace(SMALL, n_features=2, n_hidden=1)
    batch = make_batch(replace(FAMILIES.get(name, one), n_batch=100, warmup_steps=3), 2)
    whole = engine.advance(batch, engine.initialise(batch), steps)
    for parameter, values in reference_train(batch, steps).items():
        np.testing.assert_allclose(parameters_of(whole)[parameter], values, rtol=5e-6, atol=5e-6)
    state = engine.advance(batch, engine.advance(batch, engine.initialise(batch), steps // 2), steps)
    for parameter, values in parameters_of(whole).items():
        np.testing.assert_array_equal(parameters_of(state)[parameter], values)
        np.testing.assert_array_equal(state.moment1[parameter], whole.moment1[parameter])


@pytest.mark.parametrize("name", ["tiny, all parts", "panel, table", "wide"])
def test_bits_do_not_depend_on_the_pack(engine, name):
    many = make_batch(FAMILIES[name], 18)  # two programs of tiny models, the second not full
    if name != "tiny, all parts":
        many = many.take(slice(3, 6))
    together = engine.advance(many, engine.initialise(many), 2)
    order = np.array([len(many) - 1, 0])
    some = many.take(order)
    state = engine.advance(some, engine.initialise(some), 2)
    for parameter, values in parameters_of(take(together, order)).items():
        np.testing.assert_array_equal(parameters_of(state)[parameter], values)
    both, last = (
        engine.evaluate(some, state, 150),
        engine.evaluate(some.take(slice(1)), take(state, slice(1)), 150),
    )
    for field in ("loss", "loss_stderr", "feature_loss", "hidden_cov", "dead"):
        np.testing.assert_array_equal(getattr(last, field), getattr(both, field)[:1], err_msg=field)


@pytest.mark.parametrize("name", ["tiny, all parts", "tiny, two chunks", "panel", "wide"])
def test_a_failing_instance_harms_no_other(engine, name):
    change = {"optimizer": Optimizer.sgd, "loss_reduction": Reduction.sum, "n_batch": 64}
    batch = make_batch(replace(FAMILIES[name], **change), 3)
    wild = replace(batch, learning_rate=np.array([1e-3, 1e30, 1e-3]))
    state = engine.advance(wild, engine.initialise(wild), 3)
    assert state.failed_step[1] in (0, 1, 2)
    assert (state.failed_step[[0, 2]] == -1).all()
    before = engine.advance(wild, engine.initialise(wild), int(state.failed_step[1]))
    assert np.isfinite(before.W[1]).all()
    assert np.isfinite(state.W[[0, 2]]).all()
    assert not np.isfinite(state.W[1]).all()


@pytest.mark.parametrize("size", [(3, 2), (20, 5), (70, 18)], ids=str)
def test_a_bias_alone_that_overflows_is_a_failure(engine, size):
    batch, parameters = overflowing_bias(*size, "float32")
    state = engine.advance(batch, replace(engine.initialise(batch), **parameters), 2)
    assert np.isfinite(state.W).all()
    assert np.isfinite(state.W_dec).all()
    np.testing.assert_array_equal(np.isfinite(state.b).all(axis=1), [True, False, True])
    np.testing.assert_array_equal(state.failed_step, [-1, 0, -1])


@pytest.mark.parametrize("name", ["tiny, all parts", "wide", "table", "exactly_k", "anticorrelated"])
def test_evaluation_agrees_with_torch(engine, name):
    batch = make_batch((FAMILIES | LAWS)[name], 3)
    state = engine.initialise(batch)
    state.W[1] = 0
    if state.b is not None:
        state.b[1] = -1
    reference = choose_engine(EngineConfig(name="torch", device="cpu"), []).engine
    pairs = [(engine.evaluate(batch, state, 150), reference.evaluate(batch, state, 150))]
    if batch.family.data is DataKind.finite:
        pairs.append((engine.evaluate_table(batch, state), reference.evaluate_table(batch, state)))
    for found, expected in pairs:
        for field in fields(found):
            value, other = getattr(found, field.name), getattr(expected, field.name)
            assert (value is None) == (other is None), field.name
            if value is not None:
                atol = 1e-5 if field.name == "hidden_cov" else 1e-6  # a difference of large numbers
                np.testing.assert_allclose(value, other, rtol=1e-5, atol=atol, err_msg=field.name)


@pytest.mark.parametrize("name", ["tiny", "wide"])
def test_repeated_instances_are_as_the_first(engine, name):
    """What the tests of large offsets do on a GPU; here they show that nothing is left out."""
    batch = make_batch(replace(FAMILIES[name], n_batch=64), 3)
    repeated = launches.Repeated(engine, batch, 2)
    trained, measured = repeated.trained(1), repeated.measured(64)
    assert len(trained.weight) == len(measured.feature) == 6
    launches.assert_repeats(trained, 3)
    launches.assert_repeats(measured, 3)
    state = engine.advance(batch, engine.initialise(batch), 1)
    np.testing.assert_array_equal(trained.weight[3:, : state.W[0].size], state.W.reshape(3, -1))
    loss = engine.evaluate(batch, engine.initialise(batch), 64).loss
    np.testing.assert_array_equal(measured.row[3:, 0] / 64, loss)


@pytest.mark.parametrize("name", ["table", "panel, table", "wide, table"])
def test_tables_beyond_two_billion_numbers_are_found(engine, name, monkeypatch):
    wide = replace(FAMILIES["wide"], data=DataKind.finite, n_rows=90, n_batch=50)
    batch = make_batch(FAMILIES.get(name, wide), 3)
    start = engine.initialise(batch)
    expected, loss = engine.advance(batch, start, 1), engine.evaluate_table(batch, start).loss
    many, which = launches.last_of_many_tables(engine, batch, 2**31 // engine._tables(batch)[0][0].numel())
    assert many.numel() > 2**31
    monkeypatch.setattr(engine, "_tables", lambda batch: (many, which))
    np.testing.assert_array_equal(engine.advance(batch, start, 1).W, expected.W)
    np.testing.assert_array_equal(engine.evaluate_table(batch, start).loss, loss)


@pytest.mark.parametrize("kernel", ["train_tiny", "measure"])
def test_a_launch_without_memory_halves_the_pack(engine, kernel, monkeypatch):
    """Kernels that spill take memory of their own as they are launched; Triton says so in its own words."""
    batch = make_batch(replace(SMALL, n_batch=64, steps=2), 5)
    given = {
        "evaluation": EvaluationConfig(n_rows=64),
        "history": HistoryConfig(every=0),
        "memory": 1 << 30,
        "progress": Progress(SILENT),
        "stop": lambda: False,
    }
    (expected,) = train_shard(engine, [batch], **given)
    launch, refused = engine._launch, []

    def scarce(plan, count, *arguments):
        if plan.kernel.fn.__name__ == kernel and count > 2:
            refused.append(count)
            raise RuntimeError("Triton Error [CUDA]: out of memory")
        launch(plan, count, *arguments)

    monkeypatch.setattr(engine, "_launch", scarce)
    (found,) = train_shard(engine, [batch], **given)
    assert refused == [5]
    for parameter, values in parameters_of(expected.state).items():
        np.testing.assert_array_equal(parameters_of(found.state)[parameter], values)
    np.testing.assert_array_equal(found.evaluation.loss, expected.evaluation.loss)


def test_all_of_these_are_accepted(engine):
    assert all(engine.refuses(family) is None for family in [*FAMILIES.values(), *LAWS.values()])


def test_no_constant_hides_behind_those_of_triton():
    """`spec.value` in a compiled kernel would be the spec itself; the interpreter does not notice."""
    names = {field.name for field in fields(Spec)} | {"size", "dec", "b", "b_hidden"}
    assert not names & set(dir(tl.constexpr(0)))


def test_memory_counts_state_tables_and_sums(engine):
    tiny, wide = engine.bytes_per_instance(SMALL), engine.bytes_per_instance(replace(BASE, n_features=500))
    assert 0 < tiny < wide
    assert tiny < engine.bytes_per_instance(FAMILIES["table"])
    assert engine.pack_instances(SMALL, 1) == 1
    assert engine.pack_instances(SMALL, 10 * tiny) == 10
