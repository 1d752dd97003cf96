"""Random values of views: drawn once, applied to the batch or to shares of it."""

import pytest
import torch
from torchvision.transforms import v2

from sklearn_ssl.views import (
    CombinedViews,
    ImageViews,
    MultiCrop,
    PerSampleViews,
    TableViews,
    TextViews,
)
from sklearn_ssl.views.drawn import draws_apart

EVERYTHING = ImageViews(solarize=0.5, random_erasing=0.5, gaussian_blur=0.5, n_views=3)
RECIPES = {
    "image": ImageViews(),
    "everything": EVERYTHING,
    "turned": ImageViews(rotation=20.0, quarter_turn=0.5, square=True, size=0.5),
    "multi_crop": MultiCrop(),
    "per_sample": PerSampleViews(v2.Compose([v2.RandomResizedCrop(16), v2.ColorJitter(0.4)])),
    "combined": CombinedViews((EVERYTHING, PerSampleViews(v2.RandomCrop(8), n_views=1))),
    "table": TableViews(n_views=3),
    "corrupted": TableViews(keep_first=False),
    "table_crops": MultiCrop(TableViews()),
    "kept": TableViews(n_views=1),
    "text": TextViews(),
    "text_apart": TextViews(0.3, n_views=3, disjoint=False),
}
each_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


def samples_for(recipe, n=21):
    torch.manual_seed(0)
    if recipe.kind == "text":
        return torch.randint(1, 99, (n, 24)) * (torch.arange(24) < torch.arange(n)[:, None])
    return torch.rand(n, 3, 24, 32) if recipe.kind == "image" else torch.randn(n, 7)


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@each_recipe
@pytest.mark.parametrize(
    "share",
    [slice(8), slice(8, None), slice(5, 6), torch.tensor([3, 0, 20]), torch.arange(21) % 3 == 0],
    ids=["first", "rest", "one", "indices", "mask"],
)
def test_shares_of_one_draw_are_parts_of_the_views(recipe, share):
    batch = samples_for(recipe)
    if isinstance(recipe, ImageViews) and recipe.quarter_turn:
        batch = batch[..., :24]
    drawn = recipe.draw(len(batch), batch.shape[1:], device="cpu")
    views = recipe.apply(batch, drawn)
    part = drawn[share]
    assert len(part) == len(batch[share])
    ours = recipe.apply(batch[share], part, pool=batch)
    assert len(ours) == len(views) > 0
    for one, view in zip(ours, views, strict=True):
        # Batched products of matrices depend on the size of the batch in the last digits.
        torch.testing.assert_close(one, view[share], rtol=1e-5, atol=1e-6)


@each_recipe
def test_a_call_draws_and_applies(recipe):
    batch = samples_for(recipe)[..., :24]
    torch.manual_seed(1)
    called = recipe(batch)
    torch.manual_seed(1)
    drawn = recipe.draw(len(batch), batch.shape[1:], device=batch.device)
    state = torch.get_rng_state()
    assert_equal(recipe.apply(batch, drawn), called)
    assert_equal(recipe.apply(batch, drawn), called)  # without another draw
    assert torch.equal(torch.get_rng_state(), state)


@each_recipe
def test_generators_are_used_instead_of_the_default_one(recipe):
    batch = samples_for(recipe)[..., :24]
    torch.manual_seed(1)
    called = recipe(batch)
    state, generator = torch.get_rng_state(), torch.Generator().manual_seed(1)
    drawn = recipe.draw(len(batch), batch.shape[1:], device="cpu", generator=generator)
    assert_equal(recipe.apply(batch, drawn), called)
    assert torch.equal(torch.get_rng_state(), state)


def test_views_of_tabular_data_take_values_from_the_pool():
    recipe, table = TableViews(keep_first=False, n_views=1), torch.arange(40.0)[:, None]
    drawn = recipe.draw(40, (1,), device="cpu")
    (view,) = recipe.apply(table[:4], drawn[:4], pool=table)
    assert view.max() > 3
    with pytest.raises(ValueError, match=r"pool must have the 40 samples .* Got 4 samples"):
        recipe.apply(table[:4], drawn[:4])
    kinds = [TableViews(), MultiCrop(TableViews()), CombinedViews((TableViews(),))]
    assert all(recipe.uses_pool for recipe in kinds)
    assert not any(RECIPES[name].uses_pool for name in ("image", "multi_crop", "combined"))


@pytest.mark.parametrize("name", ["image", "multi_crop", "per_sample", "table"])
def test_other_batches_than_those_drawn_for_are_refused(name):
    recipe = RECIPES[name]
    batch = samples_for(recipe)
    drawn = recipe.draw(len(batch), batch.shape[1:], device="cpu")
    with pytest.raises(ValueError, match="values of 21 samples, but the batch has 20"):
        recipe.apply(batch[:20], drawn)


def test_images_of_another_shape_are_refused():
    drawn = ImageViews().draw(4, (3, 16, 16), device="cpu")
    with pytest.raises(ValueError, match=r"for images of shape \(3, 16, 16\), but .* \(1, 8, 8\)"):
        ImageViews().apply(torch.rand(4, 1, 8, 8), drawn)


def test_functions_of_a_batch_need_no_draw():
    assert all(map(draws_apart, RECIPES.values()))
    old = type("Old", (), {"kind": "image", "__call__": lambda self, batch: [batch]})()
    assert not draws_apart(lambda batch: [batch])
    assert not draws_apart(CombinedViews((ImageViews(), old)))
    assert len(CombinedViews((ImageViews(), old))(torch.rand(2, 3, 8, 8))) == 3


def test_recipes_of_users_draw_apart_if_their_call_does():
    calls = {"__call__": lambda self, batch: [batch]}
    draws = {"draw": ImageViews.draw, "apply": ImageViews.apply}
    assert draws_apart(type("Own", (), calls | draws)())
    assert draws_apart(type("Own", (ImageViews,), calls | draws)())
    assert not draws_apart(type("Own", (ImageViews,), calls)())
