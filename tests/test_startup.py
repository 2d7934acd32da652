"""The command line starts at once: what is slow to import is imported by the command that needs it.

Where `python -c pass` takes 0.02 s, `superpose --help` takes 0.14 s, of which 0.1 s are Typer's
own. Seconds are not asserted, since machines are shared; what would cost them is.
"""

import subprocess
import sys

HEAVY = (
    "hydra",
    "jinja2",
    "matplotlib",
    "numba",
    "numpy",
    "omegaconf",
    "pandas",
    "pyarrow",
    "rich",
    "torch",
    "yaml",
)


def output(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    loaded = output("import sys, superpose_cli.cli.app; print(*sys.modules)").split()
    assert not set(HEAVY) & set(loaded)


def test_help_loads_nothing_heavy_and_names_every_command() -> None:
    text = output(
        "import sys\nfrom superpose_cli.cli.app import app\n"
        "try:\n    app(['--help'])\nfinally:\n    print('loaded:', *sys.modules)"
    )
    help_text, _, loaded = text.partition("loaded:")
    assert not set(HEAVY) & set(loaded.split())
    for command in ("train", "sweep", "plan", "plot", "show", "report", "reproduce", "list", "bench"):
        assert f"\n  {command} " in help_text


def test_a_run_on_a_cpu_loads_neither_torch_nor_matplotlib() -> None:
    """Together they take two seconds, more than training many a grid."""
    code = (
        "import sys\nfrom superpose_cli.engines import choose_engine\n"
        "from superpose_cli.experiment.config import EngineConfig\nimport superpose_cli.pipeline\n"
        "choose_engine(EngineConfig(device='cpu'), [])\nprint(*sys.modules)"
    )
    loaded = output(code).split()
    assert "numba" in loaded
    assert not {"torch", "matplotlib"} & set(loaded)
