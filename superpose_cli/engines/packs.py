"""Packs: neighbouring instances of a batch that are trained at once, and how far they are.

How a batch is cut into packs depends on the memory that is free and changes no bit (`engines.base.Engine` has
the exception). A pack holds all that its training goes on from, so it may be cut further at any step, and a
checkpoint is a list of packs.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from superpose_cli.engines.base import Evaluation, State, concatenate, take


@dataclass(kw_only=True)
class Pack:
    """Instances start .. stop - 1 of one batch of a shard; without a state they are not begun."""

    batch: int
    """Number of the batch in the shard."""
    start: int
    stop: int
    state: State | None = None
    first: npt.NDArray[np.float64] | None = None
    """(I,): the objective before the first step where it tells whether an instance diverged, else NaN; there
    as soon as there is a state."""
    history: dict[str, list[npt.NDArray[Any]]] = field(default_factory=dict)
    """Recorded so far: `loss`, `train_loss` (I,) and parameters (I, ...), each an array for every record."""
    found: Evaluation | None = None
    """After the last step; the pack is then done."""
    table: Evaluation | None = None
    """Likewise on the fixed table (finite data)."""

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def step(self) -> int:
        """Updates done so far."""
        return 0 if self.state is None else self.state.step

    @property
    def records(self) -> int:
        """Records of the history so far."""
        return len(self.history.get("loss", ()))

    def cut(self, size: int) -> list[Self]:
        """Packs of at most `size` instances, equally long: a last one of a few would waste the machine."""
        count = math.ceil(len(self) / size)
        edges = [len(self) * i // count for i in range(count + 1)]
        return [self.part(slice(*span)) for span in pairwise(edges)]

    def part(self, span: slice) -> Self:
        """The instances start + span.start .. start + span.stop - 1."""
        return type(self)(
            batch=self.batch,
            start=self.start + span.start,
            stop=self.start + span.stop,
            state=None if self.state is None else take(self.state, span),
            first=None if self.first is None else self.first[span],
            history={name: [value[span] for value in values] for name, values in self.history.items()},
            found=None if self.found is None else take(self.found, span),
            table=None if self.table is None else take(self.table, span),
        )


def join(packs: Sequence[Pack]) -> Pack:
    """Neighbouring packs of one batch, equally far, as one."""
    founds = [pack.found for pack in packs if pack.found is not None]
    tables = [pack.table for pack in packs if pack.table is not None]
    assert len({_far(pack) for pack in packs}) == 1, "all are equally far"
    names = packs[0].history
    return Pack(
        batch=packs[0].batch,
        start=packs[0].start,
        stop=packs[-1].stop,
        state=concatenate([pack.state for pack in packs if pack.state is not None]),
        first=np.concatenate([pack.first for pack in packs if pack.first is not None]),
        history={
            name: [np.concatenate(record) for record in zip(*(p.history[name] for p in packs), strict=True)]
            for name in names
        },
        found=concatenate(founds) if founds else None,
        table=concatenate(tables) if tables else None,
    )


def joined(begun: Iterable[Pack]) -> list[Pack]:
    """Packs that are begun, with neighbours that are equally far joined to one."""
    packs: list[list[Pack]] = []
    for pack in sorted(begun, key=lambda pack: (pack.batch, pack.start)):
        last = packs[-1][-1] if packs else None
        if last and (last.batch, last.stop, _far(last)) == (pack.batch, pack.start, _far(pack)):
            packs[-1].append(pack)
        else:
            packs.append([pack])
    return [join(neighbours) for neighbours in packs]


def _far(pack: Pack) -> tuple[int, int, bool]:
    """Steps, records, and whether it is done."""
    return pack.step, pack.records, pack.found is not None


def whole(begun: Sequence[Pack], lengths: Sequence[int]) -> list[Pack]:
    """The packs that are begun, in order, and others in the gaps: together all instances of all batches."""
    packs: list[Pack] = []
    for batch, length in enumerate(lengths):
        at = 0
        for pack in sorted((p for p in begun if p.batch == batch), key=lambda p: p.start):
            if pack.start > at:
                packs.append(Pack(batch=batch, start=at, stop=pack.start))
            packs.append(pack)
            at = pack.stop
        if at < length:
            packs.append(Pack(batch=batch, start=at, stop=length))
    return packs


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the machine had too little memory, as NumPy, PyTorch, CUDA and Triton say it."""
    said = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    if isinstance(error, RuntimeError):  # PyTorch's own kinds too
        return any(text in str(error) for text in said)
    return isinstance(error, MemoryError)
