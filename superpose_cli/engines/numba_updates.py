"""What an optimiser does to one instance, on the addresses of its parameters.

Counting the references of array views costs more than a small model's update, so the loop over steps hands
around addresses; the arrays live in the caller of the loop.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from superpose_cli.engines.compiling import piece
from superpose_cli.engines.lanes import FLOAT, LANES, address, data, intrinsic, load, splat, store
from superpose_cli.toy_model.optim import Coefficients

ADAM, ADAMW, SGD = range(3)
OPTIMIZERS = {"adam": ADAM, "adamw": ADAMW, "sgd": SGD}
CONSTANT, LINEAR, COSINE = range(3)
SCHEDULES = {"constant": CONSTANT, "linear": LINEAR, "cosine": COSINE}
COEFFICIENTS = 9
"""Numbers that an update takes of an instance, at most."""
_INT = ir.IntType(64)


class Hyper(NamedTuple):
    """One instance's hyper-parameters, float64."""

    optimizer: int
    learning_rate: float
    weight_decay: float
    momentum: float
    beta1: float
    beta2: float
    eps: float


class Place(NamedTuple):
    """Where a parameter lies, its gradient and its moments: addresses of `size` float32 numbers."""

    weight: int
    slope: int
    first: int
    second: int
    size: int


@piece()
def place(weight, slope, first, second):
    """The place of a parameter in contiguous arrays."""
    return Place(address(weight), address(slope), address(first), address(second), weight.size)


@piece()
def rate_factor(schedule, warmup_steps, steps, step):
    """`toy_model.optim.rate_factor`, by the schedule's number."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == CONSTANT:
        return 1.0
    passed = (step - warmup_steps) / (steps - warmup_steps)
    return 1.0 - passed if schedule == LINEAR else 0.5 * (1.0 + np.cos(np.pi * passed))


@piece()
def debias(beta1, beta2, power):
    """1 - beta1^t and sqrt(1 - beta2^t) for update t = 1, 2, ...; they would lose their digits in float32."""
    return 1 - beta1**power, np.sqrt(1 - beta2**power)


@piece()
def coefficients_of(hyper, factor, debiased):
    """`toy_model.optim.Hyper.at` in float64, then rounded to float32; `factor` of the schedule."""
    rate = hyper.learning_rate * factor
    decay = hyper.weight_decay
    return Coefficients(
        np.float32(rate),
        np.float32(1 - rate * decay if hyper.optimizer == ADAMW else decay),
        np.float32(hyper.momentum),
        np.float32(hyper.beta1),
        np.float32(1 - hyper.beta1),
        np.float32(hyper.beta2),
        np.float32(1 - hyper.beta2),
        np.float32(rate / debiased[0]),
        np.float32(debiased[1]),
        np.float32(hyper.eps),
    )


@piece()
def update_at(p, c, optimizer):
    """`toy_model.optim.update` of the parameter at a `Place`."""
    if optimizer == SGD:
        _sgd(p.weight, p.slope, p.first, p.size, c.momentum, c.decay, c.rate)
    else:
        shrink, decay = (c.decay, np.float32(0)) if optimizer == ADAMW else (np.float32(1), c.decay)
        _adam(
            p.weight, p.slope, p.first, p.second, p.size, shrink, decay,
            c.beta1, c.rest1, c.beta2, c.rest2, c.step_size, c.correction, c.eps,
        )  # fmt: skip


@piece(_nrt=False)
def set_lane(numbers, lane, c, optimizer):
    """What `update_lanes` needs of one instance, as column `lane` of float32 (COEFFICIENTS, LANES)."""
    if optimizer == SGD:
        numbers[0, lane], numbers[1, lane], numbers[2, lane] = c.momentum, c.decay, c.rate
        return
    numbers[0, lane] = c.decay if optimizer == ADAMW else np.float32(1)
    numbers[1, lane] = np.float32(0) if optimizer == ADAMW else c.decay
    numbers[2, lane], numbers[3, lane] = c.beta1, c.rest1
    numbers[4, lane], numbers[5, lane] = c.beta2, c.rest2
    numbers[6, lane], numbers[7, lane], numbers[8, lane] = c.step_size, c.correction, c.eps


@piece(_nrt=False)
def update_lanes(p, numbers, optimizer):
    """`update_at` of a block of LANES instances: the place of float32 (size, LANES)."""
    rows = p.size // LANES
    if optimizer == SGD:
        _sgd_lanes(p.weight, p.slope, p.first, rows, address(numbers))
    else:
        _adam_lanes(p.weight, p.slope, p.first, p.second, rows, address(numbers))


def _elementwise(arrays: int, scalars: int, formula: Callable[..., dict[int, ir.Value]]) -> Any:
    """A function of `arrays` addresses, a count and float32 scalars that replaces numbers of some arrays.

    `formula(builder, *numbers)` returns the new ones by the array's position. Vectors first, then one by one:
    each operation rounds alike, so a number's bits do not depend on its position.
    """

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
        bases = [data(context, builder, sig.args[number], args[number]) for number in range(arrays)]
        count, values = args[arrays], args[arrays + 1 :]
        whole = builder.and_(count, ir.Constant(_INT, -LANES))
        vectors = [splat(builder, value) for value in values]
        with cgutils.for_range_slice(
            builder, ir.Constant(_INT, 0), whole, ir.Constant(_INT, LANES), _INT
        ) as (
            index,
            _,
        ):
            numbers = [load(builder, base, index) for base in bases]
            for position, number in formula(builder, *numbers, *vectors).items():
                store(builder, number, bases[position], index)
        with cgutils.for_range(builder, count, start=whole) as loop:
            pointers = [builder.gep(base, [loop.index]) for base in bases]
            numbers = [builder.load(pointer) for pointer in pointers]
            for position, number in formula(builder, *numbers, *values).items():
                builder.store(number, pointers[position])
        return context.get_dummy_value()

    return types.void(*[types.intp] * (arrays + 1), *[types.float32] * scalars), emit


def _lanewise(arrays: int, scalars: int, formula: Callable[..., dict[int, ir.Value]]) -> Any:
    """`_elementwise` where each lane is an instance with scalars of its own: vectors from an address on."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
        bases = [data(context, builder, sig.args[number], args[number]) for number in range(arrays)]
        count, held = args[arrays], data(context, builder, types.intp, args[arrays + 1])
        vectors = [load(builder, held, _INT(number * LANES)) for number in range(scalars)]
        with cgutils.for_range(builder, count) as loop:
            index = builder.mul(loop.index, _INT(LANES))
            numbers = [load(builder, base, index) for base in bases]
            for position, number in formula(builder, *numbers, *vectors).items():
                store(builder, number, bases[position], index)
        return context.get_dummy_value()

    return types.void(*[types.intp] * (arrays + 2)), emit


def _adam_formula(
    builder: Any,
    weight,
    slope,
    first,
    second,
    shrink,
    decay,
    beta1,
    rest1,
    beta2,
    rest2,
    size,
    correction,
    eps,
) -> dict[int, ir.Value]:
    kind = weight.type
    name = "llvm.sqrt.f32" if kind == FLOAT else f"llvm.sqrt.v{LANES}f32"
    sqrt = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), name)
    add, mul = builder.fadd, builder.fmul
    old = mul(weight, shrink)
    slope = add(slope, mul(decay, old))
    first = add(mul(beta1, first), mul(rest1, slope))
    second = add(mul(beta2, second), mul(mul(rest2, slope), slope))
    spread = add(builder.fdiv(builder.call(sqrt, [second]), correction), eps)
    return {0: builder.fsub(old, builder.fdiv(mul(size, first), spread)), 2: first, 3: second}


def _sgd_formula(builder: Any, weight, slope, first, momentum, decay, rate) -> dict[int, ir.Value]:
    add, mul = builder.fadd, builder.fmul
    first = add(mul(momentum, first), add(slope, mul(decay, weight)))
    return {0: builder.fsub(weight, mul(rate, first)), 2: first}


@intrinsic
def _adam(
    typing: Any,
    weight,
    slope,
    first,
    second,
    count,
    shrink,
    decay,
    beta1,
    rest1,
    beta2,
    rest2,
    size,
    correction,
    eps,
):
    return _elementwise(4, 9, _adam_formula)


@intrinsic
def _sgd(typing: Any, weight, slope, first, count, momentum, decay, rate):
    return _elementwise(3, 3, _sgd_formula)


@intrinsic
def _adam_lanes(typing: Any, weight, slope, first, second, count, coefficients):
    return _lanewise(4, 9, _adam_formula)


@intrinsic
def _sgd_lanes(typing: Any, weight, slope, first, count, coefficients):
    return _lanewise(3, 3, _sgd_formula)


@intrinsic
def is_finite_at(typing: Any, values, count):
    """Whether all of `count` float32 numbers are finite: their exponents are not all ones."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> ir.Value:
        word = ir.IntType(32)
        base = builder.inttoptr(args[0], word.as_pointer())
        bad = cgutils.alloca_once_value(builder, cgutils.false_bit)
        with cgutils.for_range(builder, args[1]) as loop:
            exponent = builder.and_(builder.load(builder.gep(base, [loop.index])), word(0x7F800000))
            here = builder.icmp_unsigned("==", exponent, word(0x7F800000))
            builder.store(builder.or_(builder.load(bad), here), bad)
        return builder.not_(builder.load(bad))

    return types.boolean(types.intp, types.intp), emit
