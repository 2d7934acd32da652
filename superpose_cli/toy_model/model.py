"""The model family: one linear map in, one linear map out, each with an optional ReLU (paper, "Demonstrating
Superposition"; the untied and ReLU-hidden members: "Superposition in a privileged basis", "Computation").

Everything here is written once for NumPy arrays and torch tensors: only operators and methods that both have.
Shapes: I instances, B rows, n features, m hidden dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.normal import standard_normal
from superpose_cli.toy_model.philox import Stream, words

Array = Any
"""A NumPy array or a torch tensor."""

PARAMETERS = ("W", "W_dec", "b", "b_hidden")
"""Every parameter that a model may have; a model without one leaves it out of its mapping."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """Which member of the family: activations and target are "identity" or "relu", "identity" or "abs"."""

    hidden_activation: str
    output_activation: str
    target: str


def initial_weights(
    key: npt.NDArray[np.uint64], stream: Stream, n_features: int, n_hidden: int, std: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Normal weights (I, n, m) with standard deviation `std` (I,), from the words of `stream`.

    Row i, column k of the stream belongs to W_ik: a weight depends on neither n, m nor other instances.
    """
    drawn = words(np, key, stream, 0, (0, n_features), n_hidden)
    return standard_normal(drawn) * std[:, None, None]


def activate(z: Array, activation: str) -> Array:
    """ReLU or identity of `z`; NaN stays NaN."""
    return z.clip(0) if activation == "relu" else z


def target_of(x: Array, target: str) -> Array:
    """What the output is compared with: x, or |x| (paper, "Computation in superposition")."""
    return abs(x) if target == "abs" else x


def forward(x: Array, parameters: Mapping[str, Array], model: Model) -> tuple[Array, Array]:
    """h = act_hidden(x W + b_hidden) and y = act_output(h W_dec^T + b), W_dec = W where there is none.

    x: (I, B, n). Returns h (I, B, m) and y (I, B, n).
    """
    h = x @ parameters["W"]
    if "b_hidden" in parameters:
        h += parameters["b_hidden"][:, None, :]
    h = activate(h, model.hidden_activation)
    decoder = parameters["W_dec"] if "W_dec" in parameters else parameters["W"]
    y = h @ decoder.swapaxes(1, 2)
    if "b" in parameters:
        y += parameters["b"][:, None, :]
    return h, activate(y, model.output_activation)
