# type: ignore  # Triton compiles this: its names and operators are not those that a checker knows
"""Updates of the weights as Triton functions: `toy_model/optim.py` on numbers in registers."""
# ruff: noqa: RUF005 (Triton knows no starred tuples)

from typing import Any, NamedTuple

import triton
import triton.language as tl


class Trained(NamedTuple):
    """What training changes: device arrays, or in a kernel pointers to them."""

    weight: Any
    """float32 (I, size): the parameters one after the other, as `Spec` says."""
    first: Any
    second: Any
    slope: Any
    """Room for the gradient of wide models, as large; one number elsewhere."""
    failed: Any
    """int64 (I,): the first update that left a weight that is not finite, or -1."""


class Hyper(NamedTuple):
    """What updates need of I instances in S steps, likewise."""

    scale: Any
    """float32 (I, n): the factor of a residual in the gradient."""
    l1: Any
    """float32 (I,): weight of |h|, over the rows of a step."""
    learning_rate: Any
    """float64 (I,)."""
    weight_decay: Any
    """float64 (I,)."""
    numbers: Any
    """float32 (I, 6): momentum, beta1, 1 - beta1, beta2, 1 - beta2, eps."""
    betas: Any
    """int32 (I,): which row of `debiased` is the instance's."""
    factors: Any
    """float64 (S,): what the rate is multiplied with."""
    debiased: Any
    """float64 (K, S, 2): 1 / (1 - beta1^t) and sqrt(1 - beta2^t), for each pair of betas."""


@triton.jit
def rates_of(hyper, i, mask):
    """What `coefficients` needs that no step changes."""
    return (
        tl.load(hyper.learning_rate + i, mask=mask, other=0.0),
        tl.load(hyper.weight_decay + i, mask=mask, other=0.0),
        tl.load(hyper.betas + i, mask=mask, other=0),
    )


@triton.jit
def constants_of(hyper, i, mask):
    """The same, and the numbers of `Hyper.numbers`: what `updated` needs."""
    found = rates_of(hyper, i, mask)
    for number in tl.static_range(6):
        found = found + (tl.load(hyper.numbers + 6 * i + number, mask=mask, other=0.0),)
    return found


@triton.jit
def coefficients(hyper, constants, optimizer: tl.constexpr, at, n_steps, mask):
    """`toy_model.optim.Hyper.at` of step number `at`: (rate, shrink, decay, step size, correction)."""
    learning_rate, weight_decay, betas = constants[0], constants[1], constants[2]
    rate = learning_rate * tl.load(hyper.factors + at)
    place = hyper.debiased + 2 * (betas.to(tl.int64) * n_steps + at)
    step_size = rate * tl.load(place, mask=mask, other=0.0)
    correction = tl.load(place + 1, mask=mask, other=1.0)
    one = rate * 0 + 1
    if optimizer == "adamw":
        shrink, decay = one - rate * weight_decay, one * 0
    else:
        shrink, decay = one, weight_decay
    return (
        rate.to(tl.float32),
        shrink.to(tl.float32),
        decay.to(tl.float32),
        step_size.to(tl.float32),
        correction.to(tl.float32),
    )


@triton.jit
def updated(weight, slope, first, second, c, constants, optimizer: tl.constexpr):
    """(weight, first, second) after one update; sgd has no second moment."""
    rate, shrink, decay, step_size, correction = c[0], c[1], c[2], c[3], c[4]
    momentum, beta1, rest1 = constants[3], constants[4], constants[5]
    beta2, rest2, eps = constants[6], constants[7], constants[8]
    if optimizer == "adamw":
        weight = weight * shrink
    else:
        slope = slope + decay * weight
    if optimizer == "sgd":
        first = momentum * first + slope
        weight = weight - rate * first
    else:
        first = beta1 * first + rest1 * slope
        second = beta2 * second + rest2 * slope * slope
        weight = weight - step_size * first / (tl.sqrt(second) / correction + eps)
    return weight, first, second


@triton.jit
def update_place(trained, place, mask, slope, c, constants, optimizer: tl.constexpr):
    """Update the parameters at `place` in memory; gives the new ones."""
    weight = tl.load(trained.weight + place, mask=mask, other=0.0)
    first = tl.load(trained.first + place, mask=mask, other=0.0)
    second = tl.load(trained.second + place, mask=mask, other=0.0)
    weight, first, second = updated(weight, slope, first, second, c, constants, optimizer)
    tl.store(trained.weight + place, weight, mask=mask)
    tl.store(trained.first + place, first, mask=mask)
    tl.store(trained.second + place, second, mask=mask)
    return weight
