"""Masked patches and columns: what is hidden is not seen, and what is made of it."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from common import check_inputs, digits, photo_patches, shrunk
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_wine
from torch import nn

import sklearn_ssl
from sklearn_ssl import Images, MAETransformer
from sklearn_ssl.inspection import PretextDisplay
from sklearn_ssl.methods.generative.mae import MAEObjective, MaskedColumnsObjective, SimMIMObjective
from sklearn_ssl.networks.decoders import PatchDecoder
from sklearn_ssl.networks.encoder import make_encoder
from sklearn_ssl.training.micro_batches import micro_batches
from sklearn_ssl.views import ImageViews, RowViews


def objective(algorithm="mae", *, normalized=True, side=8, ratio=0.75, backbone="small_vit"):
    torch.manual_seed(0)
    encoder = make_encoder(backbone, (3, 32, 32), [0.5] * 3, [0.2] * 3)
    if algorithm == "simmim":
        return SimMIMObjective(encoder, side, ratio, normalized, 16).eval()
    return MAEObjective(encoder, 128, side, ratio, normalized, 16, 1).eval()


@pytest.fixture(scope="module")
def mae():
    return shrunk(MAETransformer, max_epochs=12).fit(digits()[0][:400])


@pytest.fixture(scope="module")
def simmim():
    return shrunk(MAETransformer, algorithm="simmim", max_epochs=12).fit(digits()[0][:400])


@pytest.fixture(scope="module", params=[load_breast_cancer, load_wine])
def table(request):
    """Standardised rows to learn from, and others, with a fifth of their values missing."""
    X = request.param().data
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    rng = np.random.default_rng(0)
    X = X[rng.permutation(len(X))]
    train, test = X[len(X) // 4 :], X[: len(X) // 4]
    return train, test, np.where(rng.random(test.shape) < 0.2, np.nan, test)


KINDS = [("mae", "small_vit"), ("simmim", "small_vit"), ("simmim", "small_convnet")]


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize(("algorithm", "backbone"), KINDS)
def test_what_is_hidden_is_not_seen(algorithm, backbone, normalized):
    net = objective(algorithm, normalized=normalized, backbone=backbone)
    images, others = torch.rand(2, 6, 3, 32, 32)
    masks = net.masks(images)
    with torch.no_grad():
        told, features = net.told(images, masks)
        same = net.told(torch.where(masks, others, images), masks)
        torch.testing.assert_close(same, (told, features), rtol=0, atol=0)
        hidden = masks.expand_as(images)
        seen = net.told(torch.where(hidden, images, others), masks)
        assert ((seen[0] - told).abs().amax(dim=(1, 2, 3)) > 1e-4).all()
        filled = net.filled(images, masks)
    torch.testing.assert_close(filled[~hidden], images[~hidden], rtol=0, atol=0)
    assert (filled[hidden] != images[hidden]).float().mean() > 0.9
    assert 0 <= filled.min() <= filled.max() <= 1


@pytest.mark.parametrize("side", [4, 8, 16])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.75])
def test_as_many_patches_are_hidden_of_each_image(side, ratio):
    net = objective(side=side, ratio=ratio)
    masks = net.masks(torch.rand(400, 3, 32, 32))
    assert masks.shape == (400, 1, 32, 32)
    assert masks.dtype == torch.bool
    n = (32 // side) ** 2
    grid = masks[:, 0, ::side, ::side]
    assert torch.equal(masks[:, 0], grid.repeat_interleave(side, 1).repeat_interleave(side, 2))
    assert (grid.sum(dim=(1, 2)) == round(ratio * n)).all()
    assert len(torch.unique(grid.flatten(1), dim=0)) > 3  # each image has its own
    shares = grid.float().mean(dim=0)
    assert (shares - round(ratio * n) / n).abs().max() < 0.15  # nowhere more than elsewhere
    again = [net.masks(torch.rand(3, 3, 32, 32), torch.Generator().manual_seed(5)) for _ in "12"]
    assert torch.equal(*again)


def test_masks_follow_the_size_of_views():
    net = objective()
    assert net.masks(torch.rand(2, 3, 16, 24)).shape == (2, 1, 16, 24)
    assert net([torch.rand(2, 3, 16, 24)])["loss"] > 0
    with pytest.raises(ValueError, match=r"cut into patches of 8 pixels, and .* 20 x 32"):
        net.masks(torch.rand(2, 3, 20, 32))


@pytest.mark.parametrize("name", ["small_vit", "vit_b_32"])
def test_patches_that_are_kept_are_those_of_the_numbers(name):
    encoder = make_encoder(name, (1, 16, 16), [0.5], [0.2]).eval()
    assert encoder.patch_size == (2 if name == "small_vit" else 4)
    n = (16 // encoder.patch_size) ** 2
    images, order = torch.rand(3, 1, 16, 16), torch.rand(3, n).argsort(dim=1)
    with torch.no_grad():
        scaled = (images - 0.5) / 0.2
        every = encoder.backbone.tokens(scaled)
        torch.testing.assert_close(encoder(images), every[:, 0], rtol=1e-4, atol=1e-5)
        kept = encoder(images, keep=order)  # all of them, in another order
        for i in range(3):
            torch.testing.assert_close(kept[i, 1:], every[i, 1 + order[i]], rtol=1e-3, atol=1e-4)
        few = encoder(images, keep=order[:, :4])
        assert few.shape[1] == 5
        one_by_one = [
            encoder(x[None], keep=o[None, :4]) for x, o in zip(images, order, strict=True)
        ]
        torch.testing.assert_close(torch.cat(one_by_one), few, rtol=1e-3, atol=1e-4)
        assert (few[:, 1:] - kept[:, 1:5]).abs().max() > 1e-4  # the others are not there


def test_networks_without_patches_have_none_to_keep():
    encoder = make_encoder("small_convnet", (1, 16, 16), [0.5], [0.2])
    assert encoder.patch_size is None


def test_the_decoder_puts_tokens_back_where_they_were():
    torch.manual_seed(0)
    decode = PatchDecoder(8, 20, 2, 5).eval()
    tokens, order = torch.randn(3, 1 + 4, 8), torch.rand(3, 12).argsort(dim=1)
    with torch.no_grad():
        told = decode(tokens, order, 4, (3, 4))
        assert told.shape == (3, 12, 5)
        # The same patches in another order are the same image.
        seen, hidden = torch.tensor([2, 0, 3, 1]), 4 + torch.randperm(8)
        again = decode(
            torch.cat([tokens[:, :1], tokens[:, 1 + seen]], dim=1),
            torch.cat([order[:, seen], order[:, hidden]], dim=1),
            *(4, (3, 4)),
        )
        torch.testing.assert_close(again, told, rtol=1e-4, atol=1e-5)
        for block in decode.blocks:  # no place sees another
            nn.init.zeros_(block.self_attn.out_proj.weight)
            nn.init.zeros_(block.self_attn.out_proj.bias)
        plain = decode(tokens, order, 4, (3, 4))
        tokens[:, 2] += torch.randn(8)
        changed = (decode(tokens, order, 4, (3, 4)) - plain).abs().amax(dim=2) > 1e-5
    assert torch.equal(changed.nonzero()[:, 1], order[:, 1])
    # Hidden ones differ by their place alone.
    hidden = plain.gather(1, order[:, 4:, None].expand(-1, -1, 5))
    assert len(torch.unique(hidden[0].round(decimals=5), dim=0)) == 8


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("algorithm", ["mae", "simmim"])
def test_micro_batches_take_the_kept_patches_along(algorithm, size):
    net, images = objective(algorithm).train(), torch.rand(10, 3, 32, 32)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    found = []
    for most in (None, size):
        net.load_state_dict(state)
        net.zero_grad()
        torch.manual_seed(0)
        with micro_batches(net, most):
            loss = net([images])["loss"]
            loss.backward()
        found.append((loss, [p.grad.clone() for p in net.parameters() if p.grad is not None]))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", ["last", "first", "rows", "gray"])
def test_reconstructions_are_laid_out_as_images_are(photos, layout):
    X = photos[:40]
    settings = {"input": Images(shape=(32, 32, 3))} if layout == "rows" else {}
    given = {
        "last": X,
        "first": X.transpose(0, 3, 1, 2),
        "rows": X.reshape(40, -1),
        "gray": X[..., 0],
    }[layout]
    model = shrunk(MAETransformer, **settings).fit(given)
    told = model.reconstruct(given, random_state=0)
    assert told.dtype == np.uint8
    assert told.shape == (X.shape if layout == "rows" else given.shape)
    told = told.transpose(0, 2, 3, 1) if layout == "first" else told
    expected = X[..., 0] if layout == "gray" else X
    same = (told == expected).reshape(40, 8, 4, 8, 4, -1).all(axis=(2, 4, 5))
    assert (same.sum(axis=(1, 2)) >= 16).all()
    assert same.mean() < 0.3
    assert len(np.unique(same, axis=0)) == 40
    as_floats = shrunk(MAETransformer, **settings).fit(given.astype("f4"))
    floats = as_floats.reconstruct(torch.from_numpy(given.astype("f4")), random_state=0)
    assert floats.dtype == np.float32
    assert 0 <= floats.min() <= floats.max() <= 255


def test_reconstructions_follow_the_random_state(mae):
    images = digits()[0][400:700]  # several batches
    told = mae.reconstruct(images, random_state=3)
    np.testing.assert_array_equal(mae.reconstruct(images, random_state=3), told)
    rng = np.random.RandomState(3)
    np.testing.assert_array_equal(mae.reconstruct(images, random_state=rng), told)
    assert (mae.reconstruct(images, random_state=rng) != told).mean() > 0.1
    assert (mae.reconstruct(images) != told).mean() > 0.1
    kept = np.isclose(told, images, atol=1e-5).reshape(300, 4, 2, 4, 2).all(axis=(2, 4))
    assert (kept.sum(axis=(1, 2)) >= 8).all()  # of 16 patches
    assert kept.mean() < 0.8  # some are black, and told so


@pytest.mark.parametrize("name", ["mae", "simmim"])
def test_what_was_hidden_is_told(name, request):
    model, images = request.getfixturevalue(name), digits()[0][400:700]
    plain = model.reconstruct(images, random_state=3)
    told, mask = model.reconstruct(images, random_state=3, return_mask=True)
    np.testing.assert_array_equal(told, plain)
    assert (mask.dtype, mask.shape) == (bool, images.shape)
    np.testing.assert_allclose(told[~mask], images[~mask], atol=1e-4)
    assert not np.isclose(told[mask], images[mask], atol=1e-4).mean() > 0.6  # black as they were
    np.testing.assert_array_equal(mask.mean(axis=(1, 2)), 0.5 if name == "mae" else 0.625)
    for ratio, share in ((0.25, 0.25), (0.9, 0.875)):
        told, mask = model.reconstruct(images, 3, mask_ratio=ratio, return_mask=True)
        np.testing.assert_array_equal(mask.mean(axis=(1, 2)), share)
        net = copy.copy(model._objective)
        net.mask_ratio = ratio
        batch = torch.from_numpy(images).float()[:, None] / 16
        with torch.no_grad():  # all patches that are not hidden are seen
            expected = net.filled(batch, torch.from_numpy(mask)[:, None])[:, 0]
        np.testing.assert_allclose(told, 16 * expected, atol=1e-3)
        np.testing.assert_allclose(told[~mask], images[~mask], atol=1e-4)
    for ratio in (0, 1, 2.0, "auto"):
        with pytest.raises(ValueError, match=r"mask_ratio must be None or in \(0, 1\). Got"):
            model.reconstruct(images, mask_ratio=ratio)


def hidden_pixels(model, images):
    """What is hidden in score_pretext, and what is put there, by hand."""
    batch = torch.from_numpy(images).float()[:, None] / 16
    draw, net = torch.Generator().manual_seed(model._seed), model._objective
    with torch.no_grad():
        masks = net.masks(batch, draw)
        told = net.filled(batch, masks)
    return batch, masks, told


@pytest.mark.parametrize("name", ["mae", "simmim"])
def test_hidden_patches_of_digits_are_better_than_the_mean(name, request):
    """Of images that were not trained on; the mean colour is what knows nothing of the others."""
    model, images = request.getfixturevalue(name), digits()[0][800:1200]
    score = model.score_pretext(images)
    assert score == model.score_pretext(images)
    batch, masks, told = hidden_pixels(model, images)
    error = (told - batch).square()[masks].mean()
    assert score == pytest.approx(-10 * math.log10(error), abs=1e-3)
    mean = (model._objective.encoder.mean - batch).square()[masks].mean()
    assert score > -10 * math.log10(mean) + 1


def test_normalized_patches_of_photographs_are_better_than_their_mean(photos):
    """Where mean and contrast of a hidden patch are known, patches of one colour know nothing."""
    X = photos[::2]
    model = shrunk(MAETransformer, max_epochs=40, batch_size=32, decoder_dim=64).fit(X)
    assert model._objective.normalized
    net, batch = model._objective, torch.from_numpy(photos[1::2]).permute(0, 3, 1, 2) / 255
    draw = torch.Generator().manual_seed(model._seed)
    masks = net.masks(batch, draw)
    mean, _ = net.scale(batch)
    flat = ((mean - batch).square() * masks).sum() / masks.sum() / 3
    assert model.score_pretext(photos[1::2]) > -10 * math.log10(flat) + 0.3


def test_unreadable_files_have_no_images(photos, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path, photo in zip(paths, photos, strict=False):
        Image.fromarray(photo).save(path)
    paths[3].write_bytes(b"no image")
    model = shrunk(MAETransformer, input=Images(on_error="skip")).fit(paths)
    made = model.reconstruct(paths, random_state=0)
    assert made.shape == (12, 32, 32, 3)
    assert (made[3] == -1).all()
    assert np.isfinite(model.score_pretext(paths))
    _, mask = model.reconstruct(paths, random_state=0, return_mask=True)
    readable = np.delete(np.arange(12), 3)
    pixels = np.stack([np.asarray(Image.open(paths[i])) for i in readable])
    np.testing.assert_array_equal(made[readable][~mask[readable]], pixels[~mask[readable]])
    net, batch = model._objective, torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    masks = net.masks(torch.zeros(12, 3, 32, 32), torch.Generator().manual_seed(model._seed))
    with torch.no_grad():
        errors = (net.filled(batch, masks[readable]) - batch).square().mean(dim=1)
    error = errors[masks[readable, 0]].mean()
    assert model.score_pretext(paths) == pytest.approx(-10 * math.log10(error), abs=1e-3)
    with pytest.warns(UserWarning, match="could not be read") as warned:
        model.set_params(input__on_error="warn").score_pretext(paths)
    assert len(warned) == 1


def test_all_is_the_same_after_saving(mae, table, tmp_path):
    images, (train, _, missing) = digits()[0][:60], table
    tabular = shrunk(MAETransformer).fit(train)
    for model, made in (
        (mae, lambda m: m.reconstruct(images, random_state=0)),
        (tabular, lambda m: m.impute(missing)),
    ):
        model.save(tmp_path / "model.safetensors")
        loaded = sklearn_ssl.load(tmp_path / "model.safetensors")
        np.testing.assert_array_equal(made(loaded), made(model))
        np.testing.assert_array_equal(made(pickle.loads(pickle.dumps(model))), made(model))


@pytest.mark.parametrize("algorithm", ["mae", "simmim"])
def test_pictures_stand_between_what_is_hidden_and_the_image(photos, algorithm):
    model = shrunk(MAETransformer, algorithm=algorithm).fit(photos[:40])
    display = PretextDisplay.from_estimator(model, photos[40:], n_samples=3, random_state=0)
    hidden = (display.inputs != display.images).any(axis=3)
    assert hidden.mean() == pytest.approx(0.75 if algorithm == "mae" else 0.625, abs=0.05)
    np.testing.assert_array_equal(display.outputs[~hidden], display.images[~hidden])
    assert (display.outputs[hidden] != display.inputs[hidden]).any(axis=1).mean() > 0.9


def network(X, **settings):
    model = shrunk(MAETransformer, **settings).fit(X)
    return model.backbone_, type(model._objective).__name__, model._objective.side


def test_the_embedding_is_the_mean_over_tokens(tmp_path):
    images = digits()[0][:20]
    settings = {"flip_tta": False, "backbone": "small_vit"}
    for algorithm in ("mae", "simmim"):
        model = shrunk(MAETransformer, algorithm=algorithm, **settings).fit(images)
        encoder = model._objective.encoder
        scaled = torch.from_numpy(images).float()[:, None] / 16
        with torch.no_grad():
            tokens = encoder.backbone.tokens((scaled - encoder.mean) / encoder.std)
        assert tokens.shape == (20, 17, 128)
        np.testing.assert_allclose(model.transform(images), tokens.mean(dim=1), atol=1e-5)
        read = shrunk(MAETransformer, algorithm=algorithm, layer="heads", **settings).fit(images)
        np.testing.assert_allclose(read.transform(images), tokens[:, 0], atol=1e-5)
        model.save(tmp_path / "model.safetensors")
        loaded = sklearn_ssl.load(tmp_path / "model.safetensors")
        np.testing.assert_array_equal(loaded.transform(images), model.transform(images))


def test_what_auto_stands_for(photos):
    rng = np.random.default_rng(0)
    assert network(photos[:20]) == ("small_vit", "MAEObjective", 4)
    assert network(photos[:20], algorithm="simmim")[1:] == ("SimMIMObjective", 8)
    assert network(photos[:20], algorithm="simmim", backbone="small_vit")[0] == "small_vit"
    assert network(photos[:20], backbone="small_resnet")[1:] == ("SimMIMObjective", 8)
    wide = rng.random((10, 24, 36))
    assert network(wide)[1:] == ("SimMIMObjective", 6)
    assert network(rng.random((10, 13, 13)))[0] != "small_vit"  # patches of one pixel
    views = shrunk(MAETransformer).fit(photos[:20]).views_(torch.rand(2, 3, 32, 32))
    assert [view.shape for view in views] == [(2, 3, 32, 32)]
    assert shrunk(MAETransformer).fit(digits()[0][:20])._objective.normalized is False
    given = shrunk(MAETransformer, targets="normalized").fit(digits()[0][:20])
    assert given._objective.normalized is True
    assert given._objective.mask_ratio == 0.5  # of 16 patches
    assert shrunk(MAETransformer).fit(photos[:20])._objective.mask_ratio == 0.75


def refused(X, message, **settings):
    with pytest.raises(ValueError, match=message):
        shrunk(MAETransformer, **settings).fit(X)


def test_networks_without_patches_are_refused_for_mae(photos):
    for backbone in ("small_convnet", lambda shape: nn.Conv2d(3, 8, 3)):
        refused(photos[:20], 'set algorithm="simmim"', algorithm="mae", backbone=backbone)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    refused(digits()[0][:20], "needs a backbone that makes a map", backbone=flat)
    refused(np.random.default_rng(0).random((9, 24, 36)), "square images", algorithm="mae")


def test_patches_that_do_not_fit_are_refused(photos):
    X = photos[:20]
    refused(
        X,
        r"patch_size=5 does not cut images of 32 x 32 pixels into patches\. .* is 4\.",
        algorithm="simmim",
        patch_size=5,
    )
    message = r"patch_size=2 .* patches that hold whole patches of the network, of 4 pix.* is 4\."
    refused(X, message, patch_size=2)
    refused(X, "patch_size=33 .* is 32", patch_size=33)
    refused(X, "mask_ratio=0.5 hides 0 of the 1 patches.*seen. Set a smaller", patch_size=32)
    refused(X, "mask_ratio=0.001 hides 0 of the 64 .* Give 0.0156 to 0.984", mask_ratio=0.001)
    refused(X, "mask_ratio=0.999 hides 64 of the 64 patches", mask_ratio=0.999)
    for ratio in (0, 1, 1.5):
        refused(X, "'mask_ratio' parameter of MAETransformer", mask_ratio=ratio)
    tiny = np.random.default_rng(0).random((10, 13, 13))
    refused(tiny, "more than one value. Set targets", backbone="small_vit", targets="normalized")
    for size, side in ((0.4375, 14), (0.25, 8)):  # of patches of 8 pixels the latter is one
        views = ImageViews(size=size, n_views=1)
        message = f"view recipe gave views of {side} x {side}"
        refused(X, message, algorithm="simmim", views=views)


def test_larger_patches_hide_whole_patches_of_the_network(photos):
    model = shrunk(MAETransformer, patch_size=16, mask_ratio=0.5).fit(photos[:20])
    told = model.reconstruct(photos[:20], random_state=0)
    changed = (told != photos[:20]).reshape(20, 2, 16, 2, 16, 3).any(axis=(2, 4, 5))
    assert (changed.sum(axis=(1, 2)) == 2).all()


def test_missing_values_are_filled_better_than_by_the_mean(table):
    train, test, missing = table
    model = MAETransformer(max_epochs=60, random_state=0).fit(train)
    unknown = np.isnan(missing)
    told = model.impute(missing)
    assert told.dtype == np.float64
    np.testing.assert_array_equal(told[~unknown], test[~unknown])
    error, mean = (
        np.sqrt(np.mean(np.square(x - test)[unknown]))
        for x in (told, train.mean(axis=0) + 0 * test)
    )
    print("root mean squared error of missing values: told, mean", error, mean)
    assert error < 0.9 * mean
    assert np.isnan(missing).any()  # X is left as it was
    np.testing.assert_array_equal(model.impute(test), test)
    one_by_one = np.concatenate([model.impute(missing[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(one_by_one, told[:5], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.impute(torch.from_numpy(missing)), told)


def test_missing_indicators_are_about_as_frequent_as_they_are():
    """Of columns that are 1 in a tenth of the rows: alone, and where another one tells of it."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1000, 6))
    dependent = values + 0.3 * rng.normal(size=values.shape) > 1.35
    X = np.column_stack([values, dependent, rng.random((1000, 6)) < 0.1, np.full(1000, 5.0)])
    train, test = X[:800], X[800:]
    model = shrunk(MAETransformer, max_epochs=40, decoder_dim=64).fit(train)
    for columns, least, most in ((slice(6, 12), 0.5, 0.9), (slice(12, 18), 0.9, 1.1)):
        missing = test.copy()
        missing[:, columns.start] = np.nan
        error, mean = (
            np.sqrt(np.mean(np.square(x - test[:, columns.start])))
            for x in (model.impute(missing)[:, columns.start], train[:, columns.start].mean())
        )
        print("root mean squared error of missing indicators: told, mean", error, mean)
        assert least * mean < error < most * mean
    missing = np.where(np.arange(19) == 18, np.nan, test)
    np.testing.assert_allclose(model.impute(missing)[:, 18], 5.0, atol=0.1)


def test_missing_values_are_in_units_of_their_columns(table):
    train, _, missing = table
    scale, offset = 10.0 ** np.arange(train.shape[1]) ** 0.5, np.arange(train.shape[1])
    plain = shrunk(MAETransformer, max_epochs=3).fit(train).impute(missing)
    other = shrunk(MAETransformer, max_epochs=3).fit(train * scale + offset)
    np.testing.assert_allclose(
        (other.impute(missing * scale + offset) - offset) / scale, plain, rtol=1e-2, atol=1e-2
    )


def test_tables_with_names(table):
    pd = pytest.importorskip("pandas")
    train, _, missing = table
    names = [f"column {i}" for i in range(train.shape[1])]
    model = shrunk(MAETransformer).fit(pd.DataFrame(train, columns=names))
    told = model.impute(pd.DataFrame(missing, columns=names))
    np.testing.assert_array_equal(told, shrunk(MAETransformer).fit(train).impute(missing))
    with pytest.raises(ValueError, match="feature names"):
        model.impute(pd.DataFrame(missing, columns=names[::-1]))


def test_rows_and_images_are_told_apart(mae, table):
    train, _, missing = table
    tabular = shrunk(MAETransformer).fit(train)
    for made in (tabular.reconstruct, tabular.score_pretext):
        with pytest.raises(ValueError, match="MAETransformer needs images, X has shape"):
            made(train)
    with pytest.raises(ValueError, match="impute fills rows, and X holds images"):
        mae.impute(digits()[0][:5])
    with pytest.raises(ValueError, match="Put NaN where a value is missing"):
        tabular.impute(np.where(np.isnan(missing), np.inf, missing))
    with pytest.raises(ValueError, match="contains NaN"):
        tabular.transform(missing)
    with pytest.raises(ValueError, match="a copy with values replaced; the view recipe gave 1"):
        shrunk(MAETransformer, views=RowViews(n_views=1)).fit(train)
    with pytest.raises(ValueError, match=r"give no row as it is, .* Set keep_first=True"):
        shrunk(MAETransformer, views=RowViews(keep_first=False)).fit(train)
    assert shrunk(MAETransformer, mask_ratio=0.4).fit(train).views_ == RowViews(corruption=0.4)


def test_who_guesses_has_the_loss_of_chance():
    torch.manual_seed(0)
    noise = 0.5 + 0.2 * torch.randn(50, 3, 32, 32).sign()
    for algorithm in ("mae", "simmim"):
        for normalized in (True, False):
            net = objective(algorithm, normalized=normalized)
            for parameter in net.decode.parameters():
                nn.init.zeros_(parameter)
            expected = net.chance_loss(50)
            loss = net([noise])["loss"].item()
            # Absolute errors vary about their mean, so their bound is not reached.
            least = 0.97 if normalized and algorithm == "simmim" else 0.999
            assert least * expected < loss < expected + 1e-5, (algorithm, normalized)
    rows = torch.randn(5000, 10)
    net = MaskedColumnsObjective(make_encoder("mlp", (10,), [], []), 256, 0.3, 16, 1)
    net.told = lambda seen: (0.7 * seen, torch.full_like(seen, math.log(0.3 / 0.7)), seen)
    loss = net(RowViews(corruption=0.3)(rows))["loss"].item()
    assert loss == pytest.approx(net.chance_loss(5000), rel=0.02)
    for share in (0.6, 0.8):  # of the one who knows no better
        net.told = lambda seen, share=share: (share * seen, torch.zeros_like(seen), seen)
        assert net(RowViews(corruption=0.3)(rows))["squared_error"] > 0.515
    given = shrunk(MAETransformer, views=RowViews(corruption=0.8)).fit(rows[:100].numpy())
    assert given._objective.mask_ratio == 0.8


def test_losses_of_rows_are_in_the_history(table):
    row = shrunk(MAETransformer).fit(table[0]).history_[-1]
    expected = row["mask_loss"] + 2 * row["squared_error"]
    assert row["train_loss"] == pytest.approx(expected, rel=1e-4)


def test_half_precision_stays_near(photos):
    net, batch = objective().train(), torch.from_numpy(photo_patches(20)).permute(0, 3, 1, 2) / 255
    losses = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(net([batch])["loss"])
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(*losses, rtol=0.02, atol=0.02)


def pictures(n=3, side=8):
    torch.manual_seed(1)
    return torch.rand(n, 2, side, side, dtype=torch.float64)


def dense(objective, *settings):
    """An objective on a small network, in evaluation mode, where no sample sees another."""
    torch.manual_seed(0)
    encoder = make_encoder("small_convnet", (2, 8, 8), [0.4, 0.6], [0.2, 0.3])
    return objective(encoder, *settings).double().eval()


def slow_patches(image, mean, std, side):
    """Patches of an image (c, h, w) row by row, standardised, each (c, side, side)."""
    image = (image - mean[:, None, None]) / std[:, None, None]
    rows, columns = (length // side for length in image.shape[1:])
    return [
        image[:, side * i : side * (i + 1), side * j : side * (j + 1)]
        for i in range(rows)
        for j in range(columns)
    ]


@pytest.mark.parametrize("normalized", [True, False])
def test_mae(normalized):
    torch.manual_seed(0)
    mean, std = torch.tensor([0.4, 0.6]), torch.tensor([0.2, 0.3])
    encoder = make_encoder("small_vit", (2, 8, 8), mean, std)
    net = MAEObjective(encoder, 128, 4, 0.5, normalized, 6, 2).double().eval()
    images = pictures()
    torch.manual_seed(0)
    masks = net.masks(images)
    torch.manual_seed(0)
    loss, errors = net([images])["loss"], []
    vit, decode = encoder.backbone, net.decode
    for image, mask in zip(images, masks[:, 0], strict=True):
        seen, tokens = [], [vit.class_token[0, 0] + vit.encoder.pos_embedding[0, 0]]
        patches = slow_patches(image, mean, std, 2)
        for k, patch in enumerate(patches):
            if not mask[2 * (k // 4), 2 * (k % 4)]:
                projected = (vit.conv_proj.weight * patch).sum(dim=(1, 2, 3)) + vit.conv_proj.bias
                tokens.append(projected + vit.encoder.pos_embedding[0, 1 + k])
                seen.append(k)
        assert len(seen) == 8
        encoded = decode.embed(vit.encoder.ln(vit.encoder.layers(torch.stack(tokens)[None]))[0])
        row = [encoded[0]]
        for k in range(16):
            waves = []  # of the place's row and column, by sine and cosine, six numbers in all
            for place in (k // 4, k % 4):
                angles = [place, place * 10000 ** (-1 / 2)]
                waves += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            token = encoded[1 + seen.index(k)] if k in seen else decode.mask
            row.append(token + torch.tensor(waves[:6], dtype=torch.float64))
        told = decode.last(decode.blocks(torch.stack(row)[None]))[0, 1:]
        raw = slow_patches(image, torch.zeros(2), torch.ones(2), 2)
        for k in range(16):
            target = patches[k].flatten()
            if normalized:
                values = raw[k].flatten()
                target = (values - values.mean()) / (values.var(correction=1) + 1e-6).sqrt()
            if k not in seen:
                errors.append((told[k] - target).square().mean())
    expected = sum(errors) / len(errors)
    torch.testing.assert_close(loss, expected)
    parameters = list(net.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("normalized", [True, False])
def test_simmim(normalized):
    net = dense(SimMIMObjective, 2, 0.6, normalized, 16)
    net.blank.data.uniform_()
    mean, std = torch.tensor([0.4, 0.6]), torch.tensor([0.2, 0.3])
    images = pictures()
    torch.manual_seed(0)
    masks = net.masks(images)
    torch.manual_seed(0)
    loss, errors = net([images])["loss"], []
    for image, mask in zip(images, masks[:, 0], strict=True):
        seen, hidden = image.clone(), [k for k in range(16) if mask[2 * (k // 4), 2 * (k % 4)]]
        assert len(hidden) == 10
        for k in hidden:
            i, j = 2 * (k // 4), 2 * (k % 4)
            seen[:, i : i + 2, j : j + 2] = net.blank
        _, maps = net.encoder(seen[None], dense=True)
        told = slow_patches(net.decode(maps, (8, 8))[0], torch.zeros(2), torch.ones(2), 2)
        raw = slow_patches(image, torch.zeros(2), torch.ones(2), 2)
        for k in hidden:
            target = slow_patches(image, mean, std, 2)[k]
            if normalized:
                target = (raw[k] - raw[k].mean()) / (raw[k].var(correction=1) + 1e-6).sqrt()
            errors.append((told[k] - target).abs().mean())
    expected = sum(errors) / len(errors)
    torch.testing.assert_close(loss, expected)
    parameters = list(net.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_masked_columns():
    torch.manual_seed(0)
    encoder = make_encoder("mlp", (4,), [], [])
    net = MaskedColumnsObjective(encoder, 256, 0.5, 8, 1).double().eval()
    rows, _ = check_inputs()
    seen = rows.clone()
    seen[0, 1], seen[2, [0, 3]], seen[5] = rows[1, 1], rows[4, [0, 3]], rows[3]
    seen[1, 2] = rows[1, 2]  # replaced by the same value: nothing to tell
    loss, squared, guesses = net([rows, seen])["loss"], [], []
    for row, other in zip(rows, seen, strict=True):
        told = net.decode(encoder(other[None]))[0]
        for k in range(4):
            p = torch.sigmoid(told[4 + k])
            squared.append((told[k] - row[k]) ** 2)
            guesses.append(-torch.log(1 - p if row[k] == other[k] else p))
    assert (rows != seen).sum() == 7
    expected = sum(guesses) / len(guesses) + 2 * sum(squared) / len(squared)
    torch.testing.assert_close(loss, expected)
    parameters = list(net.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)
