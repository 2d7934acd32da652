"""The GPU kernels compile for real GPUs. In processes of their own: the tests' Triton interprets."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

from superpose_cli.benchmark.gpu_code import ARCHITECTURES, resident_programs
from superpose_cli.engines.triton_spec import HIDDEN_BYTES, PANEL_BYTES, padded

CODE = """
import sys
from superpose_cli.benchmark.gpu_code import FEW, codes
from superpose_cli.benchmark.shapes import SHAPES
dtypes, *names = sys.argv[1:]
shapes = [shape for shape in (*SHAPES.values(), *FEW) if shape.name.replace(" ", "") in names]
for shape, dtype, code in codes(shapes, dtypes.split(), (80, 90)):
    numbers = (code.registers, code.stack, code.matrix_products, code.resident)
    print(shape.replace(" ", ""), dtype, code.kernel, code.architecture, *numbers)
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


@pytest.mark.parametrize(
    ("capability", "registers", "shared", "warps", "programs"),
    [
        (90, 72, 32, 4, 7),
        (90, 255, 57_344, 8, 1),
        (90, 255, 57_344, 2, 4),
        (89, 128, 57_344, 2, 1),
        (90, 16, 0, 1, 32),
        (89, 16, 0, 1, 24),
        (89, 16, 0, 4, 12),
    ],
)
def test_what_bounds_the_programs_of_a_multiprocessor(
    capability: int, registers: int, shared: int, warps: int, programs: int
) -> None:
    """Registers (72 a lane are 9 units of 256 a warp, enough for 28 warps), memory, programs, warps."""
    assert resident_programs(capability, registers, shared, warps) == programs


BF16 = """
from superpose_cli.benchmark.gpu_code import ARCHITECTURES, compiled
from superpose_cli.benchmark.shapes import SHAPES, batch_of
from superpose_cli.engines.triton_plans import plan_measure, plan_training
batch = batch_of(SHAPES["varying"], 0.5)
plans = plan_training(batch, "cuda", "bf16", ARCHITECTURES[90]), plan_measure(batch, drawn=True)
for plan in plans:
    ptx = compiled(plan, 90).asm["ptx"]
    products = sum(".f32.bf16.bf16" in line for line in ptx.splitlines())
    print(products, ptx.count("cvt.rn.bf16"), ptx.count("tf32"))
"""


@pytest.mark.slow
def test_bf16_is_what_the_matrix_units_of_hopper_multiply() -> None:
    """Rounded by the GPU's own conversion, to nearest; and what is measured stays float32."""
    training, measuring = ([int(word) for word in line] for line in printed(BF16))
    assert training[0] > 0 < training[1]
    assert training[2] == 0
    assert measuring[:2] == [0, 0]
    assert measuring[2] > 0


@pytest.mark.slow
def test_kernels_compile_without_a_gpu() -> None:
    found = printed(CODE, "float32", "phase", "8x4", "basic", "geometry")
    kernels = {"phase": "train_tiny", "8x4": "train_tiny", "basic": "train_panel", "geometry": "train_wide"}
    assert {line[0] for line in found} == set(kernels)
    for shape, _, kernel, architecture, registers, stack, products, resident in found:
        assert kernel in (kernels[shape], "measure")
        assert architecture in ("sm_80", "sm_90")
        assert 0 < int(registers) <= 255
        if kernel == "train_tiny":
            assert int(stack) == 0, f"{shape}: a model's numbers must stay in registers"
            assert int(resident) >= 8
        else:
            assert int(products) > 0, f"{shape}: no matrix units on {architecture}"


@pytest.mark.slow
def test_float32_takes_three_products_where_others_take_one() -> None:
    found = printed(CODE, "float32 tf32 bf16", "geometry")
    for architecture in ("sm_80", "sm_90"):
        products = {line[1]: int(line[6]) for line in found if line[2:4] == ["train_wide", architecture]}
        assert products["float32"] >= 3 * products["tf32"]
        assert products["tf32"] >= 1.5 * products["bf16"] > 0


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
    "chunks": replace(BASE, n_features=5, n_hidden=6),
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
    kernels = {"tied": "train_panel", "untied": "train_panel", "tiny": "train_tiny", "chunks": "train_tiny"}
    counts = {"tied": 2, "untied": 4, "tiny": 1, "chunks": 2}  # a lane has one parameter of each chunk
    assert updates == {(name, kernel): counts[name] for name, kernel in kernels.items()}
    assert {line[3] for line in found if line[1] == "train_tiny"} == {"0"}


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
        made = plan.kernel.warmup(*arguments, *plan.constants, **plan.options, grid=plan.grid(count))
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
