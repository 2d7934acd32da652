"""From the text of a sweep to its values: what `linspace`, `geomspace`, `range` and comma lists mean.

Floating-point values are rounded to 12 significant digits, because the last digits of powers and quotients
differ between instruction sets, and the identity of a trained model hangs on every bit.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from superpose_cli.errors import ConfigError

MOST_VALUES = 1_000_000
"""Values that one axis may have; beyond it a typing error is likelier than a plan."""


@dataclass(frozen=True)
class Sweep:
    """Several values in a row, as opposed to one (which may be a list)."""

    values: tuple[Any, ...]


def rounded(value: Any) -> Any:
    """`value` with each float in it rounded to 12 significant digits; lists become tuples."""
    if isinstance(value, list | tuple):
        return tuple(rounded(item) for item in value)
    return float(f"{value:.12g}") if isinstance(value, float) else value


def linspace(start: float, stop: float, num: int) -> Sweep:
    """`num` values, evenly spaced, both ends included, like `numpy.linspace`."""
    _check_ends("linspace", start, stop)
    steps = _check_count("linspace", num) - 1
    inner = [start + (stop - start) * (i / steps) for i in range(1, steps)]
    return Sweep(tuple([float(start), *inner, float(stop)][:num]))


def geomspace(start: float, stop: float, num: int) -> Sweep:
    """`num` values in a constant ratio, both ends included, like `numpy.geomspace`."""
    _check_ends("geomspace", start, stop)
    if start <= 0 or stop <= 0:
        raise ConfigError(f"geomspace needs two positive ends; got {start:g} and {stop:g}")
    steps = _check_count("geomspace", num) - 1
    inner = [start * (stop / start) ** (i / steps) for i in range(1, steps)]
    return Sweep(tuple([float(start), *inner, float(stop)][:num]))


def arithmetic_range(start: float, stop: float, step: float) -> Sweep:
    """start, start + step, ... up to but without `stop`, counted in decimals: no 0.30000000000000004."""
    _check_ends("range", start, stop, step)
    if step == 0:
        raise ConfigError("range needs a step other than 0, as in range(0,10,2)")
    first, last, stride = (Decimal(repr(x)) for x in (start, stop, step))
    count = max(0, math.ceil((last - first) / stride))
    if count > MOST_VALUES:
        raise ConfigError(f"range makes more than {MOST_VALUES:,} values: use a larger step")
    number = int if all(isinstance(x, int) for x in (start, stop, step)) else float
    return Sweep(tuple(number(first + i * stride) for i in range(count)))


def flattened(values: Iterable[Any]) -> Sweep:
    """The values in order, with nested sweeps opened up: `linspace(0,1,3),0.05` has four."""
    flat: list[Any] = []
    for value in values:
        flat.extend(value.values if isinstance(value, Sweep) else [value])
    return Sweep(tuple(flat))


def _check_ends(name: str, *numbers: float) -> None:
    if not all(math.isfinite(number) for number in numbers):
        raise ConfigError(f"{name} needs finite numbers; got {', '.join(map(str, numbers))}")


def _check_count(name: str, num: int) -> int:
    if not 1 <= num <= MOST_VALUES:
        raise ConfigError(f"{name} makes 1 to {MOST_VALUES:,} values; got {num}")
    return num
