"""The distributions of the inputs x, as functions of (key, stream, step, row, feature).

Each law says which features are on together; `feature_probability` p is always the marginal P(x_i != 0).
Every engine draws the same bits: on/off is decided on integers, a value is one float32 product, and nothing
depends on a math library. Written once for NumPy arrays and torch tensors of any device (`xp`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.fixed_log import FRACTION_BITS, log2_fixed
from superpose_cli.toy_model.normal import LN2
from superpose_cli.toy_model.philox import BLOCK_ROWS, Stream, words_at

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

N_WORDS = 1 << 32
ALWAYS = N_WORDS - 1
"""The last word: a draw with this bound is on whatever the word."""
NEVER = -1
"""Below every word: a draw with this bound is never on."""


@dataclass(frozen=True)
class Law:
    """The joint law of the features of a row, but for its real parameters.

    kind: independent, finite (rows as independent), correlated, anticorrelated or exactly_k; value: uniform
    on (0, high], constant or exponential with mean high; signed: a fair sign on each value. `set_size` is
    used by the laws with sets, `k` by exactly_k.
    """

    kind: str
    value: str = "uniform"
    signed: bool = False
    set_size: int = 0
    k: int = 0

    def n_sets(self, n_features: int) -> int:
        """Number of sets; they are consecutive, and the last may be smaller."""
        return -(-n_features // self.set_size)


class Bounds(NamedTuple):
    """The parameters of a law in the form the draws use, for I instances of n features."""

    last: I64
    """(I, n): a word w turns its feature (or set) on iff w <= last, with probability ceil(p 2^32) / 2^32."""
    scale: F32
    """(I, n): what a value's magnitude is multiplied by."""
    top: I64
    """(I, n): log2 of the number of words that turn the feature on (exponential values; else 0)."""
    set_scale: F32
    """(I, 1): as `scale`, where on/off is not the feature's own draw, so that its word is any of 2^32."""
    set_top: int
    """As `top`, likewise."""
    last_coin: I64
    """(I,): a feature follows its set iff its coin <= last_coin; NEVER and ALWAYS need no coin."""


def bounds(law: Law, feature_probability: F64, high: F64, correlation: F64) -> Bounds:
    """The bounds and scales of a law, from p (I, n), high (I,) and correlation (I,), on the host.

    A magnitude is the word itself (uniform), 1 (constant), or log2 of (number of words) / (word + 1)
    (exponential: -ln of a uniform number), so each scale is one rounding of a float64.
    """
    last = np.ceil(feature_probability * N_WORDS).astype(np.int64, order="C") - 1
    top, set_top = np.zeros_like(last), 0
    wide = high[:, None]
    if law.value == "uniform":
        scale, set_scale = wide / (feature_probability * N_WORDS), wide / N_WORDS
    elif law.value == "constant":
        scale, set_scale = np.broadcast_to(wide, last.shape), wide
    else:
        unit = wide * LN2 / (1 << FRACTION_BITS)
        scale, set_scale = np.broadcast_to(unit, last.shape), unit
        top, set_top = log2_fixed(np, last + 1), 32 << FRACTION_BITS
    return Bounds(
        last=last,
        scale=scale.astype(np.float32, order="C"),
        top=top,
        set_scale=set_scale.astype(np.float32),
        set_top=set_top,
        last_coin=np.ceil(correlation * N_WORDS).astype(np.int64) - 1,
    )


def draw(xp: ModuleType, law: Law, *, step: int, **arguments: Any) -> Any:
    """What `draw_at` with these arguments gives for one step."""
    return draw_at(xp, law, **arguments)(int(step))


def draw_at(
    xp: ModuleType,
    law: Law,
    *,
    key: U64,
    stream: int,
    set_stream: int,
    rows: tuple[int, int],
    feature_probability: F64,
    high: F64,
    correlation: F64,
    device: Any = None,
) -> Callable[[Any], Any]:
    """Rows (start, stop) of a draw, float32 (I, stop - start, n), for I instances, as a function of the step.

    `key` is (I,), or (1,) where all instances share their words; `feature_probability` (I, n), `high` and
    `correlation` (I,) are host arrays. `start` is a multiple of 128. A feature's values depend on its own
    parameters and, in a law with sets, on where its set begins; `set_stream` is read by those laws alone.
    Nothing is copied to the device at a step, as in `words_at`.
    """
    n = feature_probability.shape[1]
    limits = bounds(law, feature_probability, high, correlation)

    def there(array: npt.NDArray[Any]) -> Any:
        return xp.asarray(array, device=device)

    last, top = there(limits.last)[:, None, :], there(limits.top)[:, None, :]
    scale, set_scale = there(limits.scale)[:, None, :], there(limits.set_scale)[:, None, :]
    last_coin = there(limits.last_coin)[:, None, None]
    coins = bool(((limits.last_coin != NEVER) & (limits.last_coin != ALWAYS)).any())
    in_sets, with_coins = law.kind in ("correlated", "anticorrelated"), law.kind == "correlated" and coins
    n_sets = law.n_sets(n) if in_sets else n
    of_set, in_set = (there(number) for number in np.divmod(np.arange(n), law.set_size if in_sets else n))
    own = words_at(xp, key, stream, rows, n, device)
    of_sets = words_at(xp, key, set_stream, rows, n_sets + n if with_coins else n_sets, device)

    def draw(step: Any) -> Any:
        word = own(step)
        if law.kind == "correlated":
            set_word = of_sets(step)
            follows = (set_word[..., n_sets:] if with_coins else 0) <= last_coin
            on = xp.where(follows, set_word[..., of_set], word) <= last
            scales = xp.where(follows, set_scale, scale)
            tops = xp.where(follows, limits.set_top, top)
        elif law.kind == "anticorrelated":
            above = of_sets(step)[..., of_set] - in_set * (last + 1)
            on, scales, tops = (above >= 0) & (above <= last), set_scale, limits.set_top
        elif law.kind == "exactly_k":
            on, scales, tops = _choose_k(xp, of_sets(step), law.k), set_scale, limits.set_top
        else:
            on, scales, tops = word <= last, scale, top
        return xp.where(on, _values(xp, law, word, scales, tops), 0.0)

    return draw


def _choose_k(xp: ModuleType, word: Any, k: int) -> Any:
    """Selection sampling (Knuth, TAOCP vol. 2, 3.4.2, algorithm S): which k of n, every subset alike."""
    n = word.shape[-1]
    chosen = 0 * word[..., 0]
    on = []
    for i in range(n):
        on.append(word[..., i] * (n - i) < (k - chosen) << 32)
        chosen = chosen + on[-1]
    return xp.stack(on, -1)


def _values(xp: ModuleType, law: Law, word: Any, scale: Any, top: Any) -> Any:
    """The values of features that are on: magnitude * scale, one rounding each; the sign is bit 0."""
    if law.value == "uniform":
        magnitude = word
    elif law.value == "constant":
        magnitude = 0 * word + 1
    else:
        magnitude = top - log2_fixed(xp, word + 1)
    value = xp.asarray(magnitude, dtype=xp.float32) * scale
    return xp.where((word & 1) == 1, -value, value) if law.signed else value


def finite_table(
    xp: ModuleType,
    law: Law,
    *,
    key: U64,
    n_rows: int,
    feature_probability: F64,
    high: F64,
    unit_norm: bool,
    device: Any = None,
) -> Any:
    """The fixed table of finite data, float32 (I, n_rows, n): independent rows, drawn once for a key.

    With `unit_norm` rows have norm 1, and a row with nothing on is drawn again (attempt number in place of
    the step) until something is.
    """
    return _once(
        xp,
        law,
        key=key,
        stream=Stream.finite_table,
        set_stream=Stream.finite_table,
        rows=(0, n_rows),
        feature_probability=feature_probability,
        high=high,
        correlation=np.zeros_like(high),
        unit_norm=unit_norm,
        device=device,
    )


def evaluation_rows(
    xp: ModuleType,
    law: Law,
    *,
    key: U64,
    rows: tuple[int, int],
    feature_probability: F64,
    high: F64,
    correlation: F64,
    unit_norm: bool,
    device: Any = None,
) -> Any:
    """Rows (start, stop) of the rows that models are judged on, float32 (I, stop - start, n).

    Disjoint from every training draw. `unit_norm` as in `finite_table`; other arguments as in `draw_at`.
    """
    return _once(
        xp,
        law,
        key=key,
        stream=Stream.evaluation,
        set_stream=Stream.evaluation_sets,
        rows=rows,
        feature_probability=feature_probability,
        high=high,
        correlation=correlation,
        unit_norm=unit_norm,
        device=device,
    )


def _once(xp: ModuleType, law: Law, *, rows: tuple[int, int], unit_norm: bool, **arguments: Any) -> Any:
    """A draw that has attempts instead of steps: rows with nothing on are redrawn where `unit_norm`."""
    start, stop = rows
    x = draw(xp, law, rows=rows, step=0, **arguments)
    if not unit_norm:
        return x
    attempt = 1
    while empty := xp.argwhere(~(x != 0).any(-1))[:, 1].tolist():
        for block in {row // BLOCK_ROWS * BLOCK_ROWS for row in empty}:
            block_rows = (start + block, min(start + block + BLOCK_ROWS, stop))
            again = draw(xp, law, rows=block_rows, step=attempt, **arguments)
            held = x[:, block : block + BLOCK_ROWS]
            held[...] = xp.where((held != 0).any(-1)[..., None], held, again)
        attempt += 1
    return _to_unit_norm(xp, x)


def _to_unit_norm(xp: ModuleType, x: Any) -> Any:
    """Rows scaled to norm 1. The sum of squares runs in float64 in the order of the features: the same bits
    whatever the machine's order of reduction would be."""
    wide = xp.asarray(x, dtype=xp.float64)
    square = wide[..., 0] * wide[..., 0]
    for i in range(1, wide.shape[-1]):
        square = square + wide[..., i] * wide[..., i]
    return xp.asarray(wide / xp.sqrt(square)[..., None], dtype=xp.float32)


def table_row_indices(xp: ModuleType, key: U64, step: int, n_batch: int, n_rows: int) -> Any:
    """Which rows of a finite table make up the mini-batch of a step: int64 (K, n_batch), with replacement."""
    return table_row_indices_at(xp, key, n_batch, n_rows)(int(step))


def table_row_indices_at(
    xp: ModuleType, key: U64, n_batch: int, n_rows: int, device: Any = None
) -> Callable[[Any], Any]:
    """`table_row_indices` as a function of the step, as `words_at`."""
    drawn = words_at(xp, key, Stream.data, (0, n_batch), 1, device)
    return lambda step: drawn(step)[..., 0] * n_rows >> 32


def target_moments(law: Law, feature_probability: F64, high: F64, target: str) -> tuple[F64, F64]:
    """(E t_i, E t_i^2), each (I, n), of the target t = x or |x|, in closed form; not for unit-norm rows."""
    wide = high[:, None]
    mean, square = {
        "uniform": (wide / 2, wide**2 / 3),
        "constant": (wide, wide**2),
        "exponential": (wide, 2 * wide**2),
    }[law.value]
    if law.signed and target == "identity":
        mean = 0 * mean
    return feature_probability * mean, feature_probability * square
