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


def test_small_models_take_no_more_registers_than_they_need():
    sizes = [(2, 1), (5, 2), (6, 3), (8, 4), (40, 9)]
    batches = [make_batch(replace(BASE, n_features=n, n_hidden=m), 2) for n, m in sizes]
    plans = [plan_training(batch, "cuda", "float32", 166_912) for batch in batches]
    assert [plan.options["maxnreg"] for plan in plans] == [80, 128, 168, None, None]
