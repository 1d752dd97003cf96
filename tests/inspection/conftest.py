"""Fixtures that the tests of this folder share."""

import pytest
from common import digits
from matplotlib import pyplot as plt

from inspection.helpers import deepcluster


@pytest.fixture(scope="module")
def data():
    images, labels = digits()
    return images[:100], labels[:100]


@pytest.fixture(scope="module")
def fitted(data):
    return deepcluster().fit(data[0])


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")
