"""A step, up to its gradients: shared by fit, its trial for ``max_time``, and ``score``."""

from sklearn_ssl._runtime.device import autocast
from sklearn_ssl._runtime.isolation import seed_torch
from sklearn_ssl._runtime.warnings import compiling_quietly


def seeded_views(make_views, samples, device, *key, partners=None):
    """Return the views of the samples of a step, drawn from a seed that is a tuple of integers.

    If there are partners, another sample for each, all views but the first one are of these.
    """
    seed_torch(device, *key)
    views = make_views(samples)
    return views if partners is None else [views[0], *make_views(partners)[1:]]


def terms_of(objective, views, targets, device, precision="float32", compiled=False):
    """Return the terms of the objective for views, and for targets if there are any."""
    with autocast(device, precision), compiling_quietly(compiled):
        return objective(views, *targets)
