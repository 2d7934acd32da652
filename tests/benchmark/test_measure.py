"""Samples, their spread, and their order; no test looks at a clock."""

import pytest

from superpose_cli.benchmark import measure
from superpose_cli.benchmark.measure import LEAST_ROUNDS, Series, Stopwatch, interleave


class Clock:
    """A clock that only trainers move on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(measure.time, "perf_counter", lambda: self.now)


class Paced:
    """Takes `first` seconds once, and then `pace` a step."""

    def __init__(self, clock: Clock, pace: float, first: float = 0.0) -> None:
        self.clock, self.pace, self.first = clock, pace, first

    def advance(self, steps: int) -> None:
        self.clock.now += self.first + steps * self.pace
        self.first = 0.0


@pytest.mark.parametrize(("pace", "steps"), [(2e-5, 5000), (0.01, 10), (0.06, 2), (2.0, 1)])
def test_a_sample_has_the_steps_of_its_time(pace: float, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    stopwatch = Stopwatch(Paced(clock, pace, first=30.0), instances=10)
    assert stopwatch.steps == steps
    assert stopwatch.warm_up_seconds == pytest.approx(clock.now)
    assert stopwatch.sample() == pytest.approx(1e6 * pace / 10)


def test_least_steps_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Stopwatch(Paced(Clock(monkeypatch), 1.0), instances=1, least_steps=8).steps == 8


def test_a_spread_is_quantiles() -> None:
    series = Series(lambda: 0.0, samples=[float(value) for value in range(11)])
    spread = series.spread()
    assert (spread.low, spread.median, spread.high, len(spread.samples)) == (2, 5, 8, 11)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, LEAST_ROUNDS), (40.0, 10), (42.0, 10)])
def test_series_take_turns_until_the_time_is_over(
    seconds: float, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, order, said = Clock(monkeypatch), [], []

    def measured(name: str) -> Series:
        def measure() -> float:
            order.append(name)
            clock.now += 1.0
            return clock.now

        return Series(measure)

    peak, a, b = (measured(name) for name in ("peak", "a", "b"))
    interleave([peak, a, peak, b], seconds, said.append)
    assert order == rounds * ["peak", "a", "peak", "b"]
    assert (len(peak.samples), len(a.samples)) == (2 * rounds, rounds)
    assert len(said) == rounds - 1
