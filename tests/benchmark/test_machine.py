"""The machine's description."""

from dataclasses import replace

import numpy as np
import pytest

from superpose_cli.benchmark.machine import describe_machine


def test_this_machine() -> None:
    machine = describe_machine()
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.numba_threads >= 1
    assert machine.memory_bytes > 1e8
    assert machine.versions["numpy"] == np.__version__
    assert "superpose" in machine.versions


@pytest.mark.parametrize(
    ("cpu", "slug"),
    [
        ("Intel(R) Xeon(R) Processor @ 2.50GHz", "intel-xeon-2.50ghz-8-cores"),
        ("AMD EPYC 9654 96-Core Processor", "amd-epyc-9654-96-core-8-cores"),
        ("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", "intel-core-i7-8700k-3.70ghz-8-cores"),
    ],
)
def test_the_slug_is_a_file_name(cpu: str, slug: str) -> None:
    assert replace(describe_machine(), cpu=cpu, cores=8).slug == slug
