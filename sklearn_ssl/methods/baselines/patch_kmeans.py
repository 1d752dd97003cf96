"""Patch k-means: encode image patches by their distances to k-means centroids."""

import functools

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import MiniBatchKMeans
from sklearn.utils import check_random_state
from sklearn.utils.random import sample_without_replacement
from sklearn.utils.validation import check_is_fitted

from sklearn_ssl._runtime.decompositions import symmetric_eigh
from sklearn_ssl._runtime.device import resolve_device
from sklearn_ssl._runtime.sklearn_private import _fit_context
from sklearn_ssl.base import SSLTransformer, all_or_nothing
from sklearn_ssl.data import Images
from sklearn_ssl.data.inputs import wrong_kind
from sklearn_ssl.inference.batches import embedding_batch, in_batches
from sklearn_ssl.inference.embedder import Reader
from sklearn_ssl.parameters import (
    Auto,
    Count,
    Positive,
    RandomState,
    Verbose,
    parameters,
)
from sklearn_ssl.persistence.file_format import Saved

# Added to the variance of a patch to suppress noise in flat ones: 10 for pixels from 0 to 255.
FLAT = 10 / 255**2
# Number of patch-centroid distances computed at once. On the CPU they fit into the cache.
PAIRS = {"cpu": 2**20, "cuda": 2**28}


@parameters
class PatchKMeansTransformer(Reader, Saved, TransformerMixin, BaseEstimator):
    """Patch k-means: encode image patches by k-means centroids and pool them (Coates et al.).

    A classical baseline of unsupervised feature learning, without a network: random patches are
    normalized, whitened (ZCA) and clustered with k-means. Each patch of an image is encoded by the
    "triangle" activation of each centroid, max(0, mean distance - distance), and averaged over
    regions of the image. It is fitted in seconds, and a strong baseline for small images.

    Parameters
    ----------
    n_centroids : int, default=800
        Number of centroids. More are more accurate; time and memory are proportional to it.

    patch_size : int, default=6
        Side length of the patches in pixels.

    n_patches : int, default=100000
        Number of random patches to cluster, at most all patches of X.

    stride : int, default=1
        Step in pixels between the patches of an image in ``transform``.

    pool : int, default=2
        Features are averaged over a grid of pool x pool regions of the image, by default quadrants.

    epsilon : float, default=0.1
        Regularization of whitening, above 0, added to the eigenvalues of the covariance. Smaller
        values amplify fine details and noise.

    input : Images or "auto", default="auto"
        How images in X are interpreted; see :class:`~sklearn_ssl.Images`.

    device : str or torch.device, default="auto"
        Device of ``transform``: "cpu", "cuda" or "cuda:1". "auto" is the GPU if one is available.
        Clustering runs on the CPU.

    random_state : int, RandomState instance or None, default=None
        Seed of random patches and k-means. Pass an int for reproducible results.

    verbose : int, default=0
        1 shows the progress of k-means, and reports the size that images of files are resized to.

    Attributes
    ----------
    centroids_ : ndarray of shape (n_centroids, channels * patch_size**2), float32
        Centroids of whitened patches, flattened from (channels, height, width).

    whitening_ : ndarray of shape (channels * patch_size**2, channels * patch_size**2), float32
        Matrix of ZCA whitening, applied to normalized patches.

    image_shape_ : tuple of int
        Height, width and channels of the images.

    n_features_in_ : int
        Number of values per image for an array of images, and 1 for a list or column of images.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during fit. Defined only if X is a DataFrame whose column names are
        all strings.

    Notes
    -----
    Differences to the paper: features are averages over regions instead of sums, independent of the
    size of images; patches are not centered before whitening, which does not change distances; and
    mini-batch k-means from random patches replaces full k-means. All patches of an image are
    encoded at once: images with sides of about a thousand pixels take gigabytes of memory, unless
    ``stride`` is larger or ``size`` of ``input`` is smaller.

    References
    ----------
    `Coates et al. "An analysis of single-layer networks in unsupervised feature learning",
    AISTATS 2011 <https://proceedings.mlr.press/v15/coates11a.html>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import PatchKMeansTransformer
    >>> images = load_digits().images[:200]
    >>> patch_kmeans = PatchKMeansTransformer(n_centroids=50, patch_size=4, random_state=0)
    >>> patch_kmeans.fit_transform(images).shape
    (200, 200)
    """

    n_centroids: Count = 800
    patch_size: Count = 6
    n_patches: Count = 100_000
    stride: Count = 1
    pool: Count = 2
    epsilon: Positive = 0.1
    input: Auto | Images = "auto"
    device: str | torch.device = "auto"
    random_state: RandomState = None
    verbose: Verbose = 0

    _recipes = {"input": (Images,)}
    get_feature_names_out = SSLTransformer.get_feature_names_out

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Compute the whitening and cluster random patches of X.

        Parameters
        ----------
        X : array-like, tensor, DataFrame or data set
            At least two images, in any form supported by :meth:`SimCLRTransformer.fit`: an array,
            files or a data set.

        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : object
            Fitted estimator. If fit raises, it is unchanged.
        """
        resolve_device(self.device)
        source = self._find(X, reset=True, min_samples=2).read()
        if source.spec.kind != Images.kind:
            raise wrong_kind(type(self).__name__, {Images.kind}, source.spec)
        rng = check_random_state(self.random_state)
        self._set_spec(source.spec)
        self._scaling = self._learn_scaling(source)
        patches = self._random_patches(source, rng)
        self.whitening_ = whitening(patches, self.epsilon)
        kmeans = MiniBatchKMeans(
            self.n_centroids,
            init="random",
            n_init=1,
            batch_size=4096,
            max_iter=10,
            random_state=rng,
            verbose=self.verbose,
        )
        self.centroids_ = kmeans.fit(patches @ self.whitening_).cluster_centers_
        self._n_features_out = self.pool**2 * self.n_centroids
        return self

    def _random_patches(self, source, rng):
        """Return random normalized patches, (n_patches, c * size * size)."""
        n_down, n_across = (side - self.patch_size + 1 for side in source.shape[1:])
        n_places = n_down * n_across
        self._check_sizes(source, len(source) * max(0, n_places))
        n_patches = min(self.n_patches, len(source) * n_places)
        chosen = sample_without_replacement(len(source) * n_places, n_patches, random_state=rng)
        image, place = np.divmod(np.sort(chosen), n_places)
        down, across = np.divmod(place, n_across)
        cpu, used = torch.device("cpu"), np.unique(image)
        scale, size, patches = self._scaling.on(cpu), embedding_batch(source, cpu), []
        for some in np.split(used, range(size, len(used), size)):
            these = slice(*np.searchsorted(image, (some[0], some[-1] + 1)))
            windows = all_patches(scale(source.batch(some)), self.patch_size)
            position = np.searchsorted(some, image[these])
            patches.append(windows[position, down[these], across[these]])
        return normalized(torch.cat(patches).flatten(1)).numpy()

    def _check_sizes(self, source, n_available):
        """Raise if images are too small or too few for the parameters."""
        sides = source.shape[1:]
        if self.patch_size > min(sides):
            raise ValueError(
                f"patch_size={self.patch_size} is larger than the images of X, {sides[0]} x "
                f"{sides[1]} pixels. Choose at most {min(sides)}, or use larger images."
            )
        steps = [(side - self.patch_size) // self.stride + 1 for side in sides]
        if self.pool > min(steps):
            raise ValueError(
                f"pool={self.pool} is larger than the grid of patches of an image, {steps[0]} x "
                f"{steps[1]} with patch_size={self.patch_size} and stride={self.stride} in images "
                f"of {sides[0]} x {sides[1]} pixels. Choose at most {min(steps)}, or smaller "
                "patches or strides."
            )
        n_patches = min(self.n_patches, n_available)
        if self.n_centroids > n_patches:
            raise ValueError(
                f"n_centroids={self.n_centroids} is larger than the number of patches to cluster, "
                f"{n_patches}: n_patches={self.n_patches}, and X has {n_available} patches. Choose "
                f"at most {n_patches}, or more patches."
            )

    def transform(self, X):
        """Encode images: activations of centroids, averaged over regions of the image.

        Parameters
        ----------
        X : array-like or tensor
            Images of the same shape as in fit.

        Returns
        -------
        features : ndarray of shape (n_samples, pool * pool * n_centroids), float32
            Features, region by region in row-major order.
        """
        check_is_fitted(self)
        source, device = self._find(X, reset=False).read(), resolve_device(self.device)
        squares = np.square(self.centroids_).sum(axis=1)
        # The product of (z, |z|^2, 1) for a patch z with this matrix is its squared distances to
        # the centroids. With a contiguous matrix, rounding does not depend on the place in X.
        lines = [-2 * self.centroids_.T, np.ones_like(squares), squares]
        to_distances = np.ascontiguousarray(np.vstack(lines))
        sides = ((side - self.patch_size) // self.stride + 1 for side in source.shape[1:])
        to_parts = np.kron(*(means_of_parts(side, self.pool) for side in sides))
        encode = functools.partial(
            self._encode,
            *(torch.from_numpy(m).to(device) for m in (self.whitening_, to_distances, to_parts)),
        )
        features = in_batches(encode, source, self._scaling.on(device), device)
        return source.aligned(features)

    def _encode(self, whiten, to_distances, to_parts, images):
        """Return the features of a batch of images, (n, pool * pool * n_centroids)."""
        n_places, n_centroids = to_parts.shape[1], to_distances.shape[1]
        size = max(1, PAIRS[images.device.type] // (n_places * n_centroids))
        encoded = []
        for some in images.split(size):
            patches = all_patches(some, self.patch_size, self.stride).flatten(3).flatten(0, 2)
            z = normalized(patches) @ whiten
            z = torch.cat([z, z.square().sum(1, keepdim=True), z.new_ones(len(z), 1)], dim=1)
            distance = (z @ to_distances).clamp_min_(0).sqrt_()  # (n * n_places, n_centroids)
            mean = distance.mean(dim=1, keepdim=True)
            nearness = torch.sub(mean, distance, out=distance).relu_()
            encoded.append(to_parts @ nearness.reshape(len(some), n_places, n_centroids))
        return torch.cat(encoded).flatten(1)

    def __sklearn_tags__(self):
        """Return scikit-learn's tags: images as input, float32 as output."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def all_patches(images, size, stride=1):
    """Return a view of all patches of images, (n, down, across, c, size, size)."""
    windows = images.unfold(2, size, stride).unfold(3, size, stride)
    return windows.permute(0, 2, 3, 1, 4, 5)


def normalized(patches):
    """Return patches, (n, values), with mean 0 and standard deviation about 1.

    Several times as fast as ``torch.var_mean``.
    """
    patches = patches - patches.mean(dim=1, keepdim=True)
    return patches.mul_((patches.square().mean(dim=1, keepdim=True) + FLAT).rsqrt())


def whitening(patches, epsilon):
    """Return the matrix of ZCA whitening of patches."""
    centered = patches - patches.mean(axis=0)
    variances, axes = symmetric_eigh((centered.T @ centered).astype(np.float64) / len(patches))
    variances = variances.clip(0)  # some are negative by rounding error
    return ((axes / np.sqrt(variances + epsilon)) @ axes.T).astype(np.float32)


def means_of_parts(n_places, n_parts):
    """Return the matrix, (n_parts, n_places), that averages the positions in each region."""
    part = np.arange(n_places) * n_parts // n_places
    member = (part == np.arange(n_parts)[:, None]).astype(np.float32)
    return member / member.sum(axis=1, keepdims=True)
