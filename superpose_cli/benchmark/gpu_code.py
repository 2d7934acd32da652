"""What the GPU kernels become: registers, spills, shared memory. Compiled here, without a GPU.

`python -m superpose_cli.benchmark.gpu_code` prints the table for the shapes of the benchmark and for limits.
"""

import re
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from superpose_cli.benchmark.shapes import SHAPES, Shape, batch_of
from superpose_cli.engines.triton_measure import Sums
from superpose_cli.engines.triton_plans import Plan, plan_measure, plan_training
from superpose_cli.engines.triton_sampling import Rows
from superpose_cli.engines.triton_spec import refusal
from superpose_cli.engines.triton_updates import Hyper, Trained

ARCHITECTURES = {80: 166_912, 89: 101_376, 90: 232_448}
"""NVIDIA's Ampere (A100), Ada (L40S, RTX 4090) and Hopper (H100, H200) -> the bytes that a program may share
(CUDA C++ Programming Guide, "Technical Specifications per Compute Capability")."""
LIMITS = (
    Shape("panel", 40, 9, 10),
    Shape("32 dimensions", 400, 32, 100),
    Shape("64 dimensions", 400, 64, 100),
)
"""Beside the shapes of the benchmark: the largest panel, and the most hidden dimensions on a GPU."""
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"

POINTERS = {
    "rows": Rows("*i32", "*i32", "*fp32", "*i64", "*fp32", "*i64", "*fp32", "*i64"),
    "trained": Trained("*fp32", "*fp32", "*fp32", "*fp32", "*i64"),
    "hyper": Hyper("*fp32", "*fp32", "*fp64", "*fp64", "*fp32", "*i32", "*fp64", "*fp64"),
    "sums": Sums(**{name: "*i32" if name == "alive" else "*fp64" for name in Sums._fields}),
    "weight": "*fp32",
    "importance": "*fp32",
    "hidden_l1": "*fp32",
}
"""The types of the kernels' arguments that are arrays; other numbers are int32."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """A kernel as a GPU would run it."""

    kernel: str
    architecture: str
    registers: int
    """Of a thread."""
    stack: int
    """Bytes of a thread that had to leave the registers."""
    shared: int
    """Bytes of a program."""
    instructions: int
    matrix_products: int
    """Instructions for matrix units among them."""


def compiled(plan: Plan, capability: int) -> Any:
    """A kernel as Triton compiles it for a compute capability (90: 9.0); RuntimeError in its interpreter."""
    if knobs.runtime.interpret:
        raise RuntimeError("Triton's interpreter compiles nothing: unset TRITON_INTERPRET")
    kernel, names = plan.kernel, plan.kernel.arg_names
    constants = dict(zip(names[len(names) - len(plan.constants) :], plan.constants, strict=True))
    types = {name: "constexpr" if name in constants else POINTERS.get(name, "i32") for name in names}
    aligned = [
        (position, *inner)
        for position, kind in enumerate(types.values())
        if kind != "constexpr" and kind != "i32"
        for inner in ([()] if isinstance(kind, str) else [(at,) for at in range(len(kind))])
    ]
    source = ASTSource(
        kernel,
        signature=types,
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={place: [["tt.divisibility", 16]] for place in aligned},
    )
    options = {"num_warps": plan.warps, "num_stages": 1}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def compile_plan(plan: Plan, capability: int) -> Code:
    """The code of a kernel, counted; raises as `compiled`."""
    made = compiled(plan, capability)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        usage = _run("cuobjdump", "--dump-resource-usage", file.name)
        listing = _run("nvdisasm", "-c", file.name)
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found is not None, usage
    lines = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9]*)", listing)
    return Code(
        kernel=plan.kernel.__name__,
        architecture=f"sm_{capability}",
        registers=int(found[1]),
        stack=int(found[2]),
        shared=made.metadata.shared,
        instructions=len(lines),
        matrix_products=sum(line in ("HMMA", "HGMMA") for line in lines),
    )


def _run(tool: str, *arguments: str) -> str:
    return subprocess.run([TOOLS / tool, *arguments], check=True, capture_output=True, text=True).stdout


def codes(
    shapes: Iterable[Shape], dtypes: Sequence[str], architectures: Collection[int] = tuple(ARCHITECTURES)
) -> Iterator[tuple[str, str, Code]]:
    """(shape, dtype, code) of training and evaluating each shape, on each architecture that can hold it."""
    for shape in shapes:
        batch = batch_of(shape, 0.5)
        able = {sm: shared for sm, shared in ARCHITECTURES.items() if sm in architectures}
        able = {sm: shared for sm, shared in able.items() if refusal(batch.family, shared) is None}
        for dtype in dtypes:
            for capability, shared in able.items():
                plan = plan_training(batch, "cuda", dtype, shared)
                yield shape.name, dtype, compile_plan(plan, capability)
        for capability in able:
            yield shape.name, "float32", compile_plan(plan_measure(batch, drawn=True), capability)


def print_table() -> None:
    """A table in Markdown of all shapes of the benchmark, and of the limits."""
    names = [field.name for field in fields(Code)]
    rows = [["shape", "dtype", *(name.replace("_", " ") for name in names)]]
    rows.append(["---"] * len(rows[0]))
    for shape, dtype, code in codes([*SHAPES.values(), *LIMITS], ("float32", "tf32")):
        rows.append([shape, dtype, *(str(getattr(code, name)) for name in names)])
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))  # noqa: T201


if __name__ == "__main__":
    print_table()
