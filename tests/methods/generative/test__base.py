"""Methods that make images: what they make, in which layout, and what they refuse."""

import numpy as np
import pytest
from common import digits, shrunk
from joblib import Parallel, delayed
from PIL import Image

import sklearn_ssl
from sklearn_ssl import Images, InpaintingTransformer, SuperResolutionTransformer


def test_scores_of_what_is_perfect_and_of_what_is_broken(monkeypatch):
    images = digits()[0][:40]
    model = shrunk(InpaintingTransformer).fit(images)
    monkeypatch.setattr(model.objective_, "filled", lambda images, masks: images)
    assert model.score_pretext(images) == np.inf
    monkeypatch.setattr(model.objective_, "filled", lambda images, masks: images * np.nan)
    assert np.isnan(model.score_pretext(images))


@pytest.mark.parametrize("method", [InpaintingTransformer, SuperResolutionTransformer])
def test_unreadable_files_have_no_images(photos, tmp_path, method):
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path, photo in zip(paths, photos, strict=False):
        Image.fromarray(photo).save(path)
    paths[3].write_bytes(b"no image")
    model = shrunk(method, input=Images(on_error="skip")).fit(paths)
    if method is InpaintingTransformer:
        masks = np.zeros((12, 32, 32), bool)
        masks[5] = True
        made = model.inpaint(paths, masks)
        np.testing.assert_array_equal(made[4], photos[4])
        assert (made[5] != photos[5]).any()
        assert made.shape == (12, 32, 32, 3)
        assert (model.inpaint(paths[3:4], masks[3:4]) == -1).all()
    else:
        made = model.upscale(paths)
        assert made.shape == (12, 64, 64, 3)
    assert (made[3] == -1).all()
    assert np.isfinite(model.score_pretext(paths))
    with pytest.raises(ValueError, match="None of the images in X could be read"):
        model.score_pretext(paths[3:4])


@pytest.mark.parametrize("method", [InpaintingTransformer, SuperResolutionTransformer])
def test_what_they_make_is_the_same_after_saving(method, tmp_path):
    images = digits()[0][:60]
    model = shrunk(method, max_epochs=2).fit(images)
    model.save(tmp_path / "model.safetensors")
    loaded = sklearn_ssl.load(tmp_path / "model.safetensors")
    makes = "inpaint" if method is InpaintingTransformer else "upscale"
    np.testing.assert_array_equal(getattr(loaded, makes)(images), getattr(model, makes)(images))


def test_threads_may_share_an_estimator(inpainting):
    images = digits()[0]
    parts = [images[i : i + 300] for i in range(0, 1200, 300)]
    alone = [inpainting.inpaint(part) for part in parts]
    together = Parallel(4, "threading")(
        delayed(inpainting.inpaint)(p) for _ in range(5) for p in parts
    )
    for i, told in enumerate(together):
        np.testing.assert_allclose(told, alone[i % 4], atol=1e-3)
