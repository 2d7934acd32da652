"""Figures drawn in the background, while the next experiment trains."""

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from superpose_cli.plots.style import find_style
from superpose_cli.report.figures import Figures, draw_figures, keep_figures
from superpose_cli.results.run import Run


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A run's figures, and the pictures' paths in its folder."""

    run: Run
    figures: Figures
    paths: tuple[Path, ...]


class Studio:
    """Draws the figures of runs, one after the other in a thread of its own, into the runs' folders.

    A thread is enough: kernels that train give up the interpreter's lock. Leaving the context waits for the
    figure at hand alone; what is ordered and not begun is not drawn then.
    """

    SWITCH_SECONDS = 0.0005
    """How long drawing keeps the lock from training: kernels ask for it thousands of times a minute, and
    Python's default is ten times as long."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="drawing")
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(self.SWITCH_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.shutdown(cancel_futures=True)
        sys.setswitchinterval(self._interval)

    def order(self, run: Run, names: Sequence[str]) -> Future[Kept]:
        """Draw these plots of a run, or those of its own list. Fails with what `draw_figures` raises."""
        return self._thread.submit(self._draw, run, names)

    def _draw(self, run: Run, names: Sequence[str]) -> Kept:
        figures = draw_figures(run, find_style("light"), names, go_on=lambda: not self._closed.is_set())
        return Kept(run=run, figures=figures, paths=tuple(keep_figures(figures.drawn, run.path)))
