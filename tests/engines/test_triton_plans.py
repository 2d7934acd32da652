"""Which kernel trains which models, and by how many warps."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

from superpose_cli.engines.triton_plans import plan_training
from tests.engines.batches import BASE, make_batch


@pytest.mark.parametrize(
    ("change", "kernel", "warps"),
    [
        ({"n_features": 8, "n_hidden": 8}, "train_tiny", 4),
        ({"n_features": 8, "n_hidden": 8, "tied": False, "hidden_bias": True}, "train_tiny", 4),
        ({"n_features": 16, "n_hidden": 4}, "train_tiny", 4),
        ({"n_features": 16, "n_hidden": 4, "tied": False, "hidden_bias": True}, "train_panel", 2),
        ({"n_features": 20, "n_hidden": 5}, "train_panel", 4),
        ({"n_features": 40, "n_hidden": 9}, "train_panel", 8),
        ({"n_features": 100, "n_hidden": 20}, "train_wide", 8),
    ],
)
def test_which_kernel_trains_what(change, kernel, warps):
    plan = plan_training(make_batch(replace(BASE, **change), 2), "cuda", "float32", 166_912)
    assert (plan.kernel.fn.__name__, plan.warps) == (kernel, warps)
