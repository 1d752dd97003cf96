"""Encoders by name, by factory and as given."""

import numpy as np
import pytest
import torch
from common import each_image_method, shrunk

from sklearn_ssl import (
    JigsawTransformer,
    RelativePatchTransformer,
    SuperResolutionTransformer,
)
from sklearn_ssl.methods._patches import TakesPatches
from sklearn_ssl.views import ImageViews

WHOLE_IMAGES = JigsawTransformer, RelativePatchTransformer, SuperResolutionTransformer


@each_image_method
@pytest.mark.parametrize("side", [8, 22, 24])
def test_defaults_follow_the_size_of_images(method, side):
    """Networks and views, together; who gives one of the two gets the other for whole images."""
    X = np.random.default_rng(0).random((20, side, side))

    def of(**parameters):
        model = shrunk(method, device="cpu", **parameters)
        spec = model._find(X, reset=True, min_samples=2).read().spec
        network = model._resolve_backbone(spec, torch.device("cpu"))
        return network, largest_views(model._resolve_views(spec))

    own = largest_views(method.default_views["image"])  # EMP-SSL's are small wherever it is
    whole = 1.0 if side < 24 else own
    large = ("small_multiscale_fine", min(own, 0.5))
    if method in WHOLE_IMAGES:  # for a fine map, or for tiles that are half as large
        large = ("small_multiscale_fine", 1.0)
    elif method.whole_views:  # as inpainting, which shall fill masked regions of whole images
        large = ("small_multiscale", 1.0)
    if issubclass(method, TakesPatches):  # whose network is a vision transformer
        assert of() == of(views=ImageViews(n_views=8)) == ("small_vit", 1.0)
        return
    assert of() == (("small_convnet", 1.0) if side < 24 else large)
    assert of(backbone="small_resnet") == ("small_resnet", whole)
    given = of(views=ImageViews(n_views=8))
    assert given == ("small_convnet" if side < 24 else "small_multiscale", 1.0)


def largest_views(views):
    """Return the size of the first views of a recipe."""
    return getattr(views, "recipes", [views])[0].size
