"""Parameters of estimators: declaration, constraints, nesting, and suggestions for typos.

An estimator declares its parameters as annotated class attributes under ``@parameters``::

    temperature: Positive = 0.2
    n_clusters: Auto | Count = "auto"
"""

import difflib
import functools
import inspect
from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from os import PathLike
from types import NoneType, UnionType
from typing import (
    Annotated,
    Literal,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from sklearn_ssl._runtime.sklearn_private import Interval, Options, StrOptions


def between(low, high, closed):
    """Return the type of floats between ``low`` and ``high``; ``closed`` as in Interval."""
    return Annotated[float, Interval(Real, low, high, closed=closed)]


def at_least(low):
    """Return the type of ints of at least ``low``."""
    return Annotated[int, Interval(Integral, low, None, closed="left")]


Auto = Literal["auto"]
Count = at_least(1)
Positive = between(0, None, "neither")
NonNegative = between(0, None, "left")
FilePath = str | PathLike
RandomState = Annotated[object, "random_state"]
Verbose = Annotated[int, "verbose"]


def is_auto(value):
    """Return whether a parameter is "auto"."""
    return isinstance(value, str) and value == "auto"


# Names used by other libraries.
USUAL = {
    **dict.fromkeys(("epochs", "n_epochs", "num_epochs", "max_iter", "n_iter"), "max_epochs"),
    **dict.fromkeys(("learning_rate", "learning_rate_init", "base_lr"), "lr"),
    **dict.fromkeys(("seed", "random_seed"), "random_state"),
    **dict.fromkeys(("model", "network", "encoder", "architecture", "arch"), "backbone"),
    **dict.fromkeys(("augmentation", "augmentations", "transform", "transforms"), "views"),
    **dict.fromkeys(("img_size", "image_size", "input_size", "size"), "input=Images(size=...)"),
    **dict.fromkeys(("image_shape", "input_shape"), "input=Images(shape=...)"),
    **dict.fromkeys(("num_workers", "workers", "n_jobs"), "input=Images(n_jobs=...)"),
    "on_error": "input=Images(on_error=...)",
    "cache": "input=Images(cache=...)",
    "tta": "flip_tta",
    **dict.fromkeys(("pretrained", "checkpoint"), "weights"),
    **dict.fromkeys(("amp", "dtype", "precision"), "device=Device(precision=...)"),
    "compile": "device=Device(compile=...)",
    "micro_batch_size": "device=Device(micro_batch_size=...)",
    **dict.fromkeys(("timeout", "time_limit"), "max_time"),
    **dict.fromkeys(("n_clusters", "k"), "n_centroids"),
    "tau": "temperature",
    "solver": "optimizer",
    "gpu": "device",
}


@dataclass_transform(kw_only_default=True)
def parameters(cls):
    """Make a class a keyword-only dataclass whose annotations are scikit-learn's constraints."""
    cls = dataclass(kw_only=True, eq=False, repr=False)(cls)
    # Signatures, as in help(), have plain types.
    plain = get_type_hints(cls)
    cls.__init__.__annotations__ = {f.name: plain[f.name] for f in fields(cls)} | {"return": None}
    suggesting(cls)
    hints = get_type_hints(cls, include_extras=True)
    cls._parameter_constraints = {
        field.name: constraints_of(hints[field.name]) for field in fields(cls) if field.init
    }
    return cls


def constraints_of(hint):
    """Return scikit-learn's parameter constraints for a type hint."""
    if get_origin(hint) in (Union, UnionType):
        return [part for choice in get_args(hint) for part in constraints_of(choice)]
    if get_origin(hint) is Annotated:
        return list(hint.__metadata__)
    if get_origin(hint) is Literal:
        values = set(get_args(hint))
        of_text = all(isinstance(value, str) for value in values)
        return [StrOptions(values) if of_text else Options(Integral, values)]
    known = {bool: "boolean", NoneType: None, Callable: callable, int: Integral, float: Real}
    return [known.get(hint, hint)]


class Recipe:
    """Base of immutable dataclasses that are parameters of estimators.

    An instance may be shared by several estimators, or be a class default: ``set_params`` of an
    estimator replaces it by a copy.
    """

    def get_params(self, deep=True):
        """Get the parameters.

        Parameters
        ----------
        deep : bool, default=True
            If True, also return the parameters of nested objects, such as ``views__hflip``.

        Returns
        -------
        params : dict
            Parameter names mapped to their values.
        """
        params = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        for name, value in list(params.items()) if deep else ():
            if isinstance(value, Recipe):
                params |= {f"{name}__{key}": part for key, part in value.get_params().items()}
        return params

    def __sklearn_clone__(self):
        return deepcopy(self)  # it may contain mutable objects: a transform, a network


@dataclass_transform(frozen_default=True)
def recipe(cls):
    """Make a subclass of :class:`Recipe` an immutable dataclass that suggests similar names."""
    return suggesting(dataclass(frozen=True)(cls))


class TakesRecipes:
    """Mixin of estimators with recipes: ``set_params`` sets their parameters as well."""

    # Recipe classes of parameters for which "auto" or a plain value, such as a path, is allowed.
    _recipes = {}

    def set_params(self, **params):
        """Set the parameters of this estimator and of nested objects.

        Parameters
        ----------
        **params : dict
            Parameter names and values. ``views__hflip=0.0`` replaces ``views`` by a copy with
            ``hflip=0.0``.

        Returns
        -------
        self : estimator instance
            Estimator instance.
        """
        names = self.get_params(deep=False)
        nested = defaultdict(dict)
        for key in list(params):
            name, _, sub_name = key.partition("__")
            value = params.get(name, names.get(name))
            if sub_name and name in names and not hasattr(value, "set_params"):
                nested[name][sub_name] = params.pop(key)
        replaced = {
            name: _replaced(
                name, self._recipe(name, params.get(name, names[name]), changes), changes
            )
            for name, changes in nested.items()
        }
        return super().set_params(**params | replaced)

    def _recipe(self, name, value, changes):
        """Return the recipe for a plain value, if one has the parameters to change."""
        if not isinstance(value, Recipe):
            for cls in self._recipes.get(name, ()):
                if value is not None and _names(cls) >= _firsts(changes):
                    return cls() if is_auto(value) else cls(value)
        return value


def _replaced(name, value, changes):
    """Return a copy of the recipe ``value`` of parameter ``name`` with changed parameters."""
    if not isinstance(value, Recipe):
        known = [cls.__name__ for cls in recipes() if _names(cls) >= _firsts(changes)]
        remedy = f"Set {name}={' or '.join(f'{cls}(...)' for cls in known)} first" if known else ""
        raise ValueError(
            f"{name}={value!r} has no parameter {min(changes)!r} to set as "
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


def recipes(cls=Recipe):
    """Return all subclasses of a recipe class."""
    return [part for sub in cls.__subclasses__() for part in (sub, *recipes(sub))]


def suggesting(cls):
    """Suggest similar names if a class is constructed with an unknown parameter."""
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
    """Return a hint at the name that was probably meant."""
    usual = USUAL.get(name, "")
    if usual.partition("=")[0] in names:
        return f"Did you mean {usual!r}?" if usual in names else f"Set {usual}."
    by_lower = {other.lower(): other for other in names}
    near = [by_lower[other] for other in difflib.get_close_matches(name.lower(), by_lower)]
    if not near:
        return f"The parameters are {', '.join(names)}."
    return f"Did you mean {' or '.join(map(repr, near))}?"
