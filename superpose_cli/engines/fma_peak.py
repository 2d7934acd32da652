"""The most multiply-adds that this machine does in a second, by a kernel that does nothing else.

Each thread keeps `CHAINS` vectors in registers and applies x -> factor * x + addend to them over and over:
enough independent chains that two units of latency 4 never wait, no memory, and values that stay finite.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from superpose_cli.engines.compiling import entry
from superpose_cli.engines.lanes import FLOATS, LANES, fma, intrinsic, splat

CHAINS = 12
"""Vectors in flight: 2 units x latency 4 need 8, and 12 with the two constants fit 16 registers."""
UPDATES = 1 << 23
"""Updates of every chain in one measurement: about 20 ms at 2.5 GHz."""
INSTRUCTION_SET = f"{llvmlite.binding.get_host_cpu_name()}-{LANES}"
"""The processor as LLVM knows it, and the float32 lanes that the kernels use."""


@intrinsic
def _chains(typing: Any, values, factor, addend, count):
    """Each of the CHAINS * LANES `values` becomes factor * value + addend, `count` times."""
    signature = types.void(values, factor, addend, count)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
        values, factor, addend, count = args
        data = context.make_array(sig.args[0])(context, builder, values).data
        base = builder.bitcast(data, FLOATS.as_pointer())
        pointers = [builder.gep(base, [ir.Constant(count.type, c)]) for c in range(CHAINS)]
        factors, addends = splat(builder, factor), splat(builder, addend)
        slots = [cgutils.alloca_once(builder, FLOATS) for _ in pointers]
        for slot, pointer in zip(slots, pointers, strict=True):
            builder.store(builder.load(pointer, align=4), slot)
        with cgutils.for_range(builder, count):
            for slot in slots:
                builder.store(fma(builder, factors, builder.load(slot), addends), slot)
        for slot, pointer in zip(slots, pointers, strict=True):
            builder.store(builder.load(slot), pointer, align=4)
        return context.get_dummy_value()

    return signature, emit


@entry(nogil=True)
def update_chains(values, factor, addend, count):
    """values[c] = factor * values[c] + addend, `count` times; float32, CHAINS * LANES of them."""
    _chains(values, factor, addend, count)  # pyright: ignore[reportCallIssue] -- numba gives `typing`


def threads_used() -> int:
    """Threads that the compiled engine works on."""
    return numba.get_num_threads()


def measure_peak(threads: int) -> float:
    """GFLOP/s of `threads` threads at once; one multiply-add counts as two operations."""
    # Different values: equal chains would be merged into one.
    values = [np.arange(CHAINS * LANES, dtype=np.float32) for _ in range(threads)]
    one = np.float32(1)
    with ThreadPoolExecutor(threads) as pool:
        for count in (1, UPDATES):  # the first compiles, and starts the threads
            began = time.perf_counter()
            work = [pool.submit(update_chains, own, one / 2, one, count) for own in values]
            for done in work:
                done.result()
    return 2e-9 * CHAINS * LANES * UPDATES * threads / (time.perf_counter() - began)
