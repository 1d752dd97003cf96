"""Fixtures that the tests of this folder share."""

import pytest
from common import digits, shrunk

from sklearn_ssl import InpaintingTransformer


@pytest.fixture(scope="session")
def inpainting():
    return shrunk(InpaintingTransformer, max_epochs=12).fit(digits()[0][:400])
