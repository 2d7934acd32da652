"""Everything that is to be shown on a GPU, in one command: `python -m superpose_cli.benchmark.gpu_sweeps`.

It times the engines beside the notebook's loop, then whole sweeps by the command line (seconds, and the peaks
of the process's and the GPU's memory), and holds the phases that triton finds against those of numba. Writes
DATE-GPU-sweeps.md, and what `superpose bench` writes, into --out. Without a GPU it says so.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import pandas as pd
import torch

from superpose_cli.benchmark.machine import describe_machine

SUPERPOSE = (sys.executable, "-m", "superpose_cli")
PHASE = ("experiment=phase_2_in_1", "train.steps=5000", "train.n_batch=1024")
"""Theirs to train: the 2022 notebook's batch, 5,000 steps."""
LOOK_SECONDS = 0.02
"""Time between two looks at the GPU's free memory."""
AGREED = 0.99
"""The share of cells in one phase in which triton and numba should agree."""


@dataclass(frozen=True)
class Done:
    """A command that ended well."""

    command: str
    seconds: float
    peak_bytes: int
    """Of the process's memory."""
    device_bytes: int
    """The most of the GPU's memory that was taken meanwhile, the process's CUDA context included."""
    last_line: str


def phase(cells: int, restarts: int) -> list[str]:
    """The settings of a phase diagram of cells x cells."""
    return [
        *PHASE,
        f"data.feature_probability=geomspace(1,0.01,{cells})",
        f"importance.last_importance=geomspace(0.1,10,{cells})",
        f"restarts={restarts}",
    ]


class DeviceMemory:
    """The most of a GPU's memory that others take in the meantime, as this process sees what is free."""

    def __init__(self, device: str) -> None:
        """Of "cpu" there is none."""
        self._device, self._done, self._before, self._peak = device, threading.Event(), 0, 0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self._device != "cpu":
            self._before = self._taken()
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def peak(self) -> int:
        """Bytes."""
        return self._peak

    def _watch(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            self._peak = max(self._peak, self._taken() - self._before)

    def _taken(self) -> int:
        free, total = torch.cuda.mem_get_info(self._device)
        return total - free


def run(*arguments: str, device: str = "cpu") -> Done:
    """A command of superpose, measured; SystemExit with its own words if it fails.

    `device`: the GPU whose memory is watched.
    """
    print("superpose", *arguments, file=sys.stderr, flush=True)  # noqa: T201
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, DeviceMemory(device) as memory:
        process = subprocess.Popen([*SUPERPOSE, *arguments], stdout=out)
        _, status, used = os.wait4(process.pid, 0)  # `subprocess` would not tell the memory
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        if process.returncode:
            raise SystemExit(f"superpose {' '.join(arguments)}: exit status {process.returncode}")
        out.seek(0)
        lines = out.read().splitlines()
    quoted = " ".join(f"'{a}'" if "(" in a else a for a in arguments)
    last = lines[-1] if lines else ""
    return Done(f"superpose {quoted}", seconds, used.ru_maxrss * 1024, memory.peak, last)


def agreement(one: str, other: str) -> float:
    """The share of cells whose best restarts have every feature in the same regime in both runs."""
    regimes = [_regimes(Path(run)) for run in (one, other)]
    return float((regimes[0] == regimes[1]).all(axis=1).mean())


def _regimes(run: Path) -> pd.DataFrame:
    """(cells, features): the regime of each feature in the restart of the lowest objective."""
    instances = pd.read_parquet(run / "instances.parquet", columns=["cell", "restart", "objective"])
    best = instances.loc[instances.groupby("cell")["objective"].idxmin(), ["cell", "restart"]]
    features = pd.read_parquet(run / "features.parquet", columns=["cell", "restart", "feature", "regime"])
    kept = features.merge(best)
    return kept.assign(regime=kept["regime"].astype(str)).pivot(
        index="cell", columns="feature", values="regime"
    )


def measure(folder: Path, device: str, scale: float) -> list[str]:
    """The page; `scale` shortens the sweeps (their sides) for a trial."""
    gpu = ("--engine", "triton", "--device", device)
    run("bench", "--device", device, "--scale", "--seconds", "120", "--out", str(folder))
    side = [max(2, round(scale * cells)) for cells in (256, 1024, 64)]
    with tempfile.TemporaryDirectory() as outputs:

        def sweep(name: str, *arguments: str) -> Done:
            return run("sweep", *arguments, "--fresh", "--out", str(Path(outputs, name)), device=device)

        first = sweep("first", *phase(side[0], 10), *gpu)
        again = sweep("again", *phase(side[0], 10), *gpu)
        geometry = sweep("geometry", "experiment=geometry", *gpu)
        here = sweep("here", *phase(side[2], 10), *gpu)
        there = sweep("there", *phase(side[2], 10), "--engine", "numba", "--device", "cpu")
        agreed = agreement(here.last_line, there.last_line)
        million = sweep("million", *phase(side[1], 10), *gpu)
    timed = [("the first, which compiles", first), ("again", again), ("", geometry), ("", here), ("", there)]
    timed.append(("", million))
    lines = [
        "| command | seconds | peak memory, GiB | of the GPU's, GiB | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for note, done in timed:
        command = done.command.replace(outputs, "TMP")
        peaks = f"{done.peak_bytes / 2**30:.2f} | {done.device_bytes / 2**30:.2f}"
        lines.append(f"| `{command}` | {done.seconds:.1f} | {peaks} | {note} |")
    verdict = "holds" if agreed >= AGREED else "fails"
    return [
        *lines,
        "",
        f"Phases of triton and numba agree in {100 * agreed:.2f} % of {side[2] ** 2:,} cells "
        f"(best of 10 restarts; at least {100 * AGREED:.0f} %: {verdict}).",
    ]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/bench"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--scale", type=float, default=1.0, help="shorten the sides of the phase diagrams")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("superpose: PyTorch sees no CUDA GPU on this machine; run this on one that has it")
    machine = describe_machine(given.device)
    assert machine.gpu is not None
    facts = [
        f"{machine.gpu.name}, driver {machine.gpu.driver}, compute capability {machine.gpu.capability}; "
        f"{machine.cpu}, {machine.cores} cores; {machine.system}",
        ", ".join([f"python {machine.python}", *(f"{k} {v}" for k, v in machine.versions.items())]),
    ]
    date = datetime.now(UTC).date().isoformat()
    page = [f"# Sweeps on a GPU, {date}", "", *(f"- {fact}" for fact in facts), ""]
    page += measure(given.out, given.device, given.scale)
    path = given.out / f"{date}-{machine.gpu.slug}-sweeps.md"
    path.write_text("\n".join(page) + "\n", encoding="utf-8")
    print(path)  # noqa: T201


if __name__ == "__main__":
    main()
