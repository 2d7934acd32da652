"""Compiled kernels over ranges of instances, on Python threads.

The kernels release the interpreter's lock. numba's own parallel loops compiled everything several times, and
hoisted scratch arrays out of a loop so that threads shared them.
"""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numba

RANGES = 16
"""Ranges of instances that each thread gets, one after the other, so that all end together."""


def on_threads(kernel: Callable[..., None], count: int, *arguments: Any, block: int = 1) -> None:
    """Call `kernel(begin, end, *arguments)` on ranges that cover 0 .. count - 1; no bit depends on them.

    A kernel that takes instances in blocks gets whole ones.
    """
    blocks = -(-count // block)
    threads = min(numba.get_num_threads(), blocks)
    ranges = min(blocks, 1 if threads == 1 else RANGES * threads)
    edges = [min(block * (blocks * k // ranges), count) for k in range(ranges + 1)]
    spans = pairwise(edges)  # of which each thread takes the next: one step of it is indivisible

    def work() -> None:
        for begin, end in spans:
            kernel(begin, end, *arguments)

    if threads == 1:
        work()
        return
    others = [_helpers(threads - 1).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        deque(spans, maxlen=0)  # after an interrupt or an error no range begins
        failures = [other.exception() for other in others]
    for failure in filter(None, failures):
        raise failure


@cache
def _helpers(count: int) -> ThreadPoolExecutor:
    """So many threads beside the calling one, kept: to start one takes longer than a small model's step."""
    return ThreadPoolExecutor(count, thread_name_prefix="superpose")


os.register_at_fork(after_in_child=_helpers.cache_clear)  # threads do not survive a fork
