"""Multi-crop: sizes, order, draws, and invalid parameters."""

import pytest
import torch

import sklearn_ssl
from sklearn_ssl import DINOTransformer
from sklearn_ssl.views import CombinedViews, ImageViews, MultiCrop, PerSampleViews, TableViews


def test_local_crops_follow_global_views():
    views = MultiCrop(n_local_crops=3)(torch.rand(2, 3, 40, 40))
    assert [v.shape[2] for v in views] == [40] * 2 + [20] * 3
    views = MultiCrop(ImageViews(size=0.5, n_views=1), local_size=0.4)(torch.rand(2, 3, 40, 40))
    assert [v.shape[2] for v in views] == [20] + [8] * 4


def test_local_crops_have_the_augmentations_of_global_views():
    multi_crop = MultiCrop(ImageViews(hflip=0.0, grayscale=1.0), local_scale=(0.2, 0.3))
    large, small = multi_crop.combined().recipes
    assert (small.hflip, small.grayscale, small.scale) == (0.0, 1.0, (0.2, 0.3))
    assert large == multi_crop.global_views
    resolved = multi_crop.for_images(40, 40, 1)
    assert [recipe.gaussian_blur for recipe in resolved.recipes] == [0.5, 0.0]  # by their own size


def test_draws_are_those_of_combined_views():
    images = torch.rand(4, 3, 16, 16)
    parts = ImageViews(), ImageViews(size=0.5, scale=(0.1, 0.4), n_views=4)
    ours, theirs = [], []
    for recipe, found in ((MultiCrop(ImageViews()), ours), (CombinedViews(parts), theirs)):
        torch.manual_seed(0)
        found += recipe(images)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)


def test_without_local_crops_there_are_global_views():
    multi_crop = MultiCrop(n_local_crops=0)
    assert multi_crop.combined() == multi_crop.global_views
    assert len(multi_crop(torch.rand(2, 3, 16, 16))) == 2


def test_tabular_data():
    table = torch.rand(30, 50)
    multi_crop = MultiCrop(TableViews(), n_local_crops=3)
    first, *others = multi_crop(table)
    assert multi_crop.kind == "table"
    assert torch.equal(first, table)  # TableViews(keep_first=True)
    assert [bool((view != table).any()) for view in others] == [True] * 4


def test_parameters_of_an_estimator_are_nested():
    dino = DINOTransformer(views=MultiCrop())
    dino.set_params(views__n_local_crops=2, views__global_views__hflip=0.0)
    assert dino.views == MultiCrop(ImageViews(scale=(0.4, 1.0), hflip=0.0), n_local_crops=2)
    assert MultiCrop().global_views.hflip == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"global_views": PerSampleViews(len)}, "global_views must be ImageViews or TableViews"),
        ({"global_views": ImageViews}, "global_views must be ImageViews or TableViews"),
        ({"n_local_crops": -1}, r"n_local_crops must be an int in \[0, inf\). Got -1"),
        ({"n_local_crops": 2.5}, "n_local_crops must be an int"),
        ({"local_size": 0.0}, r"local_size must be in \(0, 1\]. Got 0.0"),
        ({"local_scale": (0.5, 0.1)}, r"local_scale must be two fractions.* Got \(0.5, 0.1\)"),
    ],
)
def test_invalid_parameters(settings, message):
    with pytest.raises(ValueError, match=message):
        MultiCrop(**settings)


def test_saved(images, tmp_path):
    views = MultiCrop(TableViews(keep_first=False), n_local_crops=1)
    settings = {"max_epochs": 1, "random_state": 0, "head_hidden_dim": 16, "n_prototypes": 16}
    model = DINOTransformer(views=views, **settings).fit(images.reshape(len(images), -1))
    model.save(tmp_path / "saved")
    loaded = sklearn_ssl.load(tmp_path / "saved")
    assert loaded.views == loaded.views_ == views
