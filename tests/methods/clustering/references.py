"""Features to cluster."""

import numpy as np


def blobs(n=60, seed=0):
    """Features of three groups, float32 (n, 5)."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 5)) + 6 * np.eye(5)[np.arange(n) % 3]).astype("f4")
