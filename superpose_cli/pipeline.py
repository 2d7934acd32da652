"""The whole flow on one screen: experiment -> grid -> shards -> engine -> metrics -> stored run."""

import platform
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from superpose_cli import __version__
from superpose_cli.engines import choose_engine
from superpose_cli.engines.base import Engine
from superpose_cli.engines.compiling import compilation_told
from superpose_cli.engines.population import check_population
from superpose_cli.engines.watch import SILENT, Watch
from superpose_cli.errors import ConfigError, RunError
from superpose_cli.experiment.axes import Experiment, as_experiment
from superpose_cli.experiment.compose import dump_experiment
from superpose_cli.experiment.config import Config, EvaluationMethod, Objective
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.keys import run_id
from superpose_cli.launchers import remote_launcher
from superpose_cli.launchers.base import Chosen, Job, Launcher, Remote
from superpose_cli.launchers.local import LocalLauncher
from superpose_cli.launchers.worker import Worker
from superpose_cli.planning import (
    Plan,
    check_disk,
    check_memory,
    estimate_seconds,
    pack_bytes,
    warnings_of,
)
from superpose_cli.plots.names import check_name
from superpose_cli.results.layout import CONFIG, MANIFEST, committed_shards, incomplete_shards, unreadable
from superpose_cli.results.lock import has_workers
from superpose_cli.results.manifest import Manifest, ReuseMode, RunAxis, now, read_manifest
from superpose_cli.results.measures import check_attack
from superpose_cli.results.reading import Tables, stored_instances
from superpose_cli.results.reuse import Reuse, as_begun
from superpose_cli.results.run import load_run
from superpose_cli.results.store import RunStore
from superpose_cli.session import RunResult, Session, check_failures

__all__ = ["RunResult", "load_run", "plan_experiment", "run_experiment"]

OUTPUTS = Path("outputs")
"""Where runs go, seen from the working directory."""


def run_experiment(
    experiment: Experiment | Config,
    *,
    out: Path | None = None,
    outputs: Path = OUTPUTS,
    fresh: bool = False,
    max_seconds: float | None = None,
    fail_fast: bool = False,
    reuse: ReuseMode | None = None,
    reuse_from: Path | None = None,
    watch: Watch = SILENT,
) -> RunResult:
    """Train what is not stored yet, and store it shard by shard.

    The folder is `out`, or outputs/NAME/RUN_ID: the same experiment finds its folder again, is continued
    there, and is not touched once complete; `fresh` takes a new folder. Ctrl-C, SIGTERM and `max_seconds`
    end the run with status "interrupted" and lose nothing. `fail_fast` raises SuperposeError at the first
    shard with a diverged instance, which is stored. A complete run that lost a file is completed again.
    Instances that runs under `reuse_from` (default: `outputs`) hold are taken over, not trained: those of
    this arithmetic ("same", the default), of any with `reuse="any-engine"`, none with "none" or `fresh`; an
    unfinished run goes on as it began. Raises ConfigError for what cannot be run, RunError for a folder that
    cannot be used.
    """
    experiment = as_experiment(experiment)
    grid, config, path = _prepare(experiment, out, outputs, fresh)
    stored = _stored(path)
    ours = stored if stored is not None and stored.run_id == run_id(experiment) else None
    if ours is not None and config.engine.name == "auto" and _is_whole(ours, path, grid):
        _check_cut(ours, grid, path)
        return _already_done(ours, path, grid, fail_fast)
    remote = remote_launcher(config.launcher)
    with nullcontext() if remote is None else remote.open(watch):
        engine, chosen = _choose(config, grid, experiment, remote, ours, watch)
        if ours is not None:  # else the store says what differs
            _check_continues(ours, chosen, config, grid, path)
            if _is_whole(ours, path, grid):
                return _already_done(ours, path, grid, fail_fast)
        check_disk(grid, path, 0 if stored is None else stored_instances(path))
        text = dump_experiment(experiment)
        mode, reuse_from = as_begun(ours, fresh, reuse, reuse_from, outputs)
        if ours is not None and mode == "none" and not (fresh or reuse):
            watch.said("as it began: what other runs hold is not reused (--reuse same does)")
        manifest = replace(
            _manifest(experiment, grid, chosen),
            reuse=mode,
            reuse_from=str(reuse_from.absolute()) if reuse_from else "",
        )
        reuse_from = (reuse_from or outputs).absolute()
        with (
            RunStore.create_or_open(path, text, manifest) as store,
            compilation_told(watch.compiling),
        ):
            if remote is None and has_workers(path):  # workers look at each other's locks, we do not
                raise RunError(f"jobs of a launcher are at work in {path}: wait, or give the same --launcher")
            for warning in grid.warnings:
                watch.said(warning)
            if fresh:
                where = f", {path} is new" if path.name != run_id(experiment) else ""
                watch.said(f"--fresh: what is stored already is not reused{where}")
            elif remote is not None and not remote.shared:
                mode = "none"
                watch.said("launcher.results=returned: what other runs hold is not reused")
            source = Reuse.find(reuse_from, mode, grid, chosen.numerics, besides=path, said=watch.said)
            if remote is None:
                assert engine is not None, "chosen here"
                launcher: Launcher = LocalLauncher(
                    Worker(grid=grid, engine=engine, source=source, run=path, run_id=run_id(experiment))
                )
            else:
                job = Job(
                    config=text,
                    run=path.absolute(),
                    run_id=run_id(experiment),
                    engine=chosen,
                    reuse=mode,
                    reuse_from=reuse_from,
                    shared=remote.shared,
                    cores=remote.cores,
                    gpus=remote.gpus,
                )
                launcher = remote.launcher(job)
            session = Session(
                store=store,
                grid=grid,
                engine=chosen,
                launcher=launcher,
                source=source,
                watch=watch,
                fail_fast=fail_fast,
            )
            return session.run(max_seconds)


def plan_experiment(
    experiment: Experiment | Config,
    *,
    out: Path | None = None,
    outputs: Path = OUTPUTS,
    fresh: bool = False,
    reuse: ReuseMode | None = None,
    reuse_from: Path | None = None,
    watch: Watch = SILENT,
) -> Plan:
    """What `run_experiment` would do and take; trains a few steps to measure the pace, and writes nothing.

    Raises ConfigError and RunError as `run_experiment` does.
    """
    experiment = as_experiment(experiment)
    grid, config, path = _prepare(experiment, out, outputs, fresh)
    choice, stored = choose_engine(config.engine, grid.families()), _stored(path)
    engine = choice.engine
    if stored is not None:
        if stored.run_id != run_id(experiment):
            raise RunError(f"{path} holds run {stored.run_id} of another experiment: choose another --out")
        _check_continues(stored, Chosen.of(choice), config, grid, path)
    n_stored = 0 if stored is None else stored_instances(path)
    check_memory(grid, engine)
    check_disk(grid, path, n_stored)
    memory = int(engine.free_memory() * config.engine.memory_fraction)
    done = set() if stored is None else committed_shards(path) - incomplete_shards(path)
    mode, reuse_from = as_begun(stored, fresh, reuse, reuse_from, outputs)
    source = Reuse.find(reuse_from or outputs, mode, grid, engine.numerics, besides=path, said=watch.said)
    found = source.count(shard for shard in range(len(grid.shards())) if shard not in done)
    left = 1 - (n_stored + found.stored) / grid.n_instances
    with compilation_told(watch.compiling):
        seconds = estimate_seconds(grid, config, engine, memory) * left if left else 0.0
    return Plan(
        path=path,
        n_cells=grid.n_cells,
        restarts=grid.restarts,
        n_instances=grid.n_instances,
        n_stored=n_stored,
        n_reused=found.stored,
        n_evaluated=found.again,
        engine=engine.name,
        engine_reason=choice.reason,
        memory_bytes=pack_bytes(grid, engine, memory),
        disk_bytes=grid.table_bytes(),
        seconds=seconds,
        warnings=warnings_of(seconds, grid.warnings),
    )


def _prepare(
    experiment: Experiment, out: Path | None, outputs: Path, fresh: bool
) -> tuple[Grid, Config, Path]:
    """The grid, what its variants share, and the run's folder; ConfigError for what cannot be."""
    grid = Grid(experiment)
    config = grid.experiment.variants[0]
    for name in config.plots:
        check_name(name)
    families, exact = grid.families(), config.evaluation.method is EvaluationMethod.population
    check_attack(families, config.evaluation.attack)
    trained = {family for family in families if family.objective is Objective.population}
    for batch in grid.laws() if exact or trained else ():
        if batch.family in trained:
            check_population([batch], training=True)
        if exact:
            check_population([batch], training=False)
    return grid, config, run_folder(experiment, out, outputs, fresh)


def _choose(
    config: Config,
    grid: Grid,
    experiment: Experiment,
    remote: Remote | None,
    stored: Manifest | None,
    watch: Watch,
) -> tuple[Engine | None, Chosen]:
    """The engine that trains the run (here, if there is one), and what to tell of it.

    Workers go on with the engine that they began with, and a first one of them says which that is.
    """
    if remote is None:
        choice = choose_engine(config.engine, grid.families())
        check_memory(grid, choice.engine)
        return choice.engine, Chosen.of(choice)
    if (
        stored is not None
        and config.engine.name in ("auto", stored.engine)
        and config.engine.dtype == stored.dtype
    ):
        return None, Chosen(
            name=stored.engine,
            device=stored.device,
            dtype=stored.dtype,
            numerics=stored.numerics,
            reason="as it began",
        )
    watch.said(f"asking a worker of launcher={config.launcher.name} for its engine ...")
    return None, remote.choose(dump_experiment(experiment))


def run_folder(experiment: Experiment, out: Path | None, outputs: Path, fresh: bool) -> Path:
    """Where the run goes; with `fresh` the first folder that is not there yet."""
    path = out or outputs / experiment.name / run_id(experiment)
    if fresh and path.exists():
        numbered = (path.with_name(f"{path.name}-{i}") for i in range(2, 1_000_000))
        path = next(folder for folder in numbered if not folder.exists())
    return path


def _stored(path: Path) -> Manifest | None:
    """The manifest of a run that is there already."""
    try:
        there = (path / MANIFEST).exists()
    except OSError as error:
        raise unreadable(path, error) from error
    return read_manifest(path) if there else None


def _is_whole(stored: Manifest, path: Path, grid: Grid) -> bool:
    """Whether nothing of the run is missing, neither results nor what they are results of."""
    there = stored.status == "complete" and (path / CONFIG).exists()
    return there and stored_instances(path) == grid.n_instances


def _already_done(stored: Manifest, path: Path, grid: Grid, fail_fast: bool) -> RunResult:
    if fail_fast:
        check_failures(path, stored.counts)
    return RunResult(
        path=path,
        status="already done",
        n_instances=grid.n_instances,
        n_stored=grid.n_instances,
        n_reused=0,
        n_trained=0,
        seconds=stored.seconds,
        engine=stored.engine,
        failures=stored.counts.get("diverged", 0),
    )


def _check_continues(stored: Manifest, engine: Chosen, config: Config, grid: Grid, path: Path) -> None:
    """Refuse to mix two arithmetics or two ways of cutting shards in one run.

    A whole run serves whoever names no engine; one that lost a file is not mended by another.
    """
    whole = _is_whole(stored, path, grid)
    if not (whole and config.engine.name == "auto") and stored.numerics != engine.numerics:
        raise ConfigError(
            f"{path} was trained with {stored.numerics}, not {engine.numerics}: use --fresh to train again "
            f"in a new folder{f', or --engine {stored.engine}' * (stored.engine != engine.name)}"
        )
    shards = tuple(committed_shards(path))
    if not whole and shards and not Tables(path, shards).are_measured_alike():
        raise ConfigError(
            f"{path} was begun by superpose {stored.superpose}, whose columns mean other things: "
            f"use --fresh to begin again in a new folder"
        )
    _check_cut(stored, grid, path)


def _check_cut(stored: Manifest, grid: Grid, path: Path) -> None:
    """Refuse shards that are cut in another way."""
    if stored.shard_digest != grid.shards().digest:
        raise ConfigError(
            f"{path} was begun by superpose {stored.superpose}, which cuts this grid into other shards: "
            f"use --fresh to train again in a new folder"
        )


def _manifest(experiment: Experiment, grid: Grid, engine: Chosen) -> Manifest:
    begun = now()
    return Manifest(
        superpose=__version__,
        run_id=run_id(experiment),
        experiment=experiment.name,
        status="running",
        numerics=engine.numerics,
        engine=engine.name,
        device=engine.device,
        dtype=engine.dtype,
        host=platform.node(),
        python=platform.python_version(),
        torch=version("torch"),
        numpy=np.__version__,
        created=begun,
        updated=begun,
        seconds=0.0,
        axes=tuple(RunAxis(**axis) for axis in grid.axis_columns()),
        overrides=experiment.overrides,
        n_cells=grid.n_cells,
        restarts=grid.restarts,
        n_instances=grid.n_instances,
        shards=len(grid.shards()),
        shard_digest=grid.shards().digest,
        counts={},
        plots=tuple(experiment.variants[0].plots),
    )
