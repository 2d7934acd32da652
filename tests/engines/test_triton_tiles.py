"""Products on matrix units, as far as Triton's interpreter shows them."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")

from superpose_cli.engines.triton_gpu import TritonEngine  # noqa: E402
from superpose_cli.engines.triton_tiles import in_bf16  # noqa: E402
from superpose_cli.experiment.config import Optimizer  # noqa: E402
from tests.engines.batches import FAMILIES, make_batch  # noqa: E402


@pytest.mark.parametrize(("dtype", "least"), [("tf32", 3e-5), ("bf16", 2.4e-4)])
@pytest.mark.parametrize("name", ["panel", "wide"])
def test_rough_products_round_factors_to_nearest(name, dtype, least):
    """Cut off instead, all would be too small: half of the last bit each, and the gradient with them."""
    family = replace(FAMILIES[name], optimizer=Optimizer.sgd, schedule="constant", n_batch=130)
    batch = make_batch(family, 2, weight_decay=np.zeros(2))
    engines = (TritonEngine("cpu"), TritonEngine("cpu", dtype))
    exact, rough = (each.advance(batch, each.initialise(batch), 1).moment1["W"] for each in engines)
    assert least < np.linalg.norm(rough - exact) / np.linalg.norm(exact) < 33 * least
    assert abs((rough * exact).sum() / (exact * exact).sum() - 1) < 10 * least


@triton.jit
def store_rounded(values, out, N: tl.constexpr):
    place = tl.arange(0, N)
    tl.store(out + place, in_bf16(tl.load(values + place)))


def test_bf16_is_to_nearest_and_ties_to_even():
    """As PyTorch rounds."""
    bits = np.random.default_rng(0).integers(0, 2**32, 1 << 12, np.uint32)
    bits[::2] = bits[::2] & 0xFFFF0000 | 0x8000  # ties
    values = torch.from_numpy(bits.view(np.float32))
    values[:4] = torch.tensor([np.inf, -np.inf, np.nan, 3.4e38])
    out = torch.zeros_like(values)
    store_rounded[(1,)](values, out, len(values))
    torch.testing.assert_close(out, values.bfloat16().float(), rtol=0, atol=0, equal_nan=True)


def test_tiny_models_take_no_products():
    batch = make_batch(FAMILIES["relu_output"], 2)
    engines = (TritonEngine("cpu"), TritonEngine("cpu", "bf16"))
    exact, rough = (each.advance(batch, each.initialise(batch), 1) for each in engines)
    np.testing.assert_array_equal(rough.W, exact.W)


@pytest.mark.parametrize("dtype", ["tf32", "bf16"])
@pytest.mark.parametrize("name", ["panel", "wide"])
def test_rough_products_see_what_is_not_finite(name, dtype):
    """The bits of a NaN, rounded like a number's, would be those of 0."""
    engine = TritonEngine("cpu", dtype)
    batch = make_batch(replace(FAMILIES[name], n_batch=64), 2)
    start = engine.initialise(batch)
    start.b[1, 0] = np.array(0x7FFFFFFF, np.uint32).view(np.float32)
    state = engine.advance(batch, start, 1)
    assert np.isnan(state.W[1]).all()
    np.testing.assert_array_equal(state.failed_step, [-1, 0])
