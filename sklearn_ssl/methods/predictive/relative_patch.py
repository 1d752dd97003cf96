"""Relative patch position: predict where a patch is, relative to the patch in the center."""

import torch

from sklearn_ssl.methods.predictive._tiles import TileObjective, TileTask
from sklearn_ssl.parameters import Count
from sklearn_ssl.training.objective import joined
from sklearn_ssl.views.image import CROPS
from sklearn_ssl.views.tiles import rearranged

GRID, CENTER, AROUND = 3, 4, [0, 1, 2, 3, 5, 6, 7, 8]  # patches, row by row


class RelativePatchObjective(TileObjective):
    """Classification of the position of a patch relative to another one."""

    def __init__(self, encoder, n_features, tiles, drop_colors, patch_dim, hidden_dim):
        super().__init__(encoder, n_features, tiles, patch_dim, 2, hidden_dim, len(AROUND))
        self.drop_colors = drop_colors

    def task(self, views):
        """Return center features, and logits and labels of all pairs, in reverse the opposite."""
        features, patches = self.encode(joined(views), len(views))
        logits = self.classify(torch.cat(pairs(patches)).flatten(0, 1))
        position = torch.arange(self.n_classes, device=logits.device)
        labels = torch.stack([position, position.flip(0)]).repeat_interleave(len(features), dim=0)
        return features[:, CENTER], logits, labels.flatten()

    def predict(self, images):
        """Return the position of each patch around the center, (n, 8)."""
        first, _ = pairs(self.encode(images)[1])
        return self.classify(first.flatten(0, 1)).argmax(dim=1).unflatten(0, first.shape[:2])

    def pictures(self, images):
        """Return images with shuffled cells, and with cells at their predicted positions."""
        n, device = len(images), images.device
        around = torch.tensor(AROUND, device=device)
        shuffled = torch.arange(GRID**2, device=device).repeat(n, 1)
        shuffled[:, AROUND] = around[torch.rand(n, len(AROUND), device=device).argsort(dim=1)]
        placed = torch.full_like(shuffled, -1)
        placed.scatter_(1, around[self.predict(images)], around.expand(n, -1))[:, CENTER] = CENTER
        solved = rearranged(images, GRID, placed, fill=self.encoder.mean)  # where there is none
        return rearranged(images, GRID, shuffled), solved


def pairs(parts):
    """Return the pairs of center and patch and of patch and center, (n, 8, 2 * d) each."""
    # Indexing by a list would synchronize with the device.
    around = torch.cat([parts[:, :CENTER], parts[:, CENTER + 1 :]], dim=1)
    center = parts[:, CENTER, None].expand_as(around)
    return torch.cat([center, around], dim=2), torch.cat([around, center], dim=2)


class RelativePatchTransformer(TileTask):
    """Learn features by predicting where a patch is, relative to the patch in the center.

    Use it for photographs of objects and scenes, if possible of 64 pixels or more. If
    ``score_pretext`` is at chance level, as on textures, nothing was learned. Only for images.

    Parameters
    ----------
    drop_colors : bool, default=True
        Whether a random channel of each patch replaces all of them, as chromatic aberration of
        lenses reveals positions. Gray images are not changed.

    patch_dim : int, default=64
        Width of the projection of each patch's features, used during training only.

    {tile_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The paper draws two patches anywhere; here the center patch makes a pair with each of the
    others, in both orders. Dropped channels do not become noise, nor have patches mean 0, as
    ``transform`` sees no such images. All patches are resampled, instead of some at random.

    References
    ----------
    `Doersch, Gupta and Efros. "Unsupervised visual representation learning by context prediction",
    ICCV 2015 <https://arxiv.org/abs/1505.05192>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import RelativePatchTransformer
    >>> images = load_digits().images[:200]
    >>> relative = RelativePatchTransformer(max_epochs=1, random_state=0).fit(images)
    >>> relative.predict_pretext(images).shape
    (200, 8)
    """

    drop_colors: bool = True
    patch_dim: Count = 64

    default_views = {"image": CROPS}
    pretext_doc = {
        "returns": "position : ndarray of shape (n_samples, 8), int",
        "labels": "Position predicted of each patch around the center, 0 to 7, row by row. Columns "
        "have the same order, so it is correct where it equals the index of the column.",
        "score": "Mean accuracy over the patches around the center. Chance level is 1/8.",
    }

    def _make_objective(self, encoder, n_features, training):
        tiles = self._cutter(encoder, GRID)
        if tiles.grid != GRID:
            raise ValueError(f"RelativePatchTransformer needs grid=3. Got tiles={self.tiles}.")
        dims = self.patch_dim, self.hidden_dim
        return RelativePatchObjective(encoder, n_features, tiles, self.drop_colors, *dims)
