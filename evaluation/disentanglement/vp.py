"""Variation predictability: can one tell from before and after which transformation was applied?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.arrays import Array, as_labels, as_matrix, positive, same_columns, same_length
from pyro_models.errors import MetricError

#: principal directions of the differences kept for the linear classifier, of images with more pixels than that
DIRECTIONS = 100
#: iterations of the logistic regression: it is convex and small
ITERATIONS = 1000


@dataclass(frozen=True)
class VP:
    """Held-out accuracy ``value``, that of guessing the commonest (``chance``), and ``per_transformation`` [K]."""

    value: float
    chance: float
    per_transformation: np.ndarray
    trained_on: int

    def __float__(self) -> float:
        return self.value


def vp(
    before: Array,
    after: Array,
    transformations: Array,
    *,
    train_share: float = 0.1,
    classifier: Any = None,
    repeats: int = 3,
    seed: int = 0,
) -> VP:
    r"""Accuracy of predicting which of K transformations made each pair, from few examples (Zhu et al. 2020).

    The pairs are images (or features) before and after moving along one latent dimension or one flow. Transformations
    that do the same kind of thing everywhere can be learnt from few pairs. Range [0, 1], chance is the share of the
    commonest, higher is better. The mean over ``repeats`` splits is reported.

    Args:
        before, after: ``[M, ...]``, flattened; the classifier sees ``after - before``. Pass features of a network
            (``evaluation.features``) to judge by more than pixels.
        transformations: ``[M]`` integers or names, two kinds or more.
        train_share: share of the pairs to learn from, in proportion per transformation; the paper uses 0.01 and 0.1.
            More makes it easier and tells less about consistency.
        classifier: anything with scikit-learn's ``fit`` and ``predict``; by default a logistic regression on the 100
            main directions of the differences. The paper trains a convolutional network: give one to approach its
            numbers.
        repeats: random splits averaged over.
        seed: of the splits.
    """
    from sklearn.base import clone

    a, b = as_matrix(before, "before", 2), as_matrix(after, "after", 2)
    names, kinds = np.unique(as_labels(transformations, "transformations"), return_inverse=True)
    same_length(before=a, after=b, transformations=kinds)
    same_columns(before=a, after=b)
    counts = np.bincount(kinds)
    if len(names) < 2:
        raise MetricError("all pairs come from one transformation; give two kinds or more.")
    if not 0 < train_share < 1 or counts.min() < 2:
        raise MetricError(
            f"a train share of {train_share} with {counts.min()} pairs of the rarest transformation leaves none to "
            f"learn from or none to test on; choose a share inside (0, 1) and give more pairs."
        )
    differences = b - a
    differences /= differences.std() or 1.0  # so that the classifier's regularisation does not depend on units
    values, found, trained_on = [], [], 0
    for repeat in range(positive(repeats, "repeats")):
        train = _stratified(kinds, train_share, np.random.default_rng([seed, repeat]))
        model = _default_classifier(differences.shape[1], int(train.sum())) if classifier is None else clone(classifier)
        predicted = model.fit(differences[train], kinds[train]).predict(differences[~train])
        right = predicted == kinds[~train]
        values.append(float(right.mean()))
        found.append(np.bincount(kinds[~train], right) / np.bincount(kinds[~train]))
        trained_on = int(train.sum())
    return VP(float(np.mean(values)), float(counts.max() / counts.sum()), np.mean(found, 0), trained_on)


def _stratified(kinds: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """A mask of training pairs: at least one of every kind, and at least one of every kind left over."""
    train = np.zeros(len(kinds), bool)
    for kind in range(kinds.max() + 1):
        rows = random.permutation(np.flatnonzero(kinds == kind))
        train[rows[: min(max(1, round(len(rows) * share)), len(rows) - 1)]] = True
    return train


def _default_classifier(width: int, count: int) -> Any:
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Small directions of images are noise, so what PCA keeps is not scaled up again.
    first = StandardScaler() if width <= DIRECTIONS else PCA(min(DIRECTIONS, count), svd_solver="full")
    return make_pipeline(first, LogisticRegression(max_iter=ITERATIONS))
