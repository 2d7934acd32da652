"""The exact expectation in place of drawn rows: what to train on, and to be measured by, where n is small.

A linear model on independent features needs no more than the moments of its inputs, whatever n is
(`toy_model.theory.linear_population_loss`); for the others the patterns of features that are on are gone
through one by one (`numba_population`).
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from superpose_cli.engines.base import Evaluation, State, take
from superpose_cli.engines.lanes import LANES
from superpose_cli.engines.numba_expected import measure_population
from superpose_cli.engines.numba_kernels import Weights
from superpose_cli.engines.numba_population import Population
from superpose_cli.engines.threads import on_threads
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.config import Activation, DataKind, Reduction, Target, ValueKind
from superpose_cli.experiment.instances import Family, InstanceBatch
from superpose_cli.experiment.sharding import MAX_EVALUATION_INTEGRALS, MAX_STEP_INTEGRALS
from superpose_cli.toy_model.model import PARAMETERS
from superpose_cli.toy_model.patterns import (
    count_probability,
    meeting_probability,
    most_active,
    pattern_probability,
    patterns,
)
from superpose_cli.toy_model.sampling import target_moments
from superpose_cli.toy_model.spectra import hidden_covariance, set_covariance
from superpose_cli.toy_model.theory import linear_population_loss

LEFT_OUT = 1e-4
"""Rows with more features on than are gone through are at most this part of the rows in which features meet,
which are what superposition costs. With up to three features nothing is left out."""
TRAINING_NODES = 8
"""Gauss-Legendre nodes of a training step: within 1e-4 of the gradient's scale, as a test shows."""
FIRST_NODES = 4
CONVERGED = 1e-4
"""An evaluation doubles its nodes until no slope moves by this part of the largest feature's own."""
REFINED_INTEGRALS = 1e9
"""Where more nodes would take more than this, an evaluation keeps what it has, and its bound."""
TEMPORARY_VALUES = 1 << 23
"""Numbers that the probabilities of patterns take at once: 64 MiB each of a few temporaries."""
LINES = 6
"""Integrals over a line in the exact integral over two magnitudes."""


def population_refuses(family: Family) -> str | None:
    """Why the expectation of this family is not to be had, or None."""
    if family.data is DataKind.finite:
        return "it is not for data=finite, whose rows are a table"
    if family.hidden_activation is not Activation.identity:
        return "it needs model.hidden_activation=identity"
    if family.value is ValueKind.exponential and not by_moments(family):
        return "it needs values with a bound: data.value=uniform or constant"
    return None


def check_population(batches: Iterable[InstanceBatch], *, training: bool) -> None:
    """Raise ConfigError for what has no expectation, or where drawn rows would be the better way."""
    key = "train.objective" if training else "evaluation.method"
    limit = MAX_STEP_INTEGRALS if training else MAX_EVALUATION_INTEGRALS
    for batch in batches:
        refusal, family = population_refuses(batch.family), batch.family
        if (batch.hidden_l1 > 0).any():
            refusal = "it has no mean of ||h||_1, which model.hidden_l1 asks for"
        if refusal is None and (training or not by_moments(family)):
            most, count = integrals(batch)
            if count > limit:
                refusal = (
                    f"up to {most} of n_features={family.n_features} are on together, which takes "
                    f"{count:.0e} integrals: lower model.n_features or data.feature_probability"
                )
        if refusal is not None:
            raise ConfigError(f"{key}=population: {refusal}; or use {key}=sampled")


def integrals(batch: InstanceBatch) -> tuple[int, float]:
    """How many features may be on together in any instance, and the integrals over a line that this takes."""
    most = _most_active(batch)
    return most, _integrals(batch.family, most, TRAINING_NODES)


def expectation(batch: InstanceBatch) -> tuple[Population, npt.NDArray[np.float64]]:
    """What `train_population` needs of the batch."""
    return _population(batch, TRAINING_NODES)[0], _slope_scale(batch)


def _population(batch: InstanceBatch, n_nodes: int) -> tuple[Population, npt.NDArray[np.float64]]:
    """The expectation in the kernels' terms, and the probability (I,) of what is left out of it."""
    family = batch.family
    different, law = _different_laws(batch)
    counts, most = _counts(family, different)
    signs = patterns(family.n_features, int(most.max()), family.signed)
    n_active = (signs != 0).sum(axis=1)
    # Each pattern's features that are on come first; what follows them is never read.
    active = np.argsort(signs == 0, axis=1, kind="stable")[:, : max(1, int(most.max()))]
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    return Population(
        n=family.n_features,
        m=family.n_hidden,
        relu=family.output_activation is Activation.relu,
        absolute=family.target is Target.abs,
        constant=family.value is ValueKind.constant,
        n_active=n_active,
        active=active,
        sign=np.take_along_axis(signs, active, axis=1).astype(np.float64),
        probability=_probabilities(family, different, signs) * (n_active <= most[:, None]),
        law=law,
        high=batch.high,
        nodes=(nodes + 1) / 2,
        node_weights=weights / 2,
    ), (counts * (np.arange(counts.shape[1]) > most[:, None])).sum(axis=1)[law]


def _different_laws(batch: InstanceBatch) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """(K, n + 1): the different p and, last, correlation, which restarts share; and whose is which (I,)."""
    parameters = np.column_stack([batch.feature_probability, batch.correlation])
    number = np.zeros(len(parameters), np.intp)
    for column in parameters.T:  # much faster than sorting whole rows
        values, rank = np.unique(column, return_inverse=True)
        _, number = np.unique(number * len(values) + rank, return_inverse=True)
    _, first = np.unique(number, return_index=True)
    return parameters[first], number


def _probabilities(
    family: Family, parameters: npt.NDArray[np.float64], signs: npt.NDArray[np.int8]
) -> npt.NDArray[np.float64]:
    """(K, P): of the patterns under K laws, given by their p and, last, the correlation (K, n + 1)."""
    size = max(1, TEMPORARY_VALUES // signs.size)
    parts = [
        pattern_probability(family.law, rows[:, :-1], rows[:, -1], signs)
        for rows in (parameters[start : start + size] for start in range(0, len(parameters), size))
    ]
    return np.concatenate(parts)


def evaluated_at_once(batch: InstanceBatch) -> int:
    """How many instances of the batch are evaluated in about a second, or less."""
    if by_moments(batch.family):
        return len(batch)
    return max(1, int(MAX_EVALUATION_INTEGRALS / integrals(batch)[1]))


def population_evaluation(batch: InstanceBatch, state: State) -> Evaluation:
    """The expected loss. `loss_stderr` tells of its error: 0 where the integral is exact.

    That is with up to two features on; with more, nodes are doubled until no gradient moves by more than
    `CONVERGED`. The last move of the loss estimates its error from above (it is nearly always far below that:
    each doubling adds digits), and a bound of what patterns left out could hold is added. The mean
    of ||h||_1 is NaN. For linear models on independent features nothing is reported dead: they have a
    gradient everywhere but at their optimum.
    """
    mean, square = target_moments(
        batch.family.law, batch.feature_probability, batch.high, batch.family.target
    )
    if by_moments(batch.family):
        feature_loss = _linear_loss(batch, state, mean, square - mean * mean)
        bound, dead = np.zeros(len(batch)), np.zeros(len(batch), np.bool_)
    else:
        gain, bound, dead = _converged(batch, state, square)
        feature_loss = batch.importance * (square + gain)
    return Evaluation(
        loss=feature_loss.mean(1),
        loss_stderr=bound,
        feature_loss=feature_loss,
        hidden_l1=np.full(len(batch), np.nan),
        hidden_mean=_hidden_mean(batch, state),
        hidden_cov=linear_hidden_covariance(batch, state.W),
        target_mean=None,
        target_square=None,
        dead=dead,
    )


def with_exact_loss(found: Evaluation, exact: Evaluation) -> Evaluation:
    """What was measured on rows, with the expected loss in place of theirs."""
    return replace(found, loss=exact.loss, loss_stderr=exact.loss_stderr, feature_loss=exact.feature_loss)


def linear_hidden_covariance(batch: InstanceBatch, W: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(I, m, m): of h, in closed form, where the hidden layer is linear and rows are not of unit norm."""
    family = batch.family
    mean, square = target_moments(family.law, batch.feature_probability, batch.high, "identity")
    # A fixed table's population is the independent law that it was drawn from.
    kind = "independent" if family.data is DataKind.finite else family.data
    within = set_covariance(kind, mean, batch.feature_probability, correlation=batch.correlation, k=family.k)
    sets = {DataKind.correlated: family.set_size, DataKind.anticorrelated: family.set_size}
    size = family.n_features if family.data is DataKind.exactly_k else sets.get(family.data, 1)
    return hidden_covariance(W.astype(np.float64), square - mean * mean, within, size)


def by_moments(family: Family) -> bool:
    """Whether the loss follows from the means and variances of the inputs: then it is always exact."""
    return (
        family.output_activation is Activation.identity
        and family.target is Target.identity
        and family.data is DataKind.independent
    )


def _most_active(batch: InstanceBatch) -> int:
    """How many features are on together in any instance, but for what is left out."""
    different, _ = _different_laws(batch)
    return int(_counts(batch.family, different)[1].max())


def _counts(
    family: Family, parameters: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """P(so many features are on) (K, n + 1) under K laws, and how many are gone through (K,)."""
    p, correlation = parameters[:, :-1], parameters[:, -1]
    counts = count_probability(family.law, p, correlation)
    left_out = LEFT_OUT * meeting_probability(family.law, p, correlation)
    possible = most_active(counts, np.zeros(len(counts)))
    return counts, np.minimum(np.maximum(most_active(counts, left_out), 3), possible)


def _smooth(family: Family) -> bool:
    """Whether the integral over each pattern has a closed form."""
    return family.value is ValueKind.constant or family.output_activation is Activation.identity


def _integrals(family: Family, most: int, nodes: int) -> float:
    """Integrals over a line, of all outputs and patterns with up to `most` features on."""
    n, signs, smooth = family.n_features, 2 if family.signed else 1, _smooth(family)
    of_count = (
        math.comb(n, count)
        * signs**count
        * (1.0 if smooth or count < 2 else LINES * float(nodes) ** (count - 2))
        for count in range(most + 1)
    )
    return n * sum(of_count)


def _linear_loss(
    batch: InstanceBatch, state: State, mean: npt.NDArray[np.float64], variance: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    W, decoder, shift = _in_float64(batch, state)
    return linear_population_loss(W, decoder, shift, batch.importance, mean, variance)


def _in_float64(batch: InstanceBatch, state: State) -> tuple[npt.NDArray[np.float64], ...]:
    """W and W_dec (I, n, m), and what each output is at x = 0 before its activation (I, n)."""
    W = state.W.astype(np.float64)
    decoder = W if state.W_dec is None else state.W_dec.astype(np.float64)
    shift = np.zeros(W.shape[:2]) if state.b is None else state.b.astype(np.float64)
    if state.b_hidden is not None:
        shift = shift + (decoder @ state.b_hidden.astype(np.float64)[:, :, None])[:, :, 0]
    return W, decoder, shift


def _hidden_mean(batch: InstanceBatch, state: State) -> npt.NDArray[np.float64]:
    mean, _ = target_moments(batch.family.law, batch.feature_probability, batch.high, "identity")
    found = (mean[:, None, :] @ state.W.astype(np.float64))[:, 0]
    return found if state.b_hidden is None else found + state.b_hidden


def _converged(
    batch: InstanceBatch, state: State, square: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The gain (I, n), a bound of the loss's error (I,), and who has no gradient (I,)."""
    different, law = _different_laws(batch)
    most = _counts(batch.family, different)[1][law]
    gain, gradient, left_out = _measured(batch, state, FIRST_NODES)
    scale = CONVERGED * (_slope_scale(batch) * square).max(axis=1)
    last_move = np.zeros(len(batch))
    curved = (most > 2) & (not _smooth(batch.family))
    moving, nodes = np.flatnonzero(np.isfinite(gain).all(axis=1) & curved), 2 * FIRST_NODES
    while True:
        # Each by its own count: what it comes to does not depend on who is evaluated beside it.
        costs = {count: _integrals(batch.family, count, nodes) for count in {*most[moving].tolist()}}
        moving = moving[[costs[count] <= REFINED_INTEGRALS for count in most[moving].tolist()]]
        if not len(moving):
            break
        part = batch.take(moving)
        finer, slopes, _ = _measured(part, take(state, moving), nodes)
        move = np.abs(slopes - gradient[moving]).max(axis=1)
        last_move[moving] = np.abs((part.importance * (finer - gain[moving])).mean(axis=1))
        gain[moving], gradient[moving] = finer, slopes
        moving, nodes = moving[move > scale[moving]], 2 * nodes
    return gain, last_move + _left_out_bound(batch, state, left_out), (gradient == 0).all(axis=1)


def _measured(
    batch: InstanceBatch, state: State, n_nodes: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The gain (I, n), the gradient in all parameters (I, size), and the probability of what is left out."""
    population, left_out = _population(batch, n_nodes)
    count = len(batch)
    given = {name: getattr(state, name) for name in PARAMETERS}
    weights = Weights(
        **{
            name: np.zeros((count, 0)) if value is None else value.reshape(count, -1).astype(np.float64)
            for name, value in given.items()
        }
    )
    gradient = Weights(*(np.zeros_like(value) for value in weights))
    gain = np.empty((count, batch.family.n_features))
    on_threads(
        measure_population, count, population, _slope_scale(batch), weights, gain, gradient, block=LANES
    )
    return gain, np.concatenate(gradient, axis=1), left_out


def _slope_scale(batch: InstanceBatch) -> npt.NDArray[np.float64]:
    """(I, n): the factor of each output's E delta in the gradient: 2 I_i, over n where the loss is a mean."""
    mean = batch.family.loss_reduction is Reduction.mean
    return batch.importance * (2 / (batch.family.n_features if mean else 1))


def _left_out_bound(
    batch: InstanceBatch, state: State, left_out: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(I,): what rows with more features on than were gone through add to the loss at most."""
    W, decoder, shift = _in_float64(batch, state)
    with np.errstate(invalid="ignore", over="ignore"):  # diverged weights
        reach = np.abs(shift) + batch.high[:, None] * np.abs(decoder @ W.mT).sum(axis=2)
        worst = (batch.importance * (batch.high[:, None] + reach) ** 2).mean(axis=1)
        return np.where(left_out > 0, left_out * worst, 0.0)
