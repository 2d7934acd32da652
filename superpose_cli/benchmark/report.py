"""One benchmark: everything measured side by side, and what came out as plain data."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product

from superpose_cli.benchmark.machine import Machine, describe_machine
from superpose_cli.benchmark.measure import SAMPLE_SECONDS, Series, Spread, Stopwatch, Tell, interleave
from superpose_cli.benchmark.rivals import JAX, NOTEBOOK, Rival
from superpose_cli.benchmark.shapes import SCALE, Shape, batch_of
from superpose_cli.engines import ENGINES
from superpose_cli.engines.fma_peak import measure_peak, threads_used
from superpose_cli.engines.packs import is_out_of_memory
from superpose_cli.engines.training import CHUNK_SECONDS
from superpose_cli.errors import ConfigError
from superpose_cli.memory import free_memory

DENSE, SPARSE = 1.0, 0.1
"""The feature probabilities that are timed: all features on, and one in ten."""
BASELINES = (NOTEBOOK, JAX)
"""What speed is told as a multiple of."""
SCALE_STEPS = 8
"""Steps of a sample with very many instances at least: the arrays are copied in and out once a sample."""
SCALE_BYTES = 2048
"""Memory of one small instance with its description, generously."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One rival on one shape."""

    shape: str
    n_features: int
    n_hidden: int
    instances: int
    feature_probability: float
    rival: str
    device: str
    numerics: str
    """The engine's; empty for what is no engine."""
    steps: int
    """Steps of one sample."""
    warm_up_seconds: float
    """Compiling, allocating and finding the pace; in no sample."""
    microseconds: Spread
    """Per model and step."""
    speedups: dict[str, float]
    """Median time of each baseline on this shape over this one's."""
    gflops: float | None
    """10 n m operations a row over the median time; only where all features are on."""
    peak_fraction: float | None
    """`gflops` over the measured peak of all threads, or over the GPU's float32 peak where it is known."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The measured peak of multiply-adds in float32, GFLOP/s."""

    threads: int
    one_thread: Spread
    all_threads: Spread


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `superpose bench` found."""

    date: str
    """When it began: UTC in ISO 8601."""
    seconds: float
    """How long it took, warm-up included."""
    machine: Machine
    peak: Peak
    left_out: dict[str, str]
    """Rivals that were not timed, with the reason."""
    timings: tuple[Timing, ...]
    scale: tuple[Timing, ...]
    """The fastest engine on growing numbers of one shape; empty where not asked for."""

    @property
    def sharing(self) -> float:
        """The peak of all threads over so many times that of one: 1 where every thread has a core."""
        return self.peak.all_threads.median / (self.peak.threads * self.peak.one_thread.median)

    @property
    def scale_spread(self) -> float:
        """The largest median time of `scale` over the smallest: 1 is perfectly flat."""
        medians = [timing.microseconds.median for timing in self.scale]
        return max(medians) / min(medians)


@dataclass
class _Case:
    """One rival on one shape, warm and ready to be timed."""

    shape: Shape
    feature_probability: float
    rival: Rival
    stopwatch: Stopwatch
    series: Series


def run_benchmark(
    shapes: Sequence[Shape],
    rivals: Sequence[Rival],
    left_out: dict[str, str],
    *,
    seconds: float,
    scale: bool,
    tell: Tell,
) -> Report:
    """Time the rivals on the shapes for about `seconds` without the warm-up, and half as long for `scale`.

    A round takes a sample of each rival on each shape at both feature probabilities, and of the peak beside
    each shape. A device that a shape's models leave idle is timed with as many as keep it busy too. `scale`
    adds the fastest engine among the rivals on growing numbers of one shape; raises ConfigError where no
    rival is an engine.
    """
    engine = next((rival for name in ENGINES for rival in rivals if rival.name == name), None)
    if scale and engine is None:
        raise ConfigError(f"--scale times an engine: add --engine {next(iter(ENGINES))}")
    devices = {rival.device for rival in rivals} - {"cpu"}
    machine, began = describe_machine(next(iter(devices), "cpu")), time.monotonic()
    date = datetime.now(UTC).isoformat(timespec="seconds")
    threads = threads_used()
    one, every = Series(lambda: measure_peak(1)), Series(lambda: measure_peak(threads))
    cases: list[_Case] = []
    rounds: list[Series] = []
    left_out = dict(left_out)
    for shape in [*shapes, *_busy(shapes, engine)]:
        here: list[_Case] = []
        for p, rival in product((DENSE, SPARSE), rivals):
            try:
                here.append(_warm_up(shape, p, rival, tell))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                left_out[f"{rival.name} on {shape.name} x {shape.instances:,}"] = "out of memory"
        cases += here
        rounds += [one, every, *(case.series for case in here)]
    interleave(rounds, seconds, tell)
    grown: list[_Case] = []
    if scale and engine is not None:
        held = free_memory() // SCALE_BYTES
        grown = [_warm_up(s, DENSE, engine, tell, SCALE_STEPS) for s in SCALE if s.instances <= held]
        interleave([case.series for case in grown], seconds / 2, tell)
    peak = Peak(threads=threads, one_thread=one.spread(), all_threads=every.spread())
    return Report(
        date=date,
        seconds=time.monotonic() - began,
        machine=machine,
        peak=peak,
        left_out=left_out,
        timings=tuple(_timing(case, cases, peak, machine) for case in cases),
        scale=tuple(_timing(case, grown, peak, machine) for case in grown),
    )


def _busy(shapes: Sequence[Shape], engine: Rival | None) -> Iterator[Shape]:
    """The shapes whose models leave the engine's device idle, with as many as keep it busy."""
    for shape in shapes:
        count = engine.fill(batch_of(shape, DENSE).family) if engine else 0
        if count > shape.instances:
            yield replace(shape, instances=count)


def _warm_up(
    shape: Shape, feature_probability: float, rival: Rival, tell: Tell, least_steps: int = 1
) -> _Case:
    tell(f"warming up {rival.name} on {shape.name} x {shape.instances:,}, p = {feature_probability:g}")
    trainer = rival.start(batch_of(shape, feature_probability))
    # On a GPU a run's weights come and go once in so long; many of them take a while.
    seconds = SAMPLE_SECONDS if rival.device == "cpu" else CHUNK_SECONDS
    stopwatch = Stopwatch(trainer, shape.instances, least_steps, seconds)
    return _Case(shape, feature_probability, rival, stopwatch, Series(stopwatch.sample))


def _timing(case: _Case, cases: Sequence[_Case], peak: Peak, machine: Machine) -> Timing:
    """What was measured of one case, beside the baselines among all of them."""
    shape, rival, found = case.shape, case.rival, case.series.spread()
    where = (shape, case.feature_probability)
    baselines = {
        other.rival.name: other.series.spread().median / found.median
        for other in cases
        if other.rival.name in BASELINES and (other.shape, other.feature_probability) == where
    }
    gflops = 1e-3 * shape.flops / found.median if case.feature_probability == DENSE else None
    gpu_peak = machine.gpu.peak_gflops if machine.gpu else None
    most = peak.all_threads.median if rival.device == "cpu" else gpu_peak
    fraction = gflops / most if gflops and most else None
    return Timing(
        shape=shape.name,
        n_features=shape.n_features,
        n_hidden=shape.n_hidden,
        instances=shape.instances,
        feature_probability=case.feature_probability,
        rival=rival.name,
        device=rival.device,
        numerics=rival.numerics,
        steps=case.stopwatch.steps,
        warm_up_seconds=case.stopwatch.warm_up_seconds,
        microseconds=found,
        speedups=baselines,
        gflops=gflops,
        peak_fraction=fraction,
    )
