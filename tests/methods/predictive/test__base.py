"""Methods that learn from tiles: how tiles are cut, puzzles solved, and shortcuts closed."""

import numpy as np
import pytest
from common import digits, shrunk
from PIL import Image

import sklearn_ssl
from sklearn_ssl import Images, JigsawTransformer, RelativePatchTransformer

BOTH = pytest.mark.parametrize("method", [JigsawTransformer, RelativePatchTransformer])


@BOTH
def test_unreadable_files_are_not_counted(photos, tmp_path, method):
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path, photo in zip(paths, photos, strict=False):
        Image.fromarray(photo).save(path)
    paths[3].write_bytes(b"no image")
    model = shrunk(method, input=Images(on_error="skip")).fit(paths)
    told = model.predict_pretext(paths)
    assert (told[3] == -1).all()
    assert (np.delete(told, 3, axis=0) >= 0).all()
    assert model.score_pretext(paths) == model.score_pretext(np.delete(photos[:12], 3, axis=0))
    with pytest.raises(ValueError, match="None of the images in X could be read"):
        model.score_pretext(paths[3:4])
    if method is JigsawTransformer:
        shuffled = model.shuffle(paths, np.arange(12))
        assert (shuffled[3] == -1).all()
        expected = model.shuffle(photos[4:5], 4)
        np.testing.assert_array_equal(shuffled[4], expected[0])


@BOTH
def test_what_is_told_is_the_same_after_saving(method, tmp_path):
    images = digits()[0][:60]
    model = shrunk(method, max_epochs=5, gap=0.0, jitter=0.6).fit(images)  # places in the middle
    model.save(tmp_path / "model.safetensors")
    loaded = sklearn_ssl.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict_pretext(images), model.predict_pretext(images))
    assert loaded.score_pretext(images) == model.score_pretext(images)
    if method is JigsawTransformer:
        np.testing.assert_array_equal(loaded.permutations_, model.permutations_)
