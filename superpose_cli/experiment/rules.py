"""What the fields of a configuration must satisfy together, and which of them each kind uses.

`check_usage` looks at the fields that the kinds of a grid use or need; `CROSS_RULES` and the `*_problem`
functions at several values at once. The latter work on scalars and on arrays with one entry per cell, so
that a single config and a grid of millions share one statement of each rule.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.axes import Axis
from superpose_cli.experiment.config import Config
from superpose_cli.experiment.fields import FIELDS, SMALLEST_PROBABILITY, wanted

MAX_EMPTY = 0.5
"""Share of the rows that may have nothing on where rows are scaled to norm 1."""

_MARGINALS = ("data.feature_probability", "data.last_probability", "data.power")
_ADAM = ("train.beta1", "train.beta2", "train.eps")
_WORKER = ("launcher.cpus", "launcher.gpus")
_RAY = (*_WORKER, "launcher.address", "launcher.retries", "launcher.results")
_SLURM = (
    *_WORKER,
    "launcher.partition",
    "launcher.account",
    "launcher.minutes",
    "launcher.memory_gb",
    "launcher.jobs",
    "launcher.wait",
)
KIND_FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "init.kind": {"xavier_normal": (), "normal": ("init.std",), "notebook": ("init.n_instances",)},
    "data.kind": {
        "independent": _MARGINALS,
        "correlated": (*_MARGINALS, "data.set_size", "data.correlation"),
        "anticorrelated": (*_MARGINALS, "data.set_size"),
        "exactly_k": ("data.k",),
        "finite": (*_MARGINALS, "data.n_rows", "data.unit_norm"),
    },
    "importance.kind": {
        "uniform": (),
        "geometric": ("importance.decay",),
        "last": ("importance.last_importance",),
        "explicit": ("importance.values",),
    },
    "train.optimizer": {"adam": _ADAM, "adamw": _ADAM, "sgd": ("train.momentum",)},
    "launcher.name": {"local": (), "ray": _RAY, "slurm": _SLURM},
}
"""Kind key -> kind -> those of the fields special to some kinds that it uses. All kinds use the rest."""
OPTIONAL_FIELDS = frozenset(
    {*_ADAM, "train.momentum", "data.last_probability", "data.power", "data.unit_norm", *_RAY, *_SLURM}
)
"""Fields of `KIND_FIELDS` that may stay unset where they are used (their defaults are in `config.py`)."""
_KIND_KEY_OF = {
    key: kind_key for kind_key, kinds in KIND_FIELDS.items() for key in itertools.chain(*kinds.values())
}


def value_of(config: Config, key: str) -> Any:
    """The value of the field with the dotted `key`."""
    group, _, leaf = key.rpartition(".")
    return getattr(getattr(config, group) if group else config, leaf)


def with_values(config: Config, values: dict[str, Any]) -> Config:
    """A copy of `config` in which the dotted keys have the given values."""
    for key, value in values.items():
        group, _, leaf = key.rpartition(".")
        changed = replace(getattr(config, group), **{leaf: value}) if group else value
        config = replace(config, **{group or leaf: changed})
    return config


def used_fields(config: Config) -> frozenset[str]:
    """The dotted keys (all but `grid`) that the kinds of `config` use."""
    used = {key for kind_key, kinds in KIND_FIELDS.items() for key in kinds[value_of(config, kind_key)]}
    return frozenset(key for key in FIELDS if key not in _KIND_KEY_OF or key in used)


def check_usage(variants: Sequence[Config], axes: Sequence[Axis]) -> None:
    """Raise ConfigError for a field that is set and that no cell uses, or that a cell needs and lacks.

    variants: one config per combination of the group axes; axes: all axes of the grid.
    """
    axis_keys = {key for axis in axes for key in axis.keys}
    used: set[str] = set()
    for config in variants:
        if config.evaluation.method == "sampled" and config.evaluation.n_rows is None:
            raise ConfigError("evaluation.method=sampled needs evaluation.n_rows: set it to a number of rows")
        for cell in _kind_combinations(config, axes):
            used |= (now := used_fields(cell))
            for key in sorted(now & _KIND_KEY_OF.keys() - OPTIONAL_FIELDS):
                if value_of(cell, key) is None:
                    kind_key = _KIND_KEY_OF[key]
                    raise ConfigError(
                        f"{kind_key}={value_of(cell, kind_key)} needs {key}: set it to {wanted(key)}"
                    )
    for key in sorted(_KIND_KEY_OF.keys() - used):
        if key in axis_keys or any(value_of(config, key) is not None for config in variants):
            raise ConfigError(
                _unused_message(key, value_of(variants[0], _KIND_KEY_OF[key]), key in axis_keys)
            )


def _kind_combinations(config: Config, axes: Sequence[Axis]) -> list[Config]:
    """The configs that the axes over kinds make of the variant `config`.

    Other axes contribute a position with a null, where they have one; those over groups nothing, since a
    variant holds the values of its own position.
    """
    choices = []
    for axis in axes:
        if any(key not in FIELDS for key in axis.keys):
            continue
        rows = axis.values
        if not any(key in KIND_FIELDS for key in axis.keys):
            rows = [next((row for row in rows if None in row), rows[0])]
        choices.append([dict(zip(axis.keys, row, strict=True)) for row in rows])
    merged = ({k: v for row in rows for k, v in row.items()} for rows in itertools.product(*choices))
    return [with_values(config, values) for values in merged]


def _unused_message(key: str, kind: str, is_axis: bool) -> str:
    kind_key = _KIND_KEY_OF[key]
    choice = kind_key.removesuffix(".kind")
    users = [f"{choice}={name}" for name, keys in KIND_FIELDS[kind_key].items() if key in keys]
    choose = "choose one of those" if len(users) > 1 else "choose that"
    remove = "remove the axis over it" if is_axis else f"remove it (or say {key}=null)"
    return f"{key} is used by {' or '.join(users)} only, not by {choice}={kind}: {choose} or {remove}"


@dataclass(frozen=True, kw_only=True)
class CrossRule:
    """A condition on several fields of one cell.

    keys: the fields, in the order of the arguments of `holds`; kinds: values of a kind key for which the
    rule applies (empty: always); holds: true where the fields fit, for scalars or arrays of one entry per
    cell (null is NaN in an array); message: a format string over the values of one offending cell.
    """

    keys: tuple[str, ...]
    holds: Callable[..., Any]
    message: str
    kind_key: str = ""
    kinds: tuple[str, ...] = ()


CROSS_RULES = (
    CrossRule(
        keys=("train.warmup_steps", "train.steps"),
        holds=lambda warmup_steps, steps: warmup_steps <= steps,
        message="train.warmup_steps={0} is more than train.steps={1}: raise the steps or shorten the warm-up",
    ),
    CrossRule(
        keys=("data.k", "model.n_features"),
        holds=lambda k, n_features: k <= n_features,
        message="data.k={0} features cannot be on among model.n_features={1}: lower k or raise n_features",
        kind_key="data.kind",
        kinds=("exactly_k",),
    ),
    CrossRule(
        keys=("data.set_size", "model.n_features"),
        holds=lambda set_size, n_features: set_size <= n_features,
        message="data.set_size={0} is more than model.n_features={1}: lower set_size or raise n_features",
        kind_key="data.kind",
        kinds=("correlated", "anticorrelated"),
    ),
)
"""Rules over scalar fields. Those over whole vectors follow as functions."""


def length_problem(key: str, length: int, n_features: npt.ArrayLike) -> str | None:
    """What is wrong with a list of `length` numbers where the cells have `n_features`, or None."""
    wrong = np.asarray(n_features)[np.asarray(n_features) != length]
    if not wrong.size:
        return None
    return (
        f"{key} has {length} entries and model.n_features={wrong.flat[0]}: give one number per feature "
        "(where n_features is an axis, zip it with lists of the right lengths)"
    )


def probability_problem(
    kind: str, feature_probability: npt.ArrayLike, set_size: npt.ArrayLike = 1
) -> str | None:
    """What is wrong with resolved probabilities (cells, n) or (n,), and set sizes (cells,) or (), or None.

    Checks what a power law makes of them, sets of unequal members, and room in anticorrelated sets.
    """
    p = np.atleast_2d(np.asarray(feature_probability, dtype=np.float64))
    if not ((p >= SMALLEST_PROBABILITY) & (p <= 1)).all():
        return (
            f"data.power makes a feature probability of {p.min():.3g}, below the least of 2^-20: "
            "lower data.power or raise data.feature_probability"
        )
    if kind not in ("correlated", "anticorrelated"):
        return None
    sizes = np.broadcast_to(np.asarray(set_size, dtype=np.int64), p.shape[:1])
    first_of_set = (np.arange(p.shape[1]) // sizes[:, None]) * sizes[:, None]
    if (p != np.take_along_axis(p, first_of_set, axis=1)).any():
        return (
            f"data={kind} needs equal probabilities inside each set of data.set_size consecutive features: "
            "remove data.last_probability and data.power, or give a list that is equal inside sets"
        )
    room = sizes * p.max(axis=1)
    if kind == "anticorrelated" and (room > 1 + 1e-9).any():
        worst = int(room.argmax())
        return (
            f"data.set_size={sizes[worst]} times the feature probability {p[worst].max():.6g} is above 1, "
            "and at most one member of such a set is on: lower one of the two"
        )
    return None


def empty_row_problem(feature_probability: npt.ArrayLike) -> str | None:
    """Why rows of independent features (cells, n) or (n,) cannot be scaled to norm 1, or None.

    Such a row is drawn again until something is on, and each attempt fails with the chance that nothing is:
    prod_i (1 - p_i).
    """
    p = np.atleast_2d(np.asarray(feature_probability, dtype=np.float64))
    with np.errstate(divide="ignore"):  # p = 1: the log is -inf, and no row is empty
        empty = np.exp(np.log1p(-p).sum(axis=1))
    if empty.max() <= MAX_EMPTY:
        return None
    return (
        "data.unit_norm=true redraws rows with nothing on, and a row has nothing on with probability "
        f"{empty.max():.4g}, more than {MAX_EMPTY:g}: raise data.feature_probability or model.n_features, "
        "or set data.unit_norm=false"
    )


def importance_problem(importance: npt.ArrayLike) -> str | None:
    """What is wrong with resolved importances (cells, n) or (n,), or None."""
    values = np.atleast_2d(np.asarray(importance, dtype=np.float64))
    if not np.isfinite(values).all():
        return "importance.decay^i overflows for the last features: lower importance.decay to 1 or less"
    if (values.max(axis=1) == 0).any():
        return "all importances of a cell are 0, so nothing is learnt: make one of them positive"
    return None
