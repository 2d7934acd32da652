"""The order of the house: who may import whom, read from the source of every module."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "superpose_cli"
MODULES = sorted(PACKAGE.rglob("*.py"))

ORDER = (
    "errors",
    "plain_yaml",
    "memory",
    "toy_model",
    "experiment",
    "engines",
    "benchmark",
    "results",
    "plots",
    "claims",
    "report",
    "evidence",
    "planning",
    "launchers",
    "session",
    "pipeline",
    "reproduce",
    "cli",
    "__main__",
)
"""A room imports itself and rooms before it."""

SEES = {
    "toy_model": {"errors"},
    "plots": {"errors", "toy_model", "results"},
    "claims": {"errors", "toy_model", "results"},
    "report": {"errors", "toy_model", "results", "plots", "claims"},
}
"""Rooms that see less than what lies before them."""

OUTSIDE = {
    "hydra": ("experiment/_hydra.py",),
    "jax": ("benchmark/jax_loop.py",),
    "jinja2": ("report/",),
    "matplotlib": ("plots/",),
    "numba": ("engines/",),
    "omegaconf": ("experiment/_hydra.py",),
    "pyarrow": ("results/",),
    "ray": ("launchers/ray.py",),
    "rich": ("cli/",),
    "sklearn": ("plots/fitted.py",),
    "submitit": ("launchers/slurm.py",),
    "torch": ("benchmark/", "engines/", "pipeline.py"),
    "triton": ("benchmark/", "engines/"),
    "typer": ("cli/",),
}
"""Packages that only these modules import."""


def imported(tree: ast.AST) -> Iterator[tuple[str, ast.Import | ast.ImportFrom]]:
    """Every dotted name that is imported anywhere in a module, nested imports included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import on line {node.lineno}"
            yield node.module or "", node
            yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)


def room(relative: str) -> str:
    """The layer of a module, by its path in the package."""
    return relative.split("/")[0].removesuffix(".py")


def complaints(relative: str, source: str) -> list[str]:
    """What is wrong with the imports of one module."""
    tree = ast.parse(source)
    here = room(relative)
    visible = SEES.get(here, set(ORDER[: ORDER.index(here)]) if here in ORDER else set()) | {here}
    found = []
    for name, node in imported(tree):
        top, _, rest = name.partition(".")
        where = f"{relative}:{node.lineno} imports {name}"
        if top == "superpose_cli" and rest and rest.split(".")[0] not in {*visible, "__version__"}:
            found.append(f"{where}: {here} sees only {', '.join(sorted(visible))}")
        if top in OUTSIDE and not relative.startswith(OUTSIDE[top]):
            found.append(f"{where}: only {', '.join(OUTSIDE[top])} may")
        if here == "toy_model" and top not in {*sys.stdlib_module_names, "numpy", "superpose_cli"}:
            found.append(f"{where}: toy_model is NumPy alone")
    if here != "cli":
        functions = [
            node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        nested = [inner for function in functions for _, inner in imported(function)]
        found += [f"{relative}:{node.lineno} imports inside a function" for node in nested]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_room_imports_only_what_lies_before_it(path: Path) -> None:
    relative = path.relative_to(PACKAGE).as_posix()
    assert complaints(relative, path.read_text(encoding="utf-8")) == []


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {room(path.relative_to(PACKAGE).as_posix()) for path in MODULES} - {"__init__"}
    assert rooms <= set(ORDER)


@pytest.mark.parametrize(
    ("relative", "source"),
    [
        ("plots/arrows.py", "from superpose_cli.engines.base import State"),
        ("plots/arrows.py", "def draw():\n    import torch"),
        ("results/run.py", "from superpose_cli import plots"),
        ("toy_model/theory.py", "import superpose_cli.experiment.config"),
        ("toy_model/theory.py", "import pandas as pd"),
        ("experiment/grid.py", "import omegaconf"),
        ("experiment/grid.py", "if True:\n    from superpose_cli.pipeline import run_experiment"),
        ("engines/base.py", "def load():\n    import json"),
    ],
)
def test_a_wrong_edge_is_found(relative: str, source: str) -> None:
    assert complaints(relative, source)


def test_a_relative_import_is_found() -> None:
    with pytest.raises(AssertionError, match="relative"):
        complaints("plots/arrows.py", "from .style import Style")


def test_plots_load_neither_torch_nor_the_engines() -> None:
    names = [f"superpose_cli.plots.{path.stem}" for path in (PACKAGE / "plots").glob("[a-z]*.py")]
    code = f"import sys, {', '.join(names)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "superpose_cli.plots" in loaded
    assert not {"torch", "superpose_cli.engines", "superpose_cli.experiment"} & set(loaded)
