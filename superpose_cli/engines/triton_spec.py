"""What Triton kernels are compiled for, and what of a family they refuse."""

from dataclasses import dataclass

from superpose_cli.experiment.config import Activation, DataKind, Objective, Target
from superpose_cli.experiment.instances import Family
from superpose_cli.toy_model.fixed_log import FRACTION_BITS
from superpose_cli.toy_model.philox import Stream

TINY_REGISTERS = 384
"""Models of at most so many `lane_numbers` train in the registers of a warp each. Beyond, a thread spills
more than a KB, and eight warps more than the first-level cache of a Hopper holds."""
LEAST = 16
"""The least length that a product may be summed over in Triton: shorter ones are padded."""
HIDDEN_BYTES = {16: 65_536, 32: 90_112, 64: 163_840}
"""n_hidden, padded -> bytes that a program shares at most: what the compiler makes of the largest kernels for
compute capabilities 8.0, 8.9 and 9.0. With 128 it is more than any of them has (262,144)."""
PANEL_BYTES = 106_496
"""Likewise, where x of a row block and the gradient of 64 features are held at once."""
MOST_SET = 1 << 16
"""Members of a set are counted in words of 32 bits."""

PRECISIONS = {"float32": "tf32x3", "tf32": "tf32", "bf16": "bf16"}
"""`engine.dtype` -> how Triton multiplies matrices of float32, on matrix units: as three products of TF32
(Ootomo & Yokota 2022), as one, or as one of bfloat16; factors of one product are rounded to nearest. Matrix
units cut off bits of their sums: three products then err about 6e-7, emulated, where sums that round err 1e-7
(a gradient of 400 x 30). Triton's "ieee" products keep all factors of a sum in registers: compiled for these
tiles they spill 3 to 10 KB a thread."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The constants of a kernel: a new one is compiled for each.

    In a kernel it is inside a `tl.constexpr`, whose own attributes (`value`, `type`) hide equal names here.
    """

    n: int
    m: int
    hidden_relu: bool
    output_relu: bool
    tied: bool
    bias: bool
    hidden_bias: bool
    absolute: bool
    l1: bool
    """Some instance has a weight on |h|; where an instance has none, adding it changes no bit."""
    law: str
    """independent, correlated, anticorrelated, exactly_k, or table."""
    magnitude: str
    """uniform, constant or exponential."""
    signed: bool
    set_size: int
    n_sets: int
    k: int
    set_top: int
    """`sampling.Bounds.set_top`."""
    stream: int
    set_stream: int
    in_order: bool
    """All rows of the table one after the other, not a draw of them."""
    ragged: bool
    """Some rows of the last turn are beyond the batch."""
    optimizer: str
    precision: str

    @property
    def size(self) -> int:
        """Parameters of an instance: W, W_dec, b, b_hidden, one after the other."""
        weights = self.n * self.m * (1 if self.tied else 2)
        return weights + self.n * self.bias + self.m * self.hidden_bias

    @property
    def dec(self) -> int:
        """Where W_dec begins; where W does, in tied models."""
        return 0 if self.tied else self.n * self.m

    @property
    def b(self) -> int:
        """Where b begins."""
        return self.dec + self.n * self.m

    @property
    def b_hidden(self) -> int:
        """Where b_hidden begins."""
        return self.b + self.n * self.bias


def spec_of(
    family: Family,
    *,
    ragged: bool,
    stream: Stream,
    set_stream: Stream,
    table: bool,
    in_order: bool,
    l1: bool,
    precision: str,
) -> Spec:
    """The constants for rows that are drawn or (`table`) given."""
    law = family.law
    return Spec(
        n=family.n_features,
        m=family.n_hidden,
        hidden_relu=family.hidden_activation is Activation.relu,
        output_relu=family.output_activation is Activation.relu,
        tied=family.tied,
        bias=family.bias,
        hidden_bias=family.hidden_bias,
        absolute=family.target is Target.abs,
        l1=l1,
        law="table" if table else "independent" if family.data is DataKind.finite else str(law.kind),
        magnitude=str(law.value),
        signed=law.signed,
        set_size=law.set_size,
        n_sets=law.n_sets(family.n_features) if law.set_size else 0,
        k=law.k,
        set_top=32 << FRACTION_BITS if law.value == "exponential" else 0,
        stream=int(stream),
        set_stream=int(set_stream),
        in_order=in_order,
        ragged=ragged,
        optimizer=str(family.optimizer),
        precision=precision,
    )


def lane_numbers(family: Family) -> int:
    """What a lane of `triton_tiny` holds: parameters, slopes, x of four rows, dy, limits, h and dh.

    Up to 230 hardly anything leaves a thread's 255 registers.
    """
    n, m = family.n_features, family.n_hidden
    weights = n * m * (1 if family.tied else 2)
    return 2 * (weights + n * family.bias + m * family.hidden_bias) + 8 * n + 2 * m


def is_tiny(family: Family) -> bool:
    """Whether `triton_tiny` trains it."""
    return lane_numbers(family) <= TINY_REGISTERS


def padded(length: int) -> int:
    """The power of two, at least LEAST, that holds `length`."""
    return max(LEAST, 1 << (length - 1).bit_length())


def most_hidden(shared: int) -> int:
    """The largest n_hidden where a program may share so many bytes; 0: none."""
    return max((m for m, needed in HIDDEN_BYTES.items() if needed <= shared), default=0)


def refusal(family: Family, shared: int) -> str | None:
    """Why the kernels cannot train the family where a program may share so many bytes, or None."""
    if family.objective is Objective.population:
        return (
            "engine triton has no population objective; use engine numba on engine.device=cpu, or "
            "train.objective=sampled"
        )
    if family.n_hidden > (most := most_hidden(shared)):
        return (
            f"engine triton holds at most n_hidden={most} in the shared memory of this GPU, not "
            f"{family.n_hidden}; use engine torch"
        )
    if family.set_size >= MOST_SET:
        return f"engine triton draws sets of less than {MOST_SET:,} features; use engine torch"
    return None
