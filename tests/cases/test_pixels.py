"""Pixels on every scale: what the range is, and what is said where the scale cannot be right."""

import io
import warnings

import numpy as np
import pytest
import torch
from common import digits, shrunk
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

import sklearn_ssl
from sklearn_ssl import EncoderTransformer, Images, PatchKMeansTransformer, SimCLRTransformer


@pytest.fixture(scope="module")
def small():
    """Digits, (300, 8, 8), float32 from 0 to 1."""
    return (digits()[0][:300] / 16).astype(np.float32)


@pytest.fixture(scope="module")
def patches():
    """Gray patches of a photograph, (50, 32, 32), whole numbers from 0 to 255."""
    photo = load_sample_images().images[1].mean(2)[:160, :320].astype(np.uint16)
    return np.stack(
        [photo[32 * i : 32 * i + 32, 32 * j : 32 * j + 32] for i, j in np.ndindex(5, 10)]
    )


def seen(X, **parameters):
    """Return the pixels that networks get, times the standard deviation they were divided by."""
    model = EncoderTransformer(backbone=nn.Flatten(), **parameters).fit(X)
    return model, model.transform(X)


def scaled(X, value_range="auto"):
    """Return images as views get them, (n, h, w, c)."""
    parameters = {"input": Images(value_range=value_range)}
    model = SimCLRTransformer(max_epochs=1, random_state=0, **parameters)
    source = model._find(X, reset=True).read()
    scaling = sklearn_ssl.data.sources.learn_scaling(source, value_range)
    return scaling.on("cpu")(source.batch(slice(None))).permute(0, 2, 3, 1).numpy(), scaling


# -- the scale of fit, and that of others ----------------------------------------------------------


def fitted_on(X):
    return shrunk(SimCLRTransformer).fit(X)


OTHER_SCALES = {
    "bytes, then 0..1": (lambda X: (X * 255).astype("u1"), lambda X: X, r"float32.*X \* 255"),
    "0..1, then bytes": (lambda X: X, lambda X: (X * 255).astype("u1"), r"uint8.*X / 255"),
    "0..16, then 0..1": (lambda X: X * 16, lambda X: X, "from 0 to 1, but .* from 0 to 16"),
    "0..1, then -1..1": (lambda X: X, lambda X: X * 2 - 1, "from -1 to 1, but .* from 0 to 1"),
    "-1..1, then 0..1": (lambda X: X * 2 - 1, lambda X: X, "from 0 to 1, but .* from -1 to 1"),
    "12 bits, then 8": (
        lambda X: (X * 4095).astype("u2"),
        lambda X: (X * 255).astype("u1"),
        "from 0 to 255, but .* from 0 to 4095",
    ),
    "bytes, then 16 bits": (
        lambda X: (X * 255).astype("u1"),
        lambda X: (X * 65535).astype("u2"),
        "from 0 to 65535, but .* from 0 to 255",
    ),
    "bytes, then bool": (lambda X: (X * 255).astype("u1"), lambda X: X > 0.5, "bool images"),
}


@pytest.mark.parametrize("name", OTHER_SCALES)
@pytest.mark.parametrize("n", [20, 300])
def test_images_on_another_scale_than_those_in_fit_are_refused(small, name, n):
    before, after, message = OTHER_SCALES[name]
    model = fitted_on(before(small))
    X = after(small)[:n]
    for call in (model.transform, model.score, model.partial_fit):
        with pytest.raises(ValueError, match=message):
            call(X)
    assert np.isfinite(model.transform(before(small))).all()


def test_an_estimator_of_patches_and_one_of_networks_refuse_them_too(small):
    for model in (
        EncoderTransformer(random_state=0),
        PatchKMeansTransformer(n_centroids=5, patch_size=3, random_state=0),
    ):
        with pytest.raises(ValueError, match="fitted on values from 0 to 255"):
            model.fit((small * 255).astype("u1")).transform(small)


def test_one_byte_image_as_floats_is_refused_and_a_faint_one_is_warned_of(small):
    model = fitted_on((small * 255).astype("u1"))
    with pytest.raises(ValueError, match=r"X \* 255"):
        model.transform(small[:1])
    with pytest.warns(UserWarning, match="really are that faint"):
        model.transform(small[:1] * 9)  # as night photographs are
    for fine in (np.zeros((1, 8, 8)), small * 255, np.full((1, 8, 8), 200.0), small[:2] * 120):
        model.transform(fine)


def test_floats_of_the_values_of_dark_bytes_are_right(small):
    X = (small * 16).astype("u1")
    model = fitted_on(X)
    np.testing.assert_array_equal(model.transform(X.astype("f4")), model.transform(X))


def test_dark_bytes_after_bytes_are_right(small):
    model = fitted_on((small * 255).astype("u1"))
    assert np.isfinite(model.transform((small * 3).astype("u1"))).all()


# -- outliers --------------------------------------------------------------------------------------


def with_hot_pixel(X):
    X = X.copy()
    X[7, 0, 0] = 1e6
    return X


def with_nodata(X, value=-9999):
    X = X.copy()
    X[::10, 0, :] = value
    return X


OUTLIERS = {
    "hot pixel": with_hot_pixel,
    "hot pixels": lambda X: np.where(np.random.default_rng(0).random(X.shape) < 1e-3, 5e4, X),
    "dead pixel": lambda X: -with_hot_pixel(X) + 2 * X,
    "nodata": with_nodata,
    "much nodata": lambda X: np.where(np.arange(8) < 3, -9999, X),
    "netCDF's": lambda X: with_nodata(X, 9.96921e36),
    "lowest float": lambda X: with_nodata(X, np.finfo("f4").min),
    "float64": lambda X: with_hot_pixel(X.astype(np.float64)),
}


@pytest.mark.parametrize("name", OUTLIERS)
def test_outliers_leave_the_range_of_all_other_pixels(small, name):
    X = OUTLIERS[name](small)
    with pytest.warns(UserWarning, match=r"are\s+clipped.*value_range"):
        values, scaling = scaled(X)
    same = (small == X)[..., None]
    np.testing.assert_allclose(values[same], small[..., None][same], atol=1e-6)
    assert values.min() == 0
    assert values.max() == 1
    assert scaling.std[0] == pytest.approx(values.std(), rel=1e-4)


def test_nodata_in_integers(small):
    X = with_nodata((small * 16).astype("i2"))
    with pytest.warns(UserWarning, match="from -9999 to 16"):
        values, _ = scaled(X)
    np.testing.assert_allclose(values[1::10, ..., 0], small[1::10], atol=1e-6)
    X = (small * 4000).astype("u2")
    X[:, :2] = 65535
    with pytest.warns(UserWarning, match="from 0 to 65535, .* from 0 to 4095"):
        values, _ = scaled(X)
    np.testing.assert_allclose(values[:, 2:, :, 0], small[:, 2:], atol=0.03)


def test_a_fit_with_outliers_learns_as_one_without_them(small):
    clean = fitted_on(small).transform(small)
    with pytest.warns(UserWarning, match="clipped"):
        model = fitted_on(with_hot_pixel(small))
    with warnings.catch_warnings(action="error"):
        hot = model.transform(with_hot_pixel(small))
    others = np.arange(300) != 7
    assert np.corrcoef(hot[others].ravel(), clean[others].ravel())[0, 1] > 0.99
    one = model.transform(small[:1])
    np.testing.assert_allclose(one, hot[:1], rtol=1e-4, atol=1e-6)


def test_pixels_out_of_range_after_fit_are_clipped(small):
    model = EncoderTransformer(backbone=nn.Flatten()).fit(small)
    hot = with_hot_pixel(small)
    clipped = np.where(hot > 1, 1, hot)
    np.testing.assert_array_equal(model.transform(hot), model.transform(clipped))


NO_OUTLIERS = {
    "strokes": lambda X: (X > 0.9) * 1.0,
    "two values": lambda X: (X > 0.5) * 1000.0,
    "few bright pixels": lambda X: np.where(np.arange(X.size).reshape(X.shape) % 97 == 0, 1.0, 0.0),
    "long tail": lambda X: X**4,
    "CT": lambda X: np.where(X > 0.9, 3071, X * 100 - 1000),
    "-1 and more": lambda X: X * 2 - 1,
    "large": lambda X: X * 1e5,
}


@pytest.mark.parametrize("name", NO_OUTLIERS)
def test_what_is_no_outlier(small, name):
    X = NO_OUTLIERS[name](small)
    values, _ = scaled(X)
    low, high = (0, X.max()) if X.min() >= 0 else (-np.abs(X).max(), np.abs(X).max())
    np.testing.assert_allclose(values[..., 0], (X - low) / (high - low), atol=1e-6)


def test_values_far_from_zero_have_their_own_black(small):
    values, _ = scaled(small * 20 + 280)  # kelvin
    np.testing.assert_allclose(values[..., 0], small, atol=1e-5)


# -- channels --------------------------------------------------------------------------------------


def test_channels_in_other_units_have_their_own_range(photos):
    unit = photos.astype(np.float32) / 255
    units = np.array([100, 1, 0.01], np.float32)
    values, scaling = scaled(unit * units)
    peaks = unit.max(axis=(0, 1, 2))
    np.testing.assert_allclose(values, unit / peaks, atol=1e-6)
    assert scaling.offset.shape == (3,)
    np.testing.assert_allclose(
        scaling.undone(torch.from_numpy(values).permute(0, 3, 1, 2), False).permute(0, 2, 3, 1),
        unit * units,
        rtol=1e-4,
        atol=1e-6,
    )
    values, scaling = scaled(unit * [1, 0.5, 0.1])
    assert scaling.offset.shape == ()
    constant = unit * [1, 1, 0]
    np.testing.assert_allclose(scaled(constant)[0], constant / constant.max(), atol=1e-6)


def test_channels_in_other_units_are_embedded_alike(photos):
    equal = photos.astype(np.float32) / photos.max(axis=(0, 1, 2))
    models = [EncoderTransformer(random_state=0).fit(X) for X in (equal, equal * [900, 1, 0.001])]
    one, other = models[0].transform(equal), models[1].transform(equal * [900, 1, 0.001])
    np.testing.assert_allclose(other, one, atol=1e-3 * np.abs(one).max())


def test_a_channel_with_outliers_is_named(photos):
    X = photos.astype(np.float32)
    X[3, 0, 0, 1] = -9999
    with pytest.warns(UserWarning, match="Channel 1 of the images in X holds values from -9999"):
        scaled(X)


# -- a declared range ------------------------------------------------------------------------------


def test_a_declared_range_is_respected(small, photos):
    values, _ = scaled(small * 100, (0, 200))
    np.testing.assert_allclose(values[..., 0], small / 2, atol=1e-6)
    values, _ = scaled(small * 100, (50, 80))
    np.testing.assert_allclose(values[..., 0], ((small * 100 - 50) / 30).clip(0, 1), atol=1e-6)
    values, _ = scaled((small * 16).astype("u1"), (0, 16))
    np.testing.assert_allclose(values[..., 0], (small * 16).astype("u1") / 16, atol=1e-6)
    values, _ = scaled(photos, ((0, 0, 0), (255, 51, 255)))
    np.testing.assert_allclose(values, (photos / [255, 51, 255]).clip(0, 1), atol=1e-6)
    with pytest.raises(ValueError, match="values for 2 channels, but the images of X have 3"):
        scaled(photos, ((0, 0), (255, 51)))


def test_a_declared_range_of_lists(patches):
    odd = np.zeros((33, 40), np.uint16)
    for factor, high in ((16, 4095), (1, 255)):
        X = [*(patches * factor), odd]
        model, values = seen(X, input=Images(value_range=(0, high), size=32))
        again = EncoderTransformer(backbone=nn.Flatten(), input=Images(size=32))
        expected = again.fit([*patches.astype("u1"), odd.astype("u1")]).transform(
            [*patches.astype("u1"), odd.astype("u1")]
        )
        np.testing.assert_allclose(values, expected, atol=0.05)
        assert model.transform(X[:1]).shape == (1, 1024)
    dark = [x.astype("u1") // 16 for x in (*patches, odd)]
    model, values = seen(dark, input=Images(value_range=(0, 15), size=32))
    assert len(np.unique(values)) <= 16
    np.testing.assert_array_equal(model.transform(np.stack(dark[:5])), values[:5])


@pytest.mark.parametrize(
    "wrong", [(1, 0), (0, 0), 255, (0, 1, 2), ("a", "b"), (0, np.nan), ([0, 1], [1, 2, 3])]
)
def test_a_declared_range_is_low_and_high(wrong):
    with pytest.raises(ValueError, match="value_range must be"):
        Images(value_range=wrong)


def test_input_is_images():
    with pytest.raises(ValueError, match=r"'input' parameter.*must be"):
        shrunk(SimCLRTransformer, input="images").fit(np.random.rand(20, 8, 8))


# -- more than 8 bits, one by one ------------------------------------------------------------------


def written(images, suffix, kind):
    """Return encoded gray or color images."""
    files = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image.astype(kind)).save(file, suffix)
        files.append(file.getvalue())
    return files


DEEP = {
    "list of arrays": lambda X: [*X.astype("u2"), np.zeros((33, 40), "u2")],
    "list of int32": lambda X: [*X.astype("i4"), np.zeros((33, 40), "i4")],
    "list of floats": lambda X: [*X.astype("f4"), np.zeros((33, 40), "f4")],
    "PNG": lambda X: written(X, "PNG", "u2"),
    "TIFF": lambda X: written(X, "TIFF", "u2"),
    "TIFF of int32": lambda X: written(X, "TIFF", "i4"),
    "TIFF of floats": lambda X: written(X, "TIFF", "f4"),
}


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("name", DEEP)
def test_images_of_all_depths_keep_their_gray_levels(patches, name, bits):
    X = DEEP[name](patches * 2 ** (bits - 8))
    model, values = seen(X, input=Images(size=32))
    assert len(np.unique(values)) >= 0.95 * len(np.unique(patches))
    bytes_ = EncoderTransformer(backbone=nn.Flatten(), input=Images(size=32)).fit(
        list(patches.astype("u1"))
    )
    np.testing.assert_allclose(
        values[: len(patches)], bytes_.transform(list(patches.astype("u1"))), atol=0.06
    )
    np.testing.assert_array_equal(model.transform(X[:3]), values[:3])


def test_tiff_of_int16_with_nodata(patches):
    X = patches.astype("i4") * 3
    X[::10, 0] = -9999
    with pytest.warns(UserWarning, match="from -9999 to"):
        _, values = seen(written(X, "TIFF", "i4"), input=Images(size=32))
    assert len(np.unique(values)) > 150


@pytest.mark.parametrize("kind", ["u2", "i4", "f4", "f8"])
def test_arrays_of_all_depths_are_resized(patches, kind):
    expected = seen(patches.astype("u1"), input=Images(size=16))[1]
    X = (patches * 16).astype(kind)
    model, values = seen(X, input=Images(size=16))
    np.testing.assert_allclose(values, expected, atol=0.06)
    np.testing.assert_array_equal(model.transform(X[:2]), values[:2])


def test_masks_listed_as_integers_are_black_and_white(patches):
    X = [*(patches > 99).astype("i8"), np.zeros((33, 40), "i8")]
    model = EncoderTransformer(backbone=nn.Flatten(), input=Images(size=32)).fit(X)
    share = (patches > 99).mean() * 50 / 51
    assert model._scaling.mean[0] == pytest.approx(share, abs=0.01)


def test_color_of_16_bits_keeps_its_levels(patches):
    color = np.stack([patches, patches // 2, patches // 3], axis=3)[:8] * 16  # 12 bits
    from tifffile import imwrite

    files = []
    for image in color:
        file = io.BytesIO()
        imwrite(file, image.astype("u2"), photometric="rgb")
        files.append(file.getvalue())
    _, values = seen(files, input=Images(size=32))
    assert len(np.unique(values)) > 0.9 * len(np.unique(color))
    floats = io.BytesIO()
    imwrite(floats, (color[0] / 4095).astype("f4"), photometric="rgb")
    assert seen([floats.getvalue()] * 2, input=Images(size=32))[1].shape == (2, 3072)


def test_a_fourth_band_is_not_taken_for_transparency(patches):
    from tifffile import imwrite

    bands = np.stack([patches.astype("u1")] * 4, axis=3)
    for extra, wrong in (("unspecified", True), ("unassalpha", False)):
        file = io.BytesIO()
        imwrite(file, bands[0], photometric="rgb", extrasamples=[extra])
        model = EncoderTransformer(backbone=nn.Flatten(), input=Images(size=32))
        if wrong:
            with pytest.raises(ValueError, match=r"TIFF of 4 bands.*near infrared"):
                model.fit([file.getvalue()] * 2)
        else:
            assert model.fit_transform([file.getvalue()] * 2).shape == (2, 3072)


def test_after_files_of_8_bits_others_need_a_range(patches):
    files = written(patches, "PNG", "u1")
    model, expected = seen(files, input=Images(size=32))
    for X in (patches / 255, patches.astype("f8"), patches.astype("i8"), patches * 257):
        np.testing.assert_allclose(model.transform(X), expected, atol=0.05)
    with pytest.raises(ValueError, match=r"values from 96 to 3456, but .*value_range"):
        model.transform(patches * 16)
    with pytest.raises(ValueError, match="fitted on values from 0 to 255"):
        model.transform((patches > 99).astype("i8"))


def test_deep_images_go_to_files_and_back(patches, tmp_path):
    X = [*(patches * 16), np.zeros((33, 40), "u2")]
    model = shrunk(SimCLRTransformer, input=Images(size=32)).fit(X)
    model.save(tmp_path / "model.safetensors")
    loaded = sklearn_ssl.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))
    with pytest.raises(ValueError, match="fitted on values from 0 to 4095"):
        loaded.transform([*patches, np.zeros((33, 40), "u2")])


def test_a_cache_holds_deep_images(patches, tmp_path):
    paths = []
    for i, image in enumerate(patches[:20] * 16):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(image).save(paths[-1])
    folder = tmp_path / "cache"
    first = seen(paths, input=Images(size=32, cache=folder))[1]
    np.testing.assert_array_equal(seen(paths, input=Images(size=32, cache=folder))[1], first)
    np.testing.assert_array_equal(seen(paths, input=Images(size=32))[1], first)


# -- what has no scale -----------------------------------------------------------------------------


def test_lists_that_mix_bytes_and_floats_are_refused(small):
    mixed = [x if i % 2 else (x * 255).astype("u1") for i, x in enumerate(small)]
    for X in (mixed, [torch.from_numpy(x) for x in mixed]):
        with pytest.raises(ValueError, match=r"different dtypes: uint8 \(such as image 0\)"):
            fitted_on(X)
    fitted_on([x.astype(np.float64) if i % 2 else x for i, x in enumerate(small)])
    one_by_one = [*mixed, np.zeros((9, 9), "u1")]  # read one by one, each on its own scale
    model, values = seen(one_by_one, input=Images(size=8))
    np.testing.assert_allclose(
        values[:10], model.transform([*small[:10], np.zeros((9, 9))])[:10], atol=0.02
    )


def test_masked_arrays_are_refused(small):
    hot = with_hot_pixel(small)
    with pytest.raises(ValueError, match=r"1 masked values.*filled"):
        fitted_on(np.ma.masked_greater(hot, 1))
    with pytest.raises(ValueError, match=r"masked"):
        fitted_on(list(np.ma.masked_greater(hot, 1)))
    np.testing.assert_array_equal(
        fitted_on(np.ma.masked_array(small)).transform(small), fitted_on(small).transform(small)
    )
