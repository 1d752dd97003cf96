"""File format of estimators and values: safetensors and JSON, which cannot execute code."""

import contextlib
import dataclasses
import errno
import hashlib
import json
import math
import os
import re
import uuid
from collections import OrderedDict
from importlib.metadata import version

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from sklearn_ssl.data.spec import Stored
from sklearn_ssl.parameters import recipes

FORMAT = 1
SEQUENCES = {"list": list, "tuple": tuple, "set": set}
# Fitted attributes that are not saved: modules, which are rebuilt, and the state of training.
REBUILT = {"encoder_", "objective_", "_optimizer_state"}


class CustomPart(ValueError):  # noqa: N818
    """Raised for custom code of the user, which is not saved, and values that contain it."""


class Saved:
    """Mixin of estimators that can be saved and loaded.

    Networks are rebuilt by ``_rebuild``.
    """

    def save(self, path):
        """Save the fitted estimator to a file, to be loaded with :func:`sklearn_ssl.load`.

        The file contains weights, parameters and fitted attributes in the safetensors format:
        unlike a pickle, it cannot execute code when it is loaded. Custom code, such as a backbone
        that is a callable or module, is not saved and has to be passed to ``load`` again.

        Parameters
        ----------
        path : str or path
            The file, for example "encoder.safetensors". An existing file is replaced atomically.
        """
        check_is_fitted(self)
        write_estimator(self, path)

    def _weights(self):
        """Return the state of the network for ``_rebuild``; None without a network."""


@dataclasses.dataclass
class Description:
    """Description of an estimator in a file."""

    about: dict  # name of the class, parameters, fitted attributes, weights
    frozen: bool = False  # whether it is wrapped in a FrozenEstimator


def write_estimator(estimator, path, names=None, **more):
    """Write a fitted estimator and additional values to a file.

    ``names`` are the attributes to write, all of plain values except ``backbone_`` and ``views_``.
    With None, all attributes that can be written.
    """
    tensors = {}
    about = _described(estimator, tensors, names)
    about["versions"] = {name: version(name) for name in ("sklearn-ssl", "torch", "torchvision")}
    about["more"] = {name: _encode(value, tensors) for name, value in more.items()}
    _write(path, about, tensors)


def _described(estimator, tensors, names=None, fitted=True):
    """Return the description of an estimator, or of its parameters only if not ``fitted``."""
    custom, parameters = [], estimator.get_params(deep=False)

    def encoded(values, strict=False):
        encoded = {}
        for name, value in values.items():
            try:
                encoded[name] = _encode(value, tensors)
            except CustomPart:
                needed = strict or name.endswith("_")
                if needed and name not in ("backbone_", "views_"):
                    raise
                custom.append(name)
        return encoded

    attributes = {
        name: value
        for name, value in (vars(estimator) if fitted else {}).items()
        if (name not in parameters if names is None else name in names) and name not in REBUILT
    }
    weights = estimator._weights() if fitted else None
    # fit clones an estimator that is a parameter and not frozen.
    unfitted = {
        name: {"estimator": _described(value, tensors, fitted=False)}
        for name, value in parameters.items()
        if isinstance(value, Saved)
    }
    parameters = {name: value for name, value in parameters.items() if name not in unfitted}
    return {
        "class": type(estimator).__name__,
        "parameters": encoded(parameters) | unfitted,
        "fitted": encoded(attributes, names is not None),
        "weights": weights and encoded(weights, strict=True),
        "custom": custom,  # names of values that are not saved
    }


def read_estimator(path):
    """Return the description of the estimator in a file: a dict of class name and state."""
    about, tensors = _read(path)
    with _understood(path):
        more = {name: _decode(value, tensors) for name, value in about["more"].items()}
        return _understandable(about, tensors) | {"more": more}


def _understandable(about, tensors):
    """Return the description of an estimator with decoded values."""
    groups = {
        group: about[group] and {k: _decode(value, tensors) for k, value in about[group].items()}
        for group in ("parameters", "fitted", "weights")
    }
    return groups | {"class": about["class"], "custom": about["custom"]}


def write_values(path, values):
    """Write plain values, arrays and tensors to a file; raise CustomPart for other values."""
    tensors = {}
    _write(path, {"values": _encode(values, tensors)}, tensors, durable=False)


def read_values(path):
    """Return the values in a file written by ``write_values``."""
    about, tensors = _read(path)
    with _understood(path):
        return _decode(about["values"], tensors)


def _write(path, about, tensors, durable=True):
    """Write a file of text and tensors atomically."""
    text = json.dumps({"format": FORMAT} | about)
    metadata = {"sklearn_ssl": text, "digest": _digest(text, tensors)}
    with replaced(path, durable) as part:
        try:
            save_file(tensors, part, metadata)
        except SafetensorError as error:  # a full disk is reported in the message only
            found = re.search(r"os error (\d+)", str(error))
            code = int(found[1]) if found else errno.EIO
            raise OSError(code, os.strerror(code), os.fspath(path)) from error


@contextlib.contextmanager
def replaced(path, durable=True):
    """Context with the path of a temporary file, which replaces ``path`` at the end."""
    part = f"{os.fspath(path)}.{uuid.uuid4().hex}.part"
    try:
        yield part
        if durable:  # a power failure could otherwise leave an empty file
            with open(part, "rb") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)


def _read(path):
    """Return the text and tensors of a file; raise if it is invalid."""
    name = repr(os.fspath(path))
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{name} does not exist or is not a file.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, OverflowError, RuntimeError) as error:
        if not os.path.exists(path):  # removed while it was read
            raise FileNotFoundError(f"{name} does not exist.") from error
        raise ValueError(f"{name} is not a sklearn_ssl file, or is corrupted: {error}.") from error
    if not {"sklearn_ssl", "digest"} <= set(metadata):
        raise ValueError(f"{name} contains tensors, but not a sklearn_ssl estimator.")
    text = metadata["sklearn_ssl"]
    if metadata["digest"] != _digest(text, tensors):
        raise ValueError(f"{name} was modified or corrupted after it was written.")
    with _understood(path):
        about = json.loads(text)
        if about["format"] > FORMAT:
            raise ValueError(
                f"{name} was written by sklearn_ssl {about['versions']['sklearn-ssl']}, in a "
                "format that this version does not support. Update sklearn_ssl."
            )
        return about, tensors


@contextlib.contextmanager
def _understood(path):
    """Convert errors for missing or invalid parts of a file to a ValueError with its name."""
    try:
        yield
    except (AttributeError, KeyError, RecursionError, TypeError) as error:
        raise ValueError(
            f"{os.fspath(path)!r} does not contain a valid description of an estimator."
        ) from error


def _encode(value, tensors):
    """Return a value as JSON types; arrays and tensors are added to the dict ``tensors``."""
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, float | np.number | np.bool_):
        number = value.item() if isinstance(value, np.generic) else value
        finite = not isinstance(number, float) or math.isfinite(number)
        return number if finite else {"float": str(number)}
    kind, name = type(value), str(len(tensors))
    if isinstance(value, torch.Tensor | np.ndarray):
        if isinstance(value, np.ndarray) and value.dtype.kind == "U":
            return {"strings": value.tolist()}
        if isinstance(value, np.ndarray) and value.dtype == object:
            return {"objects": [_encode(item, tensors) for item in value.ravel()]}
        try:
            if isinstance(value, np.ndarray):
                value = torch.from_numpy(np.array(value, order="C"))
            tensor = value.detach().cpu()
            tensor.numpy()  # fails for dtypes and layouts that NumPy does not support
        except (TypeError, ValueError, RuntimeError) as error:
            raise CustomPart(f"{value!r} is not a plain array") from error
        tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
        return {"array" if issubclass(kind, np.ndarray) else "tensor": name}
    if isinstance(value, os.PathLike | torch.device | torch.dtype):
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    if kind in (list, tuple, set):
        items = sorted(value, key=repr) if kind is set else value
        return {kind.__name__: [_encode(item, tensors) for item in items]}
    if kind in (dict, OrderedDict) and all(type(key) in (str, int) for key in value):
        return {"dict": [[key, _encode(item, tensors)] for key, item in value.items()]}
    if isinstance(value, Saved):
        return {"estimator": _described(value, tensors)}
    if kind is FrozenEstimator and isinstance(value.estimator, Saved):
        return {"frozen": _described(value.estimator, tensors)}
    if _classes().get(kind.__name__) is kind:
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {kind.__name__: _encode(fields, tensors)}
    raise CustomPart(f"{value!r} is not a plain value")


def _decode(value, tensors):
    """Return the value of its JSON types, the inverse of ``_encode``."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "float":
        return float(content)
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].numpy()
    if kind == "strings":
        return np.array(content, dtype=np.str_)
    if kind == "objects":
        values = np.empty(len(content), dtype=object)
        values[:] = [_decode(item, tensors) for item in content]
        return values
    if kind in ("estimator", "frozen"):
        return Description(_understandable(content, tensors), kind == "frozen")
    if kind in SEQUENCES:
        return SEQUENCES[kind](_decode(item, tensors) for item in content)
    if kind == "dict":
        return {k: _decode(item, tensors) for k, item in content}
    return _classes()[kind](**_decode(content, tensors))


def _classes():
    """Return the dataclasses allowed in files by name: those of this package."""
    ours = (cls for cls in recipes() if cls.__module__.startswith("sklearn_ssl."))
    return {cls.__name__: cls for cls in (*recipes(Stored), *ours)}


def _digest(text, tensors):
    """Return a hash of the content of a file."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name].numpy()
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
