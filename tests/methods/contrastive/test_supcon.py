"""SupCon: its loss beside a slow reference."""

import numpy as np
import pytest
import torch
from common import check_inputs, digits, shrunk

from methods.contrastive.references import slow_nt_xent
from sklearn_ssl import Images, SimCLRTransformer, SupConTransformer
from sklearn_ssl.methods.contrastive.supcon import supcon
from sklearn_ssl.views import ImageViews


def slow_supcon(z, labels, temperature):
    z, losses = [row / row.norm() for row in z], []
    for i, anchor in enumerate(z):
        exp = {k: torch.exp(anchor @ z[k] / temperature) for k in range(len(z)) if k != i}
        positives = [k for k in exp if labels[k] == labels[i]]
        if positives:
            terms = [-torch.log(exp[k] / sum(exp.values())) for k in positives]
            losses.append(sum(terms) / len(terms))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(
    ("labels", "value"), [([0, 0, 1, 1, 2, 2], 1.620202), ([0, 1, 1, 3, 1, 2], None)]
)
def test_supcon(labels, value):
    a, b = (t.requires_grad_() for t in check_inputs())
    labels = torch.tensor(labels).repeat(2)
    loss, expected = supcon(torch.cat([a, b]), labels, 0.5), slow_supcon([*a, *b], labels, 0.5)
    torch.testing.assert_close(loss, expected)
    assert value is None or loss.item() == pytest.approx(value, abs=1e-6)
    ours, theirs = (torch.autograd.grad(x, (a, b)) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_supcon_of_one_positive_is_nt_xent():
    a, b = check_inputs()
    loss = supcon(torch.cat([a, b]), torch.arange(6).repeat(2), 0.5)
    torch.testing.assert_close(loss, slow_nt_xent(a, b, 0.5))


def test_supcon_skips_anchors_without_a_positive():
    a, _ = (t.requires_grad_() for t in check_inputs())
    labels = torch.tensor([0, 0, 1, 2, 3, 4])
    torch.testing.assert_close(supcon(a, labels, 0.5), slow_supcon(a, labels, 0.5))
    alone = supcon(a, torch.arange(6), 0.5)
    assert alone.item() == 0
    assert not torch.autograd.grad(alone, a)[0].any()


@pytest.mark.slow
def test_supcon_learns_from_labels(images):
    y = digits()[1][: len(images)]
    settings = {"max_epochs": 15, "random_state": 0, "views": ImageViews(hflip=0.0)}
    inside = y[:-1] == y[1:]
    ratios = []
    for given in (y, None):
        model = SupConTransformer(**settings).fit(images, given)
        energy = model.energy(images[:-1], images[1:])
        ratios.append(energy[inside].mean() / energy[~inside].mean())
    assert ratios[0] < 0.7 * ratios[1]
    half = np.where(np.arange(len(y)) % 2, y, -1)
    assert model.score(images, y) != model.score(images) == model.score(images, np.full(len(y), -1))
    trained = SupConTransformer(**settings).fit(images, half)
    assert not np.array_equal(trained.transform(images), model.transform(images))


def test_supcon_without_labels_is_simclr(images):
    settings = {"max_epochs": 1, "random_state": 0}
    y = np.array([*["a"] * 100, *["b"] * 100], object)
    unlabeled = SupConTransformer(**settings).fit(images, np.full(200, -1)).transform(images)
    expected = SimCLRTransformer(**settings).fit(images).transform(images)
    np.testing.assert_allclose(unlabeled, expected, atol=5e-3)  # in another order of sums
    none = SupConTransformer(**settings).fit(images).transform(images)
    np.testing.assert_array_equal(none, unlabeled)
    labeled, named = (
        SupConTransformer(**settings).fit(images, v).transform(images) for v in (y, y == "b")
    )
    np.testing.assert_array_equal(labeled, named)
    assert not np.array_equal(labeled, unlabeled)


def test_supcon_labels_belong_to_their_images(images, tmp_path):
    """Also if some could not be read, and if the fit is cached."""
    y = digits()[1][:60]
    X = [image.astype(np.uint8) for image in images[:60]]
    with_broken = [*X[:20], b"broken", *X[20:]]
    labels = np.array([*y[:20], 5, *y[20:]])
    settings = {"input": Images(on_error="skip")}
    broken = shrunk(SupConTransformer, **settings).fit(with_broken, labels)
    whole = shrunk(SupConTransformer, **settings).fit(X, y)
    np.testing.assert_array_equal(broken.transform(X), whole.transform(X))
    cached = {"memory": tmp_path}
    first, other = (shrunk(SupConTransformer, **cached).fit(images[:60], v) for v in (y, y[::-1]))
    assert not np.array_equal(first.transform(images), other.transform(images))
    with pytest.raises(ValueError, match="y has 59 values, but X has 60 samples"):
        shrunk(SupConTransformer).fit(images[:60], y[:-1])
