"""`superpose compare`: what differs between two runs, in settings and in results."""

from typing import Annotated

import typer

from superpose_cli.cli import options
from superpose_cli.cli.output import print_json
from superpose_cli.cli.runs import find_run

MOST_CELLS = 30


def compare(
    one: options.RunArgument,
    other: options.RunArgument,
    cells: Annotated[
        int, typer.Option("--cells", metavar="N", min=0, help="Show at most so many cells.")
    ] = MOST_CELLS,
    json_: options.Json = False,
) -> None:
    """Compare two runs: the settings that differ, then each cell that both have.

    Cells are matched by the values on their axes, and the best restart stands for its cell; instances with
    one key were trained alike.

    Example: superpose compare intro outputs/intro/1a2b3c4d
    """
    from rich.console import Console

    from superpose_cli.cli.compare_views import facts, print_comparison
    from superpose_cli.results.comparing import compare_runs
    from superpose_cli.results.run import load_run

    runs = [load_run(find_run(name)) for name in (one, other)]
    found = compare_runs(*runs)
    if json_:
        print_json(facts(runs[0], runs[1], found))
    else:
        print_comparison(Console(), runs[0], runs[1], found, cells)
