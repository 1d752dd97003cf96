import os
import signal

# scikit-learn skips its array API check without this; it must be set before SciPy is imported.
os.environ["SCIPY_ARRAY_API"] = "1"


import pytest
import torch
from common import digits, photo_patches

# A shell that starts tests in the background has them ignore Ctrl-C, which some of them send.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Two threads gain little on fits this small, and lose much on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def images():
    """Handwritten digits, (200, 8, 8), values 0 to 16."""
    return digits()[0][:200]


@pytest.fixture(scope="session")
def photos():
    """Patches of color photographs, (128, 32, 32, 3) uint8."""
    return photo_patches()
