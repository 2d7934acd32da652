"""`superpose reproduce`: the whole paper, trained, drawn, measured and told."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from superpose_cli.cli import options
from superpose_cli.cli.output import INTERRUPTED, print_json
from superpose_cli.cli.report import writable_file
from superpose_cli.errors import SuperposeError

if TYPE_CHECKING:
    from superpose_cli.reproduce import Part, Reproduced


def complete_experiment(incomplete: str) -> list[str]:
    """What the shell offers for a half-typed experiment."""
    from superpose_cli.reproduce import shipped

    return [name for name in shipped() if name.startswith(incomplete)]


def reproduce(
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="A short form: the same steps with fewer cells, restarts and training steps, in minutes, "
            "under outputs/quick/. Claims that it cannot decide are inconclusive.",
            show_default=False,
        ),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="NAME,...",
            help="These experiments alone, and the claims about them. Repeatable.",
            show_default=False,
            autocompletion=complete_experiment,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The page. Default: outputs/reproduce.html, with --only reproduce-part.html, both in "
            "outputs/quick/ with --quick.",
            show_default=False,
            callback=writable_file,
        ),
    ] = None,
    engine: options.Engine = None,
    device: options.Device = None,
    max_seconds: options.MaxSeconds = None,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train every experiment of the paper, draw its figures, measure the claims, write one page of it all.

    The same command again goes on where it stopped, and trains nothing that is complete. It ends with the
    table of claims and the page's path. Exit code 1 if a claim fails or an experiment could not be trained.

    Example: superpose reproduce --quick
    """
    from superpose_cli.cli.stages import stages_for
    from superpose_cli.reproduce import QUICK
    from superpose_cli.reproduce import reproduce as reproduce_all

    options.writable(options.OUTPUTS / QUICK if quick else options.OUTPUTS)
    names = None
    if only is not None:
        given = (name.strip() for text in only for name in text.split(","))
        names = list(dict.fromkeys(filter(None, given)))
    asked = {"name": engine, "device": device}
    overrides = [f"engine.{key}={value}" for key, value in asked.items() if value is not None]
    resume = _command(quick, names, out, engine, device)
    with stages_for(quiet) as stages:
        try:
            done = reproduce_all(
                stages,
                only=names,
                quick=quick,
                overrides=overrides,
                page=out,
                max_seconds=max_seconds,
            )
        except KeyboardInterrupt:
            stages.ended("interrupted")
            typer.echo(f"to continue: {resume}", err=True)
            raise typer.Exit(INTERRUPTED) from None
        stages.ended(done.status)
    if done.status == "interrupted":
        typer.echo(f"to continue: {resume}", err=True)
    _print(done, resume, json_=json_)
    if done.status == "interrupted":
        raise typer.Exit(INTERRUPTED)
    failed = [part.name for part in done.parts if part.status == "failed"]
    if failed:
        typer.echo(f"failed: {', '.join(failed)}", err=True)
    if done.unwritten:
        raise SuperposeError(f"{done.unwritten} (--out FILE): nothing is trained again for it")
    if failed or any(one.outcome.verdict == "fails" for one in done.verified):
        raise typer.Exit(1)


def _print(done: "Reproduced", resume: str, *, json_: bool) -> None:
    """The claims and the page, or everything as JSON."""
    from rich.console import Console

    from superpose_cli.cli.verify_views import facts, print_verified

    if json_:
        record: dict[str, Any] = {
            "status": done.status,
            "experiments": [_record(part) for part in done.parts],
        }
        if done.status == "interrupted":
            print_json(record | {"resume": resume})
        else:
            print_json(record | facts(done.verified) | {"report": done.page})
    elif done.status == "complete":
        print_verified(Console(), done.verified)
        if done.page is not None:
            typer.echo(str(done.page))


def _record(part: "Part") -> dict[str, Any]:
    record: dict[str, Any] = {"name": part.name, "status": part.status, "error": part.error or None}
    if part.result is not None:
        numbers = ("path", "n_instances", "n_stored", "n_reused", "n_trained", "seconds", "failures")
        record |= {name: getattr(part.result, name) for name in numbers}
    return record | {"figures": list(part.figures), "left_out": list(part.left_out)}


def _command(
    quick: bool, names: list[str] | None, out: Path | None, engine: str | None, device: str | None
) -> str:
    """The command that goes on."""
    words = ["superpose", "reproduce", *(["--quick"] if quick else [])]
    for option, value in (
        ("--only", ",".join(names or ())), ("--out", out), ("--engine", engine), ("--device", device)
    ):  # fmt: skip
        words += [option, str(value)] if value else []
    return shlex.join(words)
