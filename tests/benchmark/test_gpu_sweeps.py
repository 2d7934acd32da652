"""The command for a machine with a GPU, as far as it goes without one."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from superpose_cli.benchmark import gpu_sweeps
from superpose_cli.benchmark.gpu_sweeps import (
    DeviceMemory,
    Done,
    Page,
    agreement,
    gradient_error,
    measure,
    phase,
    run,
    weight_error,
)
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.grid import Grid
from tests.engines.batches import FAMILIES, make_batch


def test_a_phase_diagram_has_as_many_models() -> None:
    grid = Grid(load_experiment(phase(256, 10)))
    assert grid.n_instances == 256 * 256 * 10
    assert {(f.n_features, f.n_hidden, f.n_batch, f.steps) for f in grid.families()} == {(2, 1, 1024, 5000)}


def test_the_memory_of_a_gpu_is_what_others_took_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    free, seen = [70], threading.Event()

    def mem_get_info(device: str) -> tuple[int, int]:
        if free[0] != 70:
            seen.set()
        return free[0], 80

    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    with DeviceMemory("cuda:1") as memory:
        free[0] = 31
        assert seen.wait(20)
        free[0] = 70
    assert memory.peak == 39
    with DeviceMemory("cpu") as none:
        pass
    assert none.peak == 0


@pytest.mark.slow
def test_runs_are_measured_and_compared(tmp_path: Path) -> None:
    settings = [*phase(3, 2), "train.steps=40", "train.n_batch=64", "--engine", "torch", "--device", "cpu"]
    one = run("sweep", *settings, "--out", str(tmp_path / "one"))
    other = run("sweep", *settings, "train.learning_rate=1e-12", "--out", str(tmp_path / "other"))
    assert one.seconds > 0
    assert 1e7 < one.peak_bytes < 1e11
    assert Path(one.last_line) == tmp_path / "one"
    assert agreement(one.last_line, one.last_line) == 1
    assert 0 <= agreement(one.last_line, other.last_line) < 1
    assert (one.status, other.status) == (0, 0)
    assert run("sweep", "model.n_features=0").status == 2


def test_what_fails_is_told_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is on disk after each command, and the next one runs whatever the last one did."""
    page = Page(tmp_path / "page.md", ["# Title"], str(tmp_path))
    before: list[str] = []

    def failing(*arguments: str, device: str = "cpu") -> Done:
        before.append(page.path.read_text(encoding="utf-8"))
        status = 3 if any("geometry" in argument for argument in arguments) else 0
        return Done("superpose " + " ".join(arguments), 1.0, 2**30, 2**29, str(tmp_path), status)

    def no_gpu(device: str) -> str:
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(gpu_sweeps, "run", failing)
    monkeypatch.setattr(gpu_sweeps, "product_errors", no_gpu)
    monkeypatch.setattr(gpu_sweeps, "agreement", lambda one, other: 0.995)
    measure(page, tmp_path, "cuda", 1.0)
    assert [text.count("| `superpose") for text in before] == list(range(7))
    text = page.path.read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if "experiment=geometry" in line]
    assert row.endswith("| 1.00 | 0.50 | **failed: exit status 3** |")
    assert "geomspace(1,0.01,1024)" in text
    assert "**Measuring products failed**: out of memory" in text
    assert "agree in 99.50 % of 4,096 cells" in text
    assert str(tmp_path) not in text.replace("--out " + str(tmp_path), "")
    assert page.failed == 2


def test_runs_that_failed_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(tmp_path / "page.md", [], str(tmp_path))
    monkeypatch.setattr(gpu_sweeps, "run", lambda *arguments, device="cpu": Done("", 1.0, 0, 0, "", 1))
    monkeypatch.setattr(gpu_sweeps, "product_errors", lambda device: "said")
    measure(page, tmp_path, "cuda", 1.0)
    assert "**Comparing phases failed**" in page.path.read_text(encoding="utf-8")
    assert page.failed == 8


@pytest.mark.parametrize(
    ("dtype", "least", "most"), [("float32", 1e-9, 1e-6), ("tf32", 1e-4, 1e-3), ("bf16", 1e-3, 1e-2)]
)
def test_what_products_cost_is_held_against_float64(
    monkeypatch: pytest.MonkeyPatch, dtype: str, least: float, most: float
) -> None:
    engine = pytest.importorskip("superpose_cli.engines.triton_gpu").TritonEngine("cpu", dtype)
    batch = make_batch(FAMILIES["panel"], 2)
    assert least < gradient_error(engine, batch) < most
    monkeypatch.setattr(gpu_sweeps, "PRODUCTS_STEPS", 2)
    assert least / 10 < weight_error(engine, batch) < 10 * most


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so() -> None:
    command = [sys.executable, "-m", "superpose_cli.benchmark.gpu_sweeps"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "no CUDA GPU" in done.stderr
