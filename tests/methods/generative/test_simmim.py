"""SimMIM: its loss beside a slow reference, and what it takes."""

import numpy as np
import pytest
import torch
from common import digits, shrunk
from torch import nn

from methods.generative.references import dense, pictures, slow_patches
from sklearn_ssl import SimMIMTransformer
from sklearn_ssl.methods.generative.simmim import SimMIMObjective


def network(X, **settings):
    model = shrunk(SimMIMTransformer, **settings).fit(X)
    return model.backbone_, model.objective_.patch_size


def test_resolution_of_auto(photos):
    rng = np.random.default_rng(0)
    assert network(photos[:20])[1] == 8
    assert network(photos[:20], backbone="small_vit")[0] == "small_vit"
    assert network(photos[:20], backbone="small_resnet")[1] == 8
    assert network(rng.random((10, 24, 36)))[1] == 6
    assert network(rng.random((10, 13, 13))) == ("small_convnet", 1)
    views = shrunk(SimMIMTransformer).fit(photos[:20]).views_(torch.rand(2, 3, 32, 32))
    assert [view.shape for view in views] == [(2, 3, 32, 32)]
    model = shrunk(SimMIMTransformer).fit(photos[:20])
    assert model.objective_.norm_pix_loss is False
    assert model.objective_.mask_ratio == 0.6


def test_networks_without_a_map_are_refused():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    with pytest.raises(ValueError, match="needs a backbone that makes a map"):
        shrunk(SimMIMTransformer, backbone=flat).fit(digits()[0][:20])


@pytest.mark.parametrize("normalized", [True, False])
def test_simmim(normalized):
    net = dense(SimMIMObjective, 2, 0.6, normalized, 16)
    net.mask_patch.data.uniform_()
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
            seen[:, i : i + 2, j : j + 2] = net.mask_patch
        maps = net.encoder.features(seen[None]).map
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
