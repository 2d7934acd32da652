"""Find the run that a user names: a folder, a run id, or an experiment's newest run."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from superpose_cli.cli.options import OUTPUTS
from superpose_cli.errors import RunError

if TYPE_CHECKING:
    from superpose_cli.results.manifest import Manifest


def find_runs(outputs: Path = OUTPUTS) -> list[Path]:
    """The run folders at `outputs`, in it, and one level below, newest first."""
    found = (path for pattern in ("", "*/", "*/*/") for path in outputs.glob(f"{pattern}manifest.json"))
    manifests = sorted(set(found), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent for path in manifests]


def status_of(path: Path, manifest: "Manifest") -> str:
    """The run's status; "stopped" where it says that it is running, but its process is gone, and "incomplete"
    where it was complete and has lost files.

    A run that was submitted to a queue is running when a worker has one of its shards.
    """
    from superpose_cli.results.layout import committed_shards, incomplete_shards
    from superpose_cli.results.lock import is_being_written

    if manifest.status == "complete":
        whole = len(committed_shards(path) - incomplete_shards(path)) == manifest.shards
        return "complete" if whole else "incomplete"
    if manifest.status == "running" and not is_being_written(path):
        return "stopped"
    if manifest.status == "submitted" and is_being_written(path):
        return "running"
    return manifest.status


def find_run(name: str, outputs: Path = OUTPUTS) -> Path:
    """The run called `name`.

    A path to a run folder is itself; a path to a folder of runs and an experiment's name stand for the newest
    run in it; the id of a run, or four or more unambiguous digits of it, for that run. Raises `RunError` for
    anything else.
    """
    if not name.strip():
        raise RunError("no run is named: give its folder, its id or its experiment's name")
    path = Path(name)
    if (path / "manifest.json").is_file():
        return path
    inside = sorted(path.glob("*/manifest.json"), key=lambda manifest: manifest.stat().st_mtime)
    if inside:
        return inside[-1].parent
    runs = find_runs(outputs)
    of_experiment = [run for run in runs if run.parent.name == name]
    if of_experiment:
        return of_experiment[0]
    with_id = [run for run in runs if run.name == name or (len(name) >= 4 and run.name.startswith(name))]
    if len(with_id) > 1:
        raise RunError(f"'{name}' is ambiguous: {', '.join(map(str, with_id))}. Give one of these folders.")
    if with_id:
        return with_id[0]
    raise RunError(_not_found(name, path, runs))


def _not_found(name: str, path: Path, runs: Sequence[Path]) -> str:
    if name and path.exists():
        return (
            f"{name} is not a run: it holds no manifest.json. `superpose list runs` shows the runs there are."
        )
    known = {run.parent.name for run in runs} | {run.name for run in runs}
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"there is no run '{name}'. Did you mean '{close[0]}'?"
    return (
        f"there is no run '{name}'. `superpose list runs` shows those there are, `superpose sweep` makes one."
    )
