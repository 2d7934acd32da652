"""Products on matrix units, as far as Triton's interpreter shows them."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

from superpose_cli.engines.triton_gpu import TritonEngine
from superpose_cli.experiment.config import Optimizer
from tests.engines.batches import FAMILIES, make_batch


@pytest.mark.parametrize("name", ["panel", "wide"])
def test_tf32_rounds_factors_to_nearest(name):
    """Cut off instead, all would be too small: half a part in a thousand each, and the gradient with them."""
    family = replace(FAMILIES[name], optimizer=Optimizer.sgd, schedule="constant", n_batch=130)
    batch = make_batch(family, 2, weight_decay=np.zeros(2))
    engines = (TritonEngine("cpu"), TritonEngine("cpu", "tf32"))
    exact, rough = (each.advance(batch, each.initialise(batch), 1).moment1["W"] for each in engines)
    assert 3e-5 < np.linalg.norm(rough - exact) / np.linalg.norm(exact) < 1e-3
    assert abs((rough * exact).sum() / (exact * exact).sum() - 1) < 3e-4


@pytest.mark.parametrize("name", ["panel", "wide"])
def test_tf32_sees_what_is_not_finite(name):
    """The bits of a NaN, rounded like a number's, would be those of 0."""
    engine = TritonEngine("cpu", "tf32")
    batch = make_batch(replace(FAMILIES[name], n_batch=64), 2)
    start = engine.initialise(batch)
    start.b[1, 0] = np.array(0x7FFFFFFF, np.uint32).view(np.float32)
    state = engine.advance(batch, start, 1)
    assert np.isnan(state.W[1]).all()
    np.testing.assert_array_equal(state.failed_step, [-1, 0])
