"""All methods, for tests, tables and benchmarks."""

import importlib
import inspect
import pkgutil

from sklearn_ssl import methods
from sklearn_ssl.base import SSLTransformer


def all_methods(kind=None):
    """Return the estimator classes of all methods in ``sklearn_ssl.methods``, by name.

    Files whose name starts with an underscore hold what methods share. With ``kind``, "image" or
    "table", only methods that take such samples are returned.
    """
    found = {}
    for module in pkgutil.walk_packages(methods.__path__, methods.__name__ + "."):
        if "._" in module.name:  # what a family shares
            continue
        for name, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(cls, SSLTransformer) and cls.__module__ == module.name:
                found[name] = cls
    return {name: cls for name, cls in sorted(found.items()) if kind in (None, *cls.default_views)}
