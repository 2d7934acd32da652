"""Float64 arithmetic on vectors of instances in LLVM code, spelled as Python formulas.

A formula over `Lanes` is emitted once, without branches: what a scalar program chooses by `if` is computed in
both ways and picked by `where`. Each lane is an instance of its own, so its bits depend on its numbers alone.
"""

from typing import Any, Self

from llvmlite import ir

from superpose_cli.engines.lanes import LANES, splat

DOUBLE = ir.DoubleType()
DOUBLES = ir.VectorType(DOUBLE, LANES)


class Lanes:
    """A vector of float64, or of truth values, while code is emitted with `builder`."""

    def __init__(self, builder: Any, value: ir.Value) -> None:
        self.builder, self.value = builder, value

    def _other(self, other: "Lanes | float") -> ir.Value:
        return other.value if isinstance(other, Lanes) else ir.Constant(DOUBLES, [float(other)] * LANES)

    def _of(self, value: ir.Value) -> Self:
        return type(self)(self.builder, value)

    def __add__(self, other: "Lanes | float") -> Self:
        return self._of(self.builder.fadd(self.value, self._other(other)))

    def __sub__(self, other: "Lanes | float") -> Self:
        return self._of(self.builder.fsub(self.value, self._other(other)))

    def __mul__(self, other: "Lanes | float") -> Self:
        return self._of(self.builder.fmul(self.value, self._other(other)))

    def __truediv__(self, other: "Lanes | float") -> Self:
        return self._of(self.builder.fdiv(self.value, self._other(other)))

    def __rsub__(self, other: float) -> Self:
        return self._of(self.builder.fsub(self._other(other), self.value))

    def __rtruediv__(self, other: float) -> Self:
        return self._of(self.builder.fdiv(self._other(other), self.value))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Self:
        return self._of(self.builder.fneg(self.value))

    def __abs__(self) -> "Lanes":
        return where(self < 0, -self, self)

    def __lt__(self, other: "Lanes | float") -> Self:
        return self._of(self.builder.fcmp_ordered("<", self.value, self._other(other)))

    def __le__(self, other: "Lanes | float") -> Self:
        return self._of(self.builder.fcmp_ordered("<=", self.value, self._other(other)))

    def __gt__(self, other: "Lanes | float") -> Self:
        return self._of(self.builder.fcmp_ordered(">", self.value, self._other(other)))

    def __and__(self, other: "Lanes") -> Self:
        return self._of(self.builder.and_(self.value, other.value))


def where(condition: Lanes, yes: "Lanes | float", no: "Lanes | float") -> Lanes:
    """`yes` in lanes where the condition holds, else `no`."""
    at = condition.builder
    values = (condition._other(value) for value in (yes, no))
    return Lanes(at, at.select(condition.value, *values))


def flag(builder: Any, value: ir.Value) -> Lanes:
    """A truth value in all lanes."""
    return Lanes(builder, splat(builder, value, ir.VectorType(ir.IntType(1), LANES)))


def load(builder: Any, address: ir.Value) -> Lanes:
    """The numbers at an address."""
    pointer = builder.inttoptr(address, DOUBLES.as_pointer())
    return Lanes(builder, builder.load(pointer, align=8))


def add_to(address: ir.Value, number: Lanes) -> None:
    """Add to the numbers at an address."""
    at = number.builder
    pointer = at.inttoptr(address, DOUBLES.as_pointer())
    at.store(at.fadd(at.load(pointer, align=8), number.value), pointer, align=8)
