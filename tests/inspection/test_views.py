"""Displays: the curves equal what scikit-learn's metrics give, and every panel is drawn."""

import numpy as np
import pytest
import torch
from common import shrunk
from matplotlib import pyplot as plt

from inspection.helpers import shown
from sklearn_ssl import (
    DINOTransformer,
    Images,
    SimCLRTransformer,
)
from sklearn_ssl.inspection import (
    NeighborsDisplay,
    ViewsDisplay,
)
from sklearn_ssl.views import ImageViews


@pytest.mark.parametrize("fit_first", [True, False])
def test_views_are_shown_next_to_their_image(photos, fit_first):
    """Without changes views are the image; with a sure flip, its mirror image."""
    sure = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "color_jitter": 0.0, "grayscale": 0.0}
    for flip in (0.0, 1.0):
        model = shrunk(SimCLRTransformer, views=ImageViews(hflip=flip, **sure))
        model = model.fit(photos[:20]) if fit_first else model
        display = ViewsDisplay.from_estimator(model, photos, n_samples=3, random_state=0)
        assert display.axes_.shape == (3, 3)
        assert hasattr(model, "encoder_") == hasattr(model, "n_features_in_") == fit_first
        expected = display.images[:, :, ::-1] if flip else display.images
        for view in display.views:
            np.testing.assert_allclose(view, expected, atol=1e-5)
        for i, row in enumerate(display.axes_):
            np.testing.assert_allclose(shown(row[0]), display.images[i])
            np.testing.assert_allclose(shown(row[2]), display.views[1][i])
    whole = (photos / 255).reshape(len(photos), -1)
    assert all(np.abs(whole - image.ravel()).sum(axis=1).min() < 1e-2 for image in display.images)


@pytest.mark.slow
def test_views_are_the_methods_own_and_drawn_by_the_seed(photos):
    model, before = shrunk(DINOTransformer), torch.get_rng_state()
    first, again, other = (
        ViewsDisplay.from_estimator(model, photos[:4], n_samples=4, random_state=seed)
        for seed in (0, 0, 1)
    )
    assert [view.shape[1] for view in first.views] == [16] * 2 + [8] * 4
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(first.views[3], again.views[3])
    assert np.abs(first.views[3] - other.views[3]).max() > 0.05


def test_gray_images_and_files_have_views(images, photos, tmp_path):
    gray = ViewsDisplay.from_estimator(shrunk(SimCLRTransformer), images, n_samples=2)
    assert shown(gray.axes_[0, 0]).shape == (8, 8)
    paths = []
    for i, photo in enumerate(photos[:3]):
        paths.append(str(tmp_path / f"{i}.png"))
        plt.imsave(paths[-1], photo)
    model = shrunk(SimCLRTransformer, input=Images(size=24))
    assert ViewsDisplay.from_estimator(model, paths, n_samples=3).images.shape == (3, 24, 24, 3)


def test_rows_have_nothing_to_show(data):
    rows = data[0].reshape(100, -1)
    with pytest.raises(ValueError, match=r"tabular data .* without images to show"):
        ViewsDisplay.from_estimator(shrunk(SimCLRTransformer), rows)
    with pytest.raises(ValueError, match=r"tabular data .* without images to show"):
        NeighborsDisplay.from_embeddings(rows, rows)
