"""Timing side by side: short samples of everything in turn, so that a noisy neighbour hits all alike."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from superpose_cli.benchmark.rivals import Trainer

SAMPLE_SECONDS = 0.1
"""Aim for the time of one sample; a single step may take longer."""
WARM_UP_SECONDS = 0.2
"""Time for finding a pace, after the first step, beside that of a sample."""
LEAST_ROUNDS = 3
"""Samples of each series at least, however short the time."""
MOST_GROWTH = 32
"""A first step says little about the pace of the next ones: steps grow at most by this factor at a time."""

Tell = Callable[[str], None]
"""Takes a line that says what is going on."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Repeated measurements of one thing."""

    median: float
    low: float
    """20 % of the samples are below."""
    high: float
    """80 % of the samples are below."""
    samples: tuple[float, ...]


@dataclass
class Series:
    """Something that is measured again and again."""

    measure: Callable[[], float]
    samples: list[float] = field(default_factory=list)

    def spread(self) -> Spread:
        """What was measured, put together."""
        low, median, high = np.quantile(self.samples, (0.2, 0.5, 0.8)).tolist()
        return Spread(median=median, low=low, high=high, samples=tuple(self.samples))


class Stopwatch:
    """Times a trainer's steps in samples of about `seconds`."""

    def __init__(
        self, trainer: Trainer, instances: int, least_steps: int = 1, seconds: float = SAMPLE_SECONDS
    ) -> None:
        """Warms up: the first step compiles and allocates, then the pace decides the steps of a sample."""
        self._trainer, self._instances = trainer, instances
        began = time.perf_counter()
        self._seconds(1)
        self.steps, pace, spent = 1, math.inf, 0.0
        while spent < WARM_UP_SECONDS + seconds:
            taken = self._seconds(self.steps)
            pace, spent = min(pace, taken / self.steps), spent + taken
            self.steps = max(1, min(round(seconds / pace), MOST_GROWTH * self.steps))
        self.steps = max(self.steps, least_steps)
        self.warm_up_seconds = time.perf_counter() - began

    def sample(self) -> float:
        """Microseconds per model and step."""
        return 1e6 * self._seconds(self.steps) / (self.steps * self._instances)

    def _seconds(self, steps: int) -> float:
        began = time.perf_counter()
        self._trainer.advance(steps)
        return time.perf_counter() - began


def interleave(rounds: Sequence[Series], seconds: float, tell: Tell) -> None:
    """Sample all series in turn, round by round, until the time is over; a series may come twice a round."""
    began, done = time.perf_counter(), 0
    while True:
        for series in rounds:
            series.samples.append(series.measure())
        done += 1
        spent = time.perf_counter() - began
        if done >= LEAST_ROUNDS and spent * (done + 1) / done > seconds:
            return
        tell(f"round {done + 1} of about {max(LEAST_ROUNDS, int(seconds * done / spent))}")
