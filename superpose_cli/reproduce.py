"""All of the paper: every shipped experiment trained and drawn in turn, then the claims, then one page."""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import yaml

from superpose_cli.claims.registry import claims
from superpose_cli.claims.verify import Verified, verify
from superpose_cli.engines import choose_engine
from superpose_cli.engines.watch import Watch
from superpose_cli.errors import ConfigError, SuperposeError
from superpose_cli.evidence import speaking
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.config_dir import config_dir, list_experiments
from superpose_cli.experiment.fields import did_you_mean, shown
from superpose_cli.pipeline import OUTPUTS, run_experiment, run_folder
from superpose_cli.plots.names import check_name
from superpose_cli.report.drawing import Kept, Studio
from superpose_cli.report.page import chapter, render, write_page
from superpose_cli.results.manifest import read_manifest
from superpose_cli.results.run import Run, load_run
from superpose_cli.session import RunResult

SHIPPED = "reproduce.yaml"
"""In conf/: the experiments in order, each with the overrides of its short form."""
PAGE, PARTIAL_PAGE = "reproduce.html", "reproduce-part.html"
"""The second where only some of the experiments were asked for."""
QUICK = "quick"
"""Folder of the short forms' runs, in that of all runs: they are never taken for the newest full run."""

Ended = Literal["complete", "interrupted"]


class Audience(Watch, Protocol):
    """Who is told how all of it goes; a `Watch` of the one run at hand."""

    def entered(self, number: int, total: int, name: str) -> None:
        """The experiment `number` of `total` begins."""
        ...

    def left(self, part: "Part") -> None:
        """The experiment at hand is trained, or cannot be; its figures come while the next ones train."""
        ...

    def drawn(self, part: "Part") -> None:
        """An experiment that was left has its figures."""
        ...

    def doing(self, what: str) -> None:
        """What is done once all are trained: "drawing", "measuring claims", "writing the page"."""
        ...


@dataclass(frozen=True, kw_only=True)
class Part:
    """What came of one experiment."""

    name: str
    result: RunResult | None
    """None where it could not be trained."""
    figures: tuple[Path, ...] = ()
    left_out: tuple[str, ...] = ()
    """Why other figures of its list could not be drawn."""
    error: str = ""

    @property
    def status(self) -> str:
        """That of its run, or "failed"."""
        return "failed" if self.error or self.result is None else self.result.status


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """What came of all of it."""

    status: Ended
    parts: tuple[Part, ...]
    """As far as it got."""
    verified: tuple[Verified, ...] = ()
    page: Path | None = None
    """None where it was interrupted, or the page could not be written."""
    unwritten: str = ""
    """Why it could not."""


def shipped() -> dict[str, tuple[str, ...]]:
    """The experiments of the paper in order, and the overrides of the short form of each."""
    tree = yaml.safe_load((config_dir() / SHIPPED).read_text(encoding="utf-8"))
    return {name: tuple(overrides or ()) for name, overrides in tree.items()}


def chosen(only: Iterable[str] | None) -> dict[str, tuple[str, ...]]:
    """Those of `shipped` that `only` names; all of them for None.

    ConfigError for a name that it lacks, and where `only` has none: whoever writes it does not want them all.
    """
    all_ = shipped()
    if only is None:
        return all_
    wanted = list(only)
    there = f"There are: {', '.join(all_)}."
    if not wanted:
        raise ConfigError(f"no experiment is named (leave --only out to train them all). {there}")
    for name in wanted:
        if name not in all_:
            raise ConfigError(
                f"experiment {shown(name)} is not one that reproduce trains."
                f"{did_you_mean(name, list(all_))} {there}"
            )
    return {name: overrides for name, overrides in all_.items() if name in wanted}


def reproduce(
    audience: Audience,
    *,
    only: Iterable[str] | None = None,
    quick: bool = False,
    overrides: Sequence[str] = (),
    outputs: Path = OUTPUTS,
    page: Path | None = None,
    max_seconds: float | None = None,
) -> Reproduced:
    """Train what is not stored yet, draw each experiment's figures, measure the claims, write the page.

    Runs are those of `superpose sweep experiment=NAME` under `outputs`; those of the short form, which
    `quick` takes, are under outputs/quick. What is complete is not trained again, and an experiment that
    cannot be trained does not keep the others from it. `overrides` hold for all, after their own.
    Ctrl-C, SIGTERM (while training) and `max_seconds` interrupt it, with no page written. A page that cannot
    be written is told with the claims, which are not lost then. Raises ConfigError, before anything is begun,
    for what is wrong with `only` and `overrides`, and SuperposeError where no experiment could be trained.
    """
    began = time.monotonic()
    folder = outputs / QUICK if quick else outputs
    experiments = {
        name: [f"experiment={name}", *(short if quick else ()), *overrides]
        for name, short in chosen(only).items()
    }
    _check(overrides, experiments.values(), folder)
    stages: list[_Stage] = []
    with Studio() as studio:
        for number, (name, lines) in enumerate(experiments.items(), start=1):
            left = None if max_seconds is None else max_seconds - (time.monotonic() - began)
            if left is not None and left <= 0:
                break
            audience.entered(number, len(experiments), name)
            stages.append(_train(name, lines, folder, left, audience, studio))
            if stages[-1].part.status == "interrupted":
                break
            audience.left(stages[-1].part)
        else:
            audience.doing("drawing")
            wait([stage.ordered for stage in stages if stage.ordered])
    parts = tuple(stage.settled(audience) for stage in stages)
    if len(parts) < len(experiments) or parts[-1].status == "interrupted":
        return Reproduced(status="interrupted", parts=parts)
    trained = {stage.run.name: stage.run for stage in stages if stage.run}
    if not trained:
        refused = all(isinstance(stage.failure, ConfigError) for stage in stages)
        raise (ConfigError if refused else SuperposeError)(
            f"no experiment could be trained: {parts[0].error}"
        )
    audience.doing("measuring claims")
    about = [one for one in claims() if experiments.keys() & set(one.experiments)]
    verified = verify([*({run.name: run for run in speaking(folder)} | trained).values()], about)
    audience.doing("writing the page")
    page = page or folder / (PAGE if len(experiments) == len(shipped()) else PARTIAL_PAGE)
    done = Reproduced(status="complete", parts=parts, verified=tuple(verified), page=page)
    try:
        write_page(page, _page([stage.kept for stage in stages if stage.kept], verified, quick))
    except SuperposeError as error:
        return replace(done, page=None, unwritten=_one_line(error))
    return done


def _check(overrides: Sequence[str], experiments: Iterable[Sequence[str]], folder: Path) -> None:
    """ConfigError for what each experiment would be refused for in turn."""
    config = load_experiment(overrides).variants[0]
    for plot in config.plots:
        check_name(plot)
    engine = choose_engine(config.engine, ()).engine
    named = config.engine.name != "auto"
    if named and all(_is_by_another(engine.numerics, lines, folder) for lines in experiments):
        raise ConfigError(
            f"{folder} holds what is asked for by another engine or precision than {engine.numerics}: leave "
            f"--engine out to go on with that, or reproduce in another working directory"
        )


def _is_by_another(numerics: str, lines: Sequence[str], folder: Path) -> bool:
    """Whether an experiment was begun with other numerics; False for what its turn will tell of."""
    try:
        return read_manifest(run_folder(load_experiment(lines), None, folder, False)).numerics != numerics
    except SuperposeError:
        return False


@dataclass(kw_only=True)
class _Stage:
    """An experiment on its way: what is known of it, and its figures once they are ordered and drawn."""

    part: Part
    failure: SuperposeError | None = None
    """Why it could not be trained."""
    run: Run | None = None
    """Once it is complete."""
    ordered: Future[Kept] | None = None
    kept: Kept | None = None

    def settled(self, audience: Audience) -> Part:
        """The part with what came of its figures, where they were not called off."""
        if self.ordered is not None and not self.ordered.cancelled():
            try:
                self.kept = self.ordered.result()
            except SuperposeError as error:
                self.part = replace(self.part, error=_one_line(error))
            else:
                left_out = self.kept.figures.left_out
                self.part = replace(self.part, figures=self.kept.paths, left_out=left_out)
            audience.drawn(self.part)
        return self.part


def _train(
    name: str, lines: Sequence[str], outputs: Path, max_seconds: float | None, watch: Watch, studio: Studio
) -> _Stage:
    """Train one experiment, or find it done, and order its figures."""
    stage = _Stage(part=Part(name=name, result=None))
    try:
        asked = load_experiment(lines)
        result = run_experiment(asked, outputs=outputs, max_seconds=max_seconds, watch=watch)
        stage.part = Part(name=name, result=result)
        if result.status != "interrupted":
            stage.run = load_run(result.path)
            # Not the stored list: an older run of the experiment may have had another.
            stage.ordered = studio.order(stage.run, asked.variants[0].plots)
    except SuperposeError as error:
        stage.failure, stage.part = error, replace(stage.part, error=_one_line(error))
    return stage


def _one_line(error: SuperposeError) -> str:
    return " ".join(str(error).split())


def _page(done: Sequence[Kept], verified: Sequence[Verified], quick: bool) -> str:
    descriptions = dict(list_experiments())
    chapters = [
        chapter(one.run, one.figures, verified, number=number, description=descriptions.get(one.run.name, ""))
        for number, one in enumerate(done, start=1)
    ]
    title = "Toy Models of Superposition, reproduced"
    return render(chapters, verified, f"{title} in short" if quick else title)
