"""What scikit-learn fits to hidden activations: dictionaries, and probes of a few neurons.

Imported by nothing but `samples.fitted`: scikit-learn is optional, and takes a second to load.
"""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import MiniBatchDictionaryLearning
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

F64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

PENALTY: Any = 0.1  # scikit-learn's default is an integer, and type checkers believe it
"""Weight of the L1 norm of the codes, for activations whose root mean square norm is 1."""
PASSES = 12
NEAR = 0.97
"""Rows of a larger cosine are neighbours."""


def dictionary(h: F64, n_atoms: int) -> F64:
    """(n_atoms, m): unit atoms of a sparse code of h (rows, m) whose coefficients are not negative.

    With signed codes an antipodal pair of features would be one atom. An atom that codes nothing is 0.
    """
    h = h / np.sqrt(np.square(h).sum(axis=1).mean())
    learner = MiniBatchDictionaryLearning(
        n_components=n_atoms,
        alpha=PENALTY,
        positive_code=True,
        fit_algorithm="cd",
        batch_size=256,
        max_iter=PASSES,
        dict_init=_apart(h, n_atoms),
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of single codes, at the last of their digits
        atoms = learner.fit(h).components_
    length = np.linalg.norm(atoms, axis=1, keepdims=True)
    return np.divide(atoms, length, out=np.zeros_like(atoms), where=length > 0)


def _apart(h: F64, count: int) -> F64:
    """(count, m): directions of rows of h that are common and apart from each other; where atoms start from.

    Each is the row with the largest product of its neighbours and 1 - its cosine to the nearest one chosen.
    scikit-learn's own start, singular vectors, has no two opposite atoms and none beyond the rank.
    """
    length = np.linalg.norm(h, axis=1)
    unit = h[length > 0] / length[length > 0, None]
    neighbours = (unit @ unit.T > NEAR).sum(axis=1)
    chosen, nearest = [int(neighbours.argmax())], np.full(len(unit), -1.0)
    while len(chosen) < count:
        nearest = np.maximum(nearest, unit @ unit[chosen[-1]])
        chosen.append(int((neighbours * (1 - nearest)).argmax()))
    return unit[chosen]


def probe_score(h: F64, on: Bools, train: slice, test: slice) -> float:
    """Balanced accuracy on the rows `test` of a logistic regression of `on` (rows,) on h (rows, k)."""
    spread = h[train].std(axis=0)
    scaled = h / np.where(spread > 0, spread, 1)
    probe = LogisticRegression(class_weight="balanced", C=100.0, solver="newton-cholesky")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(scaled[train], on[train])
    return float(balanced_accuracy_score(on[test], probe.predict(scaled[test])))
