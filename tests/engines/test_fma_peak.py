"""The peak kernel does the work that it is credited with."""

import platform
import re

import numpy as np
import pytest

from superpose_cli.engines.fma_peak import CHAINS, measure_peak, update_chains
from superpose_cli.engines.tiles import LANES

START = np.arange(CHAINS * LANES, dtype=np.float32)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 40])
def test_the_recurrence(count: int) -> None:
    """k steps of x -> x / 2 + 1 give 2 + (x0 - 2) / 2^k, exactly while float32 holds all its bits."""
    values = START.copy()
    update_chains(values, np.float32(0.5), np.float32(1), count)
    expected = 2 + (START.astype(np.float64) - 2) / 2**count
    if count <= 7:
        np.testing.assert_array_equal(values, expected)
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 instructions")
def test_the_chains_stay_in_registers() -> None:
    """A run of CHAINS multiply-adds on registers alone, with nothing in between."""
    update_chains(START.copy(), np.float32(0.5), np.float32(1), 1)
    (assembly,) = update_chains.inspect_asm().values()
    one = r"\s*vfmadd\w+ps\s+%[xyz]mm\d+, %[xyz]mm\d+, %[xyz]mm\d+\n"
    assert re.search(rf"(?:{one}){{{CHAINS}}}", assembly)


def test_a_peak_is_measured() -> None:
    assert measure_peak(1) > 0
    assert measure_peak(2) > 0
