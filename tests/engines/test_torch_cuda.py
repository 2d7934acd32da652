"""The torch engine on a GPU: the same draws as on a CPU, and the same training to float32's rounding."""

import numpy as np
import pytest
import torch

from superpose_cli.engines import choose_engine, torch_steps
from superpose_cli.engines.base import Engine
from superpose_cli.experiment.config import Dtype, EngineConfig
from tests.engines.batches import FAMILIES, make_batch, parameters_of, reference_rows, reference_train

pytestmark = pytest.mark.gpu


@pytest.fixture(params=[Dtype.float32, Dtype.float64])
def engine(request) -> Engine:
    return choose_engine(EngineConfig(name="torch", device="cuda", dtype=request.param), []).engine


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_have_the_bits_of_numpy(engine, name):
    batch = make_batch(FAMILIES[name])
    rows_at = engine._training_rows(batch)
    for step in range(3):
        rows = rows_at(step)
        found = rows.cpu().numpy()
        assert rows.device.type == "cuda", "a GPU's rows are drawn on the GPU"
        np.testing.assert_array_equal(found, reference_rows(batch, step).astype(found.dtype))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("steps", [1, 50])
def test_weights_follow_the_definition(engine, name, steps):
    batch = make_batch(FAMILIES[name])
    found = parameters_of(engine.advance(batch, engine.initialise(batch), steps))
    tolerance = {"float64": {1: 1e-12, 50: 1e-9}, "float32": {1: 2e-6, 50: 2e-4}}[engine.dtype][steps]
    for parameter, expected in reference_train(batch, steps).items():
        np.testing.assert_allclose(found[parameter], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", FAMILIES)
def test_replayed_steps_have_the_bits_of_single_ones(engine, name, monkeypatch):
    batch = make_batch(FAMILIES[name])
    begun = engine.initialise(batch)
    single = engine.advance(batch, begun, 40)
    recorded = []
    replay = torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: (recorded.append(1), replay(graph)))
    monkeypatch.setattr(torch_steps, "FEW_STEPS", 1)
    replayed = engine.advance(batch, begun, 40)
    assert len(recorded) == 40 - torch_steps.WARM_UP_STEPS
    for parameter, expected in parameters_of(single).items():
        np.testing.assert_array_equal(parameters_of(replayed)[parameter], expected)


def test_steps_may_be_cut_anywhere(engine):
    batch = make_batch(FAMILIES["absolute_value"])
    whole = engine.advance(batch, engine.initialise(batch), 20)
    parts = engine.advance(batch, engine.advance(batch, engine.initialise(batch), 7), 20)
    np.testing.assert_array_equal(parts.W, whole.W)
    assert engine.evaluate(batch, parts, 5000).loss.shape == (len(batch),)


def test_replays_move_the_weights(engine):
    """A recording that is empty would leave them where the first steps brought them."""
    batch = make_batch(FAMILIES["relu_output"])
    begun = engine.advance(batch, engine.initialise(batch), torch_steps.WARM_UP_STEPS)
    moved = engine.advance(batch, begun, torch_steps.WARM_UP_STEPS + torch_steps.FEW_STEPS)
    assert (abs(moved.W - begun.W).max(axis=(1, 2)) > 1e-3).all()
    assert (moved.failed_step == -1).all()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_second_gpu_replays_what_the_first_does():
    """Whichever device is the current one; both are of one kind, or their bits may differ."""
    batch = make_batch(FAMILIES["relu_output"])
    found = []
    for name in ("cuda:0", "cuda:1"):
        engine = choose_engine(EngineConfig(name="torch", device=name), []).engine
        found.append(engine.advance(batch, engine.initialise(batch), 2 * torch_steps.FEW_STEPS))
    np.testing.assert_allclose(found[1].W, found[0].W, rtol=2e-4, atol=2e-4)
