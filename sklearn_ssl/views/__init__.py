"""View recipes: random augmentations of batches, drawn for each sample, on the batch's device."""

from sklearn_ssl.views.combined import CombinedViews
from sklearn_ssl.views.geometry import Geometry, map_points
from sklearn_ssl.views.image import ImageViews
from sklearn_ssl.views.multi_crop import MultiCrop
from sklearn_ssl.views.per_sample import PerSampleViews
from sklearn_ssl.views.table import TableViews
from sklearn_ssl.views.text import TextViews
from sklearn_ssl.views.tiles import Tiles

__all__ = [
    "CombinedViews",
    "Geometry",
    "ImageViews",
    "MultiCrop",
    "PerSampleViews",
    "TableViews",
    "TextViews",
    "Tiles",
    "map_points",
]
