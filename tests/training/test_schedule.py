"""Batches of an epoch, and the learning rate."""

import math
from functools import partial

import numpy as np
import pytest

from sklearn_ssl.training.schedule import learning_rate_factor, split


@pytest.mark.parametrize(
    ("n", "batch_size", "shape"),
    [
        (100, 32, (4, 25)),
        (96, 32, (3, 32)),
        (97, 32, (4, 24)),
        (65, 64, (2, 32)),
        (3, 2, (1, 3)),  # never a batch of one sample, which batch norm cannot take
        (2, 256, (1, 2)),
        (5, 2, (2, 2)),
    ],
)
def test_batches_have_one_size(n, batch_size, shape):
    batches = split(np.arange(n), batch_size)
    assert batches.shape == shape
    np.testing.assert_array_equal(batches.flat, np.arange(batches.size))


def test_learning_rate_warms_up_and_follows_a_cosine():
    factor = partial(learning_rate_factor, warmup_epochs=2, max_epochs=10)
    assert factor(1) == 0.5
    assert factor(2) == 1
    assert factor(6) == pytest.approx(0.5)
    assert factor(4) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert factor(10) == pytest.approx(0)
    assert learning_rate_factor(500, 2, None) == 1
    assert learning_rate_factor(0.5, 0, 1) == pytest.approx(0.5)
