"""How the lanes of a warp share out the parameters of a tiny model, under Triton's interpreter."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")

from superpose_cli.engines import triton_tiny  # noqa: E402


@triton.jit
def store_sums(values, out, COUNT: tl.constexpr, I: tl.constexpr, L: tl.constexpr):  # noqa: E741
    lane = tl.broadcast_to(tl.arange(0, L)[None, :], [I, L])
    place = tl.arange(0, I)[:, None] * L + lane
    each = ()
    for q in tl.static_range(COUNT):
        each = each + (tl.load(values + q * I * L + place),)  # noqa: RUF005
    tl.store(out + place, triton_tiny.sum_for_owner(each, lane, L))


@pytest.mark.parametrize(("lanes", "count"), [(32, 1), (32, 21), (32, 32), (64, 40)])
def test_each_lane_has_the_sum_of_its_own(lanes, count):
    values = np.random.default_rng(0).integers(-99, 99, (count, 4, lanes)).astype(np.float32)
    out = torch.zeros(4, lanes)
    store_sums[(1,)](torch.from_numpy(values), out, count, 4, lanes)
    np.testing.assert_array_equal(out.numpy()[:, :count], values.sum(2).T)
