"""The whole paper in small: two experiments of seconds go the same way as all."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from superpose_cli import reproduce as module
from superpose_cli.claims.base import Measured, claim
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.config_dir import config_dir, list_experiments
from superpose_cli.experiment.grid import Grid
from superpose_cli.pipeline import load_run
from superpose_cli.plots.registry import find_plot
from superpose_cli.report import figures
from superpose_cli.reproduce import Part, Reproduced, chosen, reproduce, shipped
from superpose_cli.toy_model.theory import polygon
from tests.synthetic import write_run

TINY = ("engine=torch", "train.steps=8", "train.n_batch=32", "restarts=1", "history.every=4", "plots=[wtw]",
        "evaluation.method=sampled", "evaluation.n_rows=128")  # fmt: skip
PAIR = {
    "intro": (*TINY, "data.feature_probability=0.5"),
    "energy_levels": TINY,
}


class Listener:
    """Remembers what it is told, and does something at one of these."""

    def __init__(self, at: str = "", do: Callable[[], None] = lambda: None) -> None:
        self.heard: list[str] = []
        self.at, self.do = at, do

    def _hear(self, what: str) -> None:
        self.heard.append(what)
        if what == self.at:
            self.at = ""
            self.do()

    def entered(self, number: int, total: int, name: str) -> None:
        self._hear(f"{number}/{total} {name}")

    def doing(self, what: str) -> None:
        self._hear(what)

    def left(self, part: Part) -> None:
        self._hear(f"{part.name} {part.status}")

    def drawn(self, part: Part) -> None:
        self._hear(f"{part.name} drawn" + f": {part.error}" * bool(part.error))

    def started(self, n_instances: int, n_stored: int, engine: str, reason: str) -> None:
        self._hear("started")

    def progressed(self, instances: float, loss: float, instance_steps: int) -> None:
        if self.at == "progressed":
            self._hear("progressed")

    def compiling(self, seconds: float | None) -> None: ...
    def committed(self, instances: int) -> None: ...
    def said(self, message: str) -> None: ...
    def finished(self, status: str) -> None: ...


@pytest.fixture(autouse=True)
def two_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "shipped", lambda: PAIR)


def quick(folder: Path, listener: Listener | None = None, **options) -> Reproduced:
    return reproduce(listener or Listener(), quick=True, outputs=folder, **options)


def test_all_is_trained_drawn_measured_and_told(tmp_path: Path) -> None:
    listener = Listener()
    done = quick(tmp_path, listener)
    assert listener.heard == [
        *("1/2 intro", "started", "intro complete"),
        *("2/2 energy_levels", "started", "energy_levels complete"),
        *("drawing", "intro drawn", "energy_levels drawn"),
        *("measuring claims", "writing the page"),
    ]
    assert done.page == tmp_path / "quick" / "reproduce.html"
    assert done.page is not None
    page = done.page.read_text(encoding="utf-8")
    assert page.count("<img ") == 2
    assert "Five features in two dimensions" in page
    for part in done.parts:
        assert part.result is not None
        assert part.result.path.parent == tmp_path / "quick" / part.name
        assert [path.name for path in part.figures] == ["wtw.png"]
        assert part.figures[0].with_suffix(".md").read_text().startswith("# ")
    assert any("energy_levels" in one.claim.experiments for one in done.verified)
    assert {one.outcome.verdict for one in done.verified} <= {"inconclusive", "not run"}


def test_what_is_complete_is_not_trained_again(tmp_path: Path) -> None:
    first, again = quick(tmp_path, only=["intro"]), quick(tmp_path)
    assert (first.page, again.page) == tuple(
        tmp_path / "quick" / name for name in ("reproduce-part.html", "reproduce.html")
    )
    assert [part.status for part in first.parts] == ["complete"]
    assert [part.status for part in again.parts] == ["already done", "complete"]
    assert again.parts[0].figures == first.parts[0].figures
    others = quick(tmp_path, only=["intro"], overrides=["plots=[arrows,wtw]"])
    assert [path.name for path in others.parts[0].figures] == ["arrows.png", "wtw.png"]


def test_the_full_form_takes_the_experiments_as_shipped_and_what_holds_for_all(tmp_path: Path) -> None:
    done = reproduce(Listener(), only=["energy_levels"], overrides=PAIR["energy_levels"], outputs=tmp_path)
    (part,) = done.parts
    assert part.result is not None
    assert part.result.path.parent == tmp_path / "energy_levels"
    assert done.page == tmp_path / "reproduce-part.html"


def test_a_stop_while_training_keeps_what_is_done(tmp_path: Path) -> None:
    listener = Listener("progressed", lambda: os.kill(os.getpid(), signal.SIGINT))
    long = ["train.steps=300", "history.every=10"]
    stopped = quick(tmp_path, listener, overrides=long)
    assert (stopped.status, stopped.page) == ("interrupted", None)
    assert [part.status for part in stopped.parts] == ["interrupted"]
    again = quick(tmp_path, only=["intro"], overrides=long)
    assert [part.status for part in again.parts] == ["complete"]
    assert again.parts[0].result is not None
    assert stopped.parts[0].result is not None
    assert again.parts[0].result.path == stopped.parts[0].result.path


def test_a_time_limit_ends_it_before_the_next_experiment(tmp_path: Path) -> None:
    listener = Listener()
    stopped = quick(tmp_path, listener, max_seconds=0)
    assert (stopped.status, stopped.parts, listener.heard) == ("interrupted", (), [])
    assert not (tmp_path / "quick").exists()


def test_a_stop_while_drawing_loses_no_training(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path, Listener("drawing", stop))
    assert [part.status for part in quick(tmp_path).parts] == ["already done", "already done"]


def test_figures_are_drawn_while_the_next_experiment_trains(tmp_path: Path) -> None:
    """The second waits, in the midst of its training, for the first one's figure."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("quick/intro/*/figures/wtw.md")):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def next_progress() -> None:
        listener.at, listener.do = "progressed", wait

    listener = Listener("2/2 energy_levels", next_progress)
    assert quick(tmp_path, listener).status == "complete"
    assert "progressed" in listener.heard


def test_a_stop_calls_off_the_figures_that_are_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two figures is being drawn when training stops: it is finished, the other not begun."""
    begun, stopped = threading.Event(), threading.Event()

    def slow_plot(name: str):
        def plot(run, style):
            begun.set()
            assert stopped.wait(60)
            return find_plot(name)(run, style)

        return plot

    def stop() -> None:
        assert begun.wait(60)
        threading.Timer(0.2, stopped.set).start()
        raise KeyboardInterrupt

    monkeypatch.setattr(figures, "find_plot", slow_plot)
    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path, Listener("2/2 energy_levels", stop), overrides=["plots=[wtw,norms]"])
    assert [path.name for path in tmp_path.glob("quick/intro/*/figures/*.png")] == ["wtw.png"]


def test_figures_that_cannot_be_kept_are_told_and_the_others_go_on(tmp_path: Path) -> None:
    quick(tmp_path, only=["intro"])
    (old,) = tmp_path.glob("quick/intro/*/figures")
    shutil.rmtree(old)
    old.symlink_to(tmp_path)
    listener = Listener()
    done = quick(tmp_path, listener)
    assert [part.status for part in done.parts] == ["failed", "complete"]
    assert {one.outcome.verdict for one in done.verified if one.claim.experiments == ("intro",)} == {
        "inconclusive"
    }
    assert "leads out of the run's folder" in done.parts[0].error
    assert f"intro drawn: {done.parts[0].error}" in listener.heard
    assert done.page is not None
    assert done.page.read_text(encoding="utf-8").count("<img ") == 1


def test_an_experiment_that_cannot_be_trained_does_not_keep_the_others_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "shipped", lambda: PAIR | {"intro": ("model.n_hidden=-1",)})
    done = quick(tmp_path)
    assert [part.status for part in done.parts] == ["failed", "complete"]
    assert "n_hidden" in done.parts[0].error
    assert done.page is not None
    with pytest.raises(ConfigError, match=r"no experiment could be trained: .*n_hidden"):
        quick(tmp_path, only=["intro"])


def test_claims_are_those_about_the_chosen_experiments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def about(*names: str):
        return claim(
            "-".join(names), section="S", source="theory", citation="c", experiment=names,
            expected="e", tolerance="t",
        )(lambda *runs: Measured(all(load_run(run.path).n_cells for run in runs), "m", {}))  # fmt: skip

    claims = (about("intro"), about("energy_levels"), about("intro", "geometry"), about("geometry"))
    monkeypatch.setattr(module, "claims", lambda: claims)

    def found() -> dict[str, str]:
        return {one.claim.id: one.outcome.verdict for one in quick(tmp_path, only=["intro"]).verified}

    assert found() == {"intro": "holds", "intro-geometry": "not run"}
    write_run(tmp_path / "quick" / "geometry" / "00000000", polygon(5)[None], experiment="geometry")
    assert found() == {"intro": "holds", "intro-geometry": "holds"}, "what is stored of others serves them"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'intro'"):
        chosen(["intros"])
    assert list(chosen(None)) == list(PAIR)


def test_naming_nothing_is_not_naming_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no experiment is named"):
        quick(tmp_path, only=[], max_seconds=0)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["engine.name=fast"], "no engine 'fast'"),
        (["engine.name=torch,numba"], "engine.name"),
        (["engine.device=gpu"], "must be auto, cpu, cuda"),
        (["engine.name=numba", "engine.dtype=float64"], "float64"),
        (["plots=[nothing]"], "no plot 'nothing'"),
        (["train.stepz=3"], "stepz"),
    ],
)
def test_what_is_wrong_for_all_is_told_once_and_nothing_begun(
    tmp_path: Path, overrides: list[str], told: str
) -> None:
    listener = Listener()
    with pytest.raises(ConfigError, match=told):
        quick(tmp_path, listener, overrides=overrides)
    assert listener.heard == []
    assert not list(tmp_path.iterdir())


def test_an_engine_is_refused_where_another_one_has_done_it_all(tmp_path: Path) -> None:
    quick(tmp_path, only=["intro"])
    precise = ["engine.name=torch", "engine.dtype=float64"]
    listener = Listener()
    with pytest.raises(ConfigError, match="leave --engine out"):
        quick(tmp_path, listener, only=["intro"], overrides=precise)
    assert listener.heard == []
    assert [part.status for part in quick(tmp_path, overrides=precise).parts] == ["failed", "complete"]


def test_a_page_that_cannot_be_written_leaves_the_claims(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = quick(tmp_path, only=["intro"], page=tmp_path / "file" / "page.html")
    assert (done.status, done.page) == ("complete", None)
    assert "cannot write" in done.unwritten
    assert any("intro" in one.claim.experiments for one in done.verified)


def test_no_experiment_is_listed_twice() -> None:
    lines = (config_dir() / module.SHIPPED).read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[0] for line in lines if not line.startswith("#")]
    assert names == list(dict.fromkeys(names))


def test_every_experiment_but_the_published_sizes_is_in_the_list() -> None:
    names = {name for name, _ in list_experiments()}
    assert set(shipped()) == {name for name in names if not name.endswith("_published")}


@pytest.mark.parametrize("name", shipped())
def test_the_short_form_is_a_valid_experiment(name: str) -> None:
    grid = Grid(load_experiment([f"experiment={name}", *shipped()[name]]))
    assert (grid.experiment.name, grid.warnings) == (name, [])


def test_claims_are_measured_on_the_runs_at_hand_not_on_newer_ones(tmp_path: Path) -> None:
    first, other = (
        quick(tmp_path, only=["intro"], overrides=overrides) for overrides in ([], ["restarts=2"])
    )
    again = quick(tmp_path, only=["intro"])
    assert again.parts[0].status == "already done"
    for done in (first, other, again):
        (part,) = done.parts
        assert part.result is not None
        assert {one.runs["intro"] for one in done.verified if one.runs} == {part.result.path}
