"""Draws docs/figures.png and docs/figures.md: a contact sheet of the paper's figures, from stored runs.

    python docs/figures.py RUNS     (RUNS: a folder of runs, such as outputs/; what it lacks is left out)

Of each shipped experiment the newest complete run is taken, with all plots of its list.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageDraw, ImageFont

from superpose_cli.errors import RunError
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.config_dir import list_experiments
from superpose_cli.plots.registry import PLOTS, draw
from superpose_cli.plots.style import find_style
from superpose_cli.results.index import run_folders
from superpose_cli.results.run import Run, load_run

DOCS = Path(__file__).parent
COLUMNS, WIDTH, GAP = 5, 340, 14
"""Of the sheet, in pixels."""
CAPTION = 18
"""Pixels of the line above each picture."""
LARGEST = 0.34
"""Scale of a picture: narrow ones are not blown up to a column's width."""
COLOURS = 256
FIRST = ("intro", "basic_small", "phase_2_in_1", "geometry", "dimensionality")
"""Experiments that the paper begins with; the others follow by name."""


def newest_runs(folder: Path) -> dict[str, Run]:
    """By experiment, the newest complete run under `folder`."""
    found: dict[str, Run] = {}
    for path in run_folders(folder):
        run = load_run(path)
        known = found.get(run.name)
        if run.manifest.status == "complete" and (
            known is None or run.manifest.updated > known.manifest.updated
        ):
            found[run.name] = run
    return found


def shipped_plots(run: Run) -> list[str]:
    """The plots of the experiment as it is shipped that the run has what they need for."""
    shown = []
    for plot in load_experiment([f"experiment={run.name}"]).variants[0].plots:
        try:
            PLOTS[plot].select(run)
            shown.append(plot)
        except RunError as error:
            print(error, file=sys.stderr)  # noqa: T201
    return shown


def thumbnails(runs: dict[str, Run], folder: Path) -> list[tuple[str, str, str, Image.Image]]:
    """(experiment, plot, title, picture) of each figure of the sheet."""
    names = [name for name, _ in list_experiments()]
    order = [*FIRST, *(name for name in names if name not in FIRST)]
    seen: set[str] = set()
    found = []
    for name in order:
        if name not in runs:
            print(f"no complete run of {name}", file=sys.stderr)  # noqa: T201
            continue
        for plot in shipped_plots(runs[name]):
            seen.add(plot)
            (path,) = draw(runs[name], [plot], find_style("light"), folder=folder / name)
            title = path.with_suffix(".md").read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
            picture = Image.open(path).convert("RGB")
            scale = min(WIDTH / picture.width, LARGEST)
            size = (round(picture.width * scale), round(picture.height * scale))
            small = picture.resize(size, Image.Resampling.LANCZOS)
            found.append((name, plot, title, captioned(small, f"{len(found) + 1}  {name} / {plot}")))
    print("not shown:", ", ".join(sorted(set(PLOTS) - seen)) or "none", file=sys.stderr)  # noqa: T201
    return found


def captioned(picture: Image.Image, text: str) -> Image.Image:
    """The picture under a line of text."""
    whole = Image.new("RGB", (WIDTH, picture.height + CAPTION), "white")
    whole.paste(picture, (0, CAPTION))
    ImageDraw.Draw(whole).text((2, 0), text, fill="black", font=ImageFont.load_default(CAPTION - 4))
    return whole


def sheet(pictures: list[Image.Image]) -> Image.Image:
    """The pictures in columns, each under the shortest column so far."""
    heights = [GAP] * COLUMNS
    places = []
    for picture in pictures:
        column = heights.index(min(heights))
        places.append((GAP + column * (WIDTH + GAP), heights[column]))
        heights[column] += picture.height + GAP
    whole = Image.new("RGB", (GAP + COLUMNS * (WIDTH + GAP), max(heights)), "white")
    for picture, place in zip(pictures, places, strict=True):
        whole.paste(picture, place)
    return whole.quantize(COLOURS)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) == 2 else sys.exit(__doc__)
    with TemporaryDirectory() as drawn:
        shown = thumbnails(newest_runs(folder), Path(drawn))
    sheet([picture for *_, picture in shown]).save(DOCS / "figures.png", optimize=True)
    rows = [
        f"| {i} | `{name}` | `{plot}` | {title.replace('|', chr(92) + '|')} |"
        for i, (name, plot, title, _) in enumerate(shown, 1)
    ]
    text = [
        "# All figures",
        "",
        "Drawn by `make contact-sheet` from the newest complete runs under `outputs/` (`RUNS=DIR`: another",
        "folder), such as `superpose reproduce` leaves. One figure at full size, with its words:",
        "`superpose plot EXPERIMENT --plot PLOT`. From left to right, each under the shortest column so far:",
        "",
        "| | experiment | plot | title |",
        "|---|---|---|---|",
        *rows,
        "",
        "![Contact sheet of all figures](figures.png)",
        "",
    ]
    (DOCS / "figures.md").write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
