"""Random views of images and tabular data: values, and not only shapes."""

import pytest
import torch
from torchvision.transforms import v2

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl.views import CombinedViews, ImageViews, PerSampleViews


def test_transforms_of_torchvision_are_drawn_for_each_image(batch):
    same = batch[:1].expand(16, -1, -1, -1)
    views = PerSampleViews(v2.RandomResizedCrop(24), n_views=3)(same)
    assert [view.shape for view in views] == [(16, 3, 24, 24)] * 3
    assert len(torch.unique(torch.cat(views).flatten(1), dim=0)) > 40
    both = CombinedViews((ImageViews(n_views=1), PerSampleViews(v2.RandomCrop(8), n_views=2)))
    assert [v.shape[2] for v in both.for_images(32, 32, 3)(batch)] == [32, 8, 8]


def test_transforms_may_change_their_image_in_place(batch):
    before = batch.clone()
    views = PerSampleViews(v2.RandomErasing(1.0, scale=(0.2, 0.2), inplace=True))(batch)
    assert torch.equal(batch, before)
    for view in views:
        assert (view != batch).any(1).float().mean() < 0.25


def test_transforms_of_torchvision_train_reproducibly(photos):
    transform = v2.Compose([v2.RandomResizedCrop(32), v2.ColorJitter(0.4, 0.4, 0.4, 0.1)])
    model = SimCLRTransformer(views=PerSampleViews(transform), max_epochs=1, random_state=0)
    first, second = (model.fit(photos[:64]).loss_curve_ for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (v2.ToPILImage(), "must return a tensor. It returned <class 'PIL"),
        (lambda image: image[:, : 5 + int(1e4 * image.mean()) % 20], "views of the same shape"),
        ("crop", "transform must be callable. Got 'crop'"),
    ],
    ids=["image", "shapes", "text"],
)
def test_bad_transforms(batch, transform, message):
    with pytest.raises(ValueError, match=message):
        PerSampleViews(transform)(batch)
    with pytest.raises(ValueError, match="n_views must be at least 1"):
        PerSampleViews(len, n_views=0)
