"""How a sweep tells what it does: a live bar on a terminal, plain lines elsewhere, or nothing.

Each class is a `Watch` (engines/watch.py). All of it goes to stderr; stdout belongs to results.
"""

import math
import time
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

COMPILING = "compiling (once): the kernels are kept for later runs"
SECONDS_BETWEEN_LINES = 10.0
"""Time between two plain progress lines."""


class Pace:
    """Where the work stands, and the numbers that both views show.

    Speed counts from the first report on, since what comes before it is mostly compilation.
    """

    def __init__(self) -> None:
        self.total = 0
        self.stored = 0
        self.started_at = time.monotonic()
        self.first: tuple[float, float, int] | None = None

    def begin(self, n_instances: int, n_stored: int) -> None:
        """Set the clock to zero."""
        self.total, self.stored = n_instances, n_stored
        self.started_at = time.monotonic()

    def describe(self, instances: float, loss: float, instance_steps: int) -> str:
        """`384/3,200 instances  1.20M steps  loss 0.0123  850k steps/s  2:10 left`."""
        now = time.monotonic()
        done = int(self.stored + instances)
        counts = f"{done:,}/{self.total:,}" if self.total < 100_000 else f"{short(done)}/{short(self.total)}"
        parts = [f"{counts} instances", f"{short(instance_steps)} steps"]
        if math.isfinite(loss):
            parts.append(f"loss {loss:.3g}")
        self.first = self.first or (now, instances, instance_steps)
        seconds, since, steps = now - self.first[0], instances - self.first[1], instance_steps - self.first[2]
        if seconds > 0 and since > 0:
            left = max(0.0, self.total - self.stored - instances) * seconds / since
            parts += [f"{short(steps / seconds)} steps/s", f"{clock(left)} left"]
        return "  ".join(parts)


class Lines:
    """Plain lines on stderr, at most one progress line in ten seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.pace = Pace()
        self.next_line = math.inf
        self.compiled = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the terminal back, whatever happened."""

    def started(self, n_instances: int, n_stored: int, engine: str, reason: str) -> None:
        self.pace.begin(n_instances, n_stored)
        self.next_line = time.monotonic() + SECONDS_BETWEEN_LINES
        self.said(opening(n_instances, n_stored, engine, reason))

    def progressed(self, instances: float, loss: float, instance_steps: int) -> None:
        text = self.pace.describe(instances, loss, instance_steps)
        if time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            self.said(text)

    def compiling(self, seconds: float | None) -> None:
        if seconds is not None:
            self.compiled += seconds
        elif not self.compiled:
            self.said(COMPILING)

    def committed(self, instances: int) -> None:
        pass

    def said(self, message: str) -> None:
        self.console.print(escape(message), soft_wrap=True, highlight=False)

    def finished(self, status: str) -> None:
        compiled = f", {clock(self.compiled)} of them compiling (once)" if self.compiled else ""
        self.said(f"{status} after {clock(time.monotonic() - self.pace.started_at)}{compiled}")


class _Compiling(ProgressColumn):
    """A spinner and the time while kernels are compiled, else nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.spinner = Spinner("dots")

    def render(self, task: Task) -> Text | Table:
        since = task.fields["compiling_since"]
        if since is None:
            return Text()
        now = time.monotonic()
        shown = Table.grid(padding=(0, 1))
        shown.add_row(self.spinner.render(now), f"compiling (once) {clock(now - since)}")
        return shown


class Bar(Lines):
    """A bar that stays on the last line of the terminal while messages scroll above it."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.progress = Progress(
            BarColumn(bar_width=None),
            _Compiling(),
            TextColumn("{task.description}"),
            console=console,
            expand=True,
        )
        self.task = self.progress.add_task("starting", total=None, compiling_since=None)

    def started(self, n_instances: int, n_stored: int, engine: str, reason: str) -> None:
        super().started(n_instances, n_stored, engine, reason)
        self.progress.update(self.task, total=n_instances, completed=n_stored)
        self.progress.start()

    def progressed(self, instances: float, loss: float, instance_steps: int) -> None:
        self.progress.update(
            self.task,
            completed=self.pace.stored + instances,
            description=self.pace.describe(instances, loss, instance_steps),
        )

    def compiling(self, seconds: float | None) -> None:
        self.compiled += seconds or 0.0
        since = time.monotonic() if seconds is None else None
        self.progress.update(self.task, compiling_since=since)
        self.progress.start()

    def close(self) -> None:
        self.progress.stop()

    def finished(self, status: str) -> None:
        self.close()
        super().finished(status)


def watch_for(quiet: bool) -> Lines:
    """The view that suits stderr: a bar on a terminal, else lines, or silence (`--quiet`)."""
    console = Console(stderr=True, quiet=quiet)
    live = console.is_terminal and not console.is_dumb_terminal and not quiet
    return Bar(console) if live else Lines(console)


def opening(n_instances: int, n_stored: int, engine: str, reason: str) -> str:
    """The first line: how much there is to do, what is reused, and who does it."""
    stored = f", {n_stored:,} of them stored already" if n_stored else ""
    because = f" ({reason})" if reason else ""
    return f"{counted(n_instances, 'instance')}{stored}; engine {engine}{because}"


def counted(count: int, noun: str) -> str:
    """`1 cell`, `3,200 cells`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def short(number: float) -> str:
    """A count in three digits: 950, 12.3k, 4.56M, 7.89G."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            value = number / size
            return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f}{unit}"
    return f"{number:.0f}"


def clock(seconds: float) -> str:
    """Seconds as `0.4 s`, `12 s`, `2:10` or `1:02:10`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
