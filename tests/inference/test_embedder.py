"""Maps of features, of images in every form."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from common import shrunk
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_wine

import sklearn_ssl
from sklearn_ssl import EncoderTransformer, Images, SimCLRTransformer


def scaled(photos):
    return torch.from_numpy(photos).permute(0, 3, 1, 2) / 255


@pytest.mark.slow
def test_maps_are_those_that_features_are_pooled_from(photos):
    model = EncoderTransformer(backbone="resnet18", random_state=0).fit(photos)
    maps = model.transform_map(photos)
    assert (maps.shape, maps.dtype) == ((128, 4, 4, 512), np.float32)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), model.transform(photos), atol=1e-4)
    network, encoder = model.encoder_.backbone, model.encoder_
    with torch.no_grad():
        stem = network.maxpool(
            network.relu(network.bn1(network.conv1(encoder.normalized(scaled(photos[:4])))))
        )
        expected = network.layer4(network.layer3(network.layer2(network.layer1(stem))))
    np.testing.assert_allclose(maps[:4], expected.permute(0, 2, 3, 1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("backbone", "layer", "shape"),
    [
        ("small_convnet", None, (4, 4, 256)),
        ("small_convnet", "stage2", (8, 8, 128)),
        ("small_vit", None, (8, 8, 128)),
        ("resnet18", "layer2", (16, 16, 128)),
    ],
)
@pytest.mark.slow
def test_maps_of_layers(backbone, layer, shape, photos):
    model = EncoderTransformer(backbone=backbone, layer=layer, random_state=0).fit(photos)
    maps = model.transform_map(photos)
    assert maps.shape == (128, *shape)
    one = model.transform_map(photos[5:6])
    np.testing.assert_allclose(one[0], maps[5], rtol=1e-3, atol=1e-4)
    # A bright square changes the positions that see it most.
    changed = photos[:1].copy()
    changed[0, :4, -4:] = 255 - changed[0, :4, -4:]
    difference = np.abs(model.transform_map(changed) - maps[:1]).sum(axis=3)[0]
    if backbone != "small_vit":  # in which every position sees all
        row, column = np.unravel_index(difference.argmax(), difference.shape)
        assert row < shape[0] / 2 <= column


def test_maps_of_mirror_images_are_mirrored_back(photos):
    model = EncoderTransformer(flip_tta=True, random_state=0).fit(photos)
    maps, flipped = model.transform_map(photos), model.transform_map(photos[:, :, ::-1])
    np.testing.assert_allclose(flipped, maps[:, :, ::-1], rtol=1e-3, atol=1e-4)
    model.flip_tta = False
    plain, mirrored = model.transform_map(photos), model.transform_map(photos[:, :, ::-1])
    np.testing.assert_allclose(maps, (plain + mirrored[:, :, ::-1]) / 2, rtol=1e-3, atol=1e-4)


def test_unreadable_images_have_no_map(photos, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, photo in zip(paths, photos[:4], strict=True):
        Image.fromarray(photo).save(path)
    model = EncoderTransformer(input=Images(on_error="skip"), random_state=0).fit(paths)
    paths[2].write_bytes(b"no image")
    maps = model.transform_map(paths)
    assert np.isnan(maps[2]).all()
    assert np.isfinite(np.delete(maps, 2, axis=0)).all()


def test_maps_need_images_and_networks_that_have_them(photos):
    model = shrunk(SimCLRTransformer).fit(load_wine().data[:40])
    with pytest.raises(ValueError, match=r"transform_map requires images, .* tabular data with 13"):
        model.transform_map(load_wine().data[:40])
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 8))
    with pytest.raises(ValueError, match="needs a backbone that makes a map"):
        EncoderTransformer(backbone=flat).fit(photos).transform_map(photos)


@pytest.mark.slow
def test_threads_share_an_encoder_and_copies_have_the_same_maps(photos, tmp_path):
    model = EncoderTransformer(backbone="mobilenet_v3_small", random_state=0).fit(photos)
    expected = model.transform_map(photos)
    with ThreadPoolExecutor(2) as threads:
        for maps in threads.map(model.transform_map, [photos] * 4):
            np.testing.assert_array_equal(maps, expected)
    model.save(tmp_path / "model.safetensors")
    copies = pickle.loads(pickle.dumps(model)), sklearn_ssl.load(tmp_path / "model.safetensors")
    for other in (*copies, clone(model).fit(photos)):
        np.testing.assert_allclose(other.transform_map(photos), expected, rtol=1e-4, atol=1e-5)
