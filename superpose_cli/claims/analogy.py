"""Definitions and Motivation: features as directions, whose sums and differences solve analogies."""

import numpy as np

from superpose_cli.claims.base import Measured, claim
from superpose_cli.claims.stored import Model, models, must, need, need_setting
from superpose_cli.results.run import Run
from superpose_cli.toy_model.analogy import Analogies, solve_analogies
from superpose_cli.toy_model.model import Model as Kind

SECTION = "Definitions and Motivation"


def _solved(run: Run, hidden_activation: str) -> list[tuple[Model, Analogies]]:
    """All analogies over the represented features, of models with at least three, the densest first."""
    need_setting(run, steps=3000, tied=True, hidden_bias=False)
    every = models(run, hidden_activation=hidden_activation)
    need(len(every) >= 2, f"needs 2 densities, the run has {len(every)}")
    found = []
    for model in every:
        features = np.flatnonzero(model.represented)
        if 3 <= len(features) <= 24:
            kind = Kind(
                hidden_activation=hidden_activation,
                output_activation=str(model.row["output_activation"]),
                target="identity",
            )
            shift = np.zeros(model.n_hidden)
            found.append((model, solve_analogies(model.W, model.decoder, model.b, shift, kind, features)))
    must(len(found) >= 2, f"of {len(every)} models {len(found)} represent 3 to 24 features: fewer than 2")
    return sorted(found, key=lambda pair: -pair[0].p)


@claim(
    "analogies-are-exact",
    section=SECTION,
    source="theory",
    citation="h is linear in x: h(royal + male) - h(male) + h(female) = h(royal + female)",
    experiment="analogy",
    expected="an error of at most 1e-6 of queen in h without a hidden ReLU, superposition included; above "
    "0.1 with one at the sparsest p",
    tolerance="rounding of stored weights plays no part: the identity holds for any W",
)
def analogies_are_exact(run: Run) -> Measured:
    """King - man + woman = queen holds exactly in a linear hidden layer, whether features are superposed or
    not; a ReLU there breaks it where features are sparse.
    """
    linear, relu = _solved(run, "identity"), _solved(run, "relu")
    must(any(model.superposed.any() for model, _ in linear), "no model has superposition")
    exact = max(solved.error for _, solved in linear)
    broken = relu[-1][1].error
    return Measured(
        exact <= 1e-6 and broken > 0.1,
        f"error up to {exact:.1g} without a hidden ReLU, {broken:.2f} with one at p = {relu[-1][0].p:.3g}",
        {"error_linear_max": exact, "error_relu_sparsest": broken},
    )


@claim(
    "superposition-costs-retrieval",
    section=SECTION,
    source="measured",
    citation="the project's own question; the paper draws no such figure",
    experiment="analogy",
    expected="the two largest outputs are queen's features in every analogy at the densest p, where features "
    "are dedicated; at the sparsest, where all are superposed, in all but those whose queen's features are "
    "more than 150 degrees apart, of which there are some",
    tolerance="none: analogies are counted; 150 degrees: antipodal, as trained digons are",
)
def superposition_costs_retrieval(run: Run) -> Measured:
    """What superposition costs an analogy are the words of antipodal features, which cancel in the hidden
    layer: the outputs of all other answers are right.
    """
    found = _solved(run, "identity")
    (dense, first), (sparse, last) = found[0], found[-1]
    shared = not dense.superposed.any() and bool(sparse.superposed[sparse.represented].all())
    return Measured(
        shared and first.decoded == 1 and last.decoded < 1 and last.decoded_there == 1 and last.apart > 150,
        f"{100 * first.decoded:.0f} % at p = {dense.p:.3g}; {100 * last.decoded:.1f} % at {sparse.p:.3g}, "
        f"where {100 * last.vanished:.1f} % of the answers vanish, their features at least {last.apart:.0f} "
        f"degrees apart, and of the others {100 * last.decoded_there:.1f} % are right",
        {
            "decoded_densest": first.decoded,
            "decoded_sparsest": last.decoded,
            "vanished_sparsest": last.vanished,
            "decoded_of_others": last.decoded_there,
        },
    )


CLAIMS = (analogies_are_exact, superposition_costs_retrieval)
