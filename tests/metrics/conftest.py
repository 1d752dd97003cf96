"""Fixtures that the tests of this folder share."""

import pytest

from sklearn_ssl.metrics import geometry
from sklearn_ssl.metrics import nearest as neighbors


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Many blocks, the last one not full."""
    monkeypatch.setattr(neighbors, "BLOCK_BYTES", 4 * 50 * 7)
    monkeypatch.setattr(geometry, "BLOCK_BYTES", 4 * 50 * 7)
