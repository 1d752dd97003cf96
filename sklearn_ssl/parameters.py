"""Parameters of estimators: those that have parameters of their own, and mistyped names."""

import difflib
import functools
import inspect
from collections import defaultdict
from copy import deepcopy
from dataclasses import fields, replace

# Names that are usual elsewhere.
USUAL = {
    **dict.fromkeys(("epochs", "n_epochs", "num_epochs", "max_iter", "n_iter"), "max_epochs"),
    **dict.fromkeys(("learning_rate", "learning_rate_init", "base_lr"), "lr"),
    **dict.fromkeys(("seed", "random_seed"), "random_state"),
    **dict.fromkeys(("model", "network", "encoder", "architecture", "arch"), "backbone"),
    **dict.fromkeys(("augmentation", "augmentations", "transform", "transforms"), "views"),
    **dict.fromkeys(("img_size", "input_size", "size"), "image_size"),
    **dict.fromkeys(("num_workers", "workers"), "n_jobs"),
    **dict.fromkeys(("pretrained", "checkpoint"), "weights"),
    **dict.fromkeys(("amp", "dtype"), "precision"),
    **dict.fromkeys(("timeout", "time_limit"), "max_time"),
    **dict.fromkeys(("n_clusters", "k"), "n_centroids"),
    "tau": "temperature",
    "solver": "optimizer",
    "gpu": "device",
}


class Recipe:
    """Base of frozen dataclasses that estimators take as a parameter.

    Several estimators, and classes as their default, may hold the same recipe: ``set_params`` of an
    estimator replaces it by another one and never changes it.
    """

    def get_params(self, deep=True):
        """Return the parameters, as those of estimators are.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return the parameters of recipes among them as well.

        Returns
        -------
        params : dict
            Names and values.
        """
        params = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        for name, value in list(params.items()) if deep else ():
            if isinstance(value, Recipe):
                params |= {f"{name}__{key}": part for key, part in value.get_params().items()}
        return params

    def __sklearn_clone__(self):
        return deepcopy(self)  # what a recipe holds may change: a transform, a network


class TakesRecipes:
    """Mixin of the estimators that take recipes: ``set_params`` knows their parameters."""

    def set_params(self, **params):
        """Set parameters of the estimator, of recipes and of estimators in it.

        Parameters
        ----------
        **params : dict
            Names and values. ``views__flip`` is the parameter ``flip`` of ``views``, which is
            replaced by a copy with the new value.

        Returns
        -------
        self : object
            The estimator.
        """
        names = self.get_params(deep=False)
        nested = defaultdict(dict)
        for key in list(params):
            name, _, sub_name = key.partition("__")
            value = params.get(name, names.get(name))
            if sub_name and name in names and not hasattr(value, "set_params"):
                nested[name][sub_name] = params.pop(key)
        replaced = {
            name: _replaced(name, params.get(name, names[name]), changes)
            for name, changes in nested.items()
        }
        return super().set_params(**params | replaced)


def _replaced(name, value, changes):
    """Return a recipe, the value of the parameter of this name, with other parameters."""
    if not isinstance(value, Recipe):
        known = [cls.__name__ for cls in _recipes(Recipe) if _names(cls) >= _firsts(changes)]
        remedy = f"Set {name}={' or '.join(f'{cls}(...)' for cls in known)} first" if known else ""
        raise ValueError(
            f"{name}={value!r} has no parameter {min(changes)!r} that could be set as "
            f"{name}__{min(changes)}. {remedy or 'Set it to an object that has one first'}."
        )
    wrong = _firsts(changes) - _names(value)
    if wrong:
        raise ValueError(
            f"Invalid parameter {min(wrong)!r} for {name}={type(value).__name__}(...). Valid "
            f"parameters are: {sorted(_names(value))}."
        )
    plain, nested = {}, defaultdict(dict)
    for key, new in changes.items():
        first, _, rest = key.partition("__")
        if rest:
            nested[first][rest] = new
        else:
            plain[first] = new
    for first, inner in nested.items():
        before = plain.get(first, getattr(value, first))
        plain[first] = _replaced(f"{name}__{first}", before, inner)
    return replace(value, **plain)


def _firsts(changes):
    return {key.partition("__")[0] for key in changes}


def _names(recipe):
    return {field.name for field in fields(recipe) if field.init}


def _recipes(cls):
    """Return the recipes that there are."""
    return [part for sub in cls.__subclasses__() for part in (sub, *_recipes(sub))]


def suggesting(cls):
    """Name similar parameters where a class is constructed with one that it does not have."""
    init = cls.__init__

    @functools.wraps(init)
    def wrapped(self, *args, **kwargs):
        try:
            init(self, *args, **kwargs)
        except TypeError:
            known = inspect.signature(init).parameters
            takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
            unknown = [name for name in kwargs if name not in known and not takes_any]
            if not unknown:
                raise
            names = [name for name in known if name != "self"]
            raise TypeError(
                f"{type(self).__name__}() got an unexpected keyword argument "
                + " and ".join(f"{name!r}. {_instead(name, names)}" for name in unknown)
            ) from None

    cls.__init__ = wrapped
    return cls


def _instead(name, names):
    """Return which of these names was probably meant, as text."""
    if USUAL.get(name) in names:
        return f"Did you mean {USUAL[name]!r}?"
    by_lower = {other.lower(): other for other in names}
    near = [by_lower[other] for other in difflib.get_close_matches(name.lower(), by_lower)]
    if not near:
        return f"The parameters are {', '.join(names)}."
    return f"Did you mean {' or '.join(map(repr, near))}?"
