"""Jigsaw puzzles: predict in which permutation the tiles of an image were shuffled."""

import math
from dataclasses import replace

import numpy as np
import torch

from sklearn_ssl._runtime.world import world
from sklearn_ssl.methods.predictive._puzzles import PuzzleSolver, far_permutations
from sklearn_ssl.methods.predictive._tiles import TileObjective, TileTask
from sklearn_ssl.parameters import Auto, Count, at_least
from sklearn_ssl.training.objective import joined
from sklearn_ssl.views.image import CROPS
from sklearn_ssl.views.tiles import rearranged

LARGE = 48  # shorter side, in pixels, from which on grid="auto" is 3
N_PERMUTATIONS = 100  # of "auto", and of the puzzles of each image in ``score_pretext``, at most


class JigsawObjective(TileObjective):
    """Classification of the permutation in which the tiles of a view were shuffled."""

    def __init__(self, encoder, n_features, tiles, permutations, tile_dim, hidden_dim):
        n, n_tiles = permutations.shape
        super().__init__(encoder, n_features, tiles, tile_dim, n_tiles, hidden_dim, n)
        self.register_buffer("permutations", torch.from_numpy(permutations))

    def task(self, views):
        """Return the first tiles' features, and logits and labels of a puzzle of each view."""
        images = joined(views)
        n_views, device = len(views), images.device
        labels = world().drawn(lambda n: self.draw(n, device), len(images), n_views)
        features, tiles = self.encode(images, n_views)
        return features[:, 0], self.logits(tiles, self.permutations[labels]), labels

    def draw(self, n, device):
        """Draw the index of a permutation for each of n images."""
        return torch.randint(self.n_classes, (n,), device=device)

    def cells(self, images):
        """Return the part of images with whole cells, as ``shuffle`` moves them."""
        height, width = (side // self.tiles.grid * self.tiles.grid for side in images.shape[2:])
        return images[:, :, :height, :width]

    def logits(self, tiles, order):
        """Return the logits of all permutations for tiles (n, n_tiles, d) in an order."""
        return self.classify(tiles.gather(1, order[:, :, None].expand_as(tiles)).flatten(1))

    def predict(self, images):
        """Return the index of the permutation of each image's cells, (n,)."""
        return self.classify(self.encode(images)[1].flatten(1)).argmax(dim=1)

    def accuracy(self, images):
        """Return the fraction of puzzles of each image that are solved, (n,)."""
        _, tiles = self.encode(images)
        n = self.n_classes
        indices = np.linspace(0, n - 1, min(n, N_PERMUTATIONS), dtype=int).tolist()
        orders = [(i, self.permutations[i].expand(len(tiles), -1)) for i in indices]
        correct = [self.logits(tiles, order).argmax(dim=1) == i for i, order in orders]
        return torch.stack(correct).float().mean(dim=0)

    def shuffle(self, images, indices):
        """Return images with their cells in the permutations of these indices."""
        return rearranged(images, self.tiles.grid, self.permutations[indices])

    def solve(self, images):
        """Return images with their cells moved back by the predicted permutations."""
        inverse = self.permutations[self.predict(images)].argsort(dim=1)
        return rearranged(images, self.tiles.grid, inverse)

    def pictures(self, images):
        """Return random puzzles of images, and their solutions."""
        puzzles = self.shuffle(images, self.draw(len(images), images.device))
        return puzzles, self.solve(puzzles)


class JigsawTransformer(PuzzleSolver, TileTask):
    """Learn features by solving jigsaw puzzles: predict how the tiles of each image were shuffled.

    Use it for photographs of objects and scenes, whose parts have typical positions. If
    ``score_pretext`` is at chance level, as on textures, nothing was learned. Only for images.

    Parameters
    ----------
    n_permutations : int or "auto", default="auto"
        Number of permutations, which are the classes, at least 2. "auto" is 100, or all that there
        are, as the 24 of 2 x 2 tiles.

    tile_dim : int, default=64
        Width of the projection of each tile's features, used during training only.

    {tile_parameters}

    {shared_parameters}

    Attributes
    ----------
    permutations_ : ndarray of shape (n_permutations, n_tiles), int
        The index of the tile at each position; both are numbered row by row. If they are not all
        that there are, they are chosen for large Hamming distances.

    {shared_attributes}

    Notes
    -----
    Tiles get mean and variance of their image, as ``transform`` sees; the paper has 0 and 1.

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
    >>> jigsaw.solve(jigsaw.shuffle(images, 5)).shape
    (200, 8, 8)
    """

    n_permutations: Auto | at_least(2) = "auto"
    tile_dim: Count = 64

    default_views = {"image": replace(CROPS, grayscale=0.3)}
    pretext_doc = {
        "images": "Images of the shape of those in fit whose cells were shuffled, as by "
        "``shuffle``. Cells have whole pixels, counted from the top left.",
        "returns": "permutation : ndarray of shape (n_samples,), int",
        "labels": "Index in ``permutations_`` of the predicted permutation.",
        "score": "Mean accuracy over images and permutations, at most 100 of them, spread evenly "
        "over ``permutations_``. Chance level is 1 / ``n_permutations``.",
    }

    def _make_objective(self, encoder, n_features, training):
        tiles = self._cutter(encoder, 3 if min(encoder.in_shape[1:]) >= LARGE else 2)
        most, n = math.factorial(tiles.grid**2), self.n_permutations
        n = min(N_PERMUTATIONS, most) if n == "auto" else n
        if n > most:
            raise ValueError(
                f"n_permutations={n} is more than the {most} that {tiles.grid} x {tiles.grid} "
                f"tiles have. Give {most} at most, or a larger grid."
            )
        orders = far_permutations(tiles.grid**2, n, np.random.default_rng(training.seed))
        return JigsawObjective(encoder, n_features, tiles, orders, self.tile_dim, self.hidden_dim)

    def _fitted(self, objective, source):
        return {"permutations_": objective.permutations.cpu().numpy().copy()}
