"""`superpose show`: a run in the terminal."""

from superpose_cli.cli import options
from superpose_cli.cli.output import print_json
from superpose_cli.cli.runs import find_run


def show(run: options.RunArgument, json_: options.Json = False) -> None:
    """Show a run in the terminal: what it is, how it ended, and a table, maps, or W^T W.

    Example: superpose show intro
    """
    from rich.console import Console

    from superpose_cli.cli.views import facts, facts_begun, print_begun, print_run
    from superpose_cli.results.layout import committed_shards
    from superpose_cli.results.manifest import read_manifest
    from superpose_cli.results.run import load_run

    path = find_run(run)
    if not committed_shards(path):
        manifest = read_manifest(path)
        print_json(facts_begun(path, manifest)) if json_ else print_begun(Console(), path, manifest)
        return
    loaded = load_run(path)
    if json_:
        print_json(facts(loaded))
    else:
        print_run(Console(), loaded)
