"""What is made of the answers of `squeue`, with one that a test writes."""

import os
from pathlib import Path

import pytest

from superpose_cli.errors import ConfigError
from superpose_cli.launchers.queue import Queue


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a `squeue` of ours prints; without it SLURM does not answer."""
    script = tmp_path / "squeue"
    script.write_text(f"#!/bin/sh\ncat {tmp_path / 'jobs'}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "jobs"


def test_no_answer_is_not_an_empty_queue(answers: Path) -> None:
    queue = Queue("mine", print)
    assert not queue.is_empty()
    queue.examine()
    answers.write_text("")
    assert queue.is_empty()
    answers.write_text("12_0\n")
    assert not queue.is_empty()


def test_a_reason_is_told_once_unless_it_is_the_usual_one(answers: Path) -> None:
    said: list[str] = []
    queue = Queue("mine", said.append)
    answers.write_text("PENDING Priority\nRUNNING None\nPENDING JobHeldUser\nPENDING JobHeldUser\n")
    queue.examine()
    queue.examine()
    assert said == ["SLURM: jobs wait (JobHeldUser)"]


def test_what_never_starts_is_refused(answers: Path) -> None:
    answers.write_text("PENDING BadConstraints\n")
    with pytest.raises(ConfigError, match=r"BadConstraints\): no node has these launcher\.cpus"):
        Queue("mine", print).examine()
