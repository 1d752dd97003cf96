"""Methods that make images: what they make, in which layout, and what they refuse."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from common import digits, shrunk
from joblib import Parallel, delayed
from PIL import Image
from torch import nn

import sklearn_ssl
from sklearn_ssl import InpaintingTransformer, SuperResolutionTransformer
from sklearn_ssl.networks.encoder import make_encoder
from sklearn_ssl.networks.fuse_batchnorm import folded
from sklearn_ssl.training.micro_batches import micro_batches
from sklearn_ssl.views import ImageViews

CIRCLE = np.hypot(*np.mgrid[-3.5:4, -3.5:4]) < 2


@pytest.fixture(scope="module")
def inpainting():
    return shrunk(InpaintingTransformer, max_epochs=12).fit(digits()[0][:400])


@pytest.fixture(scope="module")
def enlarging():
    return shrunk(SuperResolutionTransformer, max_epochs=12).fit(digits()[0][:400])


def test_holes_are_filled_and_the_rest_is_kept(inpainting):
    images = digits()[0][400:420]
    for mask in (None, CIRCLE, np.broadcast_to(CIRCLE, images.shape)):
        hole = np.broadcast_to(CIRCLE if mask is not None else central(), images.shape)
        told = inpainting.inpaint(images, mask)
        assert told.shape == images.shape
        assert told.dtype == np.float32
        np.testing.assert_allclose(told[~hole], images[~hole], rtol=1e-6, atol=1e-6)
        assert 0 <= told.min() <= told.max() <= 16
        error = np.mean(np.square(told - images)[hole])
        assert error < 0.9 * np.mean(np.square(images.mean() - images)[hole])
    other = np.where(hole, 5.0, images)  # what is in the hole is not looked at
    np.testing.assert_allclose(inpainting.inpaint(other, CIRCLE), told, atol=1e-4)


def central():
    hole = np.zeros((8, 8), bool)
    hole[2:6, 2:6] = True
    return hole


def test_each_image_has_its_own_hole(inpainting):
    images = digits()[0][400:1000]  # several batches
    holes = np.random.default_rng(0).random(images.shape) < 0.2
    told = inpainting.inpaint(images, holes)
    np.testing.assert_allclose(told[~holes], images[~holes], rtol=1e-6, atol=1e-6)
    assert np.abs(told - images)[holes].mean() > 0.5
    np.testing.assert_allclose(inpainting.inpaint(images[-3:], holes[-3:]), told[-3:], atol=1e-3)


def test_what_is_not_a_number_is_a_hole(inpainting):
    images = digits()[0][400:410]
    unknown = np.where(CIRCLE, np.nan, images)
    told = inpainting.inpaint(unknown)
    np.testing.assert_array_equal(told, inpainting.inpaint(images, CIRCLE))
    assert np.isnan(unknown[:, CIRCLE]).all()  # X is left as it was


@pytest.mark.parametrize("kind", ["float16", "tensor", "bfloat16", "arrays", "lists"])
def test_holes_may_be_in_whatever_holds_numbers(inpainting, kind):
    images = digits()[0][400:410]
    unknown = np.where(CIRCLE, np.nan, images)
    given = {
        "float16": unknown.astype("f2"),
        "tensor": torch.from_numpy(unknown),
        "bfloat16": torch.from_numpy(unknown).bfloat16(),
        "arrays": list(unknown),
        "lists": unknown.tolist(),
    }[kind]
    expected = inpainting.inpaint(images, CIRCLE)
    np.testing.assert_allclose(inpainting.inpaint(given), expected, atol=1e-5)
    many = digits()[0][:400]  # whose sum is too large for half precision
    whole = many.astype("f2") if kind == "float16" else torch.from_numpy(many).bfloat16()
    expected = inpainting.inpaint(many, central())
    np.testing.assert_allclose(inpainting.inpaint(whole), expected, atol=1e-5)


def test_holes_may_be_in_tables_of_flattened_images():
    images = digits()[0][:40]
    table = pd.DataFrame(images.reshape(40, -1), columns=[f"p{i}" for i in range(64)])
    model = shrunk(InpaintingTransformer, image_shape=(8, 8)).fit(table)
    expected = model.inpaint(table, CIRCLE)
    unknown = table.mask(np.broadcast_to(CIRCLE.ravel(), table.shape))
    np.testing.assert_array_equal(model.inpaint(unknown), expected)
    rows = shrunk(InpaintingTransformer, image_shape=(8, 8)).fit(table.to_numpy())
    np.testing.assert_array_equal(rows.inpaint(unknown.to_numpy().tolist()), expected)


def test_other_holes_than_those_of_the_mask(inpainting):
    images = digits()[0][400:410]
    corner = np.zeros((8, 8), bool)
    corner[:3, :3] = True
    unknown = images.copy()
    unknown[3:5, CIRCLE] = np.nan
    told = inpainting.inpaint(unknown, corner)
    both = np.broadcast_to(corner, images.shape).copy()
    both[3:5] |= CIRCLE
    np.testing.assert_array_equal(told, inpainting.inpaint(images, both))


def test_infinity_is_no_hole(inpainting):
    images = digits()[0][400:410]
    images[4, 2, 2], images[3, 1, 1] = np.inf, np.nan
    with pytest.raises(ValueError, match=r"contains infinity. Put NaN where a value is missing"):
        inpainting.inpaint(images)


@pytest.mark.parametrize("axis", [1, 3])
def test_holes_lie_where_they_are_given(photos, axis):
    """Not where an array like that of fit would have them."""
    X = photos[:12].astype("f4") / 255
    model = shrunk(InpaintingTransformer).fit(X)
    unknown = X.copy()
    unknown[:, 3:20, 5:9, 1] = np.nan
    expected = model.inpaint(unknown)
    known = np.ones((32, 32), bool)
    known[3:20, 5:9] = False
    np.testing.assert_allclose(expected[:, known], X[:, known], atol=1e-6)
    assert (expected[:, ~known] != X[:, ~known]).mean() > 0.9
    told = model.inpaint(np.moveaxis(unknown, 3, axis))
    np.testing.assert_allclose(told, np.moveaxis(expected, 3, axis), atol=1e-5)


@pytest.mark.parametrize("size", [32, 24])
def test_bytes_cannot_be_holes(photos, size):
    X = photos[:12].astype("f4") / 255
    unknown = X[:, :size].copy()
    unknown[0, 3, 5, 1] = np.nan
    model = shrunk(InpaintingTransformer, image_size=16).fit(X)
    for given in (unknown, unknown.transpose(0, 3, 1, 2)):
        with pytest.raises(ValueError, match=r"contains NaN.* inpaint takes holes as its mask"):
            model.inpaint(given)
    told = model.inpaint(X, np.eye(16, dtype=bool))
    assert (told.dtype, told.shape) == (np.uint8, (12, 16, 16, 3))
    files = shrunk(InpaintingTransformer).fit([*photos[:6], photos[6, :20]])
    with pytest.raises(ValueError, match=r"contains NaN.* inpaint takes holes as its mask"):
        files.inpaint(unknown)


def test_the_hole_in_the_middle_is_as_large_as_in_fit():
    images = digits()[0][:40]
    model = shrunk(InpaintingTransformer).fit(images)
    expected = model.inpaint(images)
    np.testing.assert_array_equal(model.set_params(hole_area=0.6).inpaint(images), expected)


@pytest.mark.parametrize("layout", ["last", "first", "rows"])
def test_colours_stay_where_they_are(photos, layout):
    X = photos[:40]
    holes = np.zeros((32, 32), bool)
    holes[4:20, 9:30] = True
    settings = {"image_shape": (32, 32, 3)} if layout == "rows" else {}
    given = {"last": X, "first": X.transpose(0, 3, 1, 2), "rows": X.reshape(40, -1)}[layout]
    model = shrunk(InpaintingTransformer, **settings).fit(given)
    told = model.inpaint(given, holes)
    assert told.dtype == np.uint8
    told = told.transpose(0, 2, 3, 1) if layout == "first" else told
    np.testing.assert_array_equal(told[:, ~holes], X[:, ~holes])
    assert (told[:, holes] != X[:, holes]).any(axis=-1).mean() > 0.9
    missing = np.where(holes[..., None], np.nan, X.astype("f4"))
    if layout == "last":
        model = shrunk(InpaintingTransformer).fit(X.astype("f4"))
        np.testing.assert_array_equal(model.inpaint(missing), model.inpaint(X.astype("f4"), holes))


def test_values_below_zero_stay_where_they_are():
    images = digits()[0][:60] / 8 - 1
    told = shrunk(InpaintingTransformer).fit(images).inpaint(images, CIRCLE)
    np.testing.assert_allclose(told[:, ~CIRCLE], images[:, ~CIRCLE], atol=1e-6)
    assert told.min() >= -1
    assert told.max() <= 1


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_images_are_enlarged(photos, scale):
    model = shrunk(SuperResolutionTransformer, scale=scale).fit(photos[:40])
    assert 10 < model.score_pretext(photos[40:60]) < 40
    told = model.upscale(photos[:5])
    assert told.shape == (5, 32 * scale, 32 * scale, 3)
    assert told.dtype == np.uint8
    smaller = told.reshape(5, 32, scale, 32, scale, 3).mean(axis=(2, 4))
    assert np.abs(smaller - photos[:5]).mean() < 10


def test_enlarged_digits_are_better_than_interpolated_ones(enlarging):
    """Of images that were not trained on, made smaller and enlarged again."""
    images = digits()[0][800:1200]
    small = images.reshape(400, 4, 2, 4, 2).mean(axis=(2, 4))
    plain = nn.functional.interpolate(
        torch.from_numpy(small)[:, None] / 16, (8, 8), mode="bicubic", align_corners=False
    )
    error = np.mean(np.square(plain[:, 0].clamp(0, 1).numpy() - images / 16))
    assert enlarging.score_pretext(images) > -10 * np.log10(error) + 1


def test_filled_digits_are_better_than_the_mean(inpainting):
    images = digits()[0][800:1200]
    hole = images[:, 2:6, 2:6] / 16
    error = np.mean(np.square(hole - digits()[0][:400].mean() / 16))
    score = inpainting.score_pretext(images)
    assert score > -10 * np.log10(error) + 1
    told = inpainting.inpaint(images)[:, 2:6, 2:6] / 16
    assert score == pytest.approx(-10 * np.log10(np.mean(np.square(told - hole))), abs=1e-3)


def test_scores_of_what_is_perfect_and_of_what_is_broken(monkeypatch):
    images = digits()[0][:40]
    model = shrunk(InpaintingTransformer).fit(images)
    monkeypatch.setattr(model._objective, "filled", lambda images, holes: images)
    assert model.score_pretext(images) == np.inf
    monkeypatch.setattr(model._objective, "filled", lambda images, holes: images * np.nan)
    assert np.isnan(model.score_pretext(images))


@pytest.mark.parametrize("method", [InpaintingTransformer, SuperResolutionTransformer])
def test_unreadable_files_have_no_images(photos, tmp_path, method):
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path, photo in zip(paths, photos, strict=False):
        Image.fromarray(photo).save(path)
    paths[3].write_bytes(b"no image")
    model = shrunk(method, on_error="skip").fit(paths)
    if method is InpaintingTransformer:
        holes = np.zeros((12, 32, 32), bool)
        holes[5] = True
        made = model.inpaint(paths, holes)
        np.testing.assert_array_equal(made[4], photos[4])
        assert (made[5] != photos[5]).any()
        assert made.shape == (12, 32, 32, 3)
        assert (model.inpaint(paths[3:4], holes[3:4]) == -1).all()
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


def test_wrong_masks_are_refused(inpainting):
    images = digits()[0][:5]
    for mask in (np.ones((8, 7), bool), np.ones((4, 8, 8), bool), np.ones((8, 8))):
        with pytest.raises(ValueError, match=r"mask must be of bool and of shape \(8, 8\) or \(5"):
            inpainting.inpaint(images, mask)


def test_sides_that_the_scale_does_not_divide_are_refused():
    X = np.random.default_rng(0).random((10, 10, 14))
    message = r"scale=4 does not divide images of 10 x 14 .* 8 x 12, or set image_size=8"
    with pytest.raises(ValueError, match=message):
        SuperResolutionTransformer(scale=4).fit(X)
    assert shrunk(SuperResolutionTransformer).fit(X).upscale(X).shape == (10, 20, 28)


def test_views_that_the_scale_does_not_divide_are_refused():
    X = np.random.default_rng(0).random((10, 12, 16))
    model = shrunk(SuperResolutionTransformer, scale=4, views=ImageViews(size=0.5, n_views=1))
    with pytest.raises(ValueError, match=r"scale=4 does not divide views of 6 x 8 .*view recipe"):
        model.fit(X)


def test_enlarged_images_are_made_in_smaller_batches(monkeypatch):
    X = np.random.default_rng(0).random((700, 8, 8)).astype("f4")
    sizes = {}
    for scale in (2, 4):
        model, seen = shrunk(SuperResolutionTransformer, scale=scale).fit(X[:20]), []
        upscaled = model._objective.enlarged
        monkeypatch.setattr(
            model._objective, "enlarged", lambda x, f=upscaled, s=seen: s.append(len(x)) or f(x)
        )
        assert model.upscale(X).shape == (700, 8 * scale, 8 * scale)
        assert sum(seen) == 700
        sizes[scale] = max(seen)
    assert sizes == {2: 128, 4: 32}


@pytest.mark.parametrize("shape", [(24, 24), (24, 32), (30, 26)])
def test_details_are_told_of_whole_images_that_nothing_blurred(shape):
    X = np.random.default_rng(0).random((8, *shape)).astype("f4")
    views = shrunk(SuperResolutionTransformer).fit(X).views_
    images = torch.from_numpy(X)[:, None]
    torch.manual_seed(0)
    [seen] = replace(views, jitter=0.0)(images)
    errors = [(seen - x).abs().amax(dim=(1, 2, 3)) for x in (images, images.flip(3))]
    assert torch.minimum(*errors).max() < 1e-4
    assert 0 < (errors[0] < 1e-4).sum() < 8


def test_a_backbone_without_maps_is_refused():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    with pytest.raises(ValueError, match="needs a backbone that makes a map"):
        InpaintingTransformer(backbone=flat).fit(digits()[0][:20])


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("small_convnet", "stage3", (256, 4, 4)),
        ("small_multiscale", "stage3", (256, 4, 4)),
        ("small_resnet", "stage3", (128, 4, 4)),
        ("small_vit", "encoder.ln", (128, 8, 8)),
        ("resnet18", "layer4", (512, 4, 4)),
    ],
)
def test_the_map_is_what_the_features_are_made_of(name, layer, shape):
    encoder = make_encoder(name, (3, 32, 32), [0.5] * 3, [0.2] * 3)
    found = tuple(encoder.find_map())
    assert (encoder.map_hook.layer, found) == (layer, shape)
    encoder.eval()
    images = torch.rand(2, 3, 32, 32)
    features, maps = encoder(images, dense=True)
    torch.testing.assert_close(features, encoder(images))
    assert maps.shape == (2, *shape)
    if name == "resnet18":
        torch.testing.assert_close(maps.mean(dim=(2, 3)), features)
    assert maps.shape[2] > 1
    larger = encoder(torch.rand(2, 3, 64, 64), dense=True)[1]
    assert larger.shape[2:] == (2 * shape[1], 2 * shape[2])


def reached(result, encoder):
    """The names of the weights that a result depends on."""
    names, weights = zip(*encoder.named_parameters(), strict=True)
    found = torch.autograd.grad(result.sum(), weights, retain_graph=True, allow_unused=True)
    return {name for name, found in zip(names, found, strict=True) if found is not None}


@pytest.mark.parametrize(
    ("name", "side", "reads_map"),
    [
        ("small_multiscale", 32, False),
        ("resnet18", 32, False),
        ("resnet18", 8, True),  # its last stage is one place
        ("mobilenet_v3_small", 64, True),  # a layer with weights follows its pool
        ("small_vit", 16, True),
    ],
)
def test_features_are_learned_with_the_map(name, side, reads_map):
    """No weights but those that the map depends on are needed for the features."""
    encoder = make_encoder(name, (1, side, side), [0.5], [0.2])
    images = torch.rand(2, 1, side, side)
    for _ in range(2):  # and where training goes on
        shape = encoder.find_map()
        assert encoder.reads_map is reads_map
        features, maps = encoder.eval()(images, dense=True)
        torch.testing.assert_close(features, encoder(images))
        assert reached(features, encoder) <= reached(maps, encoder)
        if reads_map:
            assert features.shape[1] == shape[0]
    if name == "small_vit":  # with the class token
        tokens = encoder.backbone.tokens((images - 0.5) / 0.2)
        torch.testing.assert_close(features, tokens.mean(dim=1))


@pytest.mark.parametrize("backbone", ["small_convnet", "resnet18"])
def test_encoders_whose_map_was_found_are_folded(backbone):
    model = shrunk(InpaintingTransformer, backbone=backbone).fit(digits()[0][:40])
    images = torch.rand(4, 1, 8, 8)
    quick = folded(model.encoder_, images)
    assert quick is not model.encoder_
    with torch.no_grad():
        torch.testing.assert_close(quick(images), model.encoder_(images), rtol=1e-3, atol=1e-3)
    assert model.encoder_.reads_map is (backbone == "resnet18")


def test_channels_that_come_last_are_no_places():
    encoder = make_encoder("swin_t", (3, 64, 64), [0.5] * 3, [0.2] * 3)
    assert tuple(encoder.find_map()) == (768, 2, 2)


def test_tokens_lie_as_their_patches_do():
    encoder = make_encoder("small_vit", (1, 32, 32), [0.5], [0.2])
    encoder.find_map()
    block = encoder.eval().backbone.encoder.layers
    for layer in block:  # no patch sees another
        nn.init.zeros_(layer.self_attention.out_proj.weight)
    images = torch.zeros(1, 1, 32, 32)
    _, plain = encoder(images, dense=True)
    images[:, :, 4:8, 20:24] = 1  # second row, sixth column
    _, marked = encoder(images, dense=True)
    changed = (marked - plain).abs().amax(dim=1)[0] > 1e-5
    assert changed.nonzero().tolist() == [[1, 5]]


def test_no_map_is_kept_after_an_error():
    encoder = make_encoder("small_convnet", (1, 16, 16), [0.5], [0.2])
    encoder.find_map()
    with pytest.raises(RuntimeError):
        encoder(torch.rand(2, 1, 16, 0), dense=True)
    encoder(torch.rand(2, 1, 16, 16))
    assert encoder.map_hook.result is None


def test_maps_in_micro_batches_are_those_of_the_batch():
    torch.manual_seed(0)
    encoder = make_encoder("small_vit", (1, 16, 16), [0.5], [0.2])
    encoder.find_map()
    objective = nn.Module()
    objective.encoder = encoder
    images, given = torch.rand(7, 1, 16, 16), []
    for size in (None, 3):
        with micro_batches(objective, size):
            features, maps = objective.encoder(images, dense=True)
            (features.square().sum() + maps.square().sum()).backward()
        gradients = [p.grad.clone() for p in encoder.parameters() if p.grad is not None]
        given.append((features, maps, gradients))
        encoder.zero_grad()
    torch.testing.assert_close(*given, rtol=1e-4, atol=1e-4)


def test_a_critic_sharpens():
    """Neighbouring pixels inside of holes differ more, and the error is hardly larger."""
    images, differences, scores = digits()[0], [], []
    for weight in (0.0, 2.0):
        settings = {"hole": "center", "adversarial_weight": weight, "max_epochs": 12}
        model = shrunk(InpaintingTransformer, **settings).fit(images[:400])
        told = model.inpaint(images[800:1200])[:, 2:6, 2:6]
        differences.append(sum(np.abs(np.diff(told, axis=axis)).mean() for axis in (1, 2)))
        scores.append(model.score_pretext(images[800:1200]))
        assert ("critic_loss" in model.history_[-1]) == (weight > 0)
    assert differences[1] > 1.08 * differences[0]
    assert scores[1] > scores[0] - 0.3
    row = model.history_[-1]
    expected = row["squared_error"] + 2 * row["critic_loss"]
    assert row["train_loss"] == pytest.approx(expected, rel=1e-4)
    assert 0.1 < row["critic_loss"] < 1
