"""The loss and the closed-form gradient of what is trained, for NumPy arrays and torch tensors alike.

loss      = mean over rows and features of I_i (target(x)_i - y_i)^2, per instance; instances never couple
objective = reduced loss + hidden_l1 * mean over rows of ||h||_1

where the reduced loss is `loss` itself ("mean", the 2022 notebook) or n times it ("sum", Henighan et al.
2023). The factor is not cosmetic: it meets Adam's eps, SGD's learning rate and the L1 weight.
"""

from collections.abc import Mapping

from superpose_cli.toy_model.model import Array, Model, forward, target_of


def objective_of(loss: Array, hidden_l1: Array, n_features: int, reduction: str, l1_weight: Array) -> Array:
    """The trained objective (I,) from the stored loss (I,) and the mean ||h||_1 (I,)."""
    return loss * (n_features if reduction == "sum" else 1) + l1_weight * hidden_l1


def gradient(
    x: Array,
    parameters: Mapping[str, Array],
    importance: Array,
    model: Model,
    reduction: str,
    l1_weight: Array | None = None,
) -> dict[str, Array]:
    """Gradient of the objective with respect to each parameter, in the parameter's shape.

    x: (I, B, n); importance: (I, n); l1_weight: (I,), or None where no instance has any. The derivative of
    ReLU and of |h| at 0 is 0, as in PyTorch.
    """
    rows, n_features = x.shape[1], x.shape[2]
    h, y = forward(x, parameters, model)
    d_y = y - target_of(x, model.target)
    d_y *= (importance * (2 / (rows * n_features if reduction == "mean" else rows)))[:, None, :]
    if model.output_activation == "relu":
        d_y *= y > 0
    tied = "W_dec" not in parameters
    d_h = d_y @ parameters["W" if tied else "W_dec"]
    if l1_weight is not None:
        # Where the hidden layer is a ReLU, h >= 0 and its sign is the derivative of |h|.
        d_h += (l1_weight / rows)[:, None, None] * ((h > 0) * 1.0 - (h < 0) * 1.0)
    if model.hidden_activation == "relu":
        d_h *= h > 0
    from_input, from_output = x.swapaxes(1, 2) @ d_h, d_y.swapaxes(1, 2) @ h
    found = {"W": from_input + from_output} if tied else {"W": from_input, "W_dec": from_output}
    if "b" in parameters:
        found["b"] = d_y.sum(1)
    if "b_hidden" in parameters:
        found["b_hidden"] = d_h.sum(1)
    return found
