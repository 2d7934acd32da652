"""`superpose plan`: what a sweep would do and cost."""

from typing import TYPE_CHECKING

import typer

from superpose_cli.cli import options
from superpose_cli.cli.output import print_json

if TYPE_CHECKING:
    from superpose_cli.planning import Plan


def plan(
    overrides: options.Overrides = None,
    config: options.ConfigFile = None,
    config_dir: options.ConfigDir = None,
    zips: options.Zip = None,
    engine: options.Engine = None,
    device: options.Device = None,
    launcher: options.Launcher = None,
    out: options.Out = None,
    fresh: options.Fresh = False,
    reuse: options.Reuse = None,
    reuse_from: options.ReuseFrom = None,
    json_: options.Json = False,
) -> None:
    """Say what a sweep would do and cost; nothing is trained or written.

    Example: superpose plan experiment=geometry
    """
    from dataclasses import asdict

    from superpose_cli.cli.live import watch_for
    from superpose_cli.pipeline import plan_experiment

    experiment = options.read_experiment(
        overrides, config, config_dir, zips=zips, engine=engine, device=device, launcher=launcher
    )
    with watch_for(quiet=False) as watch:
        found = plan_experiment(
            experiment,
            out=out,
            fresh=fresh,
            reuse=reuse.value if reuse else None,
            reuse_from=reuse_from,
            watch=watch,
        )
    if json_:
        print_json(asdict(found))
        return
    for name, text in _rows(found):
        typer.echo(f"{name:<10}  {text}")
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)


def _rows(found: "Plan") -> list[tuple[str, str]]:
    """Name and text of each line."""
    from superpose_cli.cli.live import clock, counted
    from superpose_cli.planning import in_bytes

    return [
        ("cells", f"{counted(found.n_cells, 'cell')} x {counted(found.restarts, 'restart')}"),
        ("instances", f"{found.n_instances:,}, of which {found.n_stored:,} are stored already"),
        ("reused", f"{found.n_reused:,} from other runs, {found.n_evaluated:,} of them evaluated anew"),
        ("to train", f"{found.n_instances - found.n_stored - found.n_reused:,}"),
        ("engine", f"{found.engine} ({found.engine_reason})"),
        ("memory", f"{in_bytes(found.memory_bytes)} beside what the program itself takes, 0.2 to 0.5 GB"),
        ("disk", in_bytes(found.disk_bytes)),
        ("time", f"about {clock(found.seconds)}"),
        ("folder", str(found.path)),
    ]
