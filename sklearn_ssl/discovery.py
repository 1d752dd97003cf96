"""Discovery of all methods, for tests, documentation and benchmarks."""

import importlib
import inspect
import pkgutil

from sklearn_ssl import methods
from sklearn_ssl.base import SSLTransformer


def all_methods(kind=None):
    """Return the estimator classes of all methods in ``sklearn_ssl.methods``, by name.

    Private modules are skipped. ``kind``, "image" or "table", selects methods for such data.
    """
    found = {}
    for module in pkgutil.walk_packages(methods.__path__, methods.__name__ + "."):
        if "._" in module.name:  # shared code
            continue
        for name, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(cls, SSLTransformer) and cls.__module__ == module.name:
                found[name] = cls
    return {name: cls for name, cls in sorted(found.items()) if kind in (None, *cls.default_views)}
