"""The notebook's loop trains the same models as the engines do."""

import numpy as np
import pytest
import torch

from superpose_cli.benchmark.notebook_loop import NotebookLoop
from superpose_cli.benchmark.shapes import SHAPES, batch_of
from superpose_cli.engines.base import State, initial_state
from superpose_cli.engines.torch_reference import TorchEngine
from superpose_cli.experiment.instances import InstanceBatch
from superpose_cli.toy_model.objective import gradient
from tests.engines.batches import reference_rows

STEPS = 600


def small_batch() -> InstanceBatch:
    """The shape `intro`, with importances that differ and a rate at which it learns in a second."""
    batch = batch_of(SHAPES["intro"], 0.2)
    batch.importance[:] = 0.8 ** np.arange(5)
    batch.learning_rate[:] = 1e-2
    return batch


def test_its_gradient_is_the_closed_form() -> None:
    batch = small_batch()
    loop = NotebookLoop(batch)
    x = reference_rows(batch, 0)
    loop.losses(torch.from_numpy(x.swapaxes(0, 1).copy())).sum().backward()
    weights = initial_state(batch, "float64")
    assert weights.b is not None
    expected = gradient(
        x.astype(np.float64), {"W": weights.W, "b": weights.b}, batch.importance, batch.family.model, "mean"
    )
    for name, parameter in (("W", loop.W), ("b", loop.b)):
        assert parameter.grad is not None
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(parameter.grad.numpy(), expected[name], rtol=1e-4, atol=1e-5 * scale)


def test_its_first_updates_are_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same rows: the optimiser, its rate and its weight decay are the same."""
    batch = small_batch()
    engine = TorchEngine()
    state = engine.advance(batch, engine.initialise(batch), 3)
    loop = NotebookLoop(batch)
    rows = iter([torch.from_numpy(reference_rows(batch, step).swapaxes(0, 1).copy()) for step in range(3)])
    monkeypatch.setattr(loop, "draw", lambda: next(rows))
    loop.advance(3)
    np.testing.assert_allclose(loop.W.detach().numpy(), state.W, atol=2e-6)
    assert np.abs(loop.W.detach().numpy() - initial_state(batch, "float32").W).max() > 0.01


def test_its_rows_follow_the_law() -> None:
    x = NotebookLoop(small_batch()).draw().numpy()
    assert x.shape == (1024, 10, 5)
    on = x[x != 0]
    assert abs(on.size / x.size - 0.2) < 5 * np.sqrt(0.2 * 0.8 / x.size)
    assert abs(on.mean() - 0.5) < 5 * np.sqrt(1 / 12 / on.size)
    assert 0 < on.min() < on.max() < 1


def test_it_trains_to_the_engines_loss() -> None:
    """The rows are different draws, so now and then an instance ends in another local minimum."""
    batch = small_batch()
    engine = TorchEngine()
    start = engine.initialise(batch)
    trained = engine.advance(batch, start, STEPS)
    loop = NotebookLoop(batch)
    loop.advance(STEPS)
    mine = State(
        W=loop.W.detach().numpy(),
        W_dec=None,
        b=loop.b.detach().numpy(),
        b_hidden=None,
        moment1={},
        moment2={},
        step=STEPS,
        failed_step=start.failed_step,
    )
    before, theirs, own = (engine.evaluate(batch, state, 8192).loss for state in (start, trained, mine))
    assert np.median(theirs) < 0.7 * np.median(before)
    assert np.median(np.abs(own / theirs - 1)) < 0.01
    assert abs(own.min() / theirs.min() - 1) < 0.01
