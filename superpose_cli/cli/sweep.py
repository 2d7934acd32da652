"""`superpose sweep`: a whole grid at once."""

from superpose_cli.cli import options
from superpose_cli.cli.output import finish


def sweep(
    overrides: options.Overrides = None,
    config: options.ConfigFile = None,
    config_dir: options.ConfigDir = None,
    zips: options.Zip = None,
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
    """Train a grid of models and store what was measured; the run's folder is the last line on stdout.

    The same command again continues an unfinished run and leaves a finished one alone.

    Example: superpose sweep experiment=intro restarts=16
    """
    from superpose_cli.cli.live import watch_for
    from superpose_cli.pipeline import run_experiment

    experiment = options.read_experiment(
        overrides, config, config_dir, zips=zips, engine=engine, device=device, launcher=launcher
    )
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
    finish(result, json_=json_, quiet=quiet)
