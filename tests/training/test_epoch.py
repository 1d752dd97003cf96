"""Partners of samples: others of their group, each equally often."""

import numpy as np

from sklearn_ssl.training.epoch import drawn_partners


def test_partners_are_others_of_the_group():
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat([7, 3, 5, 1], [1, 2, 3, 4]))
    drawn = np.stack([drawn_partners(groups, rng) for _ in range(3000)])
    for i, group in enumerate(groups):
        others = np.setdiff1d(np.flatnonzero(groups == group), [i])
        expected = others if len(others) else [i]
        found, counts = np.unique(drawn[:, i], return_counts=True)
        np.testing.assert_array_equal(found, expected)
        assert (abs(counts / 3000 - 1 / len(expected)) < 0.05).all()
