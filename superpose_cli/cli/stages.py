"""How `reproduce` tells what it does: one display for all experiments, after `cli/live.py`."""

import time
from typing import TYPE_CHECKING

from rich.console import Console

from superpose_cli.cli.live import SECONDS_BETWEEN_LINES, Bar, Lines, clock, counted

if TYPE_CHECKING:
    from superpose_cli.reproduce import Part


class StageLines(Lines):
    """Plain lines on stderr that begin with the experiment's number and name."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.number = 0
        self.total = 0
        self.label = ""
        self.began = self.entered_at = time.monotonic()

    def entered(self, number: int, total: int, name: str) -> None:
        self.number, self.total = number, total
        self.label = f"{number}/{total} {name}"
        self.entered_at = time.monotonic()

    def started(self, n_instances: int, n_stored: int, engine: str, reason: str) -> None:
        self.pace.begin(n_instances, n_stored)
        self.pace.first = None
        self.next_line = time.monotonic() + SECONDS_BETWEEN_LINES
        stored = f", {n_stored:,} of them stored already" if n_stored else ""
        self.said(f"{counted(n_instances, 'instance')}{stored}; engine {engine}")

    def said(self, message: str) -> None:
        super().said(f"{self.label}: {message}" if self.label else message)

    def doing(self, what: str) -> None:
        """Nothing to tell in lines: it takes seconds."""

    def left(self, part: "Part") -> None:
        if part.error:
            self.said(f"failed: {part.error}")
        else:
            self.said(f"{part.status} after {clock(time.monotonic() - self.entered_at)}")
        self.label = ""

    def drawn(self, part: "Part") -> None:
        self.label = part.name
        if part.error:
            self.said(f"failed: {part.error}")
        for reason in part.left_out:
            self.said(f"left out: {reason}")
        self.label = ""

    def finished(self, status: str) -> None:
        """`left` tells of it."""

    def ended(self, status: str) -> None:
        """All has ended, or was stopped."""
        self.close()
        self.label = ""
        compiled = f", {clock(self.compiled)} of them compiling (once)" if self.compiled else ""
        self.said(f"{status} after {clock(time.monotonic() - self.began)}{compiled}")


class StageBar(StageLines, Bar):
    """One bar over all experiments, which tells of the one at hand as much as the terminal has room for."""

    BAR_WIDTH = 12
    """Columns that are left to the bar, where telling less can do that."""

    def entered(self, number: int, total: int, name: str) -> None:
        super().entered(number, total, name)
        self.progress.update(self.task, total=total, completed=number - 1, description=self.label)
        self.progress.start()

    def started(self, n_instances: int, n_stored: int, engine: str, reason: str) -> None:
        self.pace.begin(n_instances, n_stored)
        self.pace.first = None

    def progressed(self, instances: float, loss: float, instance_steps: int) -> None:
        done = (self.pace.stored + instances) / max(self.pace.total, 1)
        told = [self.label, *self.pace.describe(instances, loss, instance_steps).split("  ")]
        room = self.console.width - self.BAR_WIDTH
        while len(told) > 3 and len("  ".join(told)) > room:
            del told[2]  # what is between the counts and the time left
        self.progress.update(self.task, completed=self.number - 1 + done, description="  ".join(told))

    def doing(self, what: str) -> None:
        self.progress.update(self.task, description=f"{self.label}  {what}".strip())


def stages_for(quiet: bool) -> StageLines:
    """The view that suits stderr: a bar on a terminal, else lines, or silence (`--quiet`)."""
    console = Console(stderr=True, quiet=quiet)
    live = console.is_terminal and not console.is_dumb_terminal and not quiet
    return StageBar(console) if live else StageLines(console)
