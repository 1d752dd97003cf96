"""EMP-SSL: its loss beside a slow reference, its views, and what it returns."""

import math
import pickle

import numpy as np
import pytest
import torch
from common import check_inputs, shrunk, slowly
from torch import nn

import sklearn_ssl
from sklearn_ssl import (
    ColorizationTransformer,
    EMPSSLTransformer,
    InpaintingTransformer,
    JigsawTransformer,
    MAETransformer,
    RelativePatchTransformer,
    SimMIMTransformer,
    SuperResolutionTransformer,
)
from sklearn_ssl.methods.non_contrastive.emp_ssl import EMPSSLObjective, coding_rate
from sklearn_ssl.networks.fuse_batchnorm import folded
from sklearn_ssl.views import CombinedViews, ImageViews


def slow_coding_rate(z):
    """The paper's equation, by the eigenvalues of the larger of the two products."""
    n, p = z.shape
    matrix = torch.eye(p, dtype=z.dtype) + p / (0.2 * n) * sum(torch.outer(row, row) for row in z)
    return torch.linalg.eigvalsh(matrix).log().sum() / 2


def slow_emp_ssl(projections, weight):
    """Of one crop after the other: minus its coding rate and its weighted mean cosine."""
    z = [torch.stack([row / row.norm() for row in crop]) for crop in projections]
    mean, losses = sum(z) / len(z), []
    for crop in z:
        cosines = [a @ b / a.norm() / b.norm() for a, b in zip(crop, mean, strict=True)]
        losses.append(-slow_coding_rate(crop) - weight * sum(cosines) / len(cosines))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("projection_dim", [3, 9])  # fewer and more than samples
def test_emp_ssl(projection_dim):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))
    objective = EMPSSLObjective(encoder, 5, 8, projection_dim, 30.0).double()
    a, b = check_inputs()
    views = [a, b, a * b, a - 2 * b]
    result = objective(views)
    projections = objective.project(objective.encoder(torch.cat(views)))  # all crops together
    expected = slow_emp_ssl(projections.chunk(4), 30.0)
    torch.testing.assert_close(result["loss"], expected)
    total = -result["coding_rate"] - 30 * result["invariance"]
    torch.testing.assert_close(total, expected)
    parameters = list(objective.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (result["loss"], expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("n", "p"), [(4, 7), (7, 4)])
def test_emp_ssl_coding_rate_is_the_largest_of_orthogonal_directions(n, p):
    """Its sign is what keeps samples apart: the other one lets all collapse."""
    torch.manual_seed(0)
    apart, collapsed = torch.eye(p).repeat(2, 1)[:n], torch.eye(1, p).expand(n, p)
    some = nn.functional.normalize(torch.randn(n, p))
    rates = coding_rate(torch.stack([collapsed, some, apart]))
    assert rates[0] < rates[1] < rates[2]
    assert rates[0].item() == pytest.approx(math.log(1 + p / 0.2) / 2, rel=1e-5)
    if n < p:
        assert rates[2].item() == pytest.approx(n / 2 * math.log(1 + p / (0.2 * n)), rel=1e-5)


def test_emp_ssl_prefers_samples_apart_and_their_crops_together():
    def loss(*z):
        objective = EMPSSLObjective(nn.Identity(), 6, 8, 6, 200.0)
        objective.project = nn.Identity()
        return objective([torch.as_tensor(view) for view in z])["loss"].item()

    apart, collapsed = torch.eye(6), torch.eye(1, 6).expand(6, 6)
    assert loss(apart, apart) < loss(collapsed, collapsed) - 1
    assert loss(apart, apart) < loss(apart, apart.roll(1, 0)) - 1
    assert loss(apart, 3 * apart) == pytest.approx(loss(apart, apart))  # lengths do not count


def test_emp_ssl_loss_stays_in_full_precision_under_autocast():
    torch.manual_seed(0)
    objective = EMPSSLObjective(nn.Identity(), 16, 8, 16, 200.0)
    objective.project = nn.Identity()
    views = list(torch.randn(3, 8, 16))
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(views)["loss"]
    assert loss.dtype == torch.float32
    assert loss.item() == objective(views)["loss"].item()


def by_hand(model, X, crops):
    """The mean over crops, (top, left, side) in pixels, of what the trained encoder gives."""
    batch = torch.from_numpy(X).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        parts = [batch[:, :, i : i + side, j : j + side] for i, j, side in crops]
        return np.mean([model.objective_.encoder(part).numpy() for part in parts], axis=0)


@pytest.mark.slow
def test_emp_ssl_embeds_the_mean_over_crops(photos):
    X = photos[:40]
    whole = shrunk(EMPSSLTransformer, flip_tta=False).fit(X)
    assert whole._network() is whole.encoder_ is whole.objective_.encoder
    np.testing.assert_allclose(whole.transform(X), by_hand(whole, X, [(0, 0, 32)]), atol=1e-4)
    # The range of the places, 16 pixels along each side, in halves: their middles are 4 and 12.
    four = shrunk(EMPSSLTransformer, n_patches=4, flip_tta=False).fit(X)
    places = [(i, j, 16) for i in (4, 12) for j in (4, 12)]
    np.testing.assert_allclose(four.transform(X), by_hand(four, X, places), rtol=1e-3, atol=1e-4)
    assert np.abs(four.transform(X) - whole.transform(X)).max() > 0.1
    np.testing.assert_array_equal(four.transform(X), four.transform(X))
    one_by_one = np.concatenate([four.transform(X[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(one_by_one, four.transform(X[:5]), rtol=1e-4, atol=1e-5)


def enlarged(images):
    return [images[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)] * 2


def test_emp_ssl_crops_are_as_large_as_those_of_the_views(photos):
    views = ImageViews(scale=(0.5, 0.625), ratio=(1.0, 1.0), n_views=2)
    for recipe, side, n_out in ((views, 24, 32), (enlarged, 16, 32), ("auto", 16, 16)):
        model = shrunk(EMPSSLTransformer, views=recipe, n_patches=2).fit(photos[:20])
        rows = model._network().rows
        assert rows.shape == (2, n_out, 32)
        assert ((rows > 0).any(dim=1).sum(dim=1) == side).all()


def test_emp_ssl_views(photos, images):
    views = shrunk(EMPSSLTransformer).fit(photos[:20]).views_(torch.rand(5, 3, 32, 32))
    assert [tuple(view.shape) for view in views] == [(5, 3, 16, 16)] * 8
    tiny = shrunk(EMPSSLTransformer).fit(images[:20])  # crops of 4 pixels would show nothing
    assert tiny.views_(torch.rand(5, 1, 8, 8))[0].shape == (5, 1, 8, 8)
    rows = shrunk(EMPSSLTransformer, n_patches=4).fit(images[:20].reshape(20, -1))
    assert rows._network() is rows.encoder_
    views = rows.views_(torch.rand(30, 64))
    assert len({view.numpy().tobytes() for view in views}) == 8
    with pytest.raises(ValueError, match="2 views or more; the view recipe gave 1"):
        shrunk(EMPSSLTransformer, views=ImageViews(n_views=1)).fit(photos[:20])


@pytest.mark.parametrize(
    "method",
    [
        ColorizationTransformer,
        EMPSSLTransformer,
        InpaintingTransformer,
        JigsawTransformer,
        MAETransformer,
        RelativePatchTransformer,
        SimMIMTransformer,
        SuperResolutionTransformer,
    ],
)
def test_views_of_several_sizes_are_refused(photos, method):
    views = CombinedViews((ImageViews(n_views=1), ImageViews(n_views=1, size=0.5)))
    with pytest.raises(ValueError, match=r"have the same size. Got 32 x 32 and 16 x 16"):
        shrunk(method, views=views).fit(photos[:20])


@pytest.mark.parametrize(
    "settings", [{}, slowly({"layer": "stage2"}), slowly({"backbone": "small_vit"})]
)
@pytest.mark.slow
def test_emp_ssl_with_patches_is_cached_saved_and_loaded(photos, tmp_path, settings):
    X = photos[:20]
    settings = {"n_patches": 3, "memory": tmp_path / "kept"} | settings
    model = shrunk(EMPSSLTransformer, **settings).fit(X)
    embedding = model.transform(X)
    again = shrunk(EMPSSLTransformer, **settings).fit(X)
    np.testing.assert_array_equal(again.transform(X), embedding)
    other = shrunk(EMPSSLTransformer, **(settings | {"n_patches": 4})).fit(X)
    assert np.abs(other.transform(X) - embedding).max() > 1e-3  # neither fit nor embedding is that
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(X), embedding)
    model.save(tmp_path / "saved")
    np.testing.assert_array_equal(sklearn_ssl.load(tmp_path / "saved").transform(X), embedding)
    model.partial_fit(X)
    assert np.abs(model.transform(X) - embedding).max() > 1e-4
    assert len(model._network().rows) == 3


@pytest.mark.exhaustive
@pytest.mark.parametrize("backbone", ["small_convnet", "small_vit"])
def test_emp_ssl_with_patches_as_onnx(photos, tmp_path, backbone):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = shrunk(EMPSSLTransformer, n_patches=3, backbone=backbone).fit(photos[:20])
    model.to_onnx(tmp_path / "encoder.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    for n in (1, 7):
        (given,) = session.run(None, {"X": photos[:n].astype(np.float32)})
        np.testing.assert_allclose(given, model.transform(photos[:n]), rtol=1e-3, atol=1e-4)


def test_emp_ssl_with_patches_is_folded(photos):
    """The encoder is called once for all crops, else its batch norms could not be folded."""
    model = shrunk(EMPSSLTransformer, n_patches=4).fit(photos[:20])
    samples = torch.rand(3, 3, 32, 32)
    embedder = model._network()
    network = folded(embedder, samples)
    assert network is not embedder
    with torch.no_grad():
        torch.testing.assert_close(network(samples), embedder(samples), rtol=1e-3, atol=1e-4)
