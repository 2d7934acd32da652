"""All claims over the runs that there are."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from superpose_cli.claims.base import Claim, Outcome, Verdict
from superpose_cli.claims.registry import claims
from superpose_cli.results.run import Run

VERDICTS: tuple[Verdict, ...] = ("holds", "fails", "inconclusive", "not run")


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A claim, and what the runs say of it."""

    claim: Claim
    outcome: Outcome
    runs: Mapping[str, Path]
    """By experiment, the run that was measured; empty where the claim was not run."""
    missing: tuple[str, ...]
    """The experiments without a complete run."""

    @property
    def command(self) -> str:
        """What trains the missing runs; '' where nothing is missing."""
        return " && ".join(training(name) for name in self.missing)


def training(experiment: str) -> str:
    """The command that trains a shipped experiment, or completes it."""
    return f"superpose sweep experiment={shlex.quote(experiment)}"


def verify(runs: Sequence[Run], wanted: Sequence[Claim] | None = None) -> list[Verified]:
    """Every claim (or those wanted) in order, measured on the newest complete run of each experiment."""
    newest = newest_runs(runs)
    return [_verified(claim, newest) for claim in (claims() if wanted is None else wanted)]


def tally(verified: Sequence[Verified]) -> dict[Verdict, int]:
    """How many claims have each verdict, in the order of `VERDICTS`, those that none has left out."""
    counts = Counter(one.outcome.verdict for one in verified)
    return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}


def newest_runs(runs: Sequence[Run]) -> dict[str, Run]:
    """By experiment, the complete run that was written last; of equals the later one in the sequence."""
    complete = [run for run in runs if run.manifest.status == "complete"]
    return {run.name: run for run in sorted(complete, key=lambda run: run.manifest.updated)}


def _verified(claim: Claim, newest: Mapping[str, Run]) -> Verified:
    missing = tuple(name for name in claim.experiments if name not in newest)
    if missing:
        return Verified(
            claim=claim, outcome=Outcome(verdict="not run", measured=""), runs={}, missing=missing
        )
    used = {name: newest[name] for name in claim.experiments}
    return Verified(
        claim=claim,
        outcome=claim.check(used),
        runs={name: run.path for name, run in used.items()},
        missing=(),
    )
