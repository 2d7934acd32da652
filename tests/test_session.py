"""Nothing is lost: real processes that are killed, interrupted, out of time or out of disk, and go on."""

import ctypes
import fcntl
import hashlib
import json
import os
import pty
import random
import resource
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from superpose_cli.results.checkpoint_files import saved_checkpoints
from superpose_cli.results.manifest import read_manifest
from superpose_cli.results.run import load_run

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
"""From linux/prctl.h and linux/capability.h."""

DRIVER = """
import sys
from superpose_cli.engines import training
from superpose_cli.experiment import sharding
training.CHECKPOINT_SECONDS, training.CHECKPOINT_SHARE, training.CHUNK_SECONDS = 0.02, 0.5, 0.02
sharding.MAX_INSTANCES = 24
from superpose_cli.cli.app import main
main()
"""
"""`superpose` with checkpoints all the time and small shards, so that every kind of moment is met."""

GRID = (
    "model.n_hidden=2,3 data.feature_probability=geomspace(1,0.1,6) restarts=8 train.n_batch=256 "
    "evaluation.n_rows=2000 history.every=500 engine=numba train.steps="
)
"""96 instances in four shards, half a millisecond of work for a step of all."""


def start(line: str, **options: Any) -> subprocess.Popen[str]:
    """A `superpose` process of the given command line; its stderr is a pipe."""
    root = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *shlex.split(line)],
        env={**os.environ, "PYTHONPATH": root, "COLUMNS": "200"},
        text=True,
        **({"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | options),
    )


def until_it_trains(process: subprocess.Popen[str]) -> str:
    """Wait for the line that opens a run."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "; engine " in line:
            break
    return "".join(lines)


def until_it_saves(process: subprocess.Popen[str], run: Path) -> None:
    """Wait for a checkpoint written after now: how long it takes to get there is the machine's affair."""
    started = time.time_ns()
    while not any(written_since(path, started) for path in run.glob(".staging/*.checkpoint")):
        assert process.poll() is None, "it ended before it saved anything"
        time.sleep(0.005)


def written_since(path: Path, nanoseconds: int) -> bool:
    """A file that is there still, and newer."""
    try:
        return path.stat().st_mtime_ns > nanoseconds
    except FileNotFoundError:  # its shard was stored meanwhile
        return False


def finished(line: str, exit_code: int = 0, **options: Any) -> str:
    """Run a command line to its end; what it wrote to stderr."""
    process = start(line, **options)
    stderr = process.communicate(timeout=120)[1]
    assert process.returncode == exit_code, stderr
    assert "Traceback" not in stderr
    return stderr


def contents(run: Path) -> dict[str, str]:
    """The digest of every stored table file."""
    files = sorted(run.glob("*.parquet/*"))
    return {str(f.relative_to(run)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def assert_whole(run: Path, whole: Path) -> None:
    """The run is complete, tidy, and equal to the other, byte for byte."""
    assert read_manifest(run).status == "complete"
    assert read_manifest(run).counts == read_manifest(whole).counts
    assert [path.name for path in (run / ".staging").iterdir()] == ["run.lock"]
    assert contents(run) == contents(whole)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[Path, float]]:
    """Gives the run of so many steps that was never interrupted, and its seconds; each is made once."""
    folder, made = tmp_path_factory.mktemp("whole"), dict[int, tuple[Path, float]]()

    def make(steps: int) -> tuple[Path, float]:
        if steps not in made:
            finished(f"sweep --out {folder / str(steps)} {GRID}{steps}")
            made[steps] = folder / str(steps), read_manifest(folder / str(steps)).seconds
        return made[steps]

    return make


@pytest.mark.parametrize(("kills", "steps"), [(3, 2000), pytest.param(20, 24_000, marks=pytest.mark.slow)])
def test_sigkill_at_random_moments_changes_no_bit(tmp_path, whole, kills, steps):
    """A quarter of the kills come right after a checkpoint, half somewhat later, the others at any moment."""
    expected, seconds = whole(steps)
    run, chance = tmp_path / "run", random.Random(steps)
    done, checkpoints, interrupted = [0.0], 0, 0
    for kill in range(kills):
        process = start(f"sweep --out {run} {GRID}{steps}")
        if kill % 4 != 2:
            until_it_saves(process, run)
            time.sleep(chance.uniform(0, 0.5 * seconds / kills) if kill % 4 else 0)
        else:
            time.sleep(chance.uniform(0, 3))
        process.kill()
        with process:
            interrupted += process.wait() == -signal.SIGKILL
        if (run / "manifest.json").exists():
            saved = saved_checkpoints(run)
            checkpoints += bool(saved)
            stored = len(load_run(run).instances(["cell"])) if list(run.glob("instances.parquet/*")) else 0
            done.append(stored + sum(one.trained for one in saved))
    assert interrupted == kills, "it never ended before it was killed"
    assert done == sorted(done), "what was saved is never lost"
    assert checkpoints >= kills / 4, "kills came inside shards"
    stderr = finished(f"sweep --out {run} {GRID}{steps}")
    assert "going on from a checkpoint" in stderr
    assert_whole(run, expected)


def resumed(stderr: str) -> str:
    """The command line after "To continue:"."""
    resume = stderr.strip().rpartition("To continue: superpose ")[2].splitlines()[0]
    assert resume.startswith("sweep --config ")
    return resume


@pytest.mark.slow
def test_sigterm_stops_cleanly_and_can_be_continued(tmp_path, whole):
    expected, _ = whole(2000)
    process = start(f"sweep --out {tmp_path / 'run'} {GRID}2000")
    until_it_saves(process, tmp_path / "run")
    process.send_signal(signal.SIGTERM)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130, stderr
    assert read_manifest(tmp_path / "run").status == "interrupted"
    assert len(saved_checkpoints(tmp_path / "run")) <= 1
    finished(resumed(stderr))
    assert_whole(tmp_path / "run", expected)


def test_a_hang_up_stops_cleanly_unless_it_is_ignored(tmp_path, whole):
    expected, _ = whole(2000)
    run = tmp_path / "run"
    process = start(f"sweep --out {run} {GRID}2000")
    until_it_saves(process, run)
    process.send_signal(signal.SIGHUP)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130, stderr
    ignoring = start(
        f"sweep --out {run} {GRID}2000", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    until_it_saves(ignoring, run)
    ignoring.send_signal(signal.SIGHUP)
    ignoring.communicate(timeout=60)
    assert ignoring.returncode == 0
    assert_whole(run, expected)


@pytest.mark.slow
def test_out_of_time_stops_cleanly_and_can_be_continued(tmp_path, whole):
    expected, seconds = whole(2000)
    stderr = finished(
        f"sweep --out {tmp_path / 'run'} --max-seconds {seconds / 10} {GRID}2000", exit_code=130
    )
    assert read_manifest(tmp_path / "run").status == "interrupted"
    finished(resumed(stderr))
    assert_whole(tmp_path / "run", expected)


class Terminal:
    """A process in a terminal of its own, which a key can be pressed in."""

    def __init__(self, line: str) -> None:
        self.keyboard, screen = pty.openpty()

        def take_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = start(
            line, stdin=screen, stdout=screen, stderr=screen, start_new_session=True, preexec_fn=take_terminal
        )
        os.close(screen)
        self.text = ""

    def read_until(self, text: str = "\0") -> None:
        """Read what is shown up to a text, or to the end."""
        while text not in self.text:
            try:
                shown = os.read(self.keyboard, 4096)
            except OSError:  # the other end is closed
                return
            self.text += shown.decode(errors="replace")

    def press_ctrl_c(self) -> None:
        os.write(self.keyboard, b"\x03")

    def wait(self) -> int:
        self.read_until()
        os.close(self.keyboard)
        return self.process.wait(timeout=60)


def test_ctrl_c_in_a_terminal(tmp_path, whole):
    expected, _ = whole(2000)
    terminal = Terminal(f"sweep --out {tmp_path / 'run'} {GRID}2000")
    terminal.read_until("; engine ")
    until_it_saves(terminal.process, tmp_path / "run")
    terminal.press_ctrl_c()
    assert terminal.wait() == 130
    assert "stopping after this piece of work" in terminal.text
    assert "Traceback" not in terminal.text
    assert terminal.text.rstrip().endswith(str(tmp_path / "run"))
    assert "\x1b[?25h" in terminal.text, "the cursor is back"
    finished(resumed(terminal.text))
    assert_whole(tmp_path / "run", expected)


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once(tmp_path, whole):
    expected, _ = whole(2000)
    terminal = Terminal(f"sweep --out {tmp_path / 'run'} {GRID}2000")
    terminal.read_until("; engine ")
    until_it_saves(terminal.process, tmp_path / "run")
    os.kill(terminal.process.pid, signal.SIGSTOP)  # so that both arrive before any work goes on
    terminal.press_ctrl_c()
    os.kill(terminal.process.pid, signal.SIGTERM)
    os.kill(terminal.process.pid, signal.SIGCONT)
    assert terminal.wait() == 130
    assert "Traceback" not in terminal.text
    assert "To continue" not in terminal.text
    assert read_manifest(tmp_path / "run").status == "interrupted"
    finished(f"sweep --out {tmp_path / 'run'} {GRID}2000")
    assert_whole(tmp_path / "run", expected)


def test_of_two_processes_one_wins(tmp_path, whole):
    expected, _ = whole(2000)
    line = f"sweep --out {tmp_path / 'run'} {GRID}2000"
    first = start(line)
    until_it_trains(first)
    first.send_signal(signal.SIGSTOP)
    assert f"is being written by process {first.pid} on " in finished(line, exit_code=2)
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert_whole(tmp_path / "run", expected)


@pytest.mark.slow
def test_two_processes_that_start_together(tmp_path, whole):
    """Whoever loses says so, or comes so late that all is done already."""
    expected, _ = whole(2000)
    both = [start(f"sweep --out {tmp_path / 'run'} {GRID}2000") for _ in range(2)]
    ends = [(process.communicate(timeout=120)[1], process.returncode) for process in both]
    (won,) = [text for text, code in ends if "; engine " in text and not code]
    assert "complete after" in won
    (lost,) = [(text, code) for text, code in ends if text != won]
    assert ("is being written by process" in lost[0], lost[1]) == (True, 2) or "already done" in lost[0], lost
    assert_whole(tmp_path / "run", expected)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_goes_on_when_there_is_room(small_disk, whole):
    """Shards of 96 instances take more than the disk has; the first of them fit."""
    expected, _ = whole(2000)
    run = small_disk / "run"
    stderr = finished(f"sweep --out {run} {GRID}2000", exit_code=1)
    errors = [line for line in stderr.splitlines() if "error" in line]
    assert len(errors) == 1
    assert "No space left on device" in errors[0]
    assert "what is stored stays readable" in errors[0]
    assert 0 < len(load_run(run).instances(["cell"])) < 96
    assert not list(run.glob(".staging/partial-*"))
    subprocess.run(["mount", "-o", "remount,size=9m", str(small_disk)], check=True)
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


@pytest.mark.slow
def test_show_tells_how_far_a_killed_run_is(tmp_path):
    run = tmp_path / "run"
    process = start(f"sweep --out {run} {GRID}1000000")
    until_it_trains(process)
    while not list(run.glob(".staging/*.checkpoint")):
        time.sleep(0.01)
    while not (saved := saved_checkpoints(run)) or not saved[0].trained:
        time.sleep(0.01)
    assert "running, 0 of 96 instances stored" in finished_show(run)
    process.kill()
    with process:
        process.wait()
    text = finished_show(run)
    (saved,) = saved_checkpoints(run)
    assert "stopped, 0 of 96 instances stored" in text
    assert f"shard 0: {saved.trained:,.1f} of {saved.n_instances} instances trained" in text
    assert f"superpose sweep --config {run}/config.yaml --out {run}" in text
    record = json.loads(finished_show(run, "--json"))
    assert (record["status"], record["counts"]) == ("stopped", {})
    assert record["checkpoints"] == [asdict(saved)]


def finished_show(run: Path, *options: str) -> str:
    """What `superpose show` prints."""
    process = start(f"show {run} {' '.join(options)}", stdout=subprocess.PIPE)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    return stdout
