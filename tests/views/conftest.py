"""Fixtures that the tests of this folder share."""

import pytest
import torch


@pytest.fixture
def batch(photos):
    """Color photographs, (128, 3, 32, 32) in [0, 1]."""
    torch.manual_seed(0)
    return torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 255
