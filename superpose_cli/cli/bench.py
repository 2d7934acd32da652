"""`superpose bench`: engines and the notebook-style loop side by side."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superpose_cli.cli import options
from superpose_cli.cli.output import in_json, print_json

if TYPE_CHECKING:
    from superpose_cli.benchmark.report import Report


def bench(
    shapes: Annotated[
        list[str] | None,
        typer.Option(
            "--shape",
            metavar="NAME",
            help="intro, basic, varying, geometry or phase. Repeatable. Default: all.",
            show_default=False,
        ),
    ] = None,
    engines: Annotated[
        list[str] | None,
        typer.Option(
            "--engine",
            metavar="NAME",
            help="notebook, jax, or one of `superpose list engines`. Repeatable. Default: all that are here.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            help="Where all of them compute: cpu, cuda or cuda:N. Default: a GPU where there is one and all "
            "engines named work on it.",
        ),
    ] = "auto",
    scale: Annotated[
        bool,
        typer.Option("--scale", help="Time the fastest engine on 10 to 1,000,000 models too."),
    ] = False,
    seconds: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="Time for measuring; warming up comes on top."),
    ] = 60.0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Write DATE-MACHINE.json and .md into this folder.",
            show_default=False,
            callback=options.writable,
        ),
    ] = None,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Time the engines and a notebook-style PyTorch loop side by side, on shapes of the paper.

    Example: superpose bench --shape intro --shape phase
    """
    from dataclasses import asdict

    from rich.console import Console

    from superpose_cli.benchmark.report import DENSE, run_benchmark
    from superpose_cli.benchmark.rivals import device_for, find_rivals
    from superpose_cli.benchmark.shapes import batch_of, find_shapes
    from superpose_cli.cli.bench_views import print_report

    wanted = find_shapes(shapes or ())
    names = engines or ()
    rivals, left_out = find_rivals(names, batch_of(wanted[0], DENSE), device_for(names, device))
    with _told(quiet) as tell:
        report = run_benchmark(wanted, rivals, left_out, seconds=seconds, scale=scale, tell=tell)
    if json_:
        print_json(asdict(report))
    else:
        print_report(Console(), report)
    if out is not None:
        for path in _write(report, out):
            typer.echo(str(path), err=json_)


@contextmanager
def _told(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Who is told what is going on: a spinner on a terminal, a line now and then elsewhere, or nobody."""
    import time

    from rich.console import Console
    from rich.markup import escape

    from superpose_cli.cli.live import SECONDS_BETWEEN_LINES

    console = Console(stderr=True, quiet=quiet)
    if console.is_terminal and not console.is_dumb_terminal and not quiet:
        with console.status("starting") as status:
            yield lambda message: status.update(escape(message))
        return
    next_line = time.monotonic()

    def print_sometimes(message: str) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            console.print(escape(message), soft_wrap=True, highlight=False)

    yield print_sometimes


def _write(report: "Report", folder: Path) -> Iterator[Path]:
    """Write the report as data and as a page, under its date and machine; gives the files."""
    from dataclasses import asdict

    from superpose_cli.cli.bench_views import in_markdown

    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{report.date[:10]}-{report.machine.slug}"
    for name, text in ((f"{stem}.json", in_json(asdict(report)) + "\n"), (f"{stem}.md", in_markdown(report))):
        path = folder / name
        path.write_text(text, encoding="utf-8")
        yield path
