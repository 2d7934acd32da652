"""The same training in JAX: one compiled loop over steps. Imported only where JAX is installed."""

from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]

from superpose_cli.engines.base import initial_state
from superpose_cli.experiment.instances import InstanceBatch

DEVICE: str = jax.default_backend()
"""cpu, or the kind of accelerator that JAX computes on."""


class JaxLoop:
    """Trains a batch in float32: uniform draws, `jax.grad`, AdamW, all inside one `jax.jit`."""

    def __init__(self, batch: InstanceBatch) -> None:
        weights = initial_state(batch, "float32")
        parameters = {"W": jnp.asarray(weights.W), "b": jnp.asarray(weights.b)}
        zeros = {name: jnp.zeros_like(value) for name, value in parameters.items()}
        self.carry: Any = (parameters, zeros, zeros, jax.random.key(int(batch.seed[0])), 0)
        self._advance = jax.jit(_training(batch))

    def advance(self, steps: int) -> None:
        """Train for so many steps, and wait for the last one."""
        self.carry = jax.block_until_ready(self._advance(self.carry, steps))


def _training(batch: InstanceBatch) -> Any:
    """(carry, steps) -> carry, where carry is (parameters, first moments, second moments, key, step)."""
    # Instances come first: on a CPU, XLA's gradient takes half the time of the notebook's batch-first layout.
    importance = jnp.asarray(batch.importance, jnp.float32)[:, None, :]
    feature_probability = jnp.asarray(batch.feature_probability, jnp.float32)[:, None, :]
    count, _, n_features = feature_probability.shape
    rate, decay, eps = (float(values[0]) for values in (batch.learning_rate, batch.weight_decay, batch.eps))
    beta1, beta2 = float(batch.beta1[0]), float(batch.beta2[0])
    shape = (count, batch.family.n_batch, n_features)

    def loss(parameters: Any, x: Any) -> Any:
        W, b = parameters["W"], parameters["b"]
        output = jax.nn.relu(x @ W @ W.swapaxes(1, 2) + b[:, None, :])
        return (importance * (jnp.abs(x) - output) ** 2).mean((1, 2)).sum()

    def one_step(_: Any, carry: Any) -> Any:
        parameters, first, second, key, step = carry
        key, for_value, for_mask = jax.random.split(key, 3)
        on = jax.random.uniform(for_mask, shape) <= feature_probability
        slopes = jax.grad(loss)(parameters, jnp.where(on, jax.random.uniform(for_value, shape), 0.0))
        step = step + 1
        first = jax.tree.map(lambda v, g: beta1 * v + (1 - beta1) * g, first, slopes)
        second = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, second, slopes)
        size, correction = rate / (1 - beta1**step), jnp.sqrt(1 - beta2**step)
        parameters = jax.tree.map(
            lambda p, v, s: p * (1 - rate * decay) - size * v / (jnp.sqrt(s) / correction + eps),
            parameters,
            first,
            second,
        )
        return parameters, first, second, key, step

    return lambda carry, steps: jax.lax.fori_loop(0, steps, one_step, carry)
