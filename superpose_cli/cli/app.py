"""The command line: one Typer app, one short file per command, one place where errors become exit codes.

Exit codes: 0 done, 1 failed, 2 usage or configuration error, 130 interrupted. Everything that a user can act
on is one line on stderr; an unexpected exception is a bug and keeps its traceback (exit code 1).
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from superpose_cli import __version__
from superpose_cli.cli import bench, clean, compare, plan, plot, report, reproduce, show, sweep, train, verify
from superpose_cli.cli import list as list_command
from superpose_cli.errors import ConfigError, RunError, SuperposeError


class OneLineErrors(TyperGroup):
    """The command group, with Typer's boxed errors replaced by `superpose: error: ...`."""

    def main(self, args: Sequence[str] | None = None, *positional: Any, **options: Any) -> Any:
        """Run one command line and exit with its code."""
        arguments = [_at_home(text) for text in (sys.argv[1:] if args is None else args)]
        options |= {"prog_name": "superpose", "standalone_mode": False}
        try:
            code = super().main(arguments or ["--help"], *positional, **options)
        except typer.TyperException as error:
            # Typer checks with Pydantic, which says so.
            sys.exit(fail(error.format_message().replace("Value error, ", ""), 2))
        except (ConfigError, RunError) as error:
            sys.exit(fail(str(error), 2))
        except SuperposeError as error:
            sys.exit(fail(str(error), 1))
        except typer.Abort:  # Ctrl-C, or the end of the input, at a question
            sys.exit(fail("nothing was done; --yes does not ask", 130))
        except OSError as error:  # what no command expects: a full pipe, a folder of somebody else's
            named = f"{error.filename}: " if error.filename else ""
            sys.exit(fail(f"{named}{error.strerror or error}", 1))
        except MemoryError as error:
            sys.exit(fail(f"out of memory ({error}): use fewer cells or smaller models", 1))
        sys.exit(code or 0)


def _at_home(text: str) -> str:
    """`--out=~/runs` as every shell has `--out ~/runs`; bash leaves the first to the command."""
    option, equals, value = text.partition("=~")
    is_path = option.startswith("--") and equals and value[:1] in ("", "/")
    return f"{option}={Path.home()}{value}" if is_path else text


def fail(message: str, code: int) -> int:
    """Print the one line of an error and give its exit code back."""
    typer.echo(f"superpose: error: {' '.join(message.split())}", err=True)
    return code


def print_version(wanted: bool) -> None:
    """Print the version and end, if it is wanted."""
    if wanted:
        typer.echo(f"superpose {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=OneLineErrors,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="A first run: superpose train. A figure of the paper: superpose sweep "
    "experiment=intro, then superpose plot intro.",
)
app.command("train", rich_help_panel="Train")(train.train)
app.command("sweep", rich_help_panel="Train")(sweep.sweep)
app.command("reproduce", rich_help_panel="Train")(reproduce.reproduce)
app.command("plan", rich_help_panel="Train")(plan.plan)
app.command("plot", rich_help_panel="Look")(plot.plot)
app.command("show", rich_help_panel="Look")(show.show)
app.command("compare", rich_help_panel="Look")(compare.compare)
app.command("report", rich_help_panel="Look")(report.report)
app.command("clean", rich_help_panel="Look")(clean.clean)
app.command("verify", rich_help_panel="Look")(verify.verify)
app.command("list", rich_help_panel="Look")(list_command.list_what_there_is)
app.command("bench", rich_help_panel="Look")(bench.bench)


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=print_version, is_eager=True),
    ] = False,
) -> None:
    """A laboratory for Toy Models of Superposition: whole grids of small models, trained at once."""


def main() -> None:
    """The `superpose` console script."""
    app()
