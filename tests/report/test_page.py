"""The page: what it tells of runs, what it must never do, and that it is one file."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from superpose_cli.claims.base import Claim, Measured, claim
from superpose_cli.claims.verify import tally, verify
from superpose_cli.errors import SuperposeError
from superpose_cli.plots.registry import find_plot
from superpose_cli.plots.style import find_style
from superpose_cli.report import figures as figures_module
from superpose_cli.report.figures import Figures, draw_figures
from superpose_cli.report.page import Chapter, chapter, render, write_page
from superpose_cli.results.run import Run, load_run
from superpose_cli.toy_model.theory import polygon
from tests.synthetic import write_run

NASTY = "<script>alert(1)</script>\"'&{{ 7*1234567 }}"
NO_FIGURES = Figures(drawn=(), left_out=())
VOID = {"meta", "img", "br"}
AXES = {"data.feature_probability": [1.0, 0.3, 0.05]}


class Outline(HTMLParser):
    """Which elements a page has, with their attributes, and its text; fails where one is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def pentagons(path: Path, **options) -> Run:
    W = np.stack([scale * polygon(5) for scale in (0.9, 1.0, 1.0, 1.1, 1.1, 1.2)])
    return load_run(write_run(path, W, axes=AXES, restarts=2, **options))


def claimed(
    name: str,
    *,
    holds: bool = True,
    experiment: str | tuple[str, ...] = "synthetic",
    text: str = "0.123 is",
) -> Claim:
    """A claim about an experiment that looks at nothing."""

    def measure(run: Run) -> Measured:
        return Measured(holds, text, {})

    measure.__doc__ = f"{name} is so."
    return claim(
        name, section="Section", source="theory", citation="a book", experiment=experiment,
        expected="0.1 to 0.2", tolerance="none",
    )(measure)  # fmt: skip


def page_of(*runs: Run, verified=(), figures: Figures = NO_FIGURES, title: str = "title") -> str:
    chapters = [chapter(run, figures, verified, number=i) for i, run in enumerate(runs, 1)]
    return render(chapters, verified, title)


def test_a_page_is_one_file_without_scripts_or_network(tmp_path: Path) -> None:
    run = pentagons(tmp_path / "run", plots=("arrows", "phase"))
    page = page_of(run, figures=draw_figures(run, find_style("light")))
    outline = Outline(page)
    assert outline.of("script") == outline.of("link") == outline.of("iframe") == []
    assert not re.search(r"https?://|url\(|@import", page)
    (picture,) = outline.of("img")
    assert base64.b64decode((picture["src"] or "").removeprefix("data:image/png;base64,"))[1:4] == b"PNG"
    policy = outline.of("meta")[2]["content"] or ""
    assert policy.startswith("default-src 'none'")
    assert not [key for _, attributes in outline.elements for key in attributes if key.startswith("on")]


def test_figures_have_their_words_and_what_is_left_out_its_reason(tmp_path: Path) -> None:
    run = pentagons(tmp_path / "run", plots=("arrows", "phase", "no_such_plot"))
    figures = draw_figures(run, find_style("light"))
    outline = Outline(page_of(run, figures=figures))
    words = figures.drawn[0].words
    assert [picture["alt"] for picture in outline.of("img")] == [words.title]
    assert all(text in outline.text for text in (*words.paragraphs, words.reading, words.source))
    assert "Left out: plot phase cannot show run" in outline.text
    assert "there is no plot 'no_such_plot'" in outline.text


def test_everything_of_a_run_is_told(tmp_path: Path) -> None:
    config = {"model": {"n_features": 5, "n_hidden": 2}, "data": {"feature_probability": 1.0, "high": 1.0}}
    run = pentagons(tmp_path / "run", experiment="mine", config=config | {"restarts": 2, "seed": 3})
    text = " ".join(Outline(page_of(run)).text.split())
    for expected in (
        "mine complete", "3 cells × 2 restarts", "6 of 6 stored: 6 ok", "torch, float32 on cpu",
        "torch/float32/1/test", "Python 3.11.0", "axis data.feature_probability3 values: 1, 0.3, 0.05",
        "n_hidden 2", "feature_probability an axis", "seed 3",
        f"superpose sweep --config {run.path}/config.yaml",
    ):  # fmt: skip
        assert expected in text
    best = run.best(["restart"])["restart"].tolist()
    rows = re.findall(r"<tr><td class=\"number\">([\d.]+)</td><td class=\"number\">(\d)</td>", page_of(run))
    assert rows == [("1", str(best[0])), ("0.3", str(best[1])), ("0.05", str(best[2]))]


def test_diverged_and_dead_instances_come_with_a_retry(tmp_path: Path) -> None:
    status = np.array(["ok", "diverged", "ok", "dead", "ok", "ok"])
    page = Outline(page_of(pentagons(tmp_path / "run", columns={"status": status, "failed_step": 7})))
    assert "1 instance diverged, in 1 cell; 1 instance dead" in page.text
    assert "cell 0 (data.feature_probability=1.0), restart 1 at step 7. To try again:" in page.text
    assert "train.learning_rate=0.0003" in page.text
    assert "To try again" not in Outline(page_of(pentagons(tmp_path / "well"))).text


def page_saying(text: str, folder: Path) -> str:
    """A page of two runs in which everything that can be text is this text."""
    run = pentagons(
        folder,
        experiment=text,
        config={"model": {text: text, "n_features": 5}, "train": text, "seed": [text]},
        columns={"status": np.array(["ok", text] * 3)},
    )
    axis = replace(run.manifest.axes[0], keys=(text,), values=((text,), (text,), (text,)))
    manifest = replace(
        run.manifest, axes=(axis,), overrides=(text,), host=text, device=text, numerics=text, torch=text
    )
    run = replace(run, manifest=manifest)
    verified = verify([run], [claimed(text, experiment=text, text=text)])
    figures = Figures(drawn=(), left_out=(text,))
    chapters = [chapter(run, figures, verified, number=i, description=text) for i in (1, 2)]
    return render(chapters, verified, text)


def test_nothing_that_a_run_says_becomes_markup(tmp_path: Path) -> None:
    nasty, plain = page_saying(NASTY, tmp_path / "nasty"), page_saying("plain", tmp_path / "plain")
    assert "<script" not in nasty
    assert "8641969" not in nasty
    assert NASTY in Outline(nasty).text
    shapes = [[(tag, sorted(found)) for tag, found in Outline(page).elements] for page in (nasty, plain)]
    assert shapes[0] == shapes[1]


def test_claims_stand_with_the_runs_that_they_concern(tmp_path: Path) -> None:
    one, two = (pentagons(tmp_path / name, experiment=name) for name in ("one", "two"))
    claims = [
        claimed("first", experiment="one"),
        claimed("second", experiment="two", holds=False),
        claimed("third", experiment=("one", "three")),
    ]
    verified = verify([one, two], claims)
    assert tally(verified) == {"holds": 1, "fails": 1, "not run": 1}
    first, second = (chapter(run, NO_FIGURES, verified) for run in (one, two))
    assert [found.claim.id for found in first.verified] == ["first", "third"]
    assert [found.claim.id for found in second.verified] == ["second"]
    text = Outline(render([first, second], verified, "both")).text
    assert "✗ fails" in text
    assert "superpose sweep experiment=three" in text
    assert "0.123 is" in text


def test_a_claim_measured_on_another_run_of_the_experiment_is_not_told(tmp_path: Path) -> None:
    older, newer = (pentagons(tmp_path / name) for name in ("older", "newer"))
    verified = verify([older, newer], [claimed("it")])
    assert chapter(older, NO_FIGURES, verified).verified == ()
    assert len(chapter(newer, NO_FIGURES, verified).verified) == 1


def test_several_runs_have_contents_that_lead_to_each(tmp_path: Path) -> None:
    runs = [pentagons(tmp_path / name, experiment=name) for name in ("one", "two")]
    outline = Outline(page_of(*runs))
    targets = {attributes["id"] for _, attributes in outline.elements if "id" in attributes}
    assert [link["href"] for link in outline.of("a")] == ["#run-1", "#run-2"]
    assert {"run-1", "run-2"} <= targets
    assert len(outline.of("h1")) == 1
    assert Outline(page_of(runs[0])).of("a") == []


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    run = pentagons(tmp_path / "run", plots=("arrows",))
    pages = [page_of(run, figures=draw_figures(run, find_style("light"))) for _ in range(2)]
    assert pages[0] == pages[1]


def test_a_grid_of_many_cells_is_thinned(tmp_path: Path) -> None:
    W = np.repeat(polygon(5)[None], 100, axis=0)
    run = load_run(write_run(tmp_path / "run", W, axes={"seed": list(range(100))}))
    best: Chapter = chapter(run, NO_FIGURES, ())
    assert len(best.best.rows) == 24
    assert "24 of 100 cells" in best.best.caption
    assert [best.best.rows[0][0], best.best.rows[-1][0]] == ["0", "99"]
    assert best.axes[0][1].endswith("…")


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_page(tmp_path / "new" / "page.html", "text")
    assert (tmp_path / "new" / "page.html").read_text() == "text"
    (tmp_path / "file").write_text("")
    with pytest.raises(SuperposeError, match="cannot write"):
        write_page(tmp_path / "file" / "page.html", "text")


def test_a_mistake_in_one_plot_takes_no_page_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(name: str):
        if name == "wtw":
            raise ZeroDivisionError("by zero")
        return find_plot(name)

    monkeypatch.setattr(figures_module, "find_plot", stumble)
    figures = draw_figures(
        load_run(write_run(tmp_path / "run", polygon(5)[None])), find_style("light"), ["wtw", "norms"]
    )
    assert [figure.name for figure in figures.drawn] == ["norms"]
    assert figures.left_out == (
        "plot wtw could not be drawn (ZeroDivisionError: by zero): a mistake of superpose",
    )


def test_a_mistake_in_laying_out_takes_no_page_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Matplotlib sets, it reads when the figure is saved."""

    def crooked(name: str):
        def plot(run, style):
            plotted = find_plot(name)(run, style)
            if name == "wtw":
                plotted.figure.text(0.5, 0.5, r"$\frac{1$")
            return plotted

        return plot

    monkeypatch.setattr(figures_module, "find_plot", crooked)
    figures = draw_figures(
        load_run(write_run(tmp_path / "run", polygon(5)[None])), find_style("light"), ["wtw", "norms"]
    )
    assert [figure.name for figure in figures.drawn] == ["norms"]
    assert figures.left_out[0].startswith("plot wtw could not be drawn (ValueError: ")
