"""A claim: a sentence of the paper or of a follow-up, and the measurement on stored runs that decides it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from superpose_cli.errors import RunError
from superpose_cli.results.run import Run

Source = Literal["theory", "paper", "measured"]
Verdict = Literal["holds", "fails", "inconclusive", "not run"]


class Inconclusive(Exception):
    """The runs at hand can decide nothing: the message says what they lack."""


class Refuted(Exception):
    """The runs at hand have what the claim asks for, but nothing of what it is about came out of them."""


class Measured(NamedTuple):
    """What a measurement found."""

    holds: bool
    text: str
    """The numbers in words."""
    values: Mapping[str, float]
    """The same numbers by name."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a claim."""

    verdict: Verdict
    measured: str
    """The numbers in words; of an inconclusive claim, what the runs lack."""
    values: Mapping[str, float] = field(default_factory=dict)
    n_restarts: int = 0
    """Restarts of a cell, the least over the runs; 0 where no run was looked at."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is claimed, what is expected, and how it is measured."""

    id: str
    statement: str
    """One sentence."""
    section: str
    """Of the paper, or the follow-up."""
    source: Source
    """Where the expected number comes from: a formula, the paper's own figure, or a measurement of ours."""
    citation: str
    expected: str
    tolerance: str
    """How far the measurement may be off, and why so far."""
    departs: str
    """What the paper says that does not come out here, and why; '' where all does."""
    experiments: tuple[str, ...]
    """The shipped experiments whose runs decide it."""
    measure: Callable[..., Measured]
    """Of one run for each of `experiments`, in that order; raises Inconclusive and Refuted."""

    def check(self, runs: Mapping[str, Run]) -> Outcome:
        """Measure, from one run for each of `experiments`; never raises for what a run holds or lacks.

        Nor for a mistake of the measurement, which takes no table of claims with it: that fails, and says so.
        """
        used = [runs[name] for name in self.experiments]
        n_restarts = min(run.restarts for run in used)
        try:
            found = self.measure(*used)
        except (Inconclusive, RunError) as lacks:
            return Outcome(verdict="inconclusive", measured=str(lacks), n_restarts=n_restarts)
        except Refuted as missing:
            return Outcome(verdict="fails", measured=str(missing), n_restarts=n_restarts)
        except Exception as error:
            told = f"could not be measured ({type(error).__name__}: {error}): a mistake of superpose"
            return Outcome(verdict="fails", measured=" ".join(told.split()), n_restarts=n_restarts)
        return Outcome(
            verdict="holds" if found.holds else "fails",
            measured=found.text,
            values={name: float(value) for name, value in found.values.items()},
            n_restarts=n_restarts,
        )


def claim(
    id: str,
    *,
    section: str,
    source: Source,
    citation: str,
    experiment: str | tuple[str, ...],
    expected: str,
    tolerance: str,
    departs: str = "",
) -> Callable[[Callable[..., Measured]], Claim]:
    """Make a measurement of one run, or of several, the claim that its docstring states in one sentence."""

    def build(measure: Callable[..., Measured]) -> Claim:
        return Claim(
            id=id,
            statement=" ".join((measure.__doc__ or "").split()),
            section=section,
            source=source,
            citation=citation,
            expected=expected,
            tolerance=tolerance,
            departs=departs,
            experiments=(experiment,) if isinstance(experiment, str) else experiment,
            measure=measure,
        )

    return build
