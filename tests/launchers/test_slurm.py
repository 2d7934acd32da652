"""A real SLURM of one node: jobs are requeued, killed and left alone, the bits are those of a local run."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from superpose_cli.results.checkpoint_files import saved_checkpoints
from superpose_cli.results.manifest import read_manifest
from tests.launchers.processes import (
    GRID,
    LONG,
    SHORT,
    Superpose,
    digests,
    environment,
    finished,
    wait_until,
    worker_in_training,
)

pytest.importorskip("submitit", reason="the extra superpose[slurm] is not installed")

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[1] / "slurm" / "cluster.sh"
MISSING = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What processes start with that find the cluster."""
    if MISSING:
        pytest.skip(f"no {', '.join(MISSING)} here: apt-get install slurm-wlm munge")
    if os.getuid():
        pytest.skip("starting SLURM's daemons takes root")
    folder = tmp_path_factory.mktemp("slurm")
    started = environment(tmp_path_factory.mktemp("site"))
    begun = subprocess.run([SCRIPT, "start", folder], capture_output=True, text=True, env=os.environ)
    try:
        assert begun.returncode == 0, begun.stderr
        yield started | {"SLURM_CONF": begun.stdout.strip()}
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True)


@pytest.fixture
def superpose(tmp_path: Path, variables: dict[str, str]) -> Superpose:
    return Superpose(tmp_path, variables)


@pytest.fixture
def local(superpose: Superpose, tmp_path: Path) -> dict[str, str]:
    """The tables of a local run of the long sweep."""
    superpose.run(f"sweep {LONG} --out local")
    return digests(tmp_path / "local")


def slurm(superpose: Superpose, *command: str) -> str:
    done = subprocess.run(
        command, cwd=superpose.folder, env=superpose.environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def is_requeued(superpose: Superpose, task: str) -> bool:
    """Whether the job waits again; SLURM would leave it waiting for two minutes."""
    if slurm(superpose, "squeue", "--noheader", "--array", f"--jobs={task}", "--format=%T") != "PENDING":
        return False
    time.sleep(2)  # a node refuses a job that starts in the second in which it ended
    slurm(superpose, "scontrol", "update", f"JobId={task}", "StartTime=now")
    return True


def test_a_requeued_job_goes_on_from_its_checkpoint(
    superpose: Superpose, tmp_path: Path, local: dict[str, str]
) -> None:
    run = tmp_path / "spread"
    process = superpose.start(f"sweep {LONG} --launcher slurm launcher.jobs=1 --out spread")
    wait_until(lambda: worker_in_training(run))
    tasks = slurm(superpose, "squeue", "--noheader", "--array", "--format=%i", "--states=RUNNING").split()
    slurm(superpose, "scontrol", "requeue", tasks[0])
    wait_until(lambda: is_requeued(superpose, tasks[0]))
    said = finished(process)
    assert "array job" in said
    assert digests(run) == local
    assert read_manifest(run).status == "complete"
    (file,) = run.glob(f".staging/slurm/*/{tasks[0]}_0_log.err")
    log = file.read_text()
    assert "going on from a checkpoint" in log


def test_a_job_whose_time_ends_saves_a_checkpoint_first(
    superpose: Superpose, tmp_path: Path, local: dict[str, str]
) -> None:
    run = tmp_path / "spread"
    process = superpose.start(f"sweep {LONG} --launcher slurm launcher.jobs=1 --out spread")
    worker = wait_until(lambda: worker_in_training(run))
    (task,) = slurm(superpose, "squeue", "--noheader", "--array", "--format=%i", "--states=RUNNING").split()
    os.kill(worker, signal.SIGUSR2)  # as SLURM does before the time limit
    wait_until(lambda: is_requeued(superpose, task))
    finished(process)
    (file,) = run.glob(f".staging/slurm/*/{task}_0_log.err")
    log = file.read_text()
    assert log.index("stopped; a checkpoint holds") < log.index("going on from a checkpoint")
    assert digests(run) == local


def test_a_killed_job_is_submitted_again(superpose: Superpose, tmp_path: Path, local: dict[str, str]) -> None:
    run = tmp_path / "spread"
    process = superpose.start(f"sweep {LONG} --launcher slurm launcher.jobs=2 --out spread")
    os.kill(wait_until(lambda: worker_in_training(run)), signal.SIGKILL)
    said = finished(process)
    assert said.count("array job") == 2
    assert digests(run) == local


def test_jobs_are_left_alone_and_found_again(superpose: Superpose, tmp_path: Path) -> None:
    run = tmp_path / "spread"
    command = f"sweep {GRID}150000 --launcher slurm launcher.jobs=1 --out spread"
    assert "submitted" in superpose.run(f"{command} launcher.wait=false")
    assert read_manifest(run).status == "submitted"
    wait_until(lambda: worker_in_training(run))
    shown = slurm(superpose, *superpose.command("show spread"))
    assert "running" in shown
    assert "96 instances stored" in shown
    said = superpose.run(command)
    assert "are at work already" in said
    assert "array job" not in said
    assert read_manifest(run).status == "complete"


def test_the_last_job_of_a_run_that_nobody_waits_for_completes_it(
    superpose: Superpose, tmp_path: Path
) -> None:
    superpose.run(f"sweep {SHORT} --launcher slurm launcher.wait=false --out spread")
    wait_until(lambda: read_manifest(tmp_path / "spread").status == "complete")
    assert read_manifest(tmp_path / "spread").counts == {"ok": 96}


def test_an_interrupted_wait_ends_the_jobs(
    superpose: Superpose, tmp_path: Path, local: dict[str, str]
) -> None:
    run = tmp_path / "spread"
    process = superpose.start(f"sweep {LONG} --launcher slurm --out spread")
    wait_until(lambda: worker_in_training(run))
    process.send_signal(signal.SIGINT)
    assert "To continue: superpose sweep --config" in finished(process, 130)
    assert not slurm(superpose, "squeue", "--noheader")
    assert saved_checkpoints(run)
    assert "going on from a checkpoint" in superpose.run(
        "sweep --config spread/config.yaml --launcher local --out spread"
    )
    assert digests(run) == local


def test_a_job_of_a_minute_is_refused(superpose: Superpose, tmp_path: Path) -> None:
    said = superpose.run(f"sweep {SHORT} --launcher slurm launcher.minutes=1 --out no", 2)
    assert "launcher.minutes=1" in said
    assert not (tmp_path / "no").exists()


def test_a_job_that_would_wait_for_ever_is_refused(superpose: Superpose, tmp_path: Path) -> None:
    said = superpose.run(f"sweep {SHORT} --launcher slurm launcher.minutes=120 --out no", 2)
    assert "(PartitionTimeLimit): give fewer launcher.minutes" in said
    assert not slurm(superpose, "squeue", "--noheader")
    assert not (tmp_path / "no").exists()


def test_one_cell_is_submitted_too(superpose: Superpose, tmp_path: Path) -> None:
    said = superpose.run("train train.steps=50 --launcher slurm launcher.wait=false --out one")
    assert "submitted" in said
    wait_until(lambda: read_manifest(tmp_path / "one").status == "complete")


def test_a_job_that_slurm_cannot_place_is_one_line(superpose: Superpose, tmp_path: Path) -> None:
    said = superpose.run(f"sweep {SHORT} --launcher slurm launcher.partition=moon --out no", 2)
    assert "invalid partition" in said
    assert said.count("superpose: error:") == 1
    assert not (tmp_path / "no").exists()
