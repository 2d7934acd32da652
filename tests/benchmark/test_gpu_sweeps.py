"""The command for a machine with a GPU, as far as it goes without one."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from superpose_cli.benchmark.gpu_sweeps import DeviceMemory, agreement, phase, run
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.grid import Grid


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
    with pytest.raises(SystemExit, match="exit status 2"):
        run("sweep", "model.n_features=0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so() -> None:
    command = [sys.executable, "-m", "superpose_cli.benchmark.gpu_sweeps"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "no CUDA GPU" in done.stderr
