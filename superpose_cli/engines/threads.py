"""Compiled kernels over ranges of instances, on Python threads.

The kernels release the interpreter's lock. numba's own parallel loops compiled everything several times, and
hoisted scratch arrays out of a loop so that threads shared them.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba
import numpy as np

RANGES = 16
"""Ranges of instances that each thread gets, one after the other, so that all end together."""


def on_threads(kernel: Callable[..., None], count: int, *arguments: Any, block: int = 1) -> None:
    """Call `kernel(begin, end, *arguments)` on ranges that cover 0 .. count - 1; no bit depends on them.

    A kernel that takes instances in blocks gets whole ones.
    """
    blocks = -(-count // block)
    threads = min(numba.get_num_threads(), blocks)
    ranges = min(blocks, 1 if threads == 1 else RANGES * threads)
    edges = np.minimum(block * np.linspace(0, blocks, ranges + 1).astype(int), count).tolist()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for done in [pool.submit(kernel, *span, *arguments) for span in pairwise(edges)]:
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # no range begins after an interrupt
            raise
