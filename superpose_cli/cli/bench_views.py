"""What `superpose bench` prints and writes: the same tables on a terminal and in Markdown."""

import io
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superpose_cli.benchmark.gpu import Gpu
from superpose_cli.benchmark.measure import Spread
from superpose_cli.benchmark.report import BASELINES, Report, Timing
from superpose_cli.cli.live import clock, counted

CROWDED = 0.75
"""All threads reach less than this share of their number times one thread's peak: not a quiet machine."""
MARKDOWN_WIDTH = 400
"""No line of a table in Markdown may be broken."""


def print_report(console: Console, report: Report) -> None:
    """The tables, each with its title, and what they were measured on."""
    for title, table in _tables(report, box.SIMPLE_HEAD):
        console.print(Text(title, "bold"))
        console.print(table)
    grid = Table.grid(padding=(0, 2))
    for name, text in _facts(report):
        grid.add_row(Text(name, "bold"), Text(text))
    console.print(grid)


def in_markdown(report: Report) -> str:
    """The same as a page of Markdown."""
    console = Console(file=io.StringIO(), width=MARKDOWN_WIDTH, color_system=None)
    lines = [f"# superpose bench, {report.date[:10]}", ""]
    lines += [f"- {name}: {text}" for name, text in _facts(report)]
    for title, table in _tables(report, box.MARKDOWN):
        with console.capture() as captured:
            console.print(table)
        lines += ["", f"## {title}", "", *(line for line in captured.get().splitlines() if line.strip())]
    return "\n".join(lines) + "\n"


def _tables(report: Report, look: box.Box) -> Iterator[tuple[str, Table]]:
    for p in sorted({timing.feature_probability for timing in report.timings}, reverse=True):
        rows = [timing for timing in report.timings if timing.feature_probability == p]
        yield f"Microseconds per model and step, p = {p:g}", _table(rows, look)
    if report.scale:
        title = f"Growing numbers, p = 1: slowest / fastest = {report.scale_spread:.2f}"
        yield title, _table(report.scale, look)


def _table(rows: Sequence[Timing], look: box.Box) -> Table:
    """A row for each rival on each shape; columns that would be empty are left out."""
    page = look is box.MARKDOWN
    table = Table(box=look, pad_edge=page, padding=(0, 1) if page else (0, 1, 0, 0))
    baselines = [name for name in BASELINES if any(name in row.speedups for row in rows)]
    peak = any(row.peak_fraction is not None for row in rows)
    for name in ("shape: n, m, models" if page else "shape\nn, m, models", "engine"):
        table.add_column(name, no_wrap=True)
    for name in ("us", "20..80 %", *(f"x {name}" for name in baselines), *["% peak"] * peak):
        table.add_column(name, justify="right", no_wrap=True)
    for _, group in groupby(rows, key=lambda row: (row.shape, row.instances)):
        rivals = list(group)
        for label, row in zip(_labels(rivals, page), rivals, strict=True):
            share = "" if row.peak_fraction is None else f"{100 * row.peak_fraction:.2g}"
            table.add_row(
                label,
                row.rival if row.device == "cpu" else f"{row.rival} ({row.device})",
                _number(row.microseconds.median),
                f"{_number(row.microseconds.low)}..{_number(row.microseconds.high)}",
                *(_number(row.speedups[name]) if name in row.speedups else "" for name in baselines),
                *[share] * peak,
            )
        if len(rivals) > 1 and not page:
            table.add_section()
    return table


def _labels(rivals: Sequence[Timing], page: bool) -> list[str]:
    """What a shape's rows begin with: on a screen the name and below it the sizes, where there is room."""
    first = rivals[0]
    sizes = f"{first.n_features}, {first.n_hidden}, {first.instances:,}"
    if page or len(rivals) == 1:
        return [f"{first.shape}: {sizes}"] * len(rivals)
    return [first.shape, sizes, *[""] * (len(rivals) - 2)]


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    machine, peak = report.machine, report.peak
    yield "machine", f"{machine.cpu}, {machine.cores} cores, {machine.memory_bytes / 1e9:.3g} GB"
    if machine.gpu is not None:
        yield "GPU", _gpu(machine.gpu)
    yield "system", f"{machine.system}, load {machine.load:.2f} at the start"
    yield "kernels", f"numba {machine.instruction_set}, torch {machine.torch_instruction_set}"
    yield "threads", f"numba {machine.numba_threads}, torch {machine.torch_threads}"
    yield (
        "software",
        f"python {machine.python}, " + ", ".join(f"{k} {v}" for k, v in machine.versions.items()),
    )
    yield "numerics", ", ".join(dict.fromkeys(t.numerics for t in report.timings if t.numerics)) or "-"
    every = f"{_gflops(peak.all_threads)} on {counted(peak.threads, 'thread')}"
    yield "peak", f"{every}, {_gflops(peak.one_thread)} on one"
    if report.sharing < CROWDED:
        yield (
            "caution",
            f"{peak.threads} threads do only {report.sharing * peak.threads:.2f} times the work of one: "
            "other programs were running, or cores are shared; repeat on a quiet machine",
        )
    warm_up = {}
    for timing in (*report.timings, *report.scale):
        warm_up[timing.rival] = warm_up.get(timing.rival, 0.0) + timing.warm_up_seconds
    yield "warm-up", ", ".join(f"{name} {clock(seconds)}" for name, seconds in warm_up.items())
    rounds = len(report.timings[0].microseconds.samples)
    yield "measured", f"{report.date}, {rounds} rounds, {clock(report.seconds)} in all"
    for name, why in report.left_out.items():
        yield "left out", f"{name}: {why}"


def _gpu(gpu: Gpu) -> str:
    peak = (
        "" if gpu.peak_gflops is None else f", {gpu.peak_gflops:,.0f} GFLOP/s in float32 at its highest clock"
    )
    return (
        f"{gpu.name} ({gpu.capability}, {gpu.multiprocessors} multiprocessors, "
        f"{gpu.memory_bytes / 1e9:.3g} GB, driver {gpu.driver}){peak}"
    )


def _gflops(spread: Spread) -> str:
    return f"{spread.median:.0f} GFLOP/s ({spread.low:.0f}..{spread.high:.0f})"


def _number(value: float) -> str:
    """Three digits: 0.771, 7.6, 108, 15,400."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"
