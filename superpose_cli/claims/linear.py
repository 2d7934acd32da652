"""Demonstrating Superposition: what the linear model does, and what the ReLU-output model does instead."""

import numpy as np

from superpose_cli.claims.base import Measured, claim
from superpose_cli.claims.stored import models, need, need_setting
from superpose_cli.results.run import Run
from superpose_cli.toy_model.theory import ignored_feature_loss, linear_optimum

SECTION = "Demonstrating Superposition"


@claim(
    "linear-keeps-the-top",
    statement="The linear model represents the m most important features, each in a dimension of its own, "
    "and ignores all others, at every sparsity.",
    section=SECTION,
    source="theory",
    citation="Eckart & Young 1936: W W^T projects onto the m features of largest I_i Var x_i, and the loss "
    "is the sum over the others of I_i (p/3 - p^2/4)",
    experiment="basic_small",
    expected="W W^T is that projector, and the loss over theory's is 1",
    tolerance="0.02 in an entry of W W^T and 0.5 % in the loss: what 5,000 steps of Adam leave to go",
)
def linear_keeps_the_top(run: Run) -> Measured:
    need_setting(run, steps=3000, data_kind="independent")
    off, over = [], []
    for model in models(run, output_activation="identity"):
        p, importance = model.features["feature_probability"], model.features["importance"]
        need(len(np.unique(importance)) == len(importance), "needs importances that all differ")
        kept, loss = linear_optimum(importance[None], ignored_feature_loss(p)[None], model.n_hidden)
        off.append(float(np.abs(model.G - kept[0]).max()))
        over.append(model.row["loss"] * len(p) / loss[0])
    return Measured(
        max(off) <= 0.02 and max(abs(ratio - 1) for ratio in over) <= 0.005,
        f"W W^T is within {max(off):.2g} of it, the loss {min(over):.5f} to {max(over):.5f} of theory's, at "
        f"{len(off)} densities",
        {"gram_error": max(off), "loss_over_theory_min": min(over), "loss_over_theory_max": max(over)},
    )


@claim(
    "linear-never-superposes",
    statement="The linear model never puts more features into W than it has dimensions.",
    section=SECTION,
    source="theory",
    citation="Eckart & Young 1936; for a projector of rank m, ||W||_F^2 = m and leverage_i = D_i",
    experiment=("basic_small", "basic_large"),
    expected="||W||_F^2 <= 1.02 m, and the sum of leverage_i - D_i below 0.02 m, at every sparsity",
    tolerance="2 % of m: what training leaves to go; a superposing model has 1.5 m and more",
)
def linear_never_superposes(*runs: Run) -> Measured:
    size, gap = [], []
    for run in runs:
        need_setting(run, steps=3000)
        for model in models(run, output_activation="identity"):
            size.append(model.row["frobenius_norm_sq"] / model.n_hidden)
            gap.append((model.features["leverage"] - model.features["dimensionality"]).sum() / model.n_hidden)
    return Measured(
        max(size) <= 1.02 and max(gap) < 0.02,
        f"||W||_F^2 is {max(size):.4f} m at most, the gap {max(gap):.2g} m, in {len(size)} models",
        {"frobenius_norm_sq_over_m": max(size), "gap_over_m": max(gap)},
    )


@claim(
    "relu-superposes-when-sparse",
    statement="A ReLU on the output alone makes the model superpose: dense inputs get the linear solution, "
    "sparse inputs more features than dimensions.",
    section=SECTION,
    source="paper",
    citation="“Demonstrating Superposition”, the basic results",
    experiment="basic_small",
    expected="m features, none superposed, at p = 1; more than m, and most of them superposed, at p <= 0.1",
    tolerance="none: features are counted (||W_i||^2 > 0.25; superposed: D_i < 0.9)",
)
def relu_superposes_when_sparse(run: Run) -> Measured:
    need_setting(run, steps=3000)
    found = models(run, output_activation="relu")
    dense, sparse = [model for model in found if model.p == 1], [model for model in found if model.p <= 0.1]
    need(bool(dense and sparse), "needs cells at p = 1 and at p <= 0.1")
    none = all(model.represented.sum() == model.n_hidden and not model.superposed.any() for model in dense)
    most = all(
        model.represented.sum() > model.n_hidden and 2 * model.superposed.sum() > model.represented.sum()
        for model in sparse
    )
    told = "; ".join(
        f"p = {model.p:g}: {model.represented.sum()}, {model.superposed.sum()} superposed" for model in found
    )
    return Measured(
        none and most,
        f"features represented at {told}",
        {f"represented_at_{model.p:g}": model.represented.sum() for model in found},
    )


CLAIMS = (linear_keeps_the_top, linear_never_superposes, relu_superposes_when_sparse)
