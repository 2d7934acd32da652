"""The triton engine on a GPU, beyond what the conformance suite asks: bits, resume, large packs, memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from superpose_cli.benchmark.gpu_sweeps import gradient_error
from superpose_cli.engines import choose_engine
from superpose_cli.engines.base import State, take
from superpose_cli.engines.packs import Pack
from superpose_cli.engines.training import train_shard
from superpose_cli.engines.watch import SILENT, Progress
from superpose_cli.experiment.config import (
    DataKind,
    Dtype,
    EngineConfig,
    EvaluationConfig,
    HistoryConfig,
    Optimizer,
)
from superpose_cli.experiment.instances import InstanceBatch
from superpose_cli.results.checkpoint import Checkpoint
from tests.engines.batches import BASE, make_batch, parameters_of, reference_train
from tests.engines.launches import Repeated, assert_repeats, last_of_many_tables

pytestmark = pytest.mark.gpu

SHAPES = {
    "phase": replace(BASE, n_features=2, n_hidden=1, n_batch=1024),
    "intro": replace(BASE, n_batch=1024),
    "ragged": replace(BASE, n_features=7, n_hidden=3, n_batch=333),
    "two chunks": replace(BASE, n_features=8, n_hidden=5, n_batch=1000),
    "five chunks": replace(
        BASE, n_features=8, n_hidden=8, tied=False, hidden_bias=True, optimizer=Optimizer.adamw
    ),
    "panel of two warps": replace(BASE, n_features=16, n_hidden=12, n_batch=1024),
    "basic": replace(BASE, n_features=20, n_hidden=5, n_batch=1024),
    "basic, adamw": replace(BASE, n_features=20, n_hidden=5, n_batch=1024, optimizer=Optimizer.adamw),
    "untied, adamw": replace(
        BASE, n_features=20, n_hidden=5, tied=False, hidden_bias=True, optimizer=Optimizer.adamw
    ),
    "varying": replace(BASE, n_features=100, n_hidden=20, n_batch=1024),
    "geometry": replace(BASE, n_features=400, n_hidden=30, n_batch=1024),
    "table": replace(BASE, n_features=50, data=DataKind.finite, n_rows=100, n_batch=0, unit_norm=True),
}


@pytest.fixture(scope="module")
def engine():
    chosen = choose_engine(EngineConfig(device="cuda"), list(SHAPES.values()))
    assert chosen.engine.name == "triton", chosen.reason
    return chosen.engine


def assert_same(one: State, other: State) -> None:
    for name, values in parameters_of(one).items():
        np.testing.assert_array_equal(parameters_of(other)[name], values, err_msg=name)


@pytest.mark.parametrize("name", SHAPES)
def test_twenty_steps_follow_the_definition(engine, name):
    batch = make_batch(SHAPES[name], 5)
    found = parameters_of(engine.advance(batch, engine.initialise(batch), 20))
    for parameter, expected in reference_train(batch, 20).items():
        np.testing.assert_allclose(found[parameter], expected, rtol=1e-5, atol=1e-5, err_msg=parameter)


@pytest.mark.parametrize("name", SHAPES)
def test_bits_are_the_same_again_in_any_pack_and_cut_anywhere(engine, name):
    many = make_batch(SHAPES[name], 61)
    whole = engine.advance(many, engine.initialise(many), 40)
    assert_same(engine.advance(many, engine.initialise(many), 40), whole)
    assert_same(engine.advance(many, engine.advance(many, engine.initialise(many), 13), 40), whole)
    order = np.random.default_rng(1).permutation(61)[:9]
    some = many.take(order)
    state = engine.advance(some, engine.initialise(some), 40)
    assert_same(state, take(whole, order))
    found, every = engine.evaluate(some, state, 5000), engine.evaluate(many, whole, 5000)
    np.testing.assert_array_equal(found.loss, every.loss[order])
    np.testing.assert_array_equal(found.hidden_cov, every.hidden_cov[order])


@pytest.mark.parametrize("name", ["tiny", "panel", "wide"])
def test_offsets_beyond_two_billion(engine, name):
    """The parameters of the last instances lie beyond 2^31 numbers; all arrays are made on the GPU."""
    n, m = {"tiny": (6, 4), "panel": (20, 5), "wide": (400, 30)}[name]
    batch = make_batch(replace(BASE, n_features=n, n_hidden=m, n_batch=128), 16)
    size = n * (m + 1)
    times = -(-((1 << 31) // size + 16) // 16)
    # What describes an instance; with parameters, moments and slopes, or with parameters and sums.
    needed = (
        128 + 32 * n + max(4 * size * (4 if name == "wide" else 3), 4 * size + 8 * (3 * n + m + m * m + 4))
    )
    needed *= 16 * times
    if engine.free_memory() < needed:
        pytest.skip(f"needs {needed / 2**30:.0f} GiB of free memory on the GPU")
    repeated = Repeated(engine, batch, times)
    assert repeated.count * size > 1 << 31
    trained = repeated.trained(1)
    assert_repeats(trained, 16)
    state = engine.advance(batch, engine.initialise(batch), 1)
    last = trained.weight[-16:, : state.W[0].size].cpu().numpy()
    np.testing.assert_array_equal(last, state.W.reshape(16, -1))
    del trained
    torch.cuda.empty_cache()
    measured = repeated.measured(128)
    assert_repeats(measured, 16)
    expected = engine.evaluate(batch, engine.initialise(batch), 128).loss
    np.testing.assert_array_equal(measured.row[-16:, 0].cpu().numpy() / 128, expected)


@pytest.mark.parametrize(("n", "m"), [(3, 2), (18, 5), (35, 17)])
def test_tables_beyond_two_billion_numbers_are_found(engine, n, m, monkeypatch):
    family = replace(BASE, n_features=n, n_hidden=m, data=DataKind.finite, n_rows=90, n_batch=50)
    batch = make_batch(family, 3)
    start = engine.initialise(batch)
    expected, loss = engine.advance(batch, start, 2), engine.evaluate_table(batch, start).loss
    many, which = last_of_many_tables(engine, batch, (1 << 31) // (90 * n))
    assert many.numel() > 1 << 31
    monkeypatch.setattr(engine, "_tables", lambda batch: (many, which))
    assert_same(engine.advance(batch, start, 2), expected)
    np.testing.assert_array_equal(engine.evaluate_table(batch, start).loss, loss)


@pytest.mark.parametrize("name", ["phase", "basic, adamw", "geometry", "table"])
def test_what_is_stored_goes_on_to_the_same_bits(engine, name, tmp_path):
    """A stop, a checkpoint in a file, and another pack's company afterwards."""
    batch = make_batch(SHAPES[name], 20)
    state = engine.advance(batch, engine.initialise(batch), 17)
    (tmp_path / ".staging").mkdir()
    checkpoint = Checkpoint(
        run=tmp_path,
        shard=0,
        run_id="00000000",
        numerics=engine.numerics,
        dtype=engine.dtype,
        history=HistoryConfig(every=0),
        batches=[batch],
    )
    checkpoint.save([Pack(batch=0, start=0, stop=20, state=state, first=np.zeros(20))])
    (pack,) = checkpoint.load()
    whole = engine.advance(batch, engine.initialise(batch), 40)
    for span in (slice(0, 7), slice(7, 20)):
        part = engine.advance(batch.take(span), take(pack.state, span), 40)
        assert_same(part, take(whole, span))


@pytest.mark.parametrize("method", ["_trained", "_no_sums"])
def test_out_of_memory_halves_the_pack(engine, method, monkeypatch):
    """A pack that does not fit, in training or in an evaluation, is cut, and nothing is lost."""
    batch = make_batch(SHAPES["varying"], 64)
    given = {
        "evaluation": EvaluationConfig(n_rows=256),
        "history": HistoryConfig(every=0),
        "memory": 1 << 40,
        "progress": Progress(SILENT),
        "stop": lambda: False,
    }
    short = replace(batch, family=replace(batch.family, steps=3))
    (expected,) = train_shard(engine, [short], **given)
    allocate, refused = getattr(engine, method), []

    def scarce(part: InstanceBatch, *arguments):
        if len(part) > 20:
            refused.append(len(part))
            torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
        return allocate(part, *arguments)

    monkeypatch.setattr(engine, method, scarce)
    (found,) = train_shard(engine, [short], **given)
    assert refused == [64, 32]
    assert_same(found.state, expected.state)


def test_products_are_as_near_as_they_are_said_to_be(engine):
    """On a wide model: float32 as three products, within what sums that cut off bits leave; others as one."""
    batch = make_batch(SHAPES["geometry"], 4)
    assert gradient_error(engine, batch) < 1e-5
    for dtype, least, most in ((Dtype.tf32, 1e-5, 5e-3), (Dtype.bf16, 1e-3, 5e-2)):
        rough = choose_engine(EngineConfig(name="triton", device="cuda", dtype=dtype), []).engine
        assert rough.numerics.startswith(f"triton/{dtype}/")
        assert least < gradient_error(rough, batch) < most
