"""Which figure of the paper a plot of a shipped experiment belongs beside, where the plot does not say."""

GENERAL = ("arrows", "wtw", "norms")
"""Plots that the paper draws of many models."""

_SETS = "“The Geometry of Superposition”, correlated and anticorrelated features"
SOURCES = {
    "correlated_sets": f"{_SETS}: arrows of two and three sets in the plane.",
    "correlated_collapse": f"{_SETS}: “collapsing” of correlated pairs, as far as to principal components.",
    "local_bases": f"{_SETS}: local almost-orthogonal bases, Wᵀ W in the order of the sets.",
    "perturbed_pentagon": "“The Geometry of Superposition”, non-uniform superposition: the pentagon as one "
    "feature's density is varied, and the digons that it snaps to.",
    "polytopes": "“The Geometry of Superposition”, uniform superposition, names these shapes as parts of a "
    "large model; each as the whole of a small one is ours.",
    "octahedron": "“Superposition and Learning Dynamics”: learning as geometric transformations, six "
    "features in two correlated triples.",
    "remedies": "“The Strategic Picture of Superposition” speaks of models without superposition, by an L1 "
    "penalty; the figure is ours.",
    "capacity": "Scherlis et al., “Polysemanticity and Capacity in Neural Networks” (2022), of capacity; the "
    "models are ours.",
    "neurons": "“Superposition in a Privileged Basis”.",
    "absolute_small": "“Computation in Superposition”: the absolute value of three features.",
    "absolute_large": "“Computation in Superposition”: the absolute value of a hundred features.",
    "asymmetric_motif": "“Computation in Superposition”: the asymmetric superposition motif.",
}
"""By experiment."""


def source_of(plot: str, experiment: str, otherwise: str) -> str:
    """What a figure's text names as its like in the paper."""
    return SOURCES.get(experiment, otherwise) if plot in GENERAL else otherwise
