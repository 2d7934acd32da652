"""`superpose plot`: figures from a stored run."""

from pathlib import Path
from typing import Annotated

import typer

from superpose_cli.cli import options
from superpose_cli.cli.output import print_json
from superpose_cli.cli.runs import find_run
from superpose_cli.errors import RunError


def complete_plot(incomplete: str) -> list[str]:
    """What the shell offers for a half-typed plot."""
    from superpose_cli.plots.names import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


def plot(
    run: options.RunArgument,
    plots: Annotated[
        list[str] | None,
        typer.Option(
            "--plot",
            metavar="NAME",
            help="A plot to draw; see `superpose list plots`. Repeatable. Default: the experiment's own.",
            show_default=False,
            autocompletion=complete_plot,
        ),
    ] = None,
    style: Annotated[str, typer.Option(metavar="NAME", help="light, dark or paper.")] = "light",
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAMES",
            help="png, svg, pdf, or several with commas; gif: animated (trajectories).",
        ),
    ] = "png",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="The figures' folder. Default: figures/ in the run's folder.",
            show_default=False,
            callback=options.writable,
        ),
    ] = None,
    json_: options.Json = False,
) -> None:
    """Draw figures from stored results, each with its words beside it in NAME.md; prints the files.

    Example: superpose plot intro --plot arrows --format png,svg
    """
    from superpose_cli.plots.registry import default_names, draw
    from superpose_cli.plots.style import find_style
    from superpose_cli.results.run import load_run

    look = find_style(style)
    loaded = load_run(find_run(run))
    names, left_out = (list(dict.fromkeys(plots)), []) if plots else default_names(loaded)
    if not names:
        why = "; ".join(left_out) or "`superpose show` says how its instances ended"
        raise RunError(f"no plot can show {loaded.path}: {why}")
    for reason in left_out:
        typer.echo(f"left out: {reason}", err=True)
    figures = loaded.path / "figures"
    if out is None and not figures.resolve().is_relative_to(loaded.path.resolve()):
        raise RunError(f"{figures} leads out of the run's folder: remove that link or choose another --out")
    if out and any(folder.suffix == ".parquet" for folder in (out.resolve(), *out.resolve().parents)):
        raise RunError(f"{out} is a table's folder, which holds nothing else: choose another --out")
    paths = draw(loaded, names, look, [name.strip() for name in formats.split(",")], out)
    if json_:
        print_json({"run": loaded.path, "figures": paths})
    else:
        typer.echo("\n".join(str(path) for path in paths))
