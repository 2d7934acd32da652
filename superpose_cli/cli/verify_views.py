"""What `verify` prints: a table on a terminal, a line for each claim elsewhere, everything as plain data."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superpose_cli.claims.verify import VERDICTS, Verified, tally
from superpose_cli.cli.live import counted

COLOURS = {"holds": "green", "fails": "bold red", "inconclusive": "yellow", "not run": "dim"}


WIDE = 132
"""Columns of a terminal from which on claims stand in a table; below, each has lines of its own."""


def print_verified(console: Console, found: Sequence[Verified]) -> None:
    """The claims by section, then how many hold, and what would run those that were not."""
    if console.is_terminal:
        for section, some in groupby(found, key=lambda one: one.claim.section):
            shown = _table if console.width >= WIDE else _blocks
            console.print(shown(section, list(some)))
            console.print()
    else:
        for one in found:
            outcome = one.outcome
            text = outcome.measured or f"to run: {one.command}"
            line = f"{outcome.verdict:<12}  {one.claim.id}  {text} (expected: {one.claim.expected}"
            line += f"; restarts: {outcome.n_restarts})" if outcome.n_restarts else ")"
            console.print(Text(line), soft_wrap=True)
    console.print(Text(counts(found)), soft_wrap=True)
    for command in dict.fromkeys(one.command for one in found if one.command):
        console.print(Text(f"to run: {command}"), soft_wrap=True)


def counts(found: Sequence[Verified]) -> str:
    """`52 claims: 50 hold, 1 fails, 1 inconclusive`."""
    told = [
        f"{number} {'hold' if verdict == 'holds' and number != 1 else verdict}"
        for verdict, number in tally(found).items()
    ]
    return counted(len(found), "claim") + (f": {', '.join(told)}" if told else "")


def facts(found: Sequence[Verified]) -> dict[str, Any]:
    """Every claim with its verdict, as plain data."""
    return {
        "counts": dict.fromkeys(VERDICTS, 0) | tally(found),
        "claims": [
            {
                "id": one.claim.id,
                "statement": one.claim.statement,
                "section": one.claim.section,
                "source": one.claim.source,
                "citation": one.claim.citation,
                "experiments": list(one.claim.experiments),
                "expected": one.claim.expected,
                "tolerance": one.claim.tolerance,
                "departs": one.claim.departs or None,
                "verdict": one.outcome.verdict,
                "measured": one.outcome.measured or None,
                "values": dict(one.outcome.values),
                "restarts": one.outcome.n_restarts or None,
                "runs": {name: str(path) for name, path in one.runs.items()},
                "command": one.command or None,
            }
            for one in found
        ],
    }


def _blocks(section: str, found: Sequence[Verified]) -> Table:
    """The verdict, and beside it the claim line by line."""
    table = Table(title=section, title_justify="left", title_style="bold", box=None, show_header=False)
    table.add_column(width=12)
    table.add_column(ratio=1)
    for one in found:
        claim, outcome = one.claim, one.outcome
        restarts = f" ({counted(outcome.n_restarts, 'restart')})" if outcome.n_restarts else ""
        table.add_row(
            Text(outcome.verdict, COLOURS[outcome.verdict]),
            Text.assemble(
                (claim.id, "bold"), restarts, f"\n{claim.statement}",
                ("\nexpected: ", "dim"), claim.expected,
                *((("\nmeasured: ", "dim"), outcome.measured) if outcome.measured else ()),
                (f"\n{claim.departs}" if claim.departs else "", "dim"),
            ),
        )  # fmt: skip
    return table


def _table(section: str, found: Sequence[Verified]) -> Table:
    table = Table(title=section, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, expand=True)
    table.add_column("claim", ratio=4)
    table.add_column("expected", ratio=4)
    table.add_column("measured", ratio=4)
    table.add_column("verdict", width=12)
    table.add_column("restarts", justify="right", width=8)
    for k, one in enumerate(found):
        outcome, claim = one.outcome, one.claim
        table.add_row(
            Text.assemble((claim.id, "bold"), "\n", claim.statement),
            Text(claim.expected),
            Text.assemble(outcome.measured or "-", (f"\n{claim.departs}" if claim.departs else "", "dim")),
            Text(outcome.verdict, COLOURS[outcome.verdict]),
            str(outcome.n_restarts or "-"),
            end_section=k + 1 < len(found),
        )
    return table
