"""Random views of images and tabular data: values, and not only shapes."""

import numpy as np
import pytest
import torch

from sklearn_ssl.views import TableViews


def test_rows_replace_exactly_their_share_from_the_same_column():
    torch.manual_seed(0)
    # The column's number in the hundreds, the row's in the units: no value stands twice.
    rows = torch.arange(10) * 100.0 + torch.arange(50.0)[:, None]
    original, corrupted = TableViews(corruption=0.6)(rows)
    assert torch.equal(original, rows)
    assert torch.equal(corrupted // 100, rows // 100)  # from the same column
    replaced = corrupted != rows
    assert replaced.sum(1).max() == 6  # a row may by chance receive its own value
    assert replaced.sum(1).float().mean() > 5.5
    assert len(torch.unique(replaced, dim=0)) > 30  # drawn for each row
    donors = torch.where(replaced, corrupted % 100, -1.0)
    assert len(donors[0][donors[0] >= 0].unique()) > 1  # for each feature on its own


def test_rows_of_one_feature_still_change():
    torch.manual_seed(0)
    _, corrupted = TableViews()(torch.arange(50.0)[:, None])
    assert (corrupted != torch.arange(50.0)[:, None]).any()


@pytest.mark.parametrize("settings", [{"corruption": 0.0}, {"corruption": 1.2}, {"n_views": 0}])
def test_bad_row_recipes(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        TableViews(**settings)


def test_corrupted_first_view():
    torch.manual_seed(0)
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 8)))
    views = TableViews(keep_first=False, n_views=3)(rows)
    assert len(views) == 3
    assert all(not torch.equal(view, rows) for view in views)
