"""Nothing is lost: real processes out of disk, of the size of files or of permission, and go on."""

import ctypes
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from superpose_cli.results.run import load_run
from tests.session.processes import GRID, assert_whole, finished, start, until_it_saves

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
"""From linux/prctl.h and linux/capability.h."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk_is_one_line_and_goes_on_when_there_is_room(small_disk, whole):
    """A neighbour takes all that is left of the disk when the first shard is stored."""
    expected, _ = whole(2000)
    run, filler = small_disk / "run", small_disk / "filler"
    process = start(f"sweep --out {run} {GRID}2000")
    while not list(run.glob("instances.parquet/*")):
        assert process.poll() is None, "it ended before it stored anything"
        time.sleep(0.005)
    with pytest.raises(OSError, match="No space left"):
        fill(filler)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 1, stderr
    assert "Traceback" not in stderr
    errors = [line for line in stderr.splitlines() if "error" in line]
    assert len(errors) == 1
    assert "No space left on device" in errors[0]
    assert "what is stored stays readable" in errors[0]
    assert 0 < len(load_run(run).instances(["cell"])) < 96
    assert not list(run.glob(".staging/partial-*"))
    filler.unlink()
    finished(f"sweep --out {run} {GRID}2000")
    assert_whole(run, expected)


@pytest.mark.slow
def test_a_limit_on_files_is_one_line_too(tmp_path, whole):
    """The same where nothing can be mounted: no file may grow beyond some kilobytes."""
    expected, _ = whole(2000)
    run = tmp_path / "run"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000))

    stderr = finished(f"sweep --out {run} {GRID}2000", exit_code=1, preexec_fn=limit)
    assert "cannot write" in stderr
    assert "File too large" in stderr
    finished(f"sweep --out {run} {GRID}2000")
    assert_whole(run, expected)


def without_privileges() -> None:
    """Let permissions hold for root too: its power to pass over them does not outlive the next exec."""
    if os.getuid() == 0:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            if ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


@pytest.mark.slow
def test_a_missing_permission_is_one_line_and_goes_on_when_given(tmp_path, whole):
    """The folder turns read-only while it is written."""
    expected, _ = whole(2000)
    run = tmp_path / "run"
    process = start(f"sweep --out {run} {GRID}2000", preexec_fn=without_privileges)
    until_it_saves(process, run)
    (run / ".staging").chmod(0o500)
    stderr = process.communicate(timeout=60)[1]
    (run / ".staging").chmod(0o700)
    assert process.returncode == 1, stderr
    assert "(Permission denied): what is stored stays readable" in stderr
    assert "Traceback" not in stderr
    finished(f"sweep --out {run} {GRID}2000")
    assert_whole(run, expected)
