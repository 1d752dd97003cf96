"""Fingerprints: hashes of the content of values, data and code, to identify fits."""

import dis
import functools
import hashlib
import inspect
import os
import sys
import types
from abc import ABC
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import torch
from torch import nn

# Code of these packages is identified by their version.
OURS = "sklearn_ssl"
INSTALLED = {"site-packages", "dist-packages"}
# Types of class attributes added by Python, including the cache of abstract classes.
ADDED = types.GetSetDescriptorType, types.MemberDescriptorType, type(ABC._abc_impl)
# Bytecode operations that look up global names.
LOOKUPS = {"LOAD_GLOBAL", "LOAD_NAME", "IMPORT_NAME"}


class NoContent(Exception):  # noqa: N818
    """Raised for objects that cannot be identified by their content, such as open files."""


def fingerprint(value):
    """Return a hash of 32 hexadecimal digits, equal for equal content in every process.

    Arrays and tensors are identified by their values; torch modules and other objects by class
    and attributes; functions, classes and modules of the user by their code and the objects it
    references, those of installed packages by name and version.
    """
    return _Content().digest(value).hex()


class _Content:
    def __init__(self):
        self.known, self.open = {}, {}  # digests by id; depths of objects in progress by id
        self.seen = []  # references, so that ids are not reused

    def digest(self, value):
        """Return a digest of 16 bytes of a value."""
        try:
            return self._digest(value)
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise NoContent(f"{value!r}") from error

    def _digest(self, value):
        if isinstance(value, str):
            return _joined("str", str(value))
        if value is None or isinstance(value, bool | bytes | complex | np.dtype):
            return _joined(type(value).__name__, repr(value))
        if isinstance(value, Integral | np.bool_):
            return _joined("int", repr(int(value)))
        if isinstance(value, Real):
            return _joined("float", repr(float(value)))
        if isinstance(value, np.ndarray) and value.dtype.kind in "biufcSU":
            return _joined("array", value.dtype.str, repr(value.shape), value.tobytes())
        if isinstance(value, torch.Tensor):
            values = value.detach().cpu()
            values = values.view(torch.int16) if value.dtype == torch.bfloat16 else values
            about = f"{value.dtype} {tuple(value.shape)} {value.requires_grad}"
            return _joined("tensor", about, values.numpy().tobytes())
        if isinstance(value, torch.device | torch.dtype | torch.layout | torch.memory_format):
            return _joined("torch", str(value))
        if isinstance(value, os.PathLike):
            return _joined("path", os.fspath(value))
        return self._of_object(value)

    def _of_object(self, value):
        """Return the digest of an object that may contain itself."""
        if id(value) in self.known:
            return self.known[id(value)]
        if id(value) in self.open:  # circular reference, identified by its depth
            return _joined("circle", repr(len(self.open) - self.open[id(value)]))
        self.open[id(value)] = len(self.open)
        try:
            parts = self._parts(value)
            self.known[id(value)] = _joined(type(value).__name__, *map(self.digest, parts))
        finally:
            del self.open[id(value)]
        self.seen.append(value)
        return self.known[id(value)]

    def _parts(self, value):
        """Return the parts of an object to digest."""
        if type(value) in (list, tuple):
            return value
        if type(value) is dict:
            return [part for pair in value.items() for part in pair]
        if isinstance(value, set | frozenset):
            return sorted(map(self.digest, value))
        if isinstance(value, np.ndarray) and value.dtype == object:
            return [value.shape, *value.ravel()]
        if isinstance(value, types.ModuleType):
            return _version_of(value.__name__) or [Path(value.__file__).read_bytes()]
        if isinstance(value, types.BuiltinFunctionType | np.ufunc):
            owner = getattr(value, "__self__", None)
            return [value.__name__, None if isinstance(owner, types.ModuleType) else owner]
        if isinstance(value, types.CodeType):
            names = [value.co_names, value.co_varnames, value.co_flags, value.co_argcount]
            return [value.co_code, *names, value.co_kwonlyargcount, *value.co_consts]
        if isinstance(value, types.CellType):
            return [value.cell_contents]
        if isinstance(value, types.MethodType):
            return [value.__self__, value.__func__]
        if isinstance(value, property):
            return [value.fget]
        if isinstance(value, staticmethod | classmethod | functools._lru_cache_wrapper):
            return [value.__wrapped__]
        if isinstance(value, functools.cached_property):
            return [value.func]
        if isinstance(value, types.FunctionType):
            # Not its __module__, which functools.wraps copies from the wrapped function.
            known = _version_of(value.__globals__.get("__name__"))
            wrapped = getattr(value, "__wrapped__", None)  # may be the user's function
            return [value.__qualname__, *known, wrapped] if known else self._function(value)
        if isinstance(value, type):
            known = _version_of(value.__module__)
            return [value.__qualname__, *known] if known else self._class(value)
        if isinstance(value, torch.fx.GraphModule):
            return [value.code, value.state_dict(), dict(value.named_children())]
        if isinstance(value, torch.fx.Graph):
            return [value.python_code("self").src]
        if isinstance(value, nn.Module):  # keys of hooks differ between processes
            return [
                type(value),
                {k: list(v.values()) if "_hooks" in k else v for k, v in vars(value).items()},
            ]
        if hasattr(value, "on_epoch_end") and hasattr(value, "get_params"):
            made_with = inspect.signature(type(value)).parameters  # others are set in training
            return [type(value), {k: v for k, v in vars(value).items() if k in made_with}]
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as error:
            raise NoContent(f"{value!r}") from error
        if isinstance(reduced, str):
            return [type(value), reduced]
        items = (list(part or ()) for part in (*reduced[3:5], None, None))
        return [type(value), *reduced[1:3], *items]

    def _class(self, value):
        """Return the parts of a user-defined class, without attributes added by Python."""
        own = {
            name: part
            for name, part in sorted(vars(value).items())
            if (not name.startswith("__") or isinstance(part, types.FunctionType))
            and not isinstance(part, ADDED)
        }
        return [value.__qualname__, value.__bases__, own]

    def _function(self, function):
        """Return the parts of a function of the user: its code and the objects it references."""
        names = sorted(_names(function.__code__))
        referred = {
            name: function.__globals__[name] for name in names if name in function.__globals__
        }
        modules = {name: sys.modules[name] for name in names if name in sys.modules}
        return [
            *(function.__code__, function.__defaults__, function.__kwdefaults__),
            *(function.__closure__, vars(function), referred, modules),
        ]


def _joined(*parts):
    """Return one digest of parts, each prefixed by its length."""
    joined = hashlib.sha256()
    for part in parts:
        part = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        joined.update(len(part).to_bytes(8, "little"))
        joined.update(part)
    return joined.digest()[:16]


def _names(code):
    """Return the global names used by code and its inner functions."""
    inner = (_names(part) for part in code.co_consts if isinstance(part, types.CodeType))
    own = {step.argval for step in dis.get_instructions(code) if step.opname in LOOKUPS}
    return own.union(*inner)


@functools.cache
def _version_of(module):
    """Return name and version of an installed or standard module; None for a user's module."""
    root = (module or "builtins").split(".")[0]
    if root == OURS or (root in sys.stdlib_module_names and root != "__main__"):
        return [module]
    package = sys.modules.get(root)
    path = getattr(package, "__file__", None)
    if path is None or not INSTALLED & set(Path(path).parts):
        return None
    return [module, getattr(package, "__version__", None) or os.stat(path).st_mtime_ns]
