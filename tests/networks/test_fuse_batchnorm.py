"""Folded networks give what the networks give that they were made of, which stay as they are."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl.networks.encoder import make_encoder
from sklearn_ssl.networks.fuse_batchnorm import folded

NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d


def count(network, kinds):
    return sum(isinstance(module, kinds) for module in network.modules())


def lived_in(network, *shape):
    """Give the batch norms of a network statistics of their own."""
    torch.manual_seed(0)
    network.train()
    for _ in range(2):
        network(torch.rand(8, *shape) * 3 - 1)
    return network.eval()


@pytest.mark.parametrize(
    "name",
    ["small_convnet", "small_resnet", "resnet18", "densenet121", "mobilenet_v3_small", "googlenet"],
)
def test_folded_networks_give_the_same(name):
    network = lived_in(make_encoder(name, (3, 72, 72), [0.5] * 3, [0.2] * 3).backbone, 3, 72, 72)
    before = copy.deepcopy(network.state_dict())
    samples = torch.rand(4, 3, 72, 72)
    with torch.inference_mode():
        other = folded(network, samples[:2])
        given, expected = other(samples), network(samples)
    assert count(other, NORMS) < count(network, NORMS)
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert not network.training
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


class Shared(nn.Module):
    """One convolution before two norms, another whose output is also used without its norm."""

    def __init__(self):
        super().__init__()
        self.twice, self.norms = (
            nn.Conv2d(3, 3, 1),
            nn.ModuleList([nn.BatchNorm2d(3) for _ in "ab"]),
        )
        self.split, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        x = self.norms[1](self.twice(self.norms[0](self.twice(x))))
        x = self.split(x)
        return x + self.norm(x)


class Branching(nn.Module):
    """A network that looks at its values."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

    def forward(self, x):
        return self.layers(x) if x.mean() > -1e9 else x


class Counting(nn.Module):
    """A network whose code does another thing at every call."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.layers(x) * self.calls


class Own(nn.Conv2d):
    """A convolution of another kind."""

    def forward(self, x):
        return super().forward(x) ** 2


@pytest.mark.parametrize(
    "network",
    [
        Shared(),
        Counting(),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True), nn.BatchNorm2d(3)),
        nn.Sequential(Own(3, 3, 1), nn.BatchNorm2d(3)),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1)), nn.BatchNorm2d(3)),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)),
    ],
    ids=["shared", "counting", "in-place", "subclass", "no-statistics", "parametrized", "apart"],
)
def test_what_cannot_be_folded_is_left_alone(network):
    network = lived_in(network, 3, 6, 6)
    norms = count(network, NORMS)
    samples = torch.rand(5, 3, 6, 6)
    calls = getattr(network, "calls", None)
    with torch.inference_mode():
        other = folded(network, samples[:2])
        assert count(other, NORMS) == norms
        if calls is None:
            torch.testing.assert_close(other(samples), network(samples))
        else:
            assert other is network


class Twice(nn.Module):
    """A norm that is used again behind the convolution's."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.norm(self.convolution(x)) ** 2)


@pytest.mark.parametrize(
    "other",
    [
        nn.Sequential(Own(3, 3, 1), nn.BatchNorm2d(3)),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
        Twice(),
    ],
    ids=["subclass", "no-statistics", "twice"],
)
def test_what_cannot_be_folded_leaves_the_rest_to_be(other):
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), other)
    network, samples = lived_in(network, 3, 6, 6), torch.rand(5, 3, 6, 6)
    fewer = folded(network, samples)
    assert count(fewer, NORMS) == 1
    torch.testing.assert_close(fewer(samples), network(samples))


def test_networks_that_branch_are_folded():
    network = lived_in(Branching(), 3, 6, 6)
    samples = torch.rand(5, 3, 6, 6)
    with torch.inference_mode():
        other = folded(network, samples[:2])
        torch.testing.assert_close(other(samples), network(samples))
    assert count(other, NORMS) == 0


def test_pairs_are_found_without_a_check_that_they_agree(monkeypatch):
    """That is for what nobody foresaw: convolutions that are shared, or changed in place."""
    monkeypatch.setattr(torch, "allclose", lambda *_: True)
    in_place = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True), nn.BatchNorm2d(3))
    shared = Shared()
    shared.split = shared.norm = nn.Identity()
    for network in (in_place, shared):
        assert folded(lived_in(network, 3, 6, 6), torch.rand(2, 3, 6, 6)) is network


@pytest.mark.slow
@pytest.mark.parametrize("where", ["", "backbone", "backbone.stage1", "backbone.stage1.0"])
def test_hooked_networks_are_left_alone(photos, where):
    X = np.concatenate([photos] * 10)  # more than four batches
    model = SimCLRTransformer(max_epochs=1, flip_tta=False, random_state=0).fit(photos)
    seen = []
    hook = model.encoder_.get_submodule(where).register_forward_hook(
        lambda module, given, result: seen.append(len(given[0]))
    )
    model.transform(X)
    hook.remove()
    assert seen == [256] * 5
    before = model.encoder_.register_forward_pre_hook(lambda module, given: (given[0] * 0,))
    assert np.ptp(model.transform(X), axis=0).max() == 0
    before.remove()


@pytest.mark.slow
def test_folding_in_threads_does_not_affect_others(photos):
    X = np.concatenate([photos] * 10)
    model = SimCLRTransformer(max_epochs=1, random_state=0).fit(photos)
    expected, layer = model.transform(X), nn.Sequential(nn.Linear(3, 3))
    trained = SimCLRTransformer(max_epochs=1, random_state=0)
    with ThreadPoolExecutor(4) as threads:
        fits = [threads.submit(trained.fit, photos)]
        embeddings = [threads.submit(model.transform, X) for _ in range(6)]
        others = [threads.submit(layer, torch.rand(2, 3)) for _ in range(200)]
        for future in embeddings:
            np.testing.assert_allclose(future.result(), expected, atol=1e-5)
        for future in fits + others:
            future.result()


@pytest.mark.parametrize("layer", [None, "stage2"])
def test_transform_folds_and_leaves_the_encoder(photos, layer):
    X = np.concatenate([photos] * 9)  # more than four batches
    settings = {"backbone": "small_convnet", "flip_tta": False, "layer": layer}
    model = SimCLRTransformer(max_epochs=1, random_state=0, **settings).fit(photos)
    before = copy.deepcopy(model.encoder_.state_dict())
    with torch.no_grad():
        plain = model.encoder_(torch.from_numpy(X).permute(0, 3, 1, 2) / 255).numpy()
    folds, forward = [], torch.nn.functional.batch_norm
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.nn.functional,
            "batch_norm",
            lambda x, *args, **kwargs: folds.append(len(x)) or forward(x, *args, **kwargs),
        )
        embedding = model.transform(X)
    np.testing.assert_allclose(embedding, plain, rtol=0, atol=1e-5 * np.abs(plain).max())
    # The norm behind the pooling stays; those of the stages see two samples at first.
    assert sum(n > 2 for n in folds) == (5 if layer is None else 0)
    for key, value in model.encoder_.state_dict().items():
        assert torch.equal(value, before[key])
    np.testing.assert_allclose(model.transform(photos[:20]), plain[:20], rtol=0, atol=1e-4)
