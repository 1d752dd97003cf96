"""Displays: the curves equal what scikit-learn's metrics give, and every panel is drawn."""

import numpy as np
import pytest
from common import shrunk
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from sklearn.base import clone

from sklearn_ssl import (
    Images,
    InpaintingTransformer,
    SimCLRTransformer,
)
from sklearn_ssl.inspection import (
    ClusteringDisplay,
    NeighborsDisplay,
    PretextDisplay,
    ViewsDisplay,
)
from sklearn_ssl.views import ImageViews


def test_one_axes_alone_and_axes_of_from_estimator(fitted, data):
    panel = Figure().subplots()
    display = ClusteringDisplay.from_estimator(clone(fitted), data[0], ax=panel)
    assert list(display.ax_) == [panel]
    assert display.figure_ is panel.figure
    np.testing.assert_allclose(panel.lines[0].get_ydata(), fitted.nmi_curve_)


@pytest.mark.parametrize("display_of", [PretextDisplay, ViewsDisplay])
def test_images_that_cannot_be_read_have_no_row(photos, display_of):
    views = ImageViews(n_views=2)  # as many columns as there are of the pretext task
    model = shrunk(InpaintingTransformer, input=Images(on_error="skip"), views=views)
    model.fit([*photos[:10], photos[10, :20]])
    X = [*photos[:5], "no such file.png"]
    axes = plt.figure().subplots(6, 3)
    display = display_of.from_estimator(model, X, n_samples=6, random_state=0, ax=axes)
    assert len(display.images) == 5
    np.testing.assert_array_equal(display.axes_, axes[:5])
    assert [len(axis.images) for axis in axes[:, 0]] == [1] * 5 + [0]
    with pytest.raises(ValueError, match=r"ax must be .* of shape \(6, 3\)"):
        display_of.from_estimator(model, X, n_samples=6, ax=axes[:5])
    with pytest.raises(ValueError, match="None of the 2 images drawn from X could be read"):
        display_of.from_estimator(model, 3 * X[5:], n_samples=2)


def test_axes_have_to_be_as_many_as_pictures(data):
    X, ax = data[0], Figure().subplots(2, 2)
    message = r"axes of shape \(2, 3\)"
    with pytest.raises(ValueError, match=message):
        ViewsDisplay.from_estimator(shrunk(SimCLRTransformer), X, n_samples=2, ax=ax)
    with pytest.raises(ValueError, match=message):
        NeighborsDisplay.from_embeddings(X.reshape(100, -1), X, queries=2, n_neighbors=2, ax=ax)
