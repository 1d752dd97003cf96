"""Estimators, and the samples that they read."""

from common import shrunk

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl.data.inputs import find_samples


def simclr(**parameters):
    return shrunk(SimCLRTransformer, **parameters)


def source_of(X, **parameters):
    return find_samples(SimCLRTransformer(**parameters), X, reset=True).read()
