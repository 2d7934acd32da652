"""One HTML page of some runs, whole in one file: no script, no network, every text escaped."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from superpose_cli import __version__
from superpose_cli.claims.base import Verdict
from superpose_cli.claims.verify import Verified, tally
from superpose_cli.plots.style import replacing
from superpose_cli.report import facts
from superpose_cli.report.figures import Figure, Figures
from superpose_cli.results.run import Run

TEMPLATE = "page.html.j2"
MARKS: dict[Verdict, str] = {"holds": "✓", "fails": "✗", "inconclusive": "?", "not run": "–"}
"""Beside the word, so that colour carries nothing alone."""


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """What the page tells of one run. Its texts come from files that anybody may have written."""

    anchor: str
    name: str
    description: str
    status: str
    summary: facts.Rows
    commands: tuple[str, ...]
    axes: facts.Rows
    settings: tuple[tuple[str, facts.Rows], ...]
    failed: str
    failures: tuple[facts.Failure, ...]
    best: facts.BestTable
    figures: tuple[Figure, ...]
    left_out: tuple[str, ...]
    verified: tuple[Verified, ...]


def chapter(
    run: Run,
    figures: Figures,
    verified: Sequence[Verified],
    *,
    number: int = 1,
    description: str = "",
    status: str | None = None,
) -> Chapter:
    """A run, its figures, and those of the claims that were measured on it or could be, were it complete.

    `status` is that of the manifest where it is not known better: a run whose process died still says
    "running" there.
    """
    failed, cells = facts.failures(run)
    return Chapter(
        anchor=f"run-{number}",
        name=run.name,
        description=description,
        status=status or run.manifest.status,
        summary=facts.summary(run),
        commands=facts.commands(run),
        axes=facts.axes(run),
        settings=facts.settings(run),
        failed=failed,
        failures=cells,
        best=facts.best_table(run),
        figures=figures.drawn,
        left_out=figures.left_out,
        verified=tuple(one for one in verified if concerns(one, run)),
    )


def concerns(verified: Verified, run: Run) -> bool:
    """Whether a claim was measured on this run, or needs an experiment of its name and was not measured."""
    return run.path in verified.runs.values() or (
        verified.outcome.verdict == "not run" and run.name in verified.claim.experiments
    )


def render(chapters: Sequence[Chapter], verified: Sequence[Verified], title: str) -> str:
    """The page. The same stored runs give the same bytes: it tells no time of its own."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["tally"] = tally
    return environment.get_template(TEMPLATE).render(
        title=title, chapters=chapters, verified=verified, marks=MARKS, version=__version__
    )


def write_page(path: Path, text: str) -> None:
    """Put the page in the place of `path`, whole or not at all; SuperposeError if the disk refuses."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
