"""Jigsaw puzzles: sets of permutations that differ much, shuffled images and their solutions."""

import itertools
import math

import numpy as np
import torch

from sklearn_ssl.methods._images import MapsImages

POOL = 10_000  # random permutations of which some are chosen


def far_permutations(n_tiles, n, rng):
    """Return n permutations of large Hamming distances, (n, n_tiles), or all that there are.

    They are chosen greedily from many random ones: the next one has the largest distance to the
    nearest of those chosen before and, among equals, the largest sum of distances to all of them.
    """
    if n == math.factorial(n_tiles):
        return np.array(list(itertools.permutations(range(n_tiles))))
    size = max(POOL, 10 * n)
    if math.factorial(n_tiles) <= size:
        pool = rng.permutation(list(itertools.permutations(range(n_tiles))))
    else:
        pool = rng.permuted(np.tile(np.arange(n_tiles), (size, 1)), axis=1)
        pool = rng.permutation(np.unique(pool, axis=0))
    chosen, nearest, total = [0], np.full(len(pool), n_tiles), np.zeros(len(pool), int)
    while len(chosen) < n:
        distance = (pool != pool[chosen[-1]]).sum(axis=1)
        nearest, total = np.minimum(nearest, distance), total + distance
        chosen.append(int(np.argmax(nearest * (n * n_tiles + 1) + total)))
    return pool[chosen]


class PuzzleSolver(MapsImages):
    """Mixin of estimators that shuffle images by ``permutations_``, and solve such puzzles."""

    def shuffle(self, X, permutation):
        """Shuffle the cells of images.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape.

        permutation : int or array-like of int of shape (n_samples,)
            Index in ``permutations_``, the same for all images or one for each.

        Returns
        -------
        images : ndarray of the shape of X, as images
            Images in the layout and range of X, unsigned bytes if X has them, else float32. Cells
            have whole pixels; pixels that remain at the bottom and at the right are unchanged.
        """
        source, device = self._read_again(X)
        n_samples = getattr(source, "n_rows", len(source))
        indices = _indices(permutation, n_samples, len(self.permutations_))
        return self._map_images(source, device, lambda o, x, k: o.shuffle(x, k), indices)

    def solve(self, X):
        """Move the cells of shuffled images back, by the predicted permutations.

        Parameters
        ----------
        X : array-like or tensor
            Images whose cells were shuffled, as in ``predict_pretext``.

        Returns
        -------
        images : ndarray of the shape of X, as images
            The solved puzzles, in the format of ``shuffle``.
        """
        source, device = self._read_again(X)
        return self._map_images(source, device, lambda objective, x: objective.solve(x))


def _indices(permutation, n_samples, n_permutations):
    """Return indices of permutations, given for all samples or for each, as a tensor."""
    indices = wrong = np.asarray(permutation)
    if indices.dtype.kind in "iu":
        wrong = indices[(indices < 0) | (indices >= n_permutations)]
    if wrong.size or indices.shape not in ((), (n_samples,)):
        value = f", of which {wrong.flat[0]!s:.20} is the first wrong one" if wrong.size else ""
        raise ValueError(
            f"permutation must be an int from 0 to {n_permutations - 1}, or {n_samples} of them, "
            f"one for each image. Got {indices.dtype} of shape {indices.shape}{value}."
        )
    return torch.tensor(np.broadcast_to(indices, n_samples).astype(np.int64), device="cpu")
