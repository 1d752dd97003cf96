"""All methods there are, for tests, tables and benchmarks that shall miss none."""

import importlib
import inspect
import pkgutil

from sklearn_ssl import methods
from sklearn_ssl.base import SSLTransformer


def all_methods():
    """Return the estimator classes of all methods, by name, found in ``sklearn_ssl.methods``."""
    found = {}
    for module in pkgutil.walk_packages(methods.__path__, methods.__name__ + "."):
        if module.name.rpartition(".")[2].startswith("_"):  # bases of families
            continue
        for name, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(cls, SSLTransformer) and cls.__module__ == module.name:
                found[name] = cls
    return dict(sorted(found.items()))
