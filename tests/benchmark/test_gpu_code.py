"""The GPU kernels compile for real GPUs. In processes of their own: the tests' Triton interprets."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

CODE = """
import sys
from superpose_cli.benchmark.gpu_code import codes
for shape, dtype, code in codes(sys.argv[1:]):
    print(shape, dtype, code.kernel, code.architecture, code.registers, code.stack, code.matrix_products)
"""


def compiled(*shapes: str) -> list[list[str]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", CODE, *shapes]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_kernels_compile_without_a_gpu() -> None:
    found = compiled("phase", "basic", "geometry")
    kernels = {"phase": "train_tiny", "basic": "train_panel", "geometry": "train_wide"}
    for shape, _, kernel, architecture, registers, stack, products in found:
        assert kernel in (kernels[shape], "measure")
        assert architecture in ("sm_80", "sm_90")
        assert 0 < int(registers) <= 255
        if kernel == "train_tiny":
            assert int(stack) == 0, f"{shape}: a model's numbers must stay in registers"
        else:
            assert int(products) > 0, f"{shape}: no matrix units on {architecture}"


LAUNCHES = """
from dataclasses import replace
import torch, triton
from triton.backends.compiler import GPUTarget
from superpose_cli.engines import triton_gpu, triton_plans
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

    def _launch(self, plan, count, *arguments):
        options = {"num_warps": plan.warps, "num_stages": 1, "grid": plan.grid(count)}
        made = plan.kernel.warmup(*arguments, *plan.constants, **options)
        print(plan.kernel.__name__, sum(kind == "constexpr" for kind in made.src.signature.values()))

triton.runtime.driver.set_active(Driver())
triton_gpu.plan_training = lambda batch, device, dtype: triton_plans.plan_training(batch, "cuda", dtype)
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
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", LAUNCHES]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["train_tiny 3", "train_tiny 3", "train_wide 4", "measure 4"]
