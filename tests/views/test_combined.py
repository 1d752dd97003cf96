"""Random views of images and tabular data: values, and not only shapes."""

import pytest
import torch

from sklearn_ssl.views import CombinedViews, ImageViews, TableViews


def test_combined_views_come_in_order_and_are_resolved():
    small = ImageViews(size=0.5, n_views=3)
    views = CombinedViews((ImageViews(), small))
    assert [v.shape[2] for v in views(torch.rand(2, 3, 40, 40))] == [40] * 2 + [20] * 3
    resolved = views.for_images(40, 40, 1)
    assert [recipe.gaussian_blur for recipe in resolved.recipes] == [
        0.5,
        0.0,
    ]  # by the view's own size
    assert {recipe.hue for recipe in resolved.recipes} == {0.0}
    rows = CombinedViews((TableViews(), TableViews(n_views=1, keep_first=False)))
    assert [v.shape for v in rows(torch.rand(6, 5))] == [(6, 5)] * 3
    assert (views.kind, rows.kind) == ("image", "table")


@pytest.mark.parametrize("recipes", [(), (ImageViews(), TableViews()), (len,), (ImageViews,)])
def test_bad_combinations(recipes):
    with pytest.raises(ValueError, match="recipes must be a tuple of view recipes, all for images"):
        CombinedViews(recipes)
