"""What people run today: the training loop of the 2022 notebook, in plain PyTorch.

All models are one tensor W (instances, n, m); every step draws values and a mask, runs forward and backward
through autograd, and ends in `torch.optim.AdamW`. Layout and operations are the notebook's, which
puts the batch first.
"""

import torch

from superpose_cli.engines.base import initial_state
from superpose_cli.experiment.instances import InstanceBatch


class NotebookLoop:
    """Trains a batch in float32, from the initial weights that every engine starts from."""

    def __init__(self, batch: InstanceBatch, device: str = "cpu") -> None:
        weights = initial_state(batch, "float32")
        self.W = torch.nn.Parameter(torch.from_numpy(weights.W).to(device))
        self.b = torch.nn.Parameter(torch.from_numpy(weights.b).to(device))
        self.importance = torch.from_numpy(batch.importance).float().to(device)
        self.feature_probability = torch.from_numpy(batch.feature_probability).float().to(device)
        self.rows = batch.family.n_batch
        self.generator = torch.Generator(device).manual_seed(int(batch.seed[0]))
        self.optimizer = torch.optim.AdamW(
            [self.W, self.b],
            lr=float(batch.learning_rate[0]),
            betas=(float(batch.beta1[0]), float(batch.beta2[0])),
            eps=float(batch.eps[0]),
            weight_decay=float(batch.weight_decay[0]),
        )

    def draw(self) -> torch.Tensor:
        """Rows of one step, (B, I, n): uniform on [0, 1) where on, else 0."""
        shape = (self.rows, *self.feature_probability.shape)
        value = torch.rand(shape, generator=self.generator, device=self.W.device)
        on = torch.rand(shape, generator=self.generator, device=self.W.device) <= self.feature_probability
        return torch.where(on, value, 0.0)

    def losses(self, x: torch.Tensor) -> torch.Tensor:
        """The loss of each instance (I,) on rows (B, I, n): mean of I_i (|x_i| - y_i)^2."""
        hidden = torch.einsum("bif,ifh->bih", x, self.W)
        output = torch.relu(torch.einsum("bih,ifh->bif", hidden, self.W) + self.b)
        return (self.importance * (x.abs() - output) ** 2).mean((0, 2))

    def advance(self, steps: int) -> None:
        """Train for so many steps, to the end. Losses are summed over instances, which do not couple."""
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            self.losses(self.draw()).sum().backward()
            self.optimizer.step()
        if self.W.is_cuda:
            torch.cuda.synchronize(self.W.device)
