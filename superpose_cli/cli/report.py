"""`superpose report`: one HTML page of stored runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superpose_cli.cli import options
from superpose_cli.cli.output import print_json
from superpose_cli.cli.runs import find_run, status_of

if TYPE_CHECKING:
    from superpose_cli.results.run import Run


def writable_file(path: Path | None) -> Path | None:
    """`path`, if a file can be made there; `typer.BadParameter` otherwise."""
    if path is not None:
        if path.is_dir():
            raise typer.BadParameter(f"{path} is a folder; name a file in it, {path / 'report.html'}.")
        options.writable(path.absolute().parent)
    return path


def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Folders, ids, or experiments' names (their newest runs) under outputs/.",
            show_default=False,
            autocompletion=options.complete_run,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The page. Default: report.html in the run's folder, of several runs in outputs/.",
            show_default=False,
            callback=writable_file,
        ),
    ] = None,
    json_: options.Json = False,
) -> None:
    """Write one HTML page of runs: figures with their words, claims, failures, best instances, settings.

    The page is one file that needs no network; figures are drawn anew from what is stored. Its path is the
    last line on stdout.

    Example: superpose report intro phase_2_in_1 --out paper.html
    """
    from superpose_cli.claims.registry import claims
    from superpose_cli.claims.verify import tally, verify
    from superpose_cli.plots.style import find_style
    from superpose_cli.report.figures import draw_figures
    from superpose_cli.report.page import chapter, render, write_page
    from superpose_cli.results.run import load_run

    paths = list(dict.fromkeys(find_run(run) for run in runs))
    loaded = [load_run(path) for path in paths]
    out = out or default_page(paths)
    names = {run.name for run in loaded}
    verified = verify(loaded, [claim for claim in claims() if names & set(claim.experiments)])
    style, told = find_style("light"), descriptions()
    chapters = [
        chapter(
            run,
            draw_figures(run, style),
            verified,
            number=number,
            description=told.get(run.name, ""),
            status=status_of(run.path, run.manifest),
        )
        for number, run in enumerate(loaded, start=1)
    ]
    write_page(out, render(chapters, verified, title_of(loaded)))
    if not json_:
        typer.echo(str(out))
        return
    records = [
        {"run": path, "figures": [figure.name for figure in one.figures], "left_out": one.left_out}
        for path, one in zip(paths, chapters, strict=True)
    ]
    print_json({"report": out, "runs": records, "claims": tally(verified)})


def default_page(runs: list[Path]) -> Path:
    """In the folder of the one run, or outputs/report.html."""
    return (runs[0] if len(runs) == 1 else options.OUTPUTS) / "report.html"


def descriptions() -> dict[str, str]:
    """What each shipped experiment shows, by its name."""
    from superpose_cli.experiment.config_dir import list_experiments

    return dict(list_experiments())


def title_of(runs: "list[Run]") -> str:
    """Of the page."""
    return runs[0].name if len(runs) == 1 else f"{len(runs)} runs of superpose"
