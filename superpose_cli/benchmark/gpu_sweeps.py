"""Everything that is to be shown on a GPU, in one command: `python -m superpose_cli.benchmark.gpu_sweeps`.

It measures how far products on matrix units are from float64, times the engines beside the notebook's loop,
then whole sweeps by the command line (seconds, and the peaks of the process's and the GPU's memory), and
holds the phases that triton finds against those of numba. Writes DATE-GPU-sweeps.md, anew after each command,
and what `superpose bench` writes, into --out; a command that fails is a row like others. Without a GPU it
says so.
"""

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch

from superpose_cli.benchmark.machine import describe_machine
from superpose_cli.benchmark.report import DENSE, SPARSE
from superpose_cli.benchmark.shapes import N_BATCH, SHAPES, batch_of
from superpose_cli.engines.base import Engine, State
from superpose_cli.engines.torch_reference import TorchEngine
from superpose_cli.engines.triton_spec import PRECISIONS
from superpose_cli.errors import RunError
from superpose_cli.experiment.config import Optimizer
from superpose_cli.experiment.instances import InstanceBatch
from superpose_cli.toy_model.model import PARAMETERS

SUPERPOSE = (sys.executable, "-m", "superpose_cli")
PHASE = ("experiment=phase_2_in_1", "train.steps=5000", "train.n_batch=1024")
"""Theirs to train: the 2022 notebook's batch, 5,000 steps."""
LOOK_SECONDS = 0.02
"""Time between two looks at the GPU's free memory."""
PRODUCTS_STEPS = 20
"""After which weights are held against float64's."""
AGREED = 0.99
"""The share of cells in one phase in which triton and numba should agree."""


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    command: str
    seconds: float
    peak_bytes: int
    """Of the process's memory."""
    device_bytes: int
    """The most of the GPU's memory that was taken meanwhile, the process's CUDA context included."""
    last_line: str
    status: int
    """Its exit status; 0: it ended well."""


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
    """A command of superpose, measured; it may fail. `device`: the GPU whose memory is watched."""
    print("superpose", *arguments, file=sys.stderr, flush=True)  # noqa: T201
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, DeviceMemory(device) as memory:
        process = subprocess.Popen([*SUPERPOSE, *arguments], stdout=out)
        _, status, used = os.wait4(process.pid, 0)  # `subprocess` would not tell the memory
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        out.seek(0)
        lines = out.read().splitlines()
    quoted = " ".join(f"'{a}'" if "(" in a else a for a in arguments)
    last = lines[-1] if lines else ""
    return Done(f"superpose {quoted}", seconds, used.ru_maxrss * 1024, memory.peak, last, process.returncode)


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


def beside_float64(engine: Engine, batch: InstanceBatch, steps: int) -> tuple[State, State, State]:
    """Where an engine starts and gets to, and where float64 gets to from there."""
    reference, start = TorchEngine("cpu", "float64"), engine.initialise(batch)
    names = [name for name in PARAMETERS if getattr(start, name) is not None]
    exact = {name: getattr(start, name).astype(np.float64) for name in names}
    same = replace(reference.initialise(batch), **exact)
    return start, engine.advance(batch, start, steps), reference.advance(batch, same, steps)


def gradient_error(engine: Engine, batch: InstanceBatch) -> float:
    """How far an engine's first gradient of W is from float64's, relative to that (Frobenius norms).

    By the first moment of sgd, which is then the gradient, without the rounding of the weights.
    """
    family, none = replace(batch.family, optimizer=Optimizer.sgd), np.zeros(len(batch))
    _, found, exact = beside_float64(engine, replace(batch, family=family, weight_decay=none), 1)
    expected = exact.moment1["W"]
    return float(np.linalg.norm(found.moment1["W"] - expected) / np.linalg.norm(expected))


def weight_error(engine: Engine, batch: InstanceBatch) -> float:
    """How far W is from float64's after some steps, relative to how far that has moved."""
    start, found, exact = beside_float64(engine, batch, PRODUCTS_STEPS)
    return float(np.linalg.norm(found.W - exact.W) / np.linalg.norm(exact.W - start.W))


def product_errors(device: str, n_batch: int = N_BATCH) -> str:
    """What products on matrix units cost in accuracy, in words; two of geometry's models."""
    made = importlib.import_module("superpose_cli.engines.triton_gpu").TritonEngine
    engines = {dtype: made(device, dtype) for dtype in PRECISIONS}
    said: list[str] = []
    for p in (DENSE, SPARSE):
        few = batch_of(SHAPES["geometry"], p).take(slice(2))
        few = replace(few, family=replace(few.family, n_batch=n_batch))
        for what, error in (
            ("A first gradient", gradient_error),
            (f"W after {PRODUCTS_STEPS} steps, of its way,", weight_error),
        ):
            told = ", ".join(f"{error(engine, few):.2g} ({dtype})" for dtype, engine in engines.items())
            said.append(f"{what} is off float64's at p = {p:g} by {told}.")
    return f"Geometry's models, {n_batch:,} rows. {' '.join(said)}"


@dataclass
class Page:
    """What is measured so far, on disk after every addition."""

    path: Path
    head: Sequence[str]
    outputs: str
    """The folder of the runs, which the page calls TMP."""
    rows: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: int = 0
    """Parts that failed."""

    def add(self, done: Done, note: str = "") -> Done:
        """A row for a command."""
        self.failed += done.status != 0
        told = f"**failed: exit status {done.status}**" if done.status else note
        peaks = f"{done.peak_bytes / 2**30:.2f} | {done.device_bytes / 2**30:.2f}"
        command = done.command.replace(self.outputs, "TMP")
        self.rows.append(f"| `{command}` | {done.seconds:.1f} | {peaks} | {told} |")
        self._write()
        return done

    def note(self, what: str, find: Callable[[], str]) -> None:
        """A line of what `find` finds; or of why it found nothing: what else is measured is worth keeping."""
        try:
            self.notes.append(find())
        except Exception as error:
            self.failed += 1
            self.notes.append(f"**{what} failed**: {' '.join(str(error).split())}")
        self._write()

    def _write(self) -> None:
        title = [
            "| command | seconds | peak memory, GiB | of the GPU's, GiB | |",
            "| --- | --- | --- | --- | --- |",
        ]
        notes = [line for note in self.notes for line in ("", note)]
        self.path.write_text("\n".join([*self.head, "", *title, *self.rows, *notes]) + "\n", encoding="utf-8")


def measure(page: Page, folder: Path, device: str, scale: float) -> None:
    """Fill the page; `scale` shortens the sweeps (their sides) for a trial."""
    gpu = ("--engine", "triton", "--device", device)
    side = [max(2, round(scale * cells)) for cells in (256, 1024, 64)]

    def sweep(name: str, *arguments: str, note: str = "") -> Done:
        out = str(Path(page.outputs, name))
        return page.add(run("sweep", *arguments, "--fresh", "--out", out, device=device), note)

    def compared() -> str:
        if here.status or there.status:
            raise RunError("the runs to compare are not there")
        agreed = agreement(here.last_line, there.last_line)
        verdict = "holds" if agreed >= AGREED else "fails"
        return (
            f"Phases of triton and numba agree in {100 * agreed:.2f} % of {side[2] ** 2:,} cells "
            f"(best of 10 restarts; at least {100 * AGREED:.0f} %: {verdict})."
        )

    page.note("Measuring products", lambda: product_errors(device))
    page.add(run("bench", "--device", device, "--scale", "--seconds", "120", "--out", str(folder)))
    sweep("first", *phase(side[0], 10), *gpu, note="the first, which compiles")
    sweep("again", *phase(side[0], 10), *gpu, note="again")
    sweep("geometry", "experiment=geometry", *gpu)
    here = sweep("here", *phase(side[2], 10), *gpu)
    there = sweep("there", *phase(side[2], 10), "--engine", "numba", "--device", "cpu")
    page.note("Comparing phases", compared)
    sweep("million", *phase(side[1], 10), *gpu)


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
    head = [f"# Sweeps on a GPU, {date}", "", *(f"- {fact}" for fact in facts)]
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as outputs:
        page = Page(given.out / f"{date}-{machine.gpu.slug}-sweeps.md", head, outputs)
        measure(page, given.out, given.device, given.scale)
    print(page.path)  # noqa: T201
    if page.failed:
        sys.exit(f"superpose: {page.failed} parts failed, as the page says")


if __name__ == "__main__":
    main()
