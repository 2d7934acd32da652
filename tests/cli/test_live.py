"""The progress views: what they print, where, and how often."""

import io
import math

import pytest
from rich.console import Console

from superpose_cli.cli import live


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    return now


def plain_console() -> Console:
    return Console(file=io.StringIO(), width=80)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_lines_come_at_most_every_ten_seconds(clock: list[float]) -> None:
    console = plain_console()
    watch = live.Lines(console)
    watch.started(3200, 200, "torch", "the fastest that accepts")
    clock[0] += 5  # compilation
    for second in range(31):
        clock[0] = 105.0 + second
        watch.progressed(second * 100.0, 0.0123, second * 1_000_000)
    watch.finished("complete")
    lines = printed(console).splitlines()
    assert lines[0] == "3,200 instances, 200 of them stored already; engine torch (the fastest that accepts)"
    assert lines[1] == "700/3,200 instances  5.00M steps  loss 0.0123  1.00M steps/s  25 s left"
    assert lines[3].endswith("5.0 s left")
    assert lines[4:] == ["complete after 35 s"]


def test_compiling_is_said_once_and_counted(clock: list[float]) -> None:
    console = plain_console()
    watch = live.Lines(console)
    watch.started(1, 0, "numba", "")
    for seconds in (20.0, 8.0):
        watch.compiling(None)
        clock[0] += seconds
        watch.compiling(seconds)
    clock[0] += 2
    watch.finished("complete")
    lines = printed(console).splitlines()
    assert lines[1:] == [live.COMPILING, "complete after 30 s, 28 s of them compiling (once)"]


def test_the_bar_shows_how_long_it_compiles(clock: list[float]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with live.Bar(console) as watch:
        watch.started(1, 0, "numba", "")
        watch.compiling(None)
        clock[0] += 12
        watch.progress.refresh()
        assert "compiling (once) 12 s" in printed(console)
        watch.compiling(12.0)
        before = len(printed(console))
        watch.progress.refresh()
        assert "compiling" not in printed(console)[before:]


def test_a_line_without_a_loss_and_before_the_first_step(clock: list[float]) -> None:
    pace = live.Pace()
    pace.begin(1, 0)
    assert pace.describe(0.0, math.nan, 0) == "0/1 instances  0 steps"


def test_messages_are_printed_as_they_are() -> None:
    console = plain_console()
    live.Lines(console).said("x[b] " + "y" * 100)
    assert printed(console) == "x[b] " + "y" * 100 + "\n"


def test_the_bar_gives_the_terminal_back_after_a_failure() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    watch = live.Bar(console)

    def fail_in_the_middle() -> None:
        with watch:
            watch.started(10, 0, "torch", "")
            watch.progressed(3.5, 0.5, 3500)
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail_in_the_middle()
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert printed(console).count(hidden) == printed(console).count(shown) == 1
    assert "3/10 instances" in printed(console)


def test_the_bar_fits_80_columns(clock: list[float]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, no_color=True)
    with live.Bar(console) as watch:
        watch.started(1_000_000, 0, "torch", "")
        watch.progressed(0.0, 1.0, 0)
        clock[0] += 1000
        watch.progressed(123_456.7, 1.234e-5, 123_456_789_000)
    text = printed(console)
    assert " 123k/1.00M instances  123G steps  loss 1.23e-05  123M steps/s  1:58:20 left" in text
    assert len(text.rpartition("\x1b[2K")[2].partition("\n")[0]) == 80


def test_the_view_suits_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert type(live.watch_for(quiet=False)) is live.Lines
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert type(live.watch_for(quiet=False)) is live.Bar
    monkeypatch.setenv("TERM", "dumb")
    assert type(live.watch_for(quiet=False)) is live.Lines
    live.watch_for(quiet=True).said("nothing")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (950, "950"),
        (1000, "1.00k"),
        (12_345, "12.3k"),
        (999_900, "1.00M"),
        (4.5e9, "4.50G"),
        (1e13, "10000G"),
    ],
)
def test_short(number: float, text: str) -> None:
    assert live.short(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.9, "9.9 s"), (12, "12 s"), (130, "2:10"), (3730, "1:02:10")]
)
def test_clock(seconds: float, text: str) -> None:
    assert live.clock(seconds) == text


def test_counted() -> None:
    assert [live.counted(count, "cell") for count in (0, 1, 3200)] == ["0 cells", "1 cell", "3,200 cells"]
