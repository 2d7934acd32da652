"""Demonstrating Superposition: what the linear model does, and what the ReLU-output model does instead."""

import numpy as np

from superpose_cli.claims.base import Measured, claim
from superpose_cli.claims.stored import Model, models, must, need, need_setting
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import solution_name
from superpose_cli.toy_model.theory import ignored_feature_loss, linear_optimum

MOTIVATION = "Background and Motivation"
SECTION = "Demonstrating Superposition"


@claim(
    "linear-keeps-the-top",
    section=SECTION,
    source="theory",
    citation="Eckart & Young 1936: W W^T projects onto the m features of largest I_i Var x_i, and the loss "
    "is the sum over the others of I_i (p/3 - p^2/4)",
    experiment="basic_small",
    expected="W W^T is that projector, and the loss over theory's is 1",
    tolerance="0.02 in an entry of W W^T and 0.5 % in the loss: what 5,000 steps of Adam leave to go",
)
def linear_keeps_the_top(run: Run) -> Measured:
    """The linear model represents the m most important features, each in a dimension of its own, and ignores
    all others, at every sparsity.
    """
    need_setting(run, restarts=4, steps=3000, data_kind="independent")
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
    section=SECTION,
    source="theory",
    citation="Eckart & Young 1936; for a projector of rank m, ||W||_F^2 = m and leverage_i = D_i",
    experiment=("basic_small", "basic_large"),
    expected="||W||_F^2 within 2 % of m, and the sum of leverage_i - D_i below 0.02 m, at every sparsity",
    tolerance="2 % of m: what training leaves to go; a superposing model has 1.5 m and more",
)
def linear_never_superposes(*runs: Run) -> Measured:
    """The linear model puts as many features into W as it has dimensions, and never more."""
    size, gap = [], []
    for run in runs:
        need_setting(run, steps=3000)
        for model in models(run, output_activation="identity"):
            size.append(model.row["frobenius_norm_sq"] / model.n_hidden)
            gap.append((model.features["leverage"] - model.features["dimensionality"]).sum() / model.n_hidden)
    return Measured(
        0.98 <= min(size) <= max(size) <= 1.02 and max(gap) < 0.02,
        f"||W||_F^2 is {min(size):.4f} to {max(size):.4f} m, the gap {max(gap):.2g} m at most, in "
        f"{len(size)} models",
        {"size_over_m_min": min(size), "size_over_m_max": max(size), "gap_over_m": max(gap)},
    )


@claim(
    "relu-superposes-when-sparse",
    section=SECTION,
    source="paper",
    citation="“Demonstrating Superposition”, the basic results",
    experiment="basic_small",
    expected="m features, none superposed, at p = 1; more than m, and most of them superposed, at p <= 0.1",
    tolerance="none: features are counted (||W_i||^2 > 0.25; superposed: D_i < 0.9)",
)
def relu_superposes_when_sparse(run: Run) -> Measured:
    """A ReLU on the output alone makes the model superpose: dense inputs get the linear solution, sparse
    inputs more features than dimensions.
    """
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


def _where_superposition_begins(run: Run) -> Model:
    """The ReLU model at the densest p with superposition: 0.5, or 0.4, where no start finds it at 0.5.

    At 0.3 there are more pairs already.
    """
    every = sorted(models(run, output_activation="relu"), key=lambda model: -model.p)
    need(sum(0.35 <= model.p <= 0.55 for model in every) >= 2, "needs cells at p = 0.5 and at p = 0.4")
    found = [model for model in every if model.superposed.any()]
    must(bool(found), "no density has superposition")
    must(0.35 <= found[0].p <= 0.55, f"superposition begins at p = {found[0].p:g}, not at 0.5 or 0.4")
    return found[0]


@claim(
    "least-important-first",
    section=SECTION,
    source="paper",
    citation="“Demonstrating Superposition”, the basic results: W^T W and the bars of interference over "
    "sparsity",
    experiment=("basic_small", "basic_large"),
    expected="the first superposed features of the small model, at p = 0.5 or 0.4, are two, the least "
    "important that the linear model keeps and the most important that it drops; wherever a model has "
    "dedicated and superposed features, of all pairs of the one and the other at least 90 % have the "
    "dedicated one more important, and the most important feature is one of two and more",
    tolerance="none in the first two; 10 %: a random order has half; neighbours in importance cost nearly "
    "the same either way",
    departs="In the large model, where a feature's importance is 0.9 times its neighbour's, up to four "
    "such pairs stand the other way round at each density, and the last dedicated one may be the second.",
)
def least_important_first(small: Run, large: Run) -> Measured:
    """Superposition begins with the least important of the represented features; the most important keep
    dimensions of their own for longest.
    """
    need_setting(small, restarts=8, steps=3000)
    need_setting(large, steps=3000)
    begins = _where_superposition_begins(small)
    order = np.argsort(-begins.features["importance"], kind="stable")
    edge = set(order[begins.n_hidden - 1 : begins.n_hidden + 1].tolist())
    told, shares, tops = [], [], []
    for run in (small, large):
        every = models(run, output_activation="relu")
        found = [model for model in every if model.superposed.any() and model.dedicated.any()]
        must(bool(found), f"no density of `{run.name}` has dedicated and superposed features")
        for model in found:
            importance = model.features["importance"]
            ordered = importance[model.dedicated][:, None] > importance[model.superposed]
            shares.append(float(ordered.mean()))
            tops.append(bool(model.dedicated[importance.argmax()] or model.dedicated.sum() == 1))
            told.append(
                f"n = {len(importance)}, p = {model.p:g}: {ordered.sum()} of {ordered.size} pairs, "
                f"{model.dedicated.sum()} dedicated"
            )
    first = np.flatnonzero(begins.superposed).tolist()
    return Measured(
        set(first) == edge and min(shares) >= 0.9 and all(tops),
        f"features {', '.join(map(str, first))} first; {'; '.join(told)}",
        {"densities": len(told), "ordered_min": min(shares), "first": len(edge & set(first))},
    )


@claim(
    "antipodal-pairs-first",
    section=SECTION,
    source="paper",
    citation="“Demonstrating Superposition”: the first superposed features are antipodal pairs",
    experiment="basic_small",
    expected="superposition begins at p = 0.5 or 0.4, with two superposed features, a digon",
    tolerance="angles to within 10 degrees",
    departs="Where importances are equal or nearly so, others come first: three features 107 to 136 degrees "
    "apart in `intro`, pairs of features 100 to 150 degrees apart, then triangles, in `dimensionality`.",
)
def antipodal_pairs_first(run: Run) -> Measured:
    """Among features of unequal importance the first form of superposition is the antipodal pair."""
    need_setting(run, restarts=8, steps=3000)
    first = _where_superposition_begins(run)
    digons = [set(factor.features) for factor in first.factors if factor.name == "digon"]
    superposed = set(np.flatnonzero(first.superposed).tolist())
    return Measured(
        digons == [superposed],
        f"p = {first.p:g}: {solution_name(first.factors)}, {len(superposed)} superposed",
        {"superposed": len(superposed), "digons": len(digons)},
    )


@claim(
    "ignored-features-get-their-mean",
    section=SECTION,
    source="theory",
    citation="the best constant for x_i is E x_i = p/2, at a cost of p/3 - p^2/4",
    experiment="basic_small",
    expected="for p >= 0.1, the bias of every ignored feature (||W_i|| < 0.1) over p/2 is 1, and its loss "
    "over I_i (p/3 - p^2/4)",
    tolerance="5 % in the bias and 10 % in the loss: what training leaves, and 65,536 drawn rows; sparser, "
    "features of length 0.06 to 0.09 are on their way, with a bias up to 13 % lower",
)
def ignored_features_get_their_mean(run: Run) -> Measured:
    """A feature that is not represented is answered by its mean, which the bias carries."""
    need_setting(run, restarts=4, steps=3000, data_kind="independent")
    bias, loss = [], []
    for model in models(run, output_activation="relu"):
        p, importance = model.features["feature_probability"], model.features["importance"]
        ignored = (model.features["norm"] < 0.1) & (p >= 0.1)
        bias += (model.b / (p / 2))[ignored].tolist()
        loss += (model.features["feature_loss"] / (importance * ignored_feature_loss(p)))[ignored].tolist()
    need(len(bias) >= 10, f"needs 10 ignored features, the run has {len(bias)}")
    return Measured(
        max(abs(np.array(bias) - 1)) <= 0.05 and max(abs(np.array(loss) - 1)) <= 0.1,
        f"bias {min(bias):.3f} to {max(bias):.3f}, loss {min(loss):.3f} to {max(loss):.3f} of theory's, of "
        f"{len(bias)} features",
        {"bias_min": min(bias), "bias_max": max(bias), "loss_min": min(loss), "loss_max": max(loss)},
    )


@claim(
    "superposition-pays",
    section=SECTION,
    source="theory",
    citation="the linear optimum's loss ratio does not depend on p; an antipodal pair costs a share that "
    "falls with p",
    experiment="basic_small",
    expected="loss of the ReLU model over the linear one's in 0.98 .. 1.02 at p = 1, at most 1.02 elsewhere, "
    "falling from p = 0.4 on, and below 0.3 at p <= 0.03",
    tolerance="2 %: losses on drawn rows; at p = 0.5 a pair wins 4 %, which no start may have found",
)
def superposition_pays(run: Run) -> Measured:
    """With sparse features superposition beats the best linear model by far; with dense ones it does not."""
    need_setting(run, restarts=4, steps=3000)
    linear = {model.p: float(model.row["loss"]) for model in models(run, output_activation="identity")}
    relu = {model.p: float(model.row["loss"]) for model in models(run, output_activation="relu")}
    ratio = {p: relu[p] / linear[p] for p in sorted(set(relu) & set(linear), reverse=True)}
    sparse = [value for p, value in ratio.items() if p <= 0.03]
    need(1.0 in ratio and bool(sparse), "needs both models at p = 1 and at p <= 0.03")
    values = [value for p, value in ratio.items() if p <= 0.4]
    return Measured(
        bool(
            abs(ratio[1.0] - 1) <= 0.02
            and max(ratio.values()) <= 1.02
            and (np.diff(values) < 0).all()
            and max(sparse) < 0.3
        ),
        ", ".join(f"{value:.3f} at p = {p:g}" for p, value in ratio.items()),
        {f"ratio_at_{p:g}": value for p, value in ratio.items()},
    )


@claim(
    "axes-square-pentagon",
    section=MOTIVATION,
    source="paper",
    citation="“Background and Motivation”, the introductory figure",
    experiment="intro",
    expected="the two most important alone, at right angles, at p = 1; then a square; a pentagon at p = "
    "0.05; in this order, with at most one other shape between",
    tolerance="angles to within 10 degrees",
)
def axes_square_pentagon(run: Run) -> Measured:
    """Five features in two dimensions: as they get sparser, two orthogonal features, then a square of two
    antipodal pairs, then a pentagon.
    """
    need_setting(run, restarts=4, steps=3000, n_features=5, n_hidden=2)
    found = sorted(models(run), key=lambda model: -model.p)
    need(len(found) >= 4 and found[0].p == 1 and found[-1].p <= 0.05, "needs 4 densities from p = 1 to 0.05")
    names = [solution_name(model.factors) for model in found]
    stages = [name for name in names if name in ("2 lone features", "square", "pentagon")]
    first = np.flatnonzero(found[0].represented).tolist()
    top = np.argsort(-found[0].features["importance"], kind="stable")[:2]
    return Measured(
        names[0] == "2 lone features"
        and first == sorted(top.tolist())
        and names[-1] == "pentagon"
        and list(dict.fromkeys(stages)) == ["2 lone features", "square", "pentagon"]
        and stages == sorted(stages, key=["2 lone features", "square", "pentagon"].index)
        and len(names) - len(stages) <= 1,
        ", ".join(f"{name} at p = {model.p:.3g}" for name, model in zip(names, found, strict=True)),
        {f"represented_at_{model.p:.3g}": model.represented.sum() for model in found},
    )


CLAIMS = (
    axes_square_pentagon,
    linear_keeps_the_top,
    linear_never_superposes,
    relu_superposes_when_sparse,
    antipodal_pairs_first,
    least_important_first,
    ignored_features_get_their_mean,
    superposition_pays,
)
