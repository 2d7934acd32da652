"""`superpose clean`: remove what interrupted runs left behind."""

from pathlib import Path
from typing import Annotated

import typer

from superpose_cli.cli import options
from superpose_cli.cli.output import print_json
from superpose_cli.errors import RunError


def clean(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A run's folder, or one of runs."),
    ] = options.OUTPUTS,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.", show_default=False)] = False,
    json_: options.Json = False,
) -> None:
    """Remove unfinished files, half shards and runs that stored nothing; results and running work stay.

    Shows what there is, and asks first; --json shows only, unless with --yes.

    Example: superpose clean
    """
    from superpose_cli.cli.live import counted
    from superpose_cli.planning import in_bytes
    from superpose_cli.results.leftovers import find_leftovers, remove_leftovers

    if not folder.is_dir() and folder != options.OUTPUTS:
        raise RunError(f"there is no folder {folder}: give one that holds runs, such as outputs")
    found = find_leftovers(folder)
    if json_:
        freed = remove_leftovers(found) if yes else 0
        records = [{"path": each.path, "kind": each.kind, "bytes": each.size} for each in found]
        print_json({"leftovers": records, "freed_bytes": freed})
        return
    if not found:
        typer.echo(f"nothing to clean in {folder}", err=True)
        return
    for leftover in found:
        typer.echo(f"{leftover.kind:<15}  {in_bytes(leftover.size):>10}  {leftover.path}")
    total = in_bytes(sum(leftover.size for leftover in found))
    if not yes and not typer.confirm(f"Remove {counted(len(found), 'leftover')} ({total})?", err=True):
        typer.echo("nothing is removed", err=True)
        return
    typer.echo(f"{in_bytes(remove_leftovers(found))} freed", err=True)
