"""The whole flow on one screen: experiment -> grid -> shards -> engine -> metrics -> stored run."""

import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

from superpose_cli import __version__
from superpose_cli.engines import Choice, choose_engine
from superpose_cli.engines.compiling import compilation_told
from superpose_cli.engines.population import check_population
from superpose_cli.engines.watch import SILENT, Watch
from superpose_cli.errors import ConfigError, RunError
from superpose_cli.experiment.axes import Experiment, as_experiment
from superpose_cli.experiment.compose import dump_experiment
from superpose_cli.experiment.config import Config, EvaluationMethod, Objective
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.keys import run_id
from superpose_cli.planning import Plan, check_sizes, estimate_seconds, pack_bytes, warnings_of
from superpose_cli.plots.names import check_name
from superpose_cli.results.layout import CONFIG, committed_shards, incomplete_shards, stored_instances
from superpose_cli.results.manifest import Manifest, RunAxis, now, read_manifest
from superpose_cli.results.reuse import Reuse, ReuseMode
from superpose_cli.results.run import load_run
from superpose_cli.results.store import RunStore
from superpose_cli.session import RunResult, Session

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
    reuse: ReuseMode = "same",
    reuse_from: Path | None = None,
    watch: Watch = SILENT,
) -> RunResult:
    """Train what is not stored yet, and store it shard by shard.

    The folder is `out`, or outputs/NAME/RUN_ID: the same experiment finds its folder again, is continued
    there, and is not touched once complete; `fresh` takes a new folder. Ctrl-C, SIGTERM and `max_seconds`
    end the run with status "interrupted" and lose nothing. `fail_fast` raises SuperposeError at the first
    shard with a diverged instance, which is stored. A complete run that lost a file is completed again.
    Instances that runs under `reuse_from` (default: `outputs`) hold are taken over, not trained: those of
    this arithmetic, of any with `reuse="any-engine"`, none with "none" or `fresh`. Raises ConfigError for
    what cannot be run, RunError for a folder that cannot be used.
    """
    experiment = as_experiment(experiment)
    grid, config, path, choice = _prepare(experiment, out, outputs, fresh)
    stored = _stored(path)
    if stored is not None and stored.run_id == run_id(experiment):  # else the store says what differs
        _check_continues(stored, choice, config, grid, path)
        if _is_whole(stored, path, grid):
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
    check_sizes(grid, choice.engine, path, 0 if stored is None else stored_instances(path))
    manifest = _manifest(experiment, grid, choice)
    with (
        RunStore.create_or_open(path, dump_experiment(experiment), manifest) as store,
        compilation_told(watch.compiling),
    ):
        for warning in grid.warnings:
            watch.said(warning)
        mode = "none" if fresh else reuse
        source = Reuse.find(reuse_from or outputs, mode, grid, choice.engine, besides=path, said=watch.said)
        if fresh:
            watch.said("--fresh: what is stored already is not reused")
        session = Session(
            store=store, grid=grid, engine=choice.engine, source=source, watch=watch, fail_fast=fail_fast
        )
        return session.run(choice.reason, max_seconds)


def plan_experiment(
    experiment: Experiment | Config,
    *,
    out: Path | None = None,
    outputs: Path = OUTPUTS,
    fresh: bool = False,
    reuse: ReuseMode = "same",
    reuse_from: Path | None = None,
    watch: Watch = SILENT,
) -> Plan:
    """What `run_experiment` would do and take; trains a few steps to measure the pace, and writes nothing.

    Raises ConfigError and RunError as `run_experiment` does.
    """
    experiment = as_experiment(experiment)
    grid, config, path, choice = _prepare(experiment, out, outputs, fresh)
    engine, stored = choice.engine, _stored(path)
    if stored is not None:
        if stored.run_id != run_id(experiment):
            raise RunError(f"{path} holds run {stored.run_id} of another experiment: choose another --out")
        _check_continues(stored, choice, config, grid, path)
    n_stored = 0 if stored is None else stored_instances(path)
    check_sizes(grid, engine, path, n_stored)
    memory = int(engine.free_memory() * config.engine.memory_fraction)
    done = set() if stored is None else committed_shards(path) - incomplete_shards(path)
    mode = "none" if fresh else reuse
    source = Reuse.find(reuse_from or outputs, mode, grid, engine, besides=path, said=watch.said)
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
) -> tuple[Grid, Config, Path, Choice]:
    """The grid, what its variants share, the run's folder and the engine; ConfigError if they do not fit."""
    grid = Grid(experiment)
    config = grid.experiment.variants[0]
    for name in config.plots:
        check_name(name)
    families, exact = grid.families(), config.evaluation.method is EvaluationMethod.population
    trained = {family for family in families if family.objective is Objective.population}
    if exact or trained:
        for shard in grid.shards():
            batches = grid.batches(*shard)
            check_population([batch for batch in batches if batch.family in trained], training=True)
            check_population(batches if exact else [], training=False)
    choice = choose_engine(config.engine, families)
    return grid, config, run_folder(experiment, out, outputs, fresh), choice


def run_folder(experiment: Experiment, out: Path | None, outputs: Path, fresh: bool) -> Path:
    """Where the run goes; with `fresh` the first folder that is not there yet."""
    path = out or outputs / experiment.name / run_id(experiment)
    if fresh and path.exists():
        numbered = (path.with_name(f"{path.name}-{i}") for i in range(2, 1_000_000))
        path = next(folder for folder in numbered if not folder.exists())
    return path


def _stored(path: Path) -> Manifest | None:
    """The manifest of a run that is there already."""
    return read_manifest(path) if (path / "manifest.json").exists() else None


def _is_whole(stored: Manifest, path: Path, grid: Grid) -> bool:
    """Whether nothing of the run is missing, neither results nor what they are results of."""
    there = stored.status == "complete" and (path / CONFIG).exists()
    return there and stored_instances(path) == grid.n_instances


def _check_continues(stored: Manifest, choice: Choice, config: Config, grid: Grid, path: Path) -> None:
    """Refuse to mix two arithmetics or two ways of cutting shards in one run.

    A complete run serves whoever names no engine.
    """
    asked = config.engine.name != "auto" or stored.status != "complete"
    if asked and stored.numerics != choice.engine.numerics:
        raise ConfigError(
            f"{path} was trained with {stored.numerics}, not {choice.engine.numerics}: "
            f"use --fresh to train again in a new folder"
        )
    if stored.shard_digest != grid.shards().digest:
        raise ConfigError(
            f"{path} was begun by superpose {stored.superpose}, which cuts this grid into other shards: "
            f"use --fresh to train again in a new folder"
        )


def _manifest(experiment: Experiment, grid: Grid, choice: Choice) -> Manifest:
    engine, begun = choice.engine, now()
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
