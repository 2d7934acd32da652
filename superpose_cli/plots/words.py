"""A figure told in words: small helpers that turn numbers into sentences."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Words:
    """The text that goes with a figure."""

    title: str
    paragraphs: tuple[str, ...]
    """What this run shows, in numbers computed from it."""
    reading: str
    """What the marks and colours stand for."""
    source: str
    """Where the paper has such a figure, of whatever models."""

    def markdown(self) -> str:
        """The text of NAME.md."""
        body = "\n\n".join(self.paragraphs)
        parts = (
            f"# {self.title}",
            body,
            f"**How to read it.** {self.reading}",
            f"**Such a figure in the paper.** {self.source}",
        )
        return "\n\n".join(parts) + "\n"


def number(value: float, digits: int = 3) -> str:
    """`value` to so many significant digits, without needless zeros: 0.05, 1.17, 20, 0.0123, 2.1e−7."""
    if not np.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    if 10**digits <= abs(value) < 1e6:
        return str(round(value)).replace("-", "−")
    if 1e-4 <= abs(value) < 1e6:
        text = np.format_float_positional(value, precision=digits, unique=False, fractional=False, trim="-")
        return text.replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}".replace("-", "−")


def span(values: Iterable[float], digits: int = 3, joiner: str = " to ") -> str:
    """The range of `values`: '0.31 to 0.52', or the one number they all round to."""
    array = np.fromiter(values, dtype=np.float64)
    low, high = number(float(array.min()), digits), number(float(array.max()), digits)
    return low if low == high else f"{low}{joiner}{high}"


def share(part: int, whole: int) -> str:
    """'95.3 % (381 of 400)'."""
    return f"{number(100 * part / whole)} % ({part} of {whole})"


def listed(items: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """'1 cell', '7 cells'."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def counted_span(counts: Iterable[int], singular: str) -> str:
    """'1 feature', '4 to 6 features'."""
    values = list(counts)
    return f"{span(values)} {singular if set(values) == {1} else singular + 's'}"


def sentence(text: str) -> str:
    """`text` with a capital at the start, unless that is a symbol (`n = 6`)."""
    return text if text[1:2] == " " else text[:1].upper() + text[1:]


def note_sentence(note: str) -> str:
    """A footnote as the last sentence of a paragraph."""
    return f" {sentence(note)}." if note else ""


def shown_restart(restarts: int) -> str:
    """Which training of a cell the plots show."""
    chosen = f"the best of {restarts} restarts" if restarts > 1 else "the one training"
    return f"Of each cell, {chosen} is shown."
