"""The steps of the torch engine: a body that runs on the device alone, and on a GPU is recorded once.

A step is about a hundred short kernels. On a GPU launching them takes longer than running them, so that the
first steps of a call run as usual and one is recorded as a CUDA graph, which the others replay.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from superpose_cli.engines.packs import is_out_of_memory
from superpose_cli.experiment.instances import InstanceBatch
from superpose_cli.toy_model.objective import gradient
from superpose_cli.toy_model.optim import Coefficients, Hyper, rate_factor, update

WARM_UP_STEPS = 3
"""Steps before the recorded one: libraries choose algorithms and take memory at their first calls, which a
recording forbids."""
FEW_STEPS = 128
"""Fewer are not worth a recording, which tidies up the whole device first."""

Tensors = dict[str, torch.Tensor]
RowsAt = Callable[[Any], torch.Tensor]
"""Gives the rows (I, B, n) of a step, whose number is an int or a tensor (1,) on the device."""


class Steps:
    """The updates start .. stop - 1 of a batch; parameters and moments are changed in place."""

    def __init__(
        self,
        batch: InstanceBatch,
        parameters: Tensors,
        moments: tuple[Tensors, Tensors],
        failed: torch.Tensor,
        rows_at: RowsAt,
        span: tuple[int, int],
    ) -> None:
        """`failed` (I,), int64: set to the first update that leaves a weight that is not finite."""
        self.family, self.parameters, self.moments = batch.family, parameters, moments
        self.failed, self.rows_at, (self.start, self.stop) = failed, rows_at, span
        self.device, self.dtype = failed.device, next(iter(parameters.values())).dtype
        self.importance = self._there(batch.importance).to(self.dtype)
        self.l1_weight = self._there(batch.hidden_l1).to(self.dtype) if batch.hidden_l1.any() else None
        names = ("learning_rate", "weight_decay", "momentum", "beta1", "beta2", "eps")
        self.hyper = Hyper(
            optimizer=self.family.optimizer, **{name: self._there(getattr(batch, name)) for name in names}
        )
        family, steps = self.family, range(*span)
        factors = [rate_factor(family.schedule, family.warmup_steps, family.steps, step) for step in steps]
        self.factors = self._there(np.array(factors))
        self.powers1, self.powers2 = self._powers(batch.beta1), self._powers(batch.beta2)

    def run(self) -> None:
        """All of them."""
        if self.device.type == "cuda" and self.stop - self.start >= FEW_STEPS:
            self._replay()
            return
        for step in range(self.start, self.stop):
            self.body(step)

    def body(self, step: Any) -> None:
        """One update; `step` is its number, or an int64 tensor (1,) of it on the device."""
        at = step - self.start
        x = self.rows_at(step)
        slopes = gradient(
            x, self.parameters, self.importance, self.family.model, self.family.loss_reduction, self.l1_weight
        )
        powers = (self._power(powers, at) for powers in (self.powers1, self.powers2))
        coefficients = (value.to(self.dtype) for value in self.hyper.given(self.factors[at], *powers))
        update(self.family.optimizer, self.parameters, slopes, *self.moments, Coefficients(*coefficients))
        each = [value.isfinite().flatten(1).all(1) for value in self.parameters.values()]
        now = (self.failed < 0) & ~torch.stack(each).all(0)
        self.failed.copy_(torch.where(now, step, self.failed))

    def _replay(self) -> None:
        """Some steps, then a recording of one, again and again; without memory for one, step by step.

        A recording takes place on the current device, whatever stream it is given: on another one than that
        of the tensors it would be empty, and replaying it would do nothing.
        """
        step = torch.full((1,), self.start, dtype=torch.int64, device=self.device)

        def next_step() -> None:
            self.body(step)
            step.add_(1)

        aside, here = torch.cuda.Stream(self.device), torch.cuda.current_stream(self.device)
        with torch.cuda.device(self.device):
            try:
                aside.wait_stream(here)
                with torch.cuda.stream(aside):
                    for _ in range(WARM_UP_STEPS):
                        next_step()
                here.wait_stream(aside)
                again = _recorded(next_step, aside) or next_step
                torch.cuda.set_stream(here)  # a recording that fails may leave its own
                for _ in range(self.start + WARM_UP_STEPS, self.stop):
                    again()
            finally:
                torch.cuda.set_stream(here)
                # What was begun aside may still write to what is copied next or, after an error, given back.
                torch.cuda.synchronize(self.device)

    def _powers(self, beta: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """beta^t of each different beta at each step, float64 (S, U), and which of them an instance has."""
        different, which = np.unique(beta, return_inverse=True)
        exponents = np.arange(self.start + 1, self.stop + 1)[:, None]
        return self._there(different**exponents), self._there(which)

    def _power(self, powers: tuple[torch.Tensor, torch.Tensor], at: Any) -> torch.Tensor:
        table, which = powers
        return table[at][..., which]

    def _there(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _recorded(step: Callable[[], None], stream: torch.cuda.Stream) -> Callable[[], None] | None:
    """What does a step again, recorded without doing it; None without the memory for that."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=stream):
            step()
    except RuntimeError as error:
        # The end of a recording that ran out of memory may fail too, with an error of its own.
        if not any(isinstance(e, Exception) and is_out_of_memory(e) for e in (error, error.__context__)):
            raise
        return None
    return graph.replay
