"""`superpose show`: a run in the terminal."""

from superpose_cli.cli import options
from superpose_cli.cli.output import print_json
from superpose_cli.cli.runs import find_run


def show(run: options.RunArgument, json_: options.Json = False) -> None:
    """Show a run in the terminal: what it is, how it ended, and a table, maps, or W^T W.

    Example: superpose show intro
    """
    from rich.console import Console

    from superpose_cli.cli.views import facts, print_run
    from superpose_cli.results.run import load_run

    loaded = load_run(find_run(run))
    if json_:
        print_json(facts(loaded))
    else:
        print_run(Console(), loaded)
