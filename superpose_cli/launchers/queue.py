"""Jobs in SLURM's queue: whether there are any, and why they wait."""

import subprocess
from collections.abc import Callable

from superpose_cli.errors import ConfigError

ADVICE = {
    "PartitionTimeLimit": "give fewer launcher.minutes, or another launcher.partition",
    "PartitionNodeLimit": "give another launcher.partition",
    "BadConstraints": "no node has these launcher.cpus, launcher.gpus and launcher.memory_gb",
    "AccountNotAllowed": "give another launcher.account, or another launcher.partition",
    "InvalidAccount": "give another launcher.account",
    "InvalidQOS": "give another launcher.account",
    "QOSNotAllowed": "give another launcher.partition",
}
"""What to change where SLURM keeps a job that it never starts, by its reason."""
USUAL = {"None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "InvalidReason"}
"""Reasons of jobs that wait for their turn."""


class Queue:
    """The jobs of one name that this user has in SLURM's queue."""

    def __init__(self, name: str, said: Callable[[str], None]) -> None:
        self._name, self._said = name, said
        self._told = set[str]()

    def is_empty(self) -> bool:
        """Whether none waits or works; a SLURM that does not answer is asked again later."""
        jobs = self._asked("%i")
        return jobs is not None and not jobs

    def examine(self) -> None:
        """Say, once, why jobs wait where it is not for their turn; ConfigError if they never will start."""
        jobs = [line.partition(" ") for line in self._asked("%T %r") or []]
        reasons = {reason for state, _, reason in jobs if state == "PENDING"}
        for reason in sorted(reasons - USUAL - self._told):
            if reason in ADVICE:
                raise ConfigError(f"SLURM starts no such job ({reason}): {ADVICE[reason]}")
            self._said(f"SLURM: jobs wait ({reason})")
            self._told.add(reason)

    def cancel(self) -> None:
        """Ask SLURM to end them."""
        subprocess.run(["scancel", "--me", f"--name={self._name}"], capture_output=True, check=False)

    def _asked(self, form: str) -> list[str] | None:
        """A line for each job, or None if SLURM does not answer."""
        asked = ["squeue", "--me", "--noheader", f"--name={self._name}", f"--format={form}"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        return None if answer.returncode else [line.strip() for line in answer.stdout.splitlines()]
