"""Standard normal numbers from random words, with the same bits on every machine."""

from typing import Any

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.fixed_log import FRACTION_BITS, log2_fixed

LN2 = 0.6931471805599453

# Wichura 1988, "Algorithm AS 241: the percentage points of the normal distribution", PPND7: numerators and
# denominators, constant term first, of the central rational function and of the one for the tails. The third,
# for |z| > 6.7 or so, is beyond what 32 bits reach.
CENTRAL = (
    (3.3871327179e00, 5.0434271938e01, 1.5929113202e02, 5.9109374720e01),
    (1.0, 1.7895169469e01, 7.8757757664e01, 6.7187563600e01),
)
TAIL = (
    (1.4234372777e00, 2.7568153900e00, 1.3067284816e00, 1.7023821103e-01),
    (1.0, 7.3700164250e-01, 1.2021132975e-01),
)


def standard_normal(words: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The normal quantile of u = (word + 0.5) 2^-32, relative error under 2e-7, for words of any shape.

    Only + - * / and sqrt of float64, which IEEE 754 fixes to the bit, and an integer logarithm.
    """
    centred = (words - 2**31 + 0.5) * 2.0**-32
    central = centred * _rational(CENTRAL, 0.180625 - centred * centred)

    # u of the nearer tail is (2 word + 1) 2^-33.
    nearer = np.minimum(words, 2**32 - 1 - words)
    minus_log2 = ((33 << FRACTION_BITS) - log2_fixed(np, 2 * nearer + 1)) * 2.0**-FRACTION_BITS
    tail = _rational(TAIL, np.sqrt(minus_log2 * LN2) - 1.6)
    return np.where(np.abs(centred) <= 0.425, central, np.where(centred < 0, -tail, tail))


def _rational(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Any) -> Any:
    values = []
    for polynomial in coefficients:
        value = polynomial[-1]
        for coefficient in polynomial[-2::-1]:
            value = value * x + coefficient
        values.append(value)
    return values[0] / values[1]
