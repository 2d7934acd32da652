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
