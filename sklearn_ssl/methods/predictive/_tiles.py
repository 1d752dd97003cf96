"""Pretext tasks on the tiles of an image, each of which the encoder sees on its own."""

from torch import nn
from torch.nn.functional import relu

from sklearn_ssl._runtime.world import world
from sklearn_ssl.data.spec import trial_values
from sklearn_ssl.methods.predictive._base import PretextObjective, PretextTask
from sklearn_ssl.networks.encoder import count_features
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Auto, Count
from sklearn_ssl.views import Tiles


class TileObjective(PretextObjective):
    """Pretext task whose classifier sees the features of so many tiles at once."""

    near_chance = 0.98
    drop_colors = False

    def __init__(self, encoder, n_features, tiles, tile_dim, n_tiles, hidden_dim, n_classes):
        super().__init__(encoder, n_classes)
        self.tiles = tiles
        self.project = nn.Linear(n_features, tile_dim)
        self.classify = mlp(n_tiles * tile_dim, hidden_dim, n_classes)

    def encode(self, images, n_views=None):
        """Return the features of all tiles, (n, n_tiles, d), and their projections.

        Tiles are centered, or with ``n_views`` drawn for images that are so many views.
        """
        images = self.cells(images)

        def draw(n, centered=False):
            settings = {"centered": centered, "drop_colors": self.drop_colors}
            return self.tiles.draw(n, images.shape[1:], device=images.device, **settings)

        n = len(images)
        drawn = world().drawn(draw, n, n_views) if n_views else draw(n, centered=True)
        tiles = self.tiles.apply(images, drawn)
        features = self.encoder(tiles.flatten(0, 1)).unflatten(0, tiles.shape[:2])
        return features, relu(self.project(features))

    def cells(self, images):
        """Return the part of images from which tiles are cut."""
        return images


class TileTask(PretextTask):
    """Base of methods whose objective is a :class:`TileObjective`.

    Parameters
    ----------
    tiles : Tiles or "auto", default="auto"
        Grid, gaps and normalization of the tiles; "auto" is :class:`~sklearn_ssl.views.Tiles` with
        its default parameters.

    hidden_dim : int, default=256
        Width of the hidden layer of the classifier.
    """

    doc_name = "tile"

    tiles: Auto | Tiles = "auto"
    hidden_dim: Count = 256

    def _default_views(self, spec):
        return self.default_views["image"]  # of the size of the image, as tiles are smaller

    def _cutter(self, encoder, grid):
        """Return the cutter of tiles of images that an encoder takes, by default in this grid."""
        channels, *sides = encoder.in_shape
        tiles = (Tiles() if self.tiles == "auto" else self.tiles).over(sides, grid)
        count_features(encoder, trial_values(2, channels, *tiles.sides), "the tiles of its images")
        return tiles
