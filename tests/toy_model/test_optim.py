"""Optimisers and schedules against PyTorch's, instance by instance."""

import numpy as np
import pytest
import torch

from superpose_cli.toy_model.optim import Coefficients, Hyper, rate_factor, update

STEPS = 50
RATES = np.array([1e-3, 1e-2, 5e-2])
DECAYS = np.array([0.0, 1e-2, 0.5])


def hyper(optimizer: str) -> Hyper:
    return Hyper(
        optimizer=optimizer,
        learning_rate=RATES,
        weight_decay=DECAYS,
        momentum=np.array([0.0, 0.9, 0.5]),
        beta1=np.array([0.9, 0.8, 0.0]),
        beta2=np.array([0.999, 0.9, 0.99]),
        eps=np.array([1e-8, 1e-6, 1e-3]),
    )


def rival(optimizer: str, i: int, leaves: list[torch.Tensor]) -> torch.optim.Optimizer:
    h = hyper(optimizer)
    if optimizer == "sgd":
        return torch.optim.SGD(leaves, lr=RATES[i], momentum=h.momentum[i], weight_decay=DECAYS[i])
    kind = torch.optim.AdamW if optimizer == "adamw" else torch.optim.Adam
    betas = (h.beta1[i], h.beta2[i])
    return kind(leaves, lr=RATES[i], betas=betas, eps=h.eps[i], weight_decay=DECAYS[i])


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 7])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_fifty_updates_equal_torch(optimizer, schedule, warmup, dtype):
    rng = np.random.default_rng(1)
    slopes = rng.normal(size=(STEPS, 3, 4, 2)).astype(dtype)
    start = rng.normal(size=(3, 4, 2)).astype(dtype)
    weights, first, second = {"W": start.copy()}, {"W": np.zeros_like(start)}, {"W": np.zeros_like(start)}
    ours = hyper(optimizer)
    for step in range(STEPS):
        at = ours.at(step, rate_factor(schedule, warmup, STEPS, step))
        coefficients = Coefficients(*(value.astype(dtype) for value in at))
        update(optimizer, weights, {"W": slopes[step]}, first, second, coefficients)
    for i in range(3):
        leaf = torch.from_numpy(start[i].copy()).requires_grad_()
        theirs = rival(optimizer, i, [leaf])
        for step in range(STEPS):
            # PyTorch's own schedulers are chained here as a user would chain them.
            theirs.param_groups[0]["lr"] = RATES[i] * torch_factor(schedule, warmup, step)
            leaf.grad = torch.from_numpy(slopes[step, i].copy())
            theirs.step()
        tolerance = 1e-12 if dtype is np.float64 else 1e-6
        np.testing.assert_allclose(weights["W"][i], leaf.detach().numpy(), rtol=tolerance, atol=tolerance)


def torch_factor(schedule: str, warmup: int, step: int) -> float:
    """The factor that PyTorch's schedulers give at `step`."""
    leaf = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([leaf], lr=1.0)
    after: torch.optim.lr_scheduler.LRScheduler
    if schedule == "cosine":
        after = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS - warmup)
    else:
        end = 0.0 if schedule == "linear" else 1.0
        after = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, end, total_iters=STEPS - warmup)
    plan: torch.optim.lr_scheduler.LRScheduler = after
    if warmup:
        rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, total_iters=warmup - 1)
        plan = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, after], milestones=[warmup])
    for _ in range(step):
        optimizer.step()
        plan.step()
    return optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_schedule_ends_at_its_floor(schedule):
    """After the last update the rate would be 0 (or unchanged): the decay spans exactly the run."""
    assert rate_factor(schedule, 10, 100, 9) == rate_factor(schedule, 10, 100, 10) == 1.0
    assert rate_factor(schedule, 0, 100, 100) == (
        1.0 if schedule == "constant" else pytest.approx(0, abs=1e-15)
    )
