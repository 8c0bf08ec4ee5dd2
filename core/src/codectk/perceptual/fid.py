"""Fréchet distance between sets of features, and the patches of a picture that make up the sets.

Sources: Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter 2017 (NeurIPS); patches as in Mentzer, Toderici,
Tschannen and Agustsson 2020 (HiFiC, NeurIPS).
"""

from collections.abc import Iterator

import numpy as np

from codectk.arrays import Array
from codectk.metric import Floats

PATCH = 256
"""Side of a patch in pixels."""

SHIFT = 128
"""The second grid begins this many pixels further down and to the right."""


def patches(x: Array) -> Iterator[Array]:
    """Views of all whole patches of (H, W, C): those of the grid from (0, 0), then those from (128, 128)."""
    height, width = x.shape[:2]
    for start in (0, SHIFT):
        for top in range(start, height - PATCH + 1, PATCH):
            for left in range(start, width - PATCH + 1, PATCH):
                yield x[top : top + PATCH, left : left + PATCH]


class Moments:
    """Mean and covariance of vectors that come in batches; memory does not grow with their number.

    Batches are joined as by Chan, Golub and LeVeque 1979, which loses no digits to large means.

    Attributes:
        count: vectors so far.
        mean: (D,), float64.
    """

    def __init__(self, size: int) -> None:
        self.count = 0
        self.mean: Floats = np.zeros(size)
        self._scatter: Floats = np.zeros((size, size))

    def update(self, vectors: Array) -> None:
        """Take in (N, D) vectors."""
        if not len(vectors):
            return
        batch = vectors.astype(np.float64)
        mean = batch.mean(0)
        apart = mean - self.mean
        total = self.count + len(batch)
        batch -= mean
        self._scatter += batch.T @ batch
        self._scatter += np.outer(apart, apart * (self.count * len(batch) / total))
        self.mean = self.mean + apart * (len(batch) / total)
        self.count = total

    def covariance(self) -> Floats:
        """(D, D), with the sum of squares over `count` - 1; from two vectors up."""
        return self._scatter / (self.count - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared Fréchet distance between the normal distributions that have these moments, two vectors or more in each.

    |mean_a - mean_b|² + tr(C_a + C_b - 2 (C_a C_b)^½). The trace of that root is the sum of the singular values of
    C_a^½ C_b^½, which is real also where the covariances are singular: no small number has to be added.
    """
    first, second = a.covariance(), b.covariance()
    shared = np.linalg.svd(_root(first) @ _root(second), compute_uv=False).sum()
    apart = a.mean - b.mean
    return float(apart @ apart + np.trace(first) + np.trace(second) - 2 * shared)


def _root(covariance: Floats) -> Floats:
    """Square root of a symmetric matrix without negative eigenvalues, but for rounding."""
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root
