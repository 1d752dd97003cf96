"""Networks that are not trained: random ones, and with given weights."""

import copy
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.base import clone
from torch import nn

from sklearn_ssl import EncoderTransformer, Images, SimCLRTransformer
from sklearn_ssl.networks.backbone import make_backbone


def plain_network(shape):
    """A network with a batch norm behind a convolution."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    )


def test_batch_norms_measure_the_samples(photos):
    model = EncoderTransformer(backbone=plain_network, random_state=0, device="cpu").fit(photos)
    convolution, norm = model.encoder_.backbone[:2]
    x = torch.from_numpy(photos).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        maps = convolution((x - model.encoder_.mean) / model.encoder_.std)
    torch.testing.assert_close(norm.running_mean, maps.mean((0, 2, 3)), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(norm.running_var, maps.var((0, 2, 3)), atol=1e-3, rtol=1e-2)
    assert norm.momentum == 0.1
    assert not any(m.training for m in model.encoder_.modules())


def test_no_batch_is_of_one_sample(photos):
    """A batch norm cannot learn from one."""
    X = np.concatenate([photos, photos, photos[:1]])  # 257, where batches are of 256
    assert EncoderTransformer(random_state=0, device="cpu").fit_transform(X).shape == (257, 1536)


@pytest.mark.slow
def test_it_has_the_network_of_methods(photos, images):
    for X in (photos, images, images.reshape(len(images), -1)):
        model = EncoderTransformer(random_state=0, device="cpu").fit(X)
        trained = SimCLRTransformer(max_epochs=1, random_state=0, device="cpu").fit(X)
        assert model.backbone_ == trained.backbone_
        assert model.transform(X).shape == trained.transform(X).shape
        assert model.transform(X).dtype == np.float32
        names = model.get_feature_names_out()
        assert (names[0], len(names)) == ("encoder0", model.transform(X).shape[1])


def test_seeds_make_networks_and_leave_torch_alone(photos):
    before = torch.get_rng_state()
    first, again, other = (
        EncoderTransformer(random_state=seed, device="cpu").fit_transform(photos[:40])
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    assert torch.equal(torch.get_rng_state(), before)


def test_given_weights_stay_as_they_are(photos, tmp_path):
    torch.manual_seed(0)
    network = make_backbone("small_resnet", (3, 32, 32))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    expected = network.state_dict()
    file = {"backbone": "small_resnet", "weights": tmp_path / "weights.safetensors"}
    for given in (file, {"backbone": network}):
        model = EncoderTransformer(**given, device="cpu").fit(photos)
        for name, weight in model.encoder_.backbone.state_dict().items():
            torch.testing.assert_close(weight, expected[name])


def test_mirror_images_and_layers(photos):
    settings = {"random_state": 0, "device": "cpu"}
    X, flipped = photos[:20], photos[:20, :, ::-1]
    plain = EncoderTransformer(**settings).fit(X)
    both = EncoderTransformer(**settings, flip_tta=True).fit(X)
    mean = (plain.transform(X) + plain.transform(flipped)) / 2
    np.testing.assert_allclose(both.transform(X), mean, atol=1e-5)
    cut = EncoderTransformer(**settings, backbone="resnet18", layer="layer2").fit(X)
    assert cut.transform(X).shape == (20, 128)


def test_pickled_cloned_and_files(photos, tmp_path):
    from PIL import Image

    paths = []
    for i, photo in enumerate(photos[:12]):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(photo).save(paths[-1])
    model = EncoderTransformer(random_state=0, device="cpu", input=Images(size=32))
    expected = model.fit_transform(paths)
    assert expected.shape == (12, 1536)
    for copied in (
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        clone(model).fit(paths),
    ):
        np.testing.assert_array_equal(copied.transform(paths), expected)


def test_a_fit_that_fails_leaves_the_one_before(photos):
    model = EncoderTransformer(random_state=0, device="cpu").fit(photos[:20])
    expected = model.transform(photos[:20])
    model.backbone = "no_such_network"
    with pytest.raises(ValueError, match="no_such_network"):
        model.fit(photos[:20])
    np.testing.assert_array_equal(model.transform(photos[:20]), expected)
