"""Small estimators, and what is shown on an axis."""

import numpy as np
from common import shrunk

from sklearn_ssl import (
    DeepClusterEstimator,
)


def deepcluster(**parameters):
    return shrunk(DeepClusterEstimator, **({"n_clusters": 10, "max_epochs": 2} | parameters))


def shown(axis):
    """The picture in axes."""
    [image] = axis.images
    return np.asarray(image.get_array())
