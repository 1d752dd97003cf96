"""Random views of texts: which tokens are deleted, and where the others are."""

import pytest
import torch

from sklearn_ssl.views import CombinedViews, TableViews, TextViews
from sklearn_ssl.views.text import ranks


def padded(*lengths, width=20):
    """Texts of the ids 1, 2, 3, ... of these lengths."""
    places = torch.arange(1, width + 1)
    return places * (places <= torch.tensor(lengths)[:, None])


@pytest.mark.parametrize("disjoint", [True, False])
@pytest.mark.parametrize(("deletion", "left"), [(0.5, (10, 3, 1, 1, 0)), (0.3, (14, 5, 2, 1, 0))])
def test_exactly_their_share_is_deleted(deletion, left, disjoint):
    torch.manual_seed(0)
    ids = padded(20, 7, 3, 1, 0)
    first, second = TextViews(deletion=deletion, disjoint=disjoint)(ids)
    assert (first != 0).sum(dim=1).tolist() == list(left)
    assert first.shape == second.shape == (5, left[0])
    for view in (first, second):
        for row, n in zip(view, left, strict=True):
            assert (row[:n].diff() > 0).all()  # in order, each at most once
            assert (row[:n] > 0).all()
            assert (row[n:] == 0).all()
    assert ids.tolist() == padded(20, 7, 3, 1, 0).tolist()


def test_deletion_is_drawn_for_each_text_and_view():
    torch.manual_seed(0)
    first, second = TextViews()(padded(*[20] * 40))
    assert len(torch.unique(first, dim=0)) > 35
    assert not torch.equal(first, second)
    counts = first.flatten().bincount(minlength=21)[1:]
    assert 8 <= counts.min() < counts.max() <= 32  # all tokens are deleted equally often


def test_disjoint_views_share_as_few_tokens_as_possible():
    torch.manual_seed(0)
    ids = padded(20, 7, 1)
    for deletion, n_views, most in ((0.5, 2, 0), (0.3, 2, 8), (0.75, 4, 0)):
        views = TextViews(deletion, n_views)(ids)
        halves = [set(view[0].tolist()) - {0} for view in views]
        shared = sum(map(len, halves)) - len(set.union(*halves))
        assert shared == most
        assert set.union(*halves) == set(range(1, 21))
    first, second = TextViews()(ids)  # of 7 tokens, each has 3
    assert len((set(first[1].tolist()) | set(second[1].tolist())) - {0}) == 6
    assert first[2].tolist()[0] == second[2].tolist()[0] == 1
    apart = TextViews(disjoint=False)(padded(*[20] * 40))
    assert any(set(a.tolist()) & set(b.tolist()) for a, b in zip(*apart, strict=True))


def test_nothing_is_deleted_with_a_share_of_0():
    ids = padded(20, 7, 0)
    (view,) = TextViews(deletion=0.0, n_views=1)(ids)
    assert torch.equal(view, ids)


def test_one_token_is_left():
    (view,) = TextViews(deletion=0.99, n_views=1)(padded(20, 2, 1))
    assert (view != 0).sum(dim=1).tolist() == [1, 1, 1]
    (empty,) = TextViews(n_views=1)(padded(0, 0, width=1))
    assert empty.tolist() == [[0], [0]]


def test_ranks_are_of_tokens_before_padding():
    torch.manual_seed(0)
    order = ranks(padded(*[5] * 30, width=8) != 0, torch.rand(30, 8))
    assert (order[:, :5].sort(dim=1).values == torch.arange(5)).all()
    assert len(torch.unique(order[:, :5], dim=0)) > 20


def test_combined_views_of_texts():
    views = CombinedViews((TextViews(0.0, n_views=1), TextViews(0.5, n_views=1)))
    assert views.kind == "text"
    assert [view.shape[1] for view in views(padded(20, 3))] == [20, 10]
    with pytest.raises(ValueError, match="all for images, for tabular data or for texts"):
        CombinedViews((TextViews(), TableViews()))


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"deletion": 1.0}, r"deletion must be in \[0, 1\). Got 1.0"),
        ({"deletion": -0.1}, r"deletion must be in \[0, 1\)"),
        ({"n_views": 0}, "n_views must be at least 1. Got 0"),
        ({"disjoint": 1}, "disjoint must be a bool. Got 1"),
    ],
)
def test_bad_parameters(parameters, match):
    with pytest.raises(ValueError, match=match):
        TextViews(**parameters)
