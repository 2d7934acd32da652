"""What the GPU kernels become: registers, spills, shared memory. Compiled here, without a GPU.

`python -m superpose_cli.benchmark.gpu_code` prints the table for the shapes of the benchmark and for limits.
"""

import re
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
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
from superpose_cli.engines.triton_spec import PRECISIONS, is_tiny, refusal
from superpose_cli.engines.triton_updates import Hyper, Trained
from superpose_cli.experiment.config import Activation
from superpose_cli.experiment.instances import InstanceBatch

REGISTERS = 65_536
"""Of a multiprocessor."""
RESIDENT = {80: (64, 32, 167_936), 89: (48, 24, 102_400), 90: (64, 32, 233_472)}
"""What a multiprocessor holds at once: warps, programs, and bytes that they share (likewise)."""
ARCHITECTURES = {80: 166_912, 89: 101_376, 90: 232_448}
"""NVIDIA's Ampere (A100), Ada (L40S, RTX 4090) and Hopper (H100, H200) -> the bytes that a program may share
(CUDA C++ Programming Guide, "Technical Specifications per Compute Capability")."""
FEW = (
    Shape("8 x 4", 8, 4, 10),
    Shape("8 x 8", 8, 8, 10),
    Shape("40 x 9", 40, 9, 10),
    Shape("400 x 64", 400, 64, 100),
)
"""Beside the shapes of the benchmark: small models, the largest panel, the most hidden dimensions."""
UNTIED = (Shape("8 x 8, untied", 8, 8, 10), Shape("16 x 4, untied", 16, 4, 10))
"""With a matrix of their own to decode, hidden ReLUs and their biases: the most parameters for their size."""
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
    warps: int
    """Of a program."""
    resident: int
    """Instances that a multiprocessor holds at once."""


def resident_programs(capability: int, registers: int, shared: int, warps: int) -> int:
    """How many programs a multiprocessor holds at once (CUDA's occupancy calculator).

    A warp gets registers in units of 256, of those of one of four schedulers; a program shares 1 KiB more
    than it asks for.
    """
    most_warps, most_programs, most_shared = RESIDENT[capability]
    of_warp = -(-32 * registers // 256) * 256
    held = REGISTERS // 4 // of_warp * 4
    return min(most_programs, min(most_warps, held) // warps, most_shared // (shared + 1024))


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
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=plan.options)


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
    registers, shared = int(found[1]), made.metadata.shared
    lines = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9]*)", listing)
    return Code(
        kernel=plan.kernel.__name__,
        architecture=f"sm_{capability}",
        registers=registers,
        stack=int(found[2]),
        shared=shared,
        instructions=len(lines),
        matrix_products=sum(line in ("HMMA", "HGMMA") for line in lines),
        warps=plan.warps,
        resident=plan.per_program * resident_programs(capability, registers, shared, plan.warps),
    )


def _run(tool: str, *arguments: str) -> str:
    return subprocess.run([TOOLS / tool, *arguments], check=True, capture_output=True, text=True).stdout


def batches(shapes: Iterable[Shape]) -> Iterator[tuple[str, InstanceBatch]]:
    """The shapes' models by their names, tied or not."""
    for shape in shapes:
        batch = batch_of(shape, 0.5)
        if shape in UNTIED:
            untied = {"tied": False, "hidden_bias": True, "hidden_activation": Activation.relu}
            batch = replace(batch, family=replace(batch.family, **untied))
        yield shape.name, batch


def codes(
    shapes: Iterable[Shape],
    dtypes: Sequence[str],
    architectures: Collection[int] = tuple(ARCHITECTURES),
    *,
    measured: bool = True,
) -> Iterator[tuple[str, str, Code]]:
    """(shape, dtype, code) of training and, if `measured`, evaluating each shape, on what can hold it.

    Tiny models take no products, whose rounding is all that a dtype is about: they come once.
    """
    for name, batch in batches(shapes):
        able = {sm: shared for sm, shared in ARCHITECTURES.items() if sm in architectures}
        able = {sm: shared for sm, shared in able.items() if refusal(batch.family, shared) is None}
        for dtype in dtypes[:1] if is_tiny(batch.family) else dtypes:
            for capability, shared in able.items():
                plan = plan_training(batch, "cuda", dtype, shared)
                yield name, dtype, compile_plan(plan, capability)
        for capability in able if measured else ():
            yield name, "float32", compile_plan(plan_measure(batch, drawn=True), capability)


def print_table() -> None:
    """A table in Markdown of all shapes, row by row."""
    names = [field.name for field in fields(Code)]
    title = ["shape", "dtype", *(name.replace("_", " ") for name in names)]
    for row in (title, ["---"] * len(title)):
        print(_row(row))  # noqa: T201
    others = codes([*FEW, *UNTIED], ("float32",), measured=False)
    for shape, dtype, code in chain(codes(SHAPES.values(), tuple(PRECISIONS)), others):
        print(_row([shape, dtype, *(str(getattr(code, name)) for name in names)]), flush=True)  # noqa: T201


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print_table()
