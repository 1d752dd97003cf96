"""Estimators, and the samples that they read."""

from common import shrunk

from sklearn_ssl import SimCLRTransformer


def simclr(**parameters):
    return shrunk(SimCLRTransformer, **parameters)


def source_of(X, **parameters):
    return SimCLRTransformer(**parameters)._find(X, reset=True).read()
