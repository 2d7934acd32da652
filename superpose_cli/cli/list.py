"""`superpose list`: the experiments, plots, engines and runs that there are."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from superpose_cli.cli import options
from superpose_cli.cli.output import print_json
from superpose_cli.cli.runs import find_runs, status_of
from superpose_cli.errors import RunError


class What(StrEnum):
    """What can be listed."""

    experiments = "experiments"
    plots = "plots"
    engines = "engines"
    runs = "runs"


def list_what_there_is(
    what: Annotated[What, typer.Argument(show_default=False, help="What to list.")],
    config_dir: options.ConfigDir = None,
    outputs: Annotated[Path, typer.Option(metavar="DIR", help="Where runs are looked up.")] = options.OUTPUTS,
    json_: options.Json = False,
) -> None:
    """List the experiments, plots, engines or runs that there are.

    Example: superpose list experiments
    """
    records = {
        What.experiments: lambda: _experiments(tuple(config_dir or ())),
        What.plots: _plots,
        What.engines: _engines,
        What.runs: lambda: _runs(outputs),
    }[what]()
    if json_:
        print_json({str(what): records})
        return
    if not records:
        where = f" in {outputs}{os.sep}" if what is What.runs else ""
        typer.echo(f"no {what}{where} yet: `superpose sweep experiment=intro` makes the first", err=True)
    widths = [max(len(str(record[key])) for record in records) for key in (records[0] if records else ())]
    for record in records:
        cells = [f"{value!s:<{width}}" for value, width in zip(record.values(), widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())


def _experiments(config_dirs: tuple[Path, ...]) -> list[dict[str, Any]]:
    from superpose_cli.experiment.config_dir import list_experiments

    return [{"name": name, "description": text} for name, text in list_experiments(config_dirs)]


def _plots() -> list[dict[str, Any]]:
    from superpose_cli.plots.registry import PLOTS

    return [
        {"name": name, "description": plot.description, "needs": plot.needs} for name, plot in PLOTS.items()
    ]


def _engines() -> list[dict[str, Any]]:
    from superpose_cli.engines import ENGINES

    return [{"name": name, "description": entry.description} for name, entry in ENGINES.items()]


def _runs(outputs: Path) -> list[dict[str, Any]]:
    """The newest first; one that cannot be read says why in place of its status."""
    from superpose_cli.results.manifest import read_manifest
    from superpose_cli.results.reading import stored_instances

    records = []
    for path in find_runs(outputs):
        try:
            manifest = read_manifest(path)
            status, stored = status_of(path, manifest), f"{stored_instances(path):,}/{manifest.n_instances:,}"
            updated = manifest.updated
        except RunError as error:
            status, stored, updated = "unreadable", "-", "-"
            typer.echo(str(error), err=True)
        records.append({"path": str(path), "status": status, "instances": stored, "updated": updated})
    return records
