"""Computation in Superposition: the absolute value of more features than pairs of neurons."""

from itertools import pairwise

import numpy as np

from superpose_cli.claims.base import Measured, claim
from superpose_cli.claims.neurons import carriers
from superpose_cli.claims.stored import Model, models, need, need_setting, restart_weights
from superpose_cli.results.run import Run
from superpose_cli.toy_model.metrics import F64
from superpose_cli.toy_model.theory import ignored_feature_loss

SECTION = "Computation in Superposition"

SIGNIFICANT = 0.1
"""An input weight counts from this share of its neuron's largest."""

DENSE = 0.3
"""From this density on, features are too dense to be computed in superposition."""


@claim(
    "two-neurons-a-feature",
    section=SECTION,
    source="theory",
    citation="|x| = ReLU(x) + ReLU(-x) is exact",
    experiment="absolute_small",
    expected="each of 6 neurons reads one of 3 features, each feature is read by two of opposite signs, and "
    "the loss ratio is below 1e-4",
    tolerance="10 % of a neuron's largest input weight counts as none; the loss could be 0",
)
def two_neurons_a_feature(run: Run) -> Measured:
    """The absolute value of a feature takes two neurons, one for each sign: |x| = ReLU(x) + ReLU(-x)."""
    need_setting(run, restarts=4, steps=2000, target="abs", n_features=3, n_hidden=6)
    (model,) = models(run)
    read = np.abs(model.W) > SIGNIFICANT * np.abs(model.W).max(axis=0)
    signs = [sorted(np.sign(model.W[i, read[i]]).tolist()) for i in range(3)]
    ratio = float(model.row["loss_ratio"])
    paired = bool((read.sum(axis=0) == 1).all() and all(own == [-1.0, 1.0] for own in signs))
    return Measured(
        paired and ratio < 1e-4,
        f"features are read by {', '.join(str(len(own)) for own in signs)} neurons, "
        f"{'with opposite signs' if paired else 'not one to one with opposite signs'}; loss ratio "
        f"{ratio:.1g}",
        {"loss_ratio": ratio, "paired": paired},
    )


def _explained(model: Model) -> F64:
    """(n,): R^2 of each feature's |x_i|, uniform on (0, 1] when on."""
    p, importance = model.features["feature_probability"], model.features["importance"]
    return 1 - model.features["feature_loss"] / (importance * ignored_feature_loss(p))


def _large(run: Run) -> dict[float, Model]:
    """By density, the densest first, the best absolute-value models; dead outputs decide nothing."""
    need_setting(run, restarts=2, steps=10_000, target="abs", n_features=100, n_hidden=40)
    found = dict(sorted(((model.p, model) for model in models(run)), reverse=True))
    need(
        min(found) <= 0.01 and any(DENSE <= p <= 0.4 for p in found),
        "needs densities from 0.3 .. 0.4 to 0.01 and below",
    )
    dead = [p for p, model in found.items() if p < 0.005 or model.row["status"] == "dead"]
    need(not dead, f"outputs are dead at p = {', '.join(f'{p:g}' for p in dead)}: use larger batches")
    return found


@claim(
    "computing-in-superposition",
    section=SECTION,
    source="theory",
    citation="without superposition m neurons compute m/2 features, and the loss ratio is decay^(m/2): "
    "0.8^20 = 0.0115",
    experiment="absolute_large",
    expected="at p = 0.01 more than 20 features with R^2 > 0.5 and a loss ratio below 0.0115; at p = 0.3 at "
    "most 20, and a ratio of 0.0115 to 1.5 times that",
    tolerance="R^2 of 1/2 counts as computed; 1 % in the ratio for sampling; it begins at p = 0.1, where the "
    "best of four starts may be on either side; 1.5: a feature or two fewer than 20",
    departs="At p = 1 a start that leaves one feature more out has a ratio of 0.02 and above, so that four "
    "starts promise no bound there; the shipped run's best computes 19 features at 0.0145.",
)
def computing_in_superposition(run: Run) -> Measured:
    """Sparse features are computed in superposition: more of them than half of the neurons, better than any
    model without superposition could.
    """
    found = _large(run)
    bound = {
        p: float(
            (model.features["importance"][model.n_hidden // 2 :]).sum() / model.features["importance"].sum()
        )
        for p, model in found.items()
    }
    computed = {p: int((_explained(model) > 0.5).sum()) for p, model in found.items()}
    ratio = {p: float(model.row["loss_ratio"]) for p, model in found.items()}
    sparse = min(found)
    dense = min(p for p in found if p >= DENSE)
    return Measured(
        computed[sparse] > 20
        and ratio[sparse] < 0.99 * bound[sparse]
        and computed[dense] <= 20
        and 0.99 * bound[dense] < ratio[dense] <= 1.5 * bound[dense],
        "; ".join(f"p = {p:g}: {computed[p]} features, loss ratio {ratio[p]:.4f}" for p in found),
        {f"computed_at_{p:g}": count for p, count in computed.items()}
        | {f"loss_ratio_at_{p:g}": value for p, value in ratio.items()},
    )


@claim(
    "computing-neurons-mix",
    section=SECTION,
    source="paper",
    citation="the stack plots of the absolute-value model over sparsity",
    experiment="absolute_large",
    expected="at least 35 of 40 monosemantic at every p >= 0.3, never more at a sparser p below 0.3, "
    "and at p = 0.01 at most 5, with at least 30 polysemantic",
    tolerance="5 neurons: some carry a stray feature at every density",
)
def computing_neurons_mix(run: Run) -> Measured:
    """The neurons that compute read and write one feature while features are dense, and several when they
    are sparse.
    """
    found = {p: carriers(model) for p, model in _large(run).items()}
    counts, mixed = {p: one for p, (one, _) in found.items()}, found[min(found)][1]
    dense = [count for p, count in counts.items() if p >= DENSE]
    falling = all(left >= right for left, right in pairwise(c for p, c in counts.items() if p <= 0.3))
    return Measured(
        min(dense) >= 35 and counts[min(counts)] <= 5 and mixed >= 30 and falling,
        ", ".join(f"{count} of 40 at p = {p:g}" for p, count in counts.items())
        + f", where {mixed} carry several",
        {"polysemantic_sparsest": mixed} | {f"monosemantic_at_{p:g}": count for p, count in counts.items()},
    )


def _motifs(W: F64, out: F64) -> list[tuple[int, int, int]]:
    """(i, j, k): feature i is computed by neuron k, which also disturbs j, and a second neuron inhibits that.

    W and out, the decoder, are (n, m). Neuron k reads i and j alone, with opposite signs. Its free scale is
    set so that |in_i in_j| = 1; then |in_i| >= 2 |in_j| and out_j >= 2 out_i > 0. Some neuron q reads i as
    well, with the same sign, and writes less than minus half as much into j as k does.
    """
    size = np.abs(W)
    reads = size > SIGNIFICANT * size.max(axis=0)
    found = []
    for k in np.flatnonzero(reads.sum(axis=0) == 2).tolist():
        i, j = np.argsort(-size[:, k])[:2].tolist()
        into_i, into_j = out[[i, j], k] * np.sqrt(size[i, k] * size[j, k])
        unequal = size[i, k] >= 2 * size[j, k] and into_j >= 2 * into_i
        # Weights that training left near 0 make no motif.
        if not unequal or W[i, k] * W[j, k] >= 0 or into_i <= SIGNIFICANT:
            continue
        beside = reads[i] & (W[i] * W[i, k] > 0) & (np.arange(W.shape[1]) != k)
        if (size[i] * out[j] < -size[i, k] * out[j, k] / 2)[beside].any():
            found.append((i, j, k))
    return found


@claim(
    "asymmetric-motif",
    section=SECTION,
    source="paper",
    citation="the asymmetric superposition motif: in [2, -1/2], out [1/2, 2], and an inhibiting neuron",
    experiment="asymmetric_motif",
    expected="such a pair of neurons in at least a quarter of all restarts",
    tolerance="ratios of 2 and more where the paper's sketch has 4: |in_i| >= 2 |in_j|, out_j >= 2 out_i > "
    "0; the first neuron reads no third feature by more than 10 % of its largest input weight; a quarter: "
    "half of the starts have one, of 2,000 pairs of Gaussian matrices none",
    departs="The best restart need not have one: it had with one seed, with another it had not.",
)
def asymmetric_motif(run: Run) -> Measured:
    """Many models have two features share a neuron unequally, large in and small out for one, small in and
    large out for the other, and a second neuron inhibit the error of the first.
    """
    need_setting(run, restarts=4, steps=3000, target="abs")
    (model,) = models(run)
    weights = restart_weights(run), restart_weights(run, decoder=True)
    counts = [len(_motifs(W, out)) for W, out in zip(*weights, strict=True)]
    having = sum(count > 0 for count in counts)
    best = _motifs(model.W, model.decoder)
    told = "; ".join(f"neuron {k} computes feature {i} and disturbs {j}" for i, j, k in best[:3])
    return Measured(
        4 * having >= len(counts),
        f"{having} of {len(counts)} restarts have one; the best {len(best)}{': ' if best else ''}{told}",
        {"restarts_with_motif": having, "restarts": len(counts), "motifs_of_best": len(best)},
    )


CLAIMS = (two_neurons_a_feature, computing_in_superposition, computing_neurons_mix, asymmetric_motif)
