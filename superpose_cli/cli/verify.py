"""`superpose verify`: the paper's claims, measured on stored runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from superpose_cli.cli import options
from superpose_cli.cli.output import INTERRUPTED, continuing, print_json
from superpose_cli.cli.runs import find_run

if TYPE_CHECKING:
    from superpose_cli.results.run import Run


def complete_claim(incomplete: str) -> list[str]:
    """What the shell offers for a half-typed claim."""
    from superpose_cli.claims.registry import claims

    return [claim.id for claim in claims() if claim.id.startswith(incomplete)]


def verify(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Runs to measure: folders, ids, or experiments' names. Default: of each experiment under "
            "outputs/ the complete run as it is shipped, or else the newest.",
            show_default=False,
            autocompletion=options.complete_run,
        ),
    ] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option(
            "--claim",
            metavar="ID",
            help="Only this claim. Repeatable.",
            show_default=False,
            autocompletion=complete_claim,
        ),
    ] = None,
    section: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS", help="Only claims of sections whose names contain this.", show_default=False
        ),
    ] = None,
    run: Annotated[
        bool,
        typer.Option(
            "--run",
            help="Train first what is missing, as `superpose sweep experiment=NAME` does: for all claims, or "
            "for those about the named RUNs.",
            show_default=False,
        ),
    ] = False,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure the paper's claims on stored runs: each holds, fails, is inconclusive, or was not run.

    Exit code 1 only if one fails. With RUNs, the table leaves out claims about other experiments.

    Example: superpose verify intro phase_2_in_1
    """
    from rich.console import Console

    from superpose_cli.claims.registry import select
    from superpose_cli.claims.verify import newest_runs
    from superpose_cli.claims.verify import verify as verify_claims
    from superpose_cli.cli.verify_views import facts, print_verified
    from superpose_cli.evidence import speaking
    from superpose_cli.results.run import load_run

    def told(line: str) -> None:
        typer.echo(line, err=True)

    wanted = select(ids or (), section)
    loaded = [load_run(find_run(name)) for name in runs] if runs else speaking(options.OUTPUTS, told)
    if run:
        named = {one.name for one in loaded}
        about = [claim for claim in wanted if not runs or named.intersection(claim.experiments)]
        missing = dict.fromkeys(name for claim in about for name in claim.experiments)
        loaded += _train([name for name in missing if name not in newest_runs(loaded)], quiet)
    found = verify_claims(loaded, wanted)
    if json_:
        print_json(facts(found))
    else:
        named = {one.name for one in loaded}
        shown = [one for one in found if not runs or named.intersection(one.claim.experiments)]
        print_verified(Console(), shown)
    if any(one.outcome.verdict == "fails" for one in found):
        raise typer.Exit(1)


def _train(experiments: Sequence[str], quiet: bool) -> "list[Run]":
    """Run these experiments one after the other; exits with 130 where one is interrupted."""
    from superpose_cli.cli.live import watch_for
    from superpose_cli.experiment.compose import load_experiment
    from superpose_cli.pipeline import run_experiment
    from superpose_cli.results.run import load_run

    trained = []
    for k, name in enumerate(experiments, 1):
        with watch_for(quiet) as watch:
            watch.said(f"{k} of {len(experiments)}: {name}")
            result = run_experiment(load_experiment([f"experiment={name}"]), watch=watch)
        if result.status != "complete" and result.status != "already done":
            typer.echo(
                f"interrupted; the same command goes on, and so does: {continuing(result.path)}", err=True
            )
            raise typer.Exit(INTERRUPTED)
        trained.append(load_run(result.path))
    return trained
