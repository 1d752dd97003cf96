"""All4One: its three terms beside slow references."""

import pytest
import torch
from common import check_inputs
from torch import nn
from torch.nn.functional import normalize

from methods.contrastive.references import slow_info_nce, slow_nearest
from sklearn_ssl.methods.contrastive.all4one import All4OneObjective, Centroids, feature_loss


def slow_feature_loss(keys, z):
    p, diagonal, off = keys.shape[1], [], []
    for i in range(p):
        for j in range(p):
            cosine = keys[:, i] @ z[:, j] / keys[:, i].norm() / z[:, j].norm()
            (diagonal if i == j else off).append((cosine - (1 if i == j else 0)) ** 2)
    return 10 * (sum(t and (sum(t) / len(t)) ** 0.5 / 2 for t in (diagonal, off)))


def test_all4one_feature_term():
    a, b = (t.requires_grad_() for t in check_inputs())
    loss, expected = feature_loss(a, b), slow_feature_loss(a, b)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(x, (a, b)) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_all4one():
    torch.manual_seed(0)
    tested = All4OneObjective(nn.Linear(4, 3), 3, 8, 16, 0.5, 0.9, 9, 3).double().train()
    tested.centroids.eval()  # dropout would differ from pass to pass
    tested.queue.push(normalize(torch.randn(9, 16).double()))
    views = [v.detach() for v in check_inputs()]
    terms = tested(views)
    z = [tested.project(tested.encoder(v)) for v in views]
    keys = [normalize(tested.teacher.head(tested.teacher.encoder(v))).detach() for v in views]
    expected = {"neighbors": 0, "centroids": 0, "features": 0}
    near = [
        torch.stack(
            [torch.stack(sorted(tested.queue.vectors, key=lambda o: -(k @ o))[:3]) for k in key]
        )
        for key in keys
    ]
    for i, j in ((0, 1), (1, 0)):
        first = slow_nearest(keys[i], tested.queue.vectors)
        expected["neighbors"] += slow_info_nce(first, tested.predict(z[j]), 0.5) / 2
        shifted = [tested.predict_centroid(z[j]), near[j][:, 0], near[j][:, 1]]
        pair = tested.centroids(near[i]), tested.centroids(torch.stack(shifted, dim=1))
        expected["centroids"] += slow_info_nce(*pair, 0.1) / 2
        expected["features"] += slow_feature_loss(keys[i], z[j]) / 2
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    loss = sum(expected.values()) / 2
    torch.testing.assert_close(terms["loss"], loss)
    parameters = [p for name, p in tested.named_parameters() if not name.startswith("teacher")]
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (terms["loss"], loss))
    torch.testing.assert_close(ours, theirs)
    before = [p.clone() for p in tested.teacher.parameters()]
    tested.project[0].weight.data += 1
    tested.after_update(terms, 0.0)
    torch.testing.assert_close(tested.queue.vectors[:6], keys[0])
    assert any((p != q).any() for p, q in zip(tested.teacher.parameters(), before, strict=True))


@pytest.mark.parametrize("dim", [16, 12, 5])
def test_all4one_centroids_depend_on_the_order_of_neighbors(dim):
    torch.manual_seed(0)
    centroids, vectors = Centroids(dim, 5).eval(), torch.randn(4, 5, dim)
    assert centroids(vectors).shape == (4, dim)
    assert (centroids(vectors) - centroids(vectors.flip(1))).abs().max() > 1e-3
