"""The closed-form gradient against autograd, for every member of the family, on NumPy and on torch."""

from itertools import product

import numpy as np
import pytest
import torch

from superpose_cli.toy_model.model import Model, forward, target_of
from superpose_cli.toy_model.objective import gradient, objective_of

I, B, N, M = 3, 17, 5, 2  # noqa: E741
ACTIVATIONS = ["identity", "relu"]


def parameters_of(
    rng: np.random.Generator, tied: bool, bias: bool, hidden_bias: bool
) -> dict[str, np.ndarray]:
    found = {"W": rng.normal(size=(I, N, M))}
    if not tied:
        found["W_dec"] = rng.normal(size=(I, N, M))
    if bias:
        found["b"] = rng.normal(size=(I, N))
    if hidden_bias:
        found["b_hidden"] = rng.normal(size=(I, M))
    return found


@pytest.mark.parametrize(
    ("hidden", "output", "tied", "bias", "hidden_bias", "target", "reduction", "l1"),
    list(
        product(
            ACTIVATIONS,
            ACTIVATIONS,
            [True, False],
            [True, False],
            [True, False],
            ["identity", "abs"],
            ["mean", "sum"],
            [0.0, 0.3],
        )
    ),
)
def test_gradient_equals_autograd(hidden, output, tied, bias, hidden_bias, target, reduction, l1):
    rng = np.random.default_rng(0)
    model = Model(hidden_activation=hidden, output_activation=output, target=target)
    arrays = parameters_of(rng, tied, bias, hidden_bias)
    x, importance, weight = rng.normal(size=(I, B, N)), rng.random((I, N)), np.array([0.0, l1, 2 * l1])
    leaves = {name: torch.from_numpy(value).requires_grad_() for name, value in arrays.items()}
    h, y = forward(torch.from_numpy(x), leaves, model)
    loss = (torch.from_numpy(importance)[:, None] * (target_of(torch.from_numpy(x), target) - y) ** 2).mean(
        (1, 2)
    )
    objective = objective_of(loss, h.abs().sum(2).mean(1), N, reduction, torch.from_numpy(weight))
    objective.sum().backward()
    for convert in (np.asarray, torch.from_numpy):
        given = {name: convert(value.copy()) for name, value in arrays.items()}
        found = gradient(
            convert(x), given, convert(importance), model, reduction, convert(weight) if l1 else None
        )
        assert found.keys() == leaves.keys()
        for name, leaf in leaves.items():
            assert leaf.grad is not None
            np.testing.assert_allclose(np.asarray(found[name]), leaf.grad.numpy(), rtol=1e-12, atol=1e-13)


def test_gradient_is_zero_at_the_kink():
    """A dead output (W = 0, b < 0) has no gradient: the flag `dead` rests on exact zeros."""
    model = Model(hidden_activation="identity", output_activation="relu", target="identity")
    given = {"W": np.zeros((1, N, M)), "b": -np.ones((1, N))}
    found = gradient(np.ones((1, B, N)), given, np.ones((1, N)), model, "mean")
    assert all((slope == 0).all() for slope in found.values())
