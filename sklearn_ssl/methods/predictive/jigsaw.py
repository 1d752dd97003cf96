"""Jigsaw: tell in which order the tiles of an image were laid."""

import itertools
import math
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, relu

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.base import SSLTransformer, mean_of
from sklearn_ssl.networks.encoder import count_features
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Auto, Count, at_least, between
from sklearn_ssl.training.objective import Objective, joined, wide
from sklearn_ssl.views import ImageViews
from sklearn_ssl.views.tiles import Tiles, rearranged

LARGE = 48  # pixels of the shorter side from which on "auto" has nine tiles
MOST_PERMUTATIONS = 100  # by default, and in which an image is laid for its score
POOL = 10_000  # permutations that those which are far apart are chosen from


class JigsawObjective(Objective):
    """Cross entropy of the order of an image's tiles, each of which the encoder sees alone."""

    near_chance = 0.98

    def __init__(self, encoder, n_features, tiles, permutations, tile_dim, hidden_dim):
        super().__init__(encoder)
        n, n_tiles = permutations.shape
        self.tiles = tiles
        self.narrow = nn.Linear(n_features, tile_dim)
        self.classify = mlp(n_tiles * tile_dim, hidden_dim, n)
        self.register_buffer("permutations", torch.from_numpy(permutations))

    def forward(self, views):
        """Return the loss of a batch of views, whose tiles are laid in random orders."""
        images = joined(views)
        drawn = self.drawn(images)
        features, parts = self.parts(images)
        scores = self.scores(parts, self.permutations[drawn])
        with full_precision(scores.device):
            loss = cross_entropy(wide(scores), drawn)
        accuracy = (scores.argmax(dim=1) == drawn).float().mean()
        first = features[: len(views[0]), 0]
        return {"loss": loss, "pretext_accuracy": accuracy, "embedding": first}

    def chance_loss(self, n):
        """Return the loss of one to whom all orders are alike."""
        return math.log(len(self.permutations))

    def drawn(self, images):
        """Draw the number of a permutation for each image."""
        return torch.randint(len(self.permutations), (len(images),), device=images.device)

    def parts(self, images, middle=False):
        """Return the features of all tiles, (n, tiles, d), and what the classifier gets of them."""
        height, width = (side // self.tiles.grid * self.tiles.grid for side in images.shape[2:])
        images = images[:, :, :height, :width]  # whole cells, as users can move them
        tiles = self.tiles(images, middle)
        features = self.encoder(tiles.flatten(0, 1)).unflatten(0, tiles.shape[:2])
        return features, relu(self.narrow(features))

    def scores(self, parts, order):
        """Return the scores of all permutations, of tiles that are laid in an order."""
        laid = parts.gather(1, order[:, :, None].expand_as(parts))
        return self.classify(laid.flatten(1))

    def told(self, images):
        """Return the number of the permutation in which each image's cells seem to lie."""
        return self.classify(self.parts(images, middle=True)[1].flatten(1)).argmax(dim=1)

    def share_told(self, images):
        """Return the share of orders, all or some, that are told where an image lies in them."""
        _, parts = self.parts(images, middle=True)
        n = len(self.permutations)
        right = torch.zeros(len(parts), device=parts.device)
        numbers = np.linspace(0, n - 1, min(n, MOST_PERMUTATIONS), dtype=int)
        for number in numbers.tolist():
            order = self.permutations[number].expand(len(parts), -1)
            right += self.scores(parts, order).argmax(dim=1) == number
        return right / len(numbers)

    def shuffled(self, images, numbers):
        """Return images whose cells lie in the orders of these numbers."""
        return rearranged(images, self.tiles.grid, self.permutations[numbers])

    def solved(self, images):
        """Return images with their cells back in place."""
        back = self.permutations[self.told(images)].argsort(dim=1)
        return rearranged(images, self.tiles.grid, back)

    def pictures(self, images):
        """Return what is seen of images, and what is made of it."""
        seen = self.shuffled(images, self.drawn(images))
        return seen, self.solved(seen)


def far_permutations(n_tiles, n, rng):
    """Return n permutations that differ in many places, (n, n_tiles), or all that there are.

    Each is the one of many random ones whose nearest among those before is farthest from it, and
    of such the one that is farthest from all of them together.
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


class JigsawTransformer(SSLTransformer):
    """Learn features by solving jigsaw puzzles of images.

    Use it for photographs of objects and scenes, whose parts have their places: to tell where a
    tile belongs, the network has to see what is on it. ``solve`` puts tiles back, and
    ``score_pretext`` says how often; at chance, as on textures, there was nothing to learn. It
    takes images alone.

    Parameters
    ----------
    grid : {2, 3} or "auto", default="auto"
        Number of tiles along each side of an image. "auto" is 3 for images whose
        shorter side has 48 pixels or more, and 2 for smaller ones, of which ninths show little.

    n_permutations : int or "auto", default="auto"
        Number of orders in which tiles are laid, that are told apart, at least 2. "auto" is 100, or
        all that there are, as the 24 of 2 x 2 tiles.

    gap : float, default=0.125
        What stays empty between two tiles at least, as a share of a tile's cell, in [0, 1): a pixel
        at least, if it is not 0. Without, neighbours can be told by how edges go on.

    jitter : float, default=0.125
        How far the place of a tile in its cell is random, as a share of the cell, in [0, 1).

    standardize : bool, default=True
        Whether each channel of each tile gets the mean and standard deviation that it has in the
        whole image, so that brightness or a colour cast do not tell the tile's place.

    tile_dim : int, default=64
        Width to which the features of each tile are brought for the classifier, in training alone.

    hidden_dim : int, default=256
        Width of the classifier's hidden layer.

    {shared_parameters}

    Attributes
    ----------
    permutations_ : ndarray of shape (n_permutations, n_tiles), int
        The orders, chosen far from each other if they are not all: the number of the tile that lies
        at each place. Tiles and places are numbered row by row.

    {shared_attributes}

    Notes
    -----
    The paper cuts 3 x 3 tiles of 64 of 255 pixels, and changes the colours of its images. Here
    three in ten lose them. Of images of fewer than 64 pixels, tiles are enlarged to half the sides
    of the image, and of fewer than 24 to all of them. The paper gives tiles a mean of 0 and a
    deviation of 1; with those of their image, tiles are like the images that ``transform`` sees.

    Of 3,000 images of CIFAR-10, after 350 batches of 64, a linear model had .525 and 20 neighbours
    .411; before training .457 and .321. The order of .468 of the puzzles of other images was told.
    With tiles of 12 pixels, not enlarged, the features had .533 and .385, and if those had mean 0,
    .521 and .329. Of digits of 8 pixels they were not better than before training: with 5 labels a
    class .815 with a linear model and .793 with the nearest neighbour, and .824 and .820 before.

    References
    ----------
    `Noroozi and Favaro. "Unsupervised learning of visual representations by solving jigsaw
    puzzles", ECCV 2016 <https://arxiv.org/abs/1603.09246>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import JigsawTransformer
    >>> images = load_digits().images[:200]
    >>> jigsaw = JigsawTransformer(max_epochs=1, random_state=0).fit(images)
    >>> jigsaw.transform(images).shape
    (200, 256)
    >>> puzzles = jigsaw.shuffle(images, 5)
    >>> jigsaw.solve(puzzles).shape
    (200, 8, 8)
    """

    grid: Auto | Literal[2, 3] = "auto"
    n_permutations: Auto | at_least(2) = "auto"
    gap: between(0, 1, "left") = 0.125
    jitter: between(0, 1, "left") = 0.125
    standardize: bool = True
    tile_dim: Count = 64
    hidden_dim: Count = 256

    default_views = {
        "image": ImageViews(
            scale=(0.5, 1.0), color_jitter=0.0, grayscale=0.3, gaussian_blur=0.0, n_views=1
        )
    }

    def _default_views(self, source):
        return self.default_views["image"]  # whole: their tiles are small

    def _make_objective(self, encoder, n_features, training):
        channels, *sides = encoder.in_shape
        grid = self.grid if self.grid != "auto" else 3 if min(sides) >= LARGE else 2
        tiles = Tiles.over(sides, grid, self.gap, self.jitter, self.standardize)
        count_features(encoder, (channels, *tiles.sides), "the tiles of its images")
        most, n = math.factorial(grid**2), self.n_permutations
        if n == "auto":
            n = min(MOST_PERMUTATIONS, most)
        if n > most:
            raise ValueError(
                f"n_permutations={n} is more than the {most} that {grid} x {grid} tiles have. Give "
                f"{most} at most, or a larger grid."
            )
        permutations = far_permutations(grid**2, n, np.random.default_rng(training.seed))
        return JigsawObjective(
            encoder, n_features, tiles, permutations, self.tile_dim, self.hidden_dim
        )

    def _fitted(self, objective, source):
        return {"permutations_": objective.permutations.cpu().numpy().copy()}

    def predict_pretext(self, X):
        """Tell in which order the tiles of each image of X lie.

        Parameters
        ----------
        X : array-like or tensor
            Images whose cells were laid in another order, as by ``shuffle``. Cells are as large as
            whole pixels allow, counted from the top left.

        Returns
        -------
        permutation : ndarray of shape (n_samples,), int
            The index in ``permutations_`` of the order in which the cells seem to lie.
        """
        return self._map(X, "_objective", lambda objective, images: objective.told(images))

    def score_pretext(self, X, y=None):
        """Return the accuracy of the pretext task, on images of X shuffled in many orders.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape, as they are, not shuffled.

        y : Ignored
            Not used, here for scikit-learn's conventions.

        Returns
        -------
        accuracy : float
            The share of images and permutations whose permutation was told: of all, or of 100
            spread evenly over ``permutations_``. Chance is 1 / ``n_permutations``.
        """
        return mean_of(self._of_read(X, lambda objective, images: objective.share_told(images)))

    def shuffle(self, X, permutation):
        """Lay the tiles of images in other orders.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape.

        permutation : int or array-like of int of shape (n_samples,)
            The index in ``permutations_`` of the order, of all images or of each.

        Returns
        -------
        images : ndarray of the shape of X, as images
            At each place of an image lies the cell, of whole pixels, that the permutation names.
            Where ``grid`` does not divide the sides, what remains at the bottom and at the right
            stays as it is. Layout and range are those of X, and bytes stay bytes; others are
            float32.
        """
        source, device = self._read_again(X)
        numbers = np.asarray(permutation)
        n, most = getattr(source, "n_rows", len(source)), len(self.permutations_) - 1
        wrong = numbers.ravel()
        if numbers.dtype.kind in "iu":
            wrong = wrong[(wrong < 0) | (wrong > most)]
        if len(wrong) or numbers.shape not in ((), (n,)):
            value = f", of which {wrong[0]!s:.20} is the first wrong one" if len(wrong) else ""
            raise ValueError(
                f"permutation must be an int from 0 to {most}, or {n} of them, one for each image. "
                f"Got {numbers.dtype} of shape {numbers.shape}{value}."
            )
        numbers = torch.tensor(np.broadcast_to(numbers, n).astype(np.int64), device="cpu")
        return self._map_images(source, device, lambda o, x, k: o.shuffled(x, k), numbers)

    def solve(self, X):
        """Put the tiles of images back in place.

        Parameters
        ----------
        X : array-like or tensor
            Images whose tiles lie in another order, as in ``predict_pretext``.

        Returns
        -------
        images : ndarray of the shape of X, as images
            The images with their cells where the network takes them to belong, as ``shuffle``
            gives images.
        """
        source, device = self._read_again(X)
        return self._map_images(source, device, lambda objective, x: objective.solved(x))
