"""`superpose train`: one cell, with its restarts, and a look at what came out."""

from superpose_cli.cli import options
from superpose_cli.cli.output import finish
from superpose_cli.errors import ConfigError


def train(
    overrides: options.Overrides = None,
    config: options.ConfigFile = None,
    config_dir: options.ConfigDir = None,
    engine: options.Engine = None,
    device: options.Device = None,
    launcher: options.Launcher = None,
    out: options.Out = None,
    fresh: options.Fresh = False,
    reuse: options.Reuse = None,
    reuse_from: options.ReuseFrom = None,
    max_seconds: options.MaxSeconds = None,
    fail_fast: options.FailFast = False,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train one model and show its features and W^T W.

    Example: superpose train model.n_features=5 data.feature_probability=0.05 restarts=8
    """
    from rich.console import Console

    from superpose_cli.cli.live import watch_for
    from superpose_cli.cli.views import print_run
    from superpose_cli.pipeline import run_experiment
    from superpose_cli.results.run import load_run

    experiment = options.read_experiment(
        overrides, config, config_dir, engine=engine, device=device, launcher=launcher
    )
    axes = {", ".join(axis.keys): len(axis) for axis in experiment.axes if len(axis) > 1}
    if axes:
        sizes = "; ".join(f"{keys} ({size} values)" for keys, size in axes.items())
        raise ConfigError(f"train takes one cell, and this is a grid: {sizes}. Fix these axes or use sweep.")
    with watch_for(quiet) as watch:
        result = run_experiment(
            experiment,
            out=out,
            fresh=fresh,
            max_seconds=max_seconds,
            fail_fast=fail_fast,
            reuse=reuse.value if reuse else None,
            reuse_from=reuse_from,
            watch=watch,
        )
    if result.status in ("complete", "already done") and not json_ and not quiet:
        print_run(Console(), load_run(result.path))
    finish(result, json_=json_, quiet=quiet)
