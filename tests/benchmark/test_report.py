"""A whole benchmark, as short as it gets."""

from dataclasses import asdict

import pytest
import torch

from superpose_cli.benchmark import report as module
from superpose_cli.benchmark.measure import LEAST_ROUNDS
from superpose_cli.benchmark.notebook_loop import NotebookLoop
from superpose_cli.benchmark.report import Report, run_benchmark
from superpose_cli.benchmark.rivals import find_rivals
from superpose_cli.benchmark.shapes import SCALE, SHAPES, batch_of
from superpose_cli.engines.torch_reference import TorchEngine
from superpose_cli.errors import ConfigError

INTRO = SHAPES["intro"]


def benchmark(*names: str, scale: bool = False) -> Report:
    rivals, left_out = find_rivals(names, batch_of(INTRO, 1.0))
    return run_benchmark([INTRO], rivals, left_out, seconds=0, scale=scale, tell=lambda _: None)


@pytest.fixture(scope="module")
def report() -> Report:
    return benchmark("notebook", "torch")


def test_every_rival_is_timed_at_both_densities(report: Report) -> None:
    cases = [(timing.shape, timing.rival, timing.feature_probability) for timing in report.timings]
    assert cases == [("intro", rival, p) for p in (1.0, 0.1) for rival in ("notebook", "torch")]
    for timing in report.timings:
        spread = timing.microseconds
        assert len(spread.samples) >= LEAST_ROUNDS
        assert 0 < spread.low <= spread.median <= spread.high


def test_speedups_and_peak_fractions_are_what_they_are_called(report: Report) -> None:
    notebook, torch, *sparse = report.timings
    ratio = notebook.microseconds.median / torch.microseconds.median
    assert (notebook.speedups, torch.speedups) == ({"notebook": 1.0}, {"notebook": ratio})
    assert torch.gflops == pytest.approx(INTRO.flops / (torch.microseconds.median * 1e-6) / 1e9)
    assert torch.peak_fraction == pytest.approx(torch.gflops / report.peak.all_threads.median)
    assert [timing.gflops for timing in sparse] == [None, None]
    one, every = report.peak.one_thread, report.peak.all_threads
    assert report.sharing == pytest.approx(every.median / one.median / report.peak.threads)


def test_the_report_is_plain_data(report: Report) -> None:
    record = asdict(report)
    assert set(record) == {"date", "seconds", "machine", "peak", "left_out", "timings", "scale"}
    assert record["timings"][0]["microseconds"]["median"] == report.timings[0].microseconds.median
    assert record["scale"] == ()


def test_a_device_that_is_idle_is_timed_busy_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what has no memory for so many is left out, told."""
    monkeypatch.setattr(TorchEngine, "fill", lambda self, family: 30)
    start = NotebookLoop.advance

    def advance(self: NotebookLoop, steps: int) -> None:
        if len(self.W) == 30:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        start(self, steps)

    monkeypatch.setattr(NotebookLoop, "advance", advance)
    report = benchmark("notebook", "torch")
    found = {(timing.rival, timing.instances) for timing in report.timings}
    assert found == {("notebook", 10), ("torch", 10), ("torch", 30)}
    assert report.left_out == {"notebook on intro x 30": "out of memory"}
    assert next(timing for timing in report.timings if timing.instances == 30).speedups == {}


def test_growing_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCALE", SCALE[:2])
    report = benchmark("torch", scale=True)
    assert [(timing.rival, timing.instances) for timing in report.scale] == [("torch", 10), ("torch", 1000)]
    medians = [timing.microseconds.median for timing in report.scale]
    assert report.scale_spread == pytest.approx(max(medians) / min(medians))
    with pytest.raises(ConfigError, match="add --engine numba"):
        benchmark("notebook", scale=True)
