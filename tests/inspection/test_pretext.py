"""Displays: the curves equal what scikit-learn's metrics give, and every panel is drawn."""

import numpy as np
import pytest
import torch
from common import shrunk

from inspection.helpers import shown
from sklearn_ssl import (
    InpaintingTransformer,
    JigsawTransformer,
    SimCLRTransformer,
    SuperResolutionTransformer,
)
from sklearn_ssl.inspection import (
    PretextDisplay,
)


@pytest.mark.parametrize(
    "method", [InpaintingTransformer, JigsawTransformer, SuperResolutionTransformer]
)
def test_what_is_made_stands_between_input_and_image(photos, method):
    model = shrunk(method).fit(photos[:40])
    display = PretextDisplay.from_estimator(model, photos[40:], n_samples=3, random_state=0)
    inputs, outputs, images = display.inputs, display.outputs, display.images
    assert outputs.shape == images.shape == (3, 32, 32, 3)
    if method is InpaintingTransformer:
        masked = (inputs != images).any(axis=3)
        assert 0.1 < masked.mean() < 0.4
        np.testing.assert_array_equal(outputs[~masked], images[~masked])
        assert (outputs[masked] != inputs[masked]).any(axis=1).mean() > 0.9
        colors = np.unique(inputs[masked], axis=0)
        np.testing.assert_allclose(colors, photos[:40].mean(axis=(0, 1, 2))[None] / 255, atol=1e-4)
    elif method is JigsawTransformer:
        cells = [
            batch.reshape(3, 2, 16, 2, 16, 3).transpose(0, 1, 3, 2, 4, 5).reshape(3, 4, -1)
            for batch in (inputs, outputs, images)
        ]
        for seen, made, real in zip(*(batch.tolist() for batch in cells), strict=True):
            assert sorted(seen) == sorted(made) == sorted(real)
        assert (cells[0] != cells[2]).any(axis=2).mean() > 0.5
    else:
        expected = images.reshape(3, 16, 2, 16, 2, 3).mean(axis=(2, 4))
        np.testing.assert_allclose(inputs, expected, atol=1e-5)
        assert 0 < np.abs(outputs - images).mean() < 0.2
    for i, row in enumerate(display.axes_):
        for axis, pictures in zip(row, (inputs, outputs, images), strict=True):
            np.testing.assert_allclose(shown(axis), pictures[i])
    titles = [axis.get_title() for axis in display.axes_[0]]
    assert titles == ["input", "output", "image"]
    torch.rand(1)  # whatever else draws in the process
    again = PretextDisplay.from_estimator(model, photos[40:], n_samples=3, random_state=0)
    np.testing.assert_array_equal(again.inputs, inputs)


def test_methods_that_generate_no_images_raise(images):
    with pytest.raises(ValueError, match="SimCLRTransformer generates no images"):
        PretextDisplay.from_estimator(shrunk(SimCLRTransformer).fit(images), images)
