"""All claims, in the paper's order; the follow-ups come last."""

import difflib
from collections.abc import Iterable

from superpose_cli.claims import (
    adversarial,
    analogy,
    capacity,
    collapse,
    computation,
    correlated,
    deformed,
    geometry,
    incidental,
    linear,
    memorization,
    neurons,
    phase_change,
    polytopes,
    remedies,
    shapes,
    training,
)
from superpose_cli.claims.base import Claim
from superpose_cli.errors import ConfigError

_MODULES = (
    analogy,
    linear,
    phase_change,
    geometry,
    shapes,
    polytopes,
    deformed,
    correlated,
    collapse,
    training,
    adversarial,
    neurons,
    computation,
    remedies,
    memorization,
    capacity,
    incidental,
)


def claims() -> tuple[Claim, ...]:
    """Every claim, in the paper's order."""
    return tuple(claim for module in _MODULES for claim in module.CLAIMS)


def experiments() -> tuple[str, ...]:
    """The experiments that claims need, in order of their first claim."""
    return tuple(dict.fromkeys(name for claim in claims() for name in claim.experiments))


def sections() -> tuple[str, ...]:
    """The sections of the paper, and the follow-ups, that have claims."""
    return tuple(dict.fromkeys(claim.section for claim in claims()))


def select(ids: Iterable[str] = (), section: str | None = None) -> tuple[Claim, ...]:
    """The claims with these ids, if any are given, and of the sections that contain these words.

    Raises ConfigError for an id or a section that there is not.
    """
    known = {claim.id: claim for claim in claims()}
    for id in ids:
        if id not in known:
            raise ConfigError(f"there is no claim {id!r}{_close(id, known)}")
    words = (section or "").casefold()
    if not any(words in name.casefold() for name in sections()):
        names = {name.casefold(): name for name in sections()}
        raise ConfigError(f"no claim is of a section {section!r}{_close(words, names)}")
    return tuple(
        claim for id, claim in known.items() if (not ids or id in ids) and words in claim.section.casefold()
    )


def _close(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1, cutoff=0.5)
    return f": did you mean {close[0]!r}?" if close else ": `superpose verify` lists them"
