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
    found = []
    for model in models(run, hidden_activation=hidden_activation):
        features = np.flatnonzero(model.represented)
        if 3 <= len(features) <= 24:
            kind = Kind(
                hidden_activation=hidden_activation,
                output_activation=str(model.row["output_activation"]),
                target="identity",
            )
            shift = np.zeros(model.n_hidden)
            found.append((model, solve_analogies(model.W, model.decoder, model.b, shift, kind, features)))
    need(len(found) >= 2, f"needs 2 models of 3 to 24 represented features, the run has {len(found)}")
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
    not; a ReLU there breaks it.
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
    "are dedicated, and in fewer at the sparsest, where all are superposed",
    tolerance="none: analogies are counted",
)
def superposition_costs_retrieval(run: Run) -> Measured:
    """What superposition costs an analogy is to tell its answer from other words: the outputs of superposed
    features are not always the right ones.
    """
    found = _solved(run, "identity")
    (dense, first), (sparse, last) = found[0], found[-1]
    shared = not dense.superposed.any() and bool(sparse.superposed[sparse.represented].all())
    return Measured(
        shared and first.decoded == 1 and last.decoded < 1,
        f"{100 * first.decoded:.0f} % at p = {dense.p:.3g}, {100 * last.decoded:.1f} % at p = {sparse.p:.3g}",
        {"decoded_densest": first.decoded, "decoded_sparsest": last.decoded},
    )


CLAIMS = (analogies_are_exact, superposition_costs_retrieval)
