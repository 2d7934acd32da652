"""The GPU kernels compile for real GPUs. In processes of their own: the tests' Triton interprets."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

from superpose_cli.benchmark.gpu_code import ARCHITECTURES
from superpose_cli.engines.triton_spec import HIDDEN_BYTES, PANEL_BYTES, padded

CODE = """
import sys
from superpose_cli.benchmark.gpu_code import codes
from superpose_cli.benchmark.shapes import SHAPES
dtypes, *shapes = sys.argv[1:]
for shape, dtype, code in codes([SHAPES[name] for name in shapes], dtypes.split(), (80, 90)):
    print(shape, dtype, code.kernel, code.architecture, code.registers, code.stack, code.matrix_products)
"""

LARGEST = """
from dataclasses import replace
from superpose_cli.benchmark.gpu_code import ARCHITECTURES, compile_plan
from superpose_cli.engines.triton_plans import plan_measure, plan_training
from superpose_cli.engines.triton_spec import most_hidden
from tests.engines.batches import BASE, make_batch
untied = replace(BASE, n_batch=1024, tied=False, hidden_bias=True)
for architecture, shared in ARCHITECTURES.items():
    for n, m in ((70, most_hidden(shared)), (32, 32), (40, 9)):
        batch = make_batch(replace(untied, n_features=n, n_hidden=m), 3)
        plans = [plan_training(batch, "cuda", "float32", shared)]
        if n == 70:
            plans.append(plan_measure(batch, drawn=True))
        for plan in plans:
            print(n, m, plan.kernel.__name__, architecture, compile_plan(plan, architecture).shared)
"""


def printed(script: str, *arguments: str) -> list[list[str]]:
    """The words of each line that a script prints which runs without the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_kernels_compile_without_a_gpu() -> None:
    found = printed(CODE, "float32", "phase", "basic", "geometry")
    kernels = {"phase": "train_tiny", "basic": "train_panel", "geometry": "train_wide"}
    for shape, _, kernel, architecture, registers, stack, products in found:
        assert kernel in (kernels[shape], "measure")
        assert architecture in ("sm_80", "sm_90")
        assert 0 < int(registers) <= 255
        if kernel == "train_tiny":
            assert int(stack) == 0, f"{shape}: a model's numbers must stay in registers"
        else:
            assert int(products) > 0, f"{shape}: no matrix units on {architecture}"


@pytest.mark.slow
def test_float32_takes_three_products_where_tf32_takes_one() -> None:
    found = printed(CODE, "float32 tf32", "geometry")
    for architecture in ("sm_80", "sm_90"):
        products = {line[1]: int(line[6]) for line in found if line[2:4] == ["train_wide", architecture]}
        assert products["float32"] >= 3 * products["tf32"] > 0


@pytest.mark.slow
def test_the_largest_models_fit_the_shared_memory() -> None:
    """Programs of what the engine accepts share no more than a GPU has, nor than the engine counts on."""
    found = printed(LARGEST)
    assert {(architecture, m) for n, m, _, architecture, _ in found if n == "70"} == {
        ("80", "64"),
        ("89", "32"),
        ("90", "64"),
    }
    for n, m, kernel, architecture, shared in found:
        counted = PANEL_BYTES if (n, kernel) == ("40", "train_panel") else HIDDEN_BYTES[padded(int(m))]
        assert int(shared) <= min(counted, ARCHITECTURES[int(architecture)]), (n, m, kernel, architecture)


UPDATES = """
from dataclasses import replace
from superpose_cli.benchmark.gpu_code import ARCHITECTURES, compiled
from superpose_cli.engines.triton_plans import plan_training
from tests.engines.batches import BASE, make_batch
families = {
    "tied": replace(BASE, n_features=20, n_hidden=5, optimizer="adamw"),
    "untied": replace(BASE, n_features=20, n_hidden=5, optimizer="adamw", tied=False, hidden_bias=True),
    "tiny": replace(BASE, n_features=3, n_hidden=2),
}
for name, family in families.items():
    for architecture in (80, 90):
        plan = plan_training(make_batch(family, 3), "cuda", "float32", ARCHITECTURES[architecture])
        lines = compiled(plan, architecture).asm["ttgir"].splitlines()
        updates = sum("math.sqrt" in line for line in lines)
        in_loops = sum("ttg.convert_layout" in line and line.startswith("      ") for line in lines)
        print(name, plan.kernel.__name__, updates, in_loops)
"""


@pytest.mark.slow
def test_an_update_is_computed_once_and_exchanges_nothing_in_registers() -> None:
    """Twice, for what is stored and for what is used next, it may be rounded in two ways."""
    found = printed(UPDATES)
    updates = {(name, kernel): int(count) for name, kernel, count, _ in found}
    assert updates == {("tied", "train_panel"): 2, ("untied", "train_panel"): 4, ("tiny", "train_tiny"): 9}
    assert [line[3] for line in found if line[0] == "tiny"] == ["0", "0"]


LAUNCHES = """
from dataclasses import replace
import torch, triton
from triton.backends.compiler import GPUTarget
from superpose_cli.engines import triton_gpu, triton_plans
from superpose_cli.engines.tables import HeldTables
from superpose_cli.experiment.config import DataKind
from tests.engines.batches import BASE, make_batch

class Driver:
    get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))
    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda device: 0)
    get_active_torch_device = staticmethod(lambda: torch.device("cpu"))

class Compiler(triton_gpu.TritonEngine):
    def __init__(self):
        self.device, self.dtype, self._device = "cuda", "float32", torch.device("cpu")
        self._shared, self._held = 232_448, HeldTables(torch, self._device)

    def _launch(self, plan, count, *arguments):
        options = {"num_warps": plan.warps, "num_stages": 1, "grid": plan.grid(count)}
        made = plan.kernel.warmup(*arguments, *plan.constants, **options)
        print(plan.kernel.__name__, sum(kind == "constexpr" for kind in made.src.signature.values()))

triton.runtime.driver.set_active(Driver())
triton_gpu.plan_training = lambda batch, _, *given: triton_plans.plan_training(batch, "cuda", *given)
engine = Compiler()
one = replace(BASE, n_features=2, n_hidden=1)
table = replace(one, data=DataKind.finite, n_rows=30, n_batch=0)
for family in (one, table, replace(BASE, n_features=40, n_hidden=17)):
    batch = make_batch(family, 6)
    engine.advance(batch, engine.initialise(batch), 5)
engine.evaluate(batch, engine.initialise(batch), 100)
"""


@pytest.mark.slow
def test_the_engine_hands_triton_what_it_can_compile() -> None:
    """All of a launch but the GPU: a driver that only says which GPU there would be."""
    assert printed(LAUNCHES) == [
        ["train_tiny", "3"],
        ["train_tiny", "3"],
        ["train_wide", "4"],
        ["measure", "4"],
    ]
