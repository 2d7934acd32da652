"""The exact expectation in place of drawn rows, where it has a closed form.

For a linear model on independent features the loss, its parts by feature and the moments of h follow from the
means and variances of the inputs alone (`toy_model.theory.linear_population_loss`).
"""

import numpy as np

from superpose_cli.engines.base import Evaluation, State
from superpose_cli.experiment.config import Activation, DataKind, Target
from superpose_cli.experiment.instances import Family, InstanceBatch
from superpose_cli.toy_model.sampling import target_moments
from superpose_cli.toy_model.theory import linear_population_loss


def population_refuses(family: Family, l1: bool) -> str | None:
    """Why the expected loss of this family, with an L1 penalty on h or not, has no closed form; or None."""
    if not family.hidden_activation == family.output_activation == Activation.identity:
        return "it is exact for linear models (model=linear) only"
    if family.target is not Target.identity:
        return "it needs model.target=identity"
    if family.data is not DataKind.independent:
        return "it needs data=independent"
    if l1:
        return "it has no mean of ||h||_1, which model.hidden_l1 asks for"
    return None


def population_evaluation(batch: InstanceBatch, state: State) -> Evaluation:
    """The expected loss of linear models, with standard error 0.

    The mean of ||h||_1 has no closed form and is NaN. Nothing is reported dead: a linear model has a gradient
    everywhere but at its optimum.
    """
    mean, square = target_moments(batch.family.law, batch.feature_probability, batch.high, "identity")
    variance = square - mean * mean
    W = state.W.astype(np.float64)
    decoder = W if state.W_dec is None else state.W_dec.astype(np.float64)
    shift = np.zeros_like(mean) if state.b is None else state.b.astype(np.float64)
    hidden_mean = (mean[:, None, :] @ W)[:, 0]
    if state.b_hidden is not None:
        hidden_mean += state.b_hidden
        shift = shift + (decoder @ state.b_hidden.astype(np.float64)[:, :, None])[:, :, 0]
    feature_loss = linear_population_loss(W, decoder, shift, batch.importance, mean, variance)
    return Evaluation(
        loss=feature_loss.mean(1),
        loss_stderr=np.zeros(len(batch)),
        feature_loss=feature_loss,
        hidden_l1=np.full(len(batch), np.nan),
        hidden_mean=hidden_mean,
        hidden_cov=W.swapaxes(1, 2) @ (variance[:, :, None] * W),
        target_mean=None,
        target_square=None,
        dead=np.zeros(len(batch), np.bool_),
    )
