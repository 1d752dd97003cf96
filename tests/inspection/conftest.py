"""Fixtures that the tests of this folder share."""

import pytest
from common import digits, shrunk

from sklearn_ssl import (
    DeepClusterEstimator,
)


def deepcluster(**parameters):
    return shrunk(DeepClusterEstimator, **({"n_clusters": 10, "max_epochs": 2} | parameters))


@pytest.fixture(scope="module")
def data():
    images, labels = digits()
    return images[:100], labels[:100]


@pytest.fixture(scope="module")
def fitted(data):
    return deepcluster().fit(data[0])
