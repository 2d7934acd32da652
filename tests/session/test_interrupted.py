"""Nothing is lost: real processes that are killed, interrupted or out of time, and go on."""

import fcntl
import json
import os
import pty
import random
import signal
import subprocess
import termios
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from superpose_cli.results.checkpoint_files import saved_checkpoints
from superpose_cli.results.manifest import read_manifest
from superpose_cli.results.run import load_run
from tests.session.processes import GRID, assert_whole, finished, start, until_it_saves, until_it_trains


@pytest.mark.parametrize("ahead", [False, True], ids=["alone", "ahead"])
@pytest.mark.parametrize(("kills", "steps"), [(3, 2000), pytest.param(20, 24_000, marks=pytest.mark.slow)])
def test_sigkill_at_random_moments_changes_no_bit(tmp_path, whole, kills, steps, ahead, monkeypatch):
    """A quarter of the kills come right after a checkpoint, half somewhat later, the others while it starts.

    The moments are fractions of what the whole run took: a fast machine must not end before it is killed.
    """
    expected, seconds = whole(steps)
    if ahead:
        monkeypatch.setenv("AHEAD", "1")
    run, chance = tmp_path / "run", random.Random(steps)
    done, checkpoints, interrupted = [0.0], 0, 0
    for kill in range(kills):
        process = start(f"sweep --out {run} {GRID}{steps}")
        left = kills - 1 - kill
        if left % 4 != 2:
            until_it_saves(process, run)
            time.sleep(chance.uniform(0, 0.5 * seconds / kills) if left % 4 else 0)
        else:
            time.sleep(chance.uniform(0, 1))
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
