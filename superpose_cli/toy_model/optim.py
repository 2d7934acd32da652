"""Adam, AdamW and SGD, equal to `torch.optim`'s, over instances that each have their own hyper-parameters.

Hyper-parameters are arrays of shape (I,); a parameter has shape (I, ...). What changes with the step is
computed in float64 once a step (`Hyper.at`); the update itself is written once for NumPy arrays and torch
tensors of any precision. Weight decay acts on every parameter, biases too, as PyTorch's optimisers do by
default.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from superpose_cli.toy_model.model import Array


def rate_factor(schedule: str, warmup_steps: int, steps: int, step: int) -> float:
    """What the peak learning rate is multiplied with at update `step` = 0, 1, ..., steps - 1.

    Warm-up rises linearly, (step + 1) / warmup_steps; after it the rate is constant or falls to 0 over the
    remaining updates, linearly or as half a cosine (the values of PyTorch's LinearLR and CosineAnnealingLR).
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    passed = (step - warmup_steps) / (steps - warmup_steps)
    return 1.0 - passed if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * passed))


class Coefficients(NamedTuple):
    """The numbers of one update, each of shape (I,)."""

    rate: Array
    decay: Array
    """adamw: the factor 1 - rate * weight_decay; else the weight decay itself."""
    momentum: Array
    beta1: Array
    rest1: Array
    """1 - beta1."""
    beta2: Array
    rest2: Array
    """1 - beta2."""
    step_size: Array
    """rate / (1 - beta1^t), t = 1, 2, ..."""
    correction: Array
    """sqrt(1 - beta2^t)."""
    eps: Array


@dataclass(frozen=True, kw_only=True)
class Hyper:
    """Hyper-parameters of I instances, each float64 (I,); those that the optimizer lacks are ignored."""

    optimizer: str
    learning_rate: Array
    """The peak rate; the schedule multiplies it."""
    weight_decay: Array
    momentum: Array
    beta1: Array
    beta2: Array
    eps: Array

    def at(self, step: int, factor: float) -> Coefficients:
        """What update `step` = 0, 1, ... needs, in float64: 1 - beta2^t loses half its digits in float32."""
        return self.given(factor, self.beta1 ** (step + 1), self.beta2 ** (step + 1))

    def given(self, factor: Array | float, power1: Array, power2: Array) -> Coefficients:
        """`at`, given beta1^t and beta2^t with t = step + 1."""
        rate = self.learning_rate * factor
        return Coefficients(
            rate=rate,
            decay=1 - rate * self.weight_decay if self.optimizer == "adamw" else self.weight_decay,
            momentum=self.momentum,
            beta1=self.beta1,
            rest1=1 - self.beta1,
            beta2=self.beta2,
            rest2=1 - self.beta2,
            step_size=rate / (1 - power1),
            correction=(1 - power2) ** 0.5,
            eps=self.eps,
        )


def update(
    optimizer: str,
    parameters: Mapping[str, Array],
    gradients: Mapping[str, Array],
    moment1: Mapping[str, Array],
    moment2: Mapping[str, Array],
    coefficients: Coefficients,
) -> None:
    """One update in place, with coefficients in the parameters' precision.

    adam: Kingma & Ba 2015, weight decay added to the gradient; adamw: Loshchilov & Hutter 2019, weights first
    multiplied by 1 - rate * weight_decay; sgd: PyTorch's heavy ball, buffer = momentum * buffer + gradient,
    without dampening. Moments start at 0; sgd keeps its buffer in `moment1` and has no `moment2`.
    """
    for name, weight in parameters.items():
        c = Coefficients(*(value.reshape((-1,) + (1,) * (weight.ndim - 1)) for value in coefficients))
        slope, first = gradients[name], moment1[name]
        if optimizer == "adamw":
            weight *= c.decay
        else:
            slope = slope + c.decay * weight
        if optimizer == "sgd":
            first *= c.momentum
            first += slope
            weight -= c.rate * first
            continue
        second = moment2[name]
        first *= c.beta1
        first += c.rest1 * slope
        second *= c.beta2
        second += c.rest2 * slope * slope
        weight -= c.step_size * first / (second**0.5 / c.correction + c.eps)
