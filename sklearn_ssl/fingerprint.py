"""What tells one fit from another: a short key for the content of values, data and code."""

import functools
import hashlib
import sys
import types
from abc import ABC
from numbers import Integral, Real
from os import PathLike, fspath
from pathlib import Path

import numpy as np
import torch

# Of these packages, and of all that is installed or comes with Python, the name says enough.
OURS = "sklearn_ssl"
# What Python adds to the attributes of classes, with the table of an abstract class.
ADDED = types.GetSetDescriptorType, types.MemberDescriptorType, type(ABC._abc_impl)


class NoContent(Exception):  # noqa: N818
    """Raised for what cannot be told apart by its content, as open files."""


def fingerprint(value):
    """Return 32 hexadecimal digits that are equal for equal content, in every process.

    Arrays and tensors count by their values; modules and other objects by their class and
    attributes; functions and classes of the user by their code and what it refers to.
    """
    return _Content().digest(value).hex()


class _Content:
    def __init__(self):
        self.known, self.open = {}, {}  # digests of objects by id; those whose digest is being made
        self.kept = []  # else an id could come to belong to another object

    def digest(self, value):
        """Return 16 bytes for a value."""
        if value is None or isinstance(value, bool | str | bytes | complex | np.dtype):
            return _joined(type(value).__name__, repr(value))
        if isinstance(value, Integral | np.bool_):
            return _joined("int", repr(int(value)))
        if isinstance(value, Real):
            return _joined("float", repr(float(value)))
        if isinstance(value, np.ndarray) and value.dtype != object:
            return _joined("array", value.dtype.str, repr(value.shape), np.ascontiguousarray(value))
        if isinstance(value, torch.Tensor):
            values = value.detach().cpu()
            values = values.view(torch.int16) if value.dtype == torch.bfloat16 else values
            values = np.ascontiguousarray(values.numpy())
            return _joined("tensor", str(value.dtype), repr(tuple(value.shape)), values)
        if isinstance(value, torch.device | torch.dtype | torch.layout | torch.memory_format):
            return _joined("torch", str(value))
        if isinstance(value, types.ModuleType | types.BuiltinFunctionType | np.ufunc):
            return _joined("name", getattr(value, "__module__", None) or "", value.__name__)
        if isinstance(value, PathLike):
            return _joined("path", fspath(value))
        return self._of_object(value)

    def _of_object(self, value):
        """Return the digest of what may refer to itself."""
        if id(value) in self.known:
            return self.known[id(value)]
        if id(value) in self.open:  # a circle: how far back it goes
            return _joined("circle", repr(len(self.open) - self.open[id(value)]))
        self.open[id(value)] = len(self.open)
        try:
            parts = self._parts(value)
            self.known[id(value)] = _joined(type(value).__name__, *map(self.digest, parts))
        finally:
            del self.open[id(value)]
        self.kept.append(value)
        return self.known[id(value)]

    def _parts(self, value):
        """Return what the digest of an object is made of."""
        if isinstance(value, list | tuple):
            return [len(value), *value]
        if isinstance(value, dict):  # in their order, which sequences of modules run in
            return [len(value), *(part for pair in value.items() for part in pair)]
        if isinstance(value, set | frozenset):
            return sorted(map(self.digest, value))
        if isinstance(value, np.ndarray):
            return [value.shape, *value.ravel()]
        if isinstance(value, types.CodeType):
            return [value.co_code, value.co_names, value.co_varnames, *value.co_consts]
        if isinstance(value, types.CellType):
            return [value.cell_contents]
        if isinstance(value, types.MethodType):
            return [value.__self__, value.__func__]
        if isinstance(value, functools.partial):
            return [value.func, value.args, value.keywords]
        if isinstance(value, property):
            return [value.fget]
        if isinstance(value, staticmethod | classmethod | functools.cached_property):
            return [value.__func__ if hasattr(value, "__func__") else value.func]
        if isinstance(value, type | types.FunctionType):
            name = [value.__module__, value.__qualname__]
            if _is_installed(value.__module__):
                return name
            return name + (self._class(value) if isinstance(value, type) else self._code(value))
        if hasattr(
            value, "_get_param_names"
        ):  # of estimators and callbacks; the rest comes and goes
            return [type(value), value.get_params(deep=False)]
        if hasattr(value, "__wrapped__"):  # as of functools.cache
            return [type(value), value.__wrapped__]
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as error:
            raise NoContent(f"{value!r}") from error
        return [type(value), *([reduced] if isinstance(reduced, str) else reduced[1:3])]

    def _class(self, value):
        """Return the parts of a class of the user's, without what Python adds, also later on."""
        own = {
            name: part
            for name, part in sorted(vars(value).items())
            if (not name.startswith("__") or isinstance(part, types.FunctionType))
            and not isinstance(part, ADDED)
        }
        return [value.__bases__, own]

    def _code(self, function):
        """Return the parts of a function of the user's: its code, and what that refers to."""
        referred = []
        for name in sorted(_names(function.__code__)):
            if name in function.__globals__:
                try:
                    referred += [name, self.digest(function.__globals__[name])]
                except NoContent:
                    referred.append(name)  # as a connection: nothing that a result hangs on
        defaults = function.__defaults__, function.__kwdefaults__, function.__closure__
        return [function.__code__, *defaults, *referred]


def _joined(*parts):
    """Return one digest of parts, each told from the next by its length."""
    joined = hashlib.sha256()
    for part in parts:
        part = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        joined.update(len(memoryview(part).cast("B")).to_bytes(8, "little"))
        joined.update(part)
    return joined.digest()[:16]


def _names(code):
    """Return the names that code, and the functions in it, refer to."""
    inner = (_names(part) for part in code.co_consts if isinstance(part, types.CodeType))
    return set(code.co_names).union(*inner)


@functools.cache
def _is_installed(module):
    """Tell whether a module comes with Python or from a package index: its version is kept."""
    root = (module or "builtins").split(".")[0]
    if root in sys.stdlib_module_names or root == OURS:
        return root != "__main__"
    path = getattr(sys.modules.get(root), "__file__", None)
    return path is not None and any(p.endswith("-packages") for p in Path(path).parts)
