"""The identities of an instance: what it draws, what it becomes, and the folder of its run.

A cell's *record* holds what determines its draws (inputs: model, data, importance) or its weights besides
these (training: init, train), resolved: used fields only, vectors expanded, floats as little-endian IEEE
doubles, behind a tag with the format's version. A field at its neutral value is left out, so that a field
which joins later with a neutral default leaves every old key alone. A record is hashed by BLAKE2b to 64
bits; training, seed and restart are then mixed in with arithmetic on whole arrays.

The mixer is SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"):
`mix(state, word)` is output number `word` of the generator that starts at `state`. For a fixed state it is a
bijection of the word, so two restarts of a cell never share a key.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import blake2b
from typing import Any

import numpy as np

from superpose_cli.experiment.axes import Experiment
from superpose_cli.experiment.instances import F64, I64, U64

FORMAT = 1
"""Version of the record's layout; raising it renames every stored instance."""

NEUTRAL: Mapping[str, str | bool | int | float] = {
    "model.hidden_activation": "identity",
    "model.output_activation": "identity",
    "model.tied": True,
    "model.bias": False,
    "model.hidden_bias": False,
    "model.target": "identity",
    "model.hidden_l1": 0.0,
    "data.value": "uniform",
    "data.high": 1.0,
    "data.signed": False,
    "data.set_size": 0,
    "data.correlation": 0.0,
    "data.k": 0,
    "data.n_rows": 0,
    "data.unit_norm": False,
    "importance": 1.0,
    "train.weight_decay": 0.0,
    "train.momentum": 0.0,
    "train.beta1": 0.9,
    "train.beta2": 0.999,
    "train.eps": 1e-8,
    "train.schedule": "constant",
    "train.warmup_steps": 0,
    "train.n_batch": 0,
    "train.loss_reduction": "mean",
    "train.objective": "sampled",
    "paired": False,
}
"""What a record need not say. Never change a value; a new field joins with the value that changes nothing."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_TABLE = np.uint64(2**64 - 1)
_PAIRED = np.uint64(2**64 - 2)
_EVALUATION = np.uint64(2**64 - 3)


def mix(state: U64 | np.uint64, word: U64 | I64 | np.uint64) -> U64:
    """Output number `word` (from 0) of SplitMix64 started at `state`; bijective in each argument."""
    with np.errstate(over="ignore"):  # 64-bit products and sums are meant to wrap
        z = np.asarray(state, np.uint64) + (np.asarray(word).astype(np.uint64) + np.uint64(1)) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def record_hashes(tag: str, fixed: Mapping[str, Any], columns: Mapping[str, F64]) -> U64:
    """The 64-bit hash of each cell's record, (C,).

    `fixed` is what all C cells share (strings, booleans, integers); `columns` are floats by cell, (C,) or
    (C, width). The hash of a cell depends on its own values alone, not on the cells beside it.
    """
    said = [f"{name}={_text(value)}" for name, value in sorted(fixed.items()) if value != NEUTRAL.get(name)]
    names = sorted(columns)
    tables = {name: columns[name].reshape(len(columns[name]), -1) for name in names}
    n_cells = len(tables[names[0]])
    presence = np.zeros(n_cells, np.int64)
    for bit, name in enumerate(names):
        if name not in NEUTRAL:
            presence |= 1 << bit
        else:
            presence |= (tables[name] != NEUTRAL[name]).any(axis=1).astype(np.int64) << bit
    hashes = np.empty(n_cells, np.uint64)
    for pattern in np.unique(presence):
        rows = np.flatnonzero(presence == pattern)
        present = [name for bit, name in enumerate(names) if pattern >> bit & 1]
        header = "\n".join(
            [f"superpose/{tag}/{FORMAT}", *said, *(f"{n}[{tables[n].shape[1]}]" for n in present)]
        )
        body = np.concatenate([np.empty((len(rows), 0)), *(tables[name][rows] for name in present)], axis=1)
        hashes[rows] = _hash_rows(header.encode() + b"\0", body + 0.0)  # + 0.0: -0 and 0 are one number
    return hashes


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _hash_rows(header: bytes, body: F64) -> U64:
    """BLAKE2b-64 of the header and each row's bytes; a run of equal rows is hashed once."""
    bits = np.ascontiguousarray(body, "<f8").view("<u8")
    if len(bits) == 1:  # grids of many families have many such
        return np.frombuffer(blake2b(header + bits.tobytes(), digest_size=8).digest(), "<u8").astype(
            np.uint64
        )
    starts = np.flatnonzero(np.concatenate([[True], (bits[1:] != bits[:-1]).any(axis=1)]))
    opened, packed, width = blake2b(header, digest_size=8), bits.tobytes(), 8 * bits.shape[1]
    parts = []
    for start in (starts * width).tolist():
        row = opened.copy()
        row.update(packed[start : start + width])
        parts.append(row.digest())
    hashes = np.frombuffer(b"".join(parts), "<u8").astype(np.uint64)
    return np.repeat(hashes, np.diff(starts, append=len(bits)))


def generator_keys(inputs: U64, seed: I64, restart: I64, paired: bool) -> tuple[U64, U64]:
    """The Philox keys (generator_key, table_key), one per instance.

    generator_key covers seed, restart and the inputs record, or seed and restart alone if `paired`;
    table_key is the same without the restart.
    """
    state = mix(np.full_like(inputs, _PAIRED) if paired else inputs, seed)
    return mix(state, restart), mix(state, np.full_like(inputs, _TABLE))


def evaluation_keys(seed: I64) -> U64:
    """The Philox key of the evaluation rows: a hash of the seed alone."""
    return mix(np.full(len(seed), _EVALUATION), seed)


def weight_keys(inputs: U64, training: U64, seed: I64, restart: I64, paired: bool) -> U64:
    """The key of all that determines the trained weights, one per instance."""
    state = mix(inputs, training)
    if paired:
        state = mix(state, np.full_like(inputs, _PAIRED))
    return mix(mix(state, seed), restart)


def run_id(experiment: Experiment) -> str:
    """8 hex digits of all that decides a run's content; not of where or how it is computed, or drawn.

    Fields that are null or neutral are left out, as in a record. Engine, launcher, plots and the unexpanded
    grid strings do not count; the expanded axes do.
    """
    variants = []
    for config in experiment.variants:
        tree = asdict(config)
        variants.append(
            {
                name: value
                for name, value in _leaves(tree)
                if name.split(".")[0] not in ("engine", "launcher", "plots", "grid", "experiment")
                and value is not None
                and value != NEUTRAL.get(name)
            }
        )
    said = {
        "format": FORMAT,
        "name": experiment.name,
        "axes": [[list(axis.keys), [list(row) for row in axis.values]] for axis in experiment.axes],
        "variants": variants,
    }
    text = json.dumps(_canonical(said), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return blake2b(text.encode(), digest_size=4).hexdigest()


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in tree.items():
        found += (
            _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", value)]
        )
    return found


def _canonical(value: Any) -> Any:
    """Equal numbers written alike: an integral float as an integer, -0 as 0."""
    if isinstance(value, Mapping):
        return {name: _canonical(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return str(value) if isinstance(value, str) else value
