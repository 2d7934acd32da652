"""The loss that every loss is compared with: that of the best constant output."""

import numpy as np
import numpy.typing as npt

from superpose_cli.engines.base import Evaluation
from superpose_cli.experiment.config import Activation
from superpose_cli.experiment.instances import InstanceBatch
from superpose_cli.toy_model.sampling import target_moments
from superpose_cli.toy_model.theory import ignore_loss


def baseline_loss(batch: InstanceBatch, found: Evaluation) -> npt.NDArray[np.float64]:
    """(I,): sum_i I_i min_c E(t_i - c)^2 / n over the constants c that the model can output.

    In closed form from the law's moments; for unit-norm rows, which have none, from the rows of `found`.
    """
    family = batch.family
    if found.target_mean is not None and found.target_square is not None:
        mean, square = found.target_mean, found.target_square
    else:
        mean, square = target_moments(family.law, batch.feature_probability, batch.high, family.target)
    return ignore_loss(
        mean,
        square,
        batch.importance,
        output_relu=family.output_activation is Activation.relu,
        # Untied weights turn a hidden bias into any constant output, tied ones only into 0.
        bias=family.bias or (family.hidden_bias and not family.tied),
    )
