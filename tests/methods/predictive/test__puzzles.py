"""Puzzles: permutations far from each other, and images shuffled and solved in their layout."""

import itertools

import numpy as np
import pytest
import torch
from common import digits, shrunk

from sklearn_ssl import Images, JigsawTransformer
from sklearn_ssl.methods.predictive._puzzles import far_permutations


def test_permutations_are_far_from_each_other():
    def least(chosen):
        return min((a != b).sum() for a, b in itertools.combinations(chosen, 2))

    few = far_permutations(9, 30, np.random.default_rng(0))
    assert few.shape == (30, 9)
    assert (np.sort(few, axis=1) == np.arange(9)).all()
    drawn = np.random.default_rng(1)
    assert least(few) >= 7 > least([drawn.permutation(9) for _ in range(30)])
    np.testing.assert_array_equal(few, far_permutations(9, 30, np.random.default_rng(0)))
    assert (few != far_permutations(9, 30, np.random.default_rng(1))).any()
    assert least(far_permutations(4, 4, np.random.default_rng(0))) == 4
    everything = far_permutations(4, 24, np.random.default_rng(0))
    assert len({tuple(row) for row in everything}) == 24


@pytest.mark.parametrize("layout", ["last", "first", "rows", "tensor"])
def test_puzzles_keep_layout_and_type(photos, layout):
    X = photos[:20]
    settings = {"input": Images(shape=(32, 32, 3))} if layout == "rows" else {}
    first = X.transpose(0, 3, 1, 2)
    given = {"first": first, "rows": X.reshape(20, -1), "tensor": torch.from_numpy(first.copy())}
    model = shrunk(JigsawTransformer, **settings).fit(given.get(layout, X))
    shuffled = model.shuffle(given.get(layout, X), 5)
    assert shuffled.dtype == np.uint8
    last = shuffled.transpose(0, 2, 3, 1) if layout in ("first", "tensor") else shuffled
    number = model.permutations_[5][0]
    y, x = number // 2 * 16, number % 2 * 16
    np.testing.assert_array_equal(last[:, :16, :16], X[:, y : y + 16, x : x + 16])
    again = shuffled.reshape(20, -1) if layout == "rows" else shuffled
    solved = model.solve(again)
    assert solved.dtype == np.uint8
    assert solved.shape == shuffled.shape
    np.testing.assert_array_equal(np.sort(solved, axis=None), np.sort(X, axis=None))


def test_invalid_permutations_are_refused():
    images = digits()[0][:5]
    model = shrunk(JigsawTransformer).fit(images)
    for wrong, told in (
        (24, r"int64 of shape \(\), of which 24 is the first"),
        (-1, r"int64 of shape \(\), of which -1 is the first"),
        (1.0, r"float64 of shape \(\), of which 1\.0 is the first"),
        ([0, 1], r"int64 of shape \(2,\)\."),
        (np.zeros((5, 1), int), r"int64 of shape \(5, 1\)\."),
        ([0, 1, 25, 3, 24], r"int64 of shape \(5,\), of which 25 is the first"),
        (["a" * 99], r"<U99 of shape \(1,\), of which a{20} is the first"),
    ):
        message = f"permutation must be an int from 0 to 23, or 5 of .* Got {told}"
        with pytest.raises(ValueError, match=message):
            model.shuffle(images, wrong)
