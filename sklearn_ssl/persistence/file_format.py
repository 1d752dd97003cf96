"""Estimators and values as one file of tensors and text, in which nothing can run code."""

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

from sklearn_ssl import views
from sklearn_ssl.data import Images
from sklearn_ssl.data.sources import Scaling

FORMAT = 1
# What text may name, besides numbers and words.
CLASSES = {cls.__name__: cls for cls in (Scaling, views.CombinedViews, views.ImageViews)}
CLASSES |= {"Images": Images, "RowViews": views.RowViews, "Tiles": views.Tiles}
SEQUENCES = {"list": list, "tuple": tuple, "set": set}
# Fitted attributes that are built anew: modules, and what only training needs.
REBUILT = {"encoder_", "_objective", "_optimizer_state"}


class CustomPart(ValueError):  # noqa: N818
    """Raised for what is code of the user's, or holds it, which no file does."""


class Saved:
    """Mixin of the estimators that are saved: ``save`` writes them, ``load`` reads them.

    What of them is a network is built anew by ``_rebuild``.
    """

    def save(self, path):
        """Write the fitted estimator to a file, which :func:`sklearn_ssl.load` reads.

        The file holds weights, parameters and fitted attributes, in the format of safetensors:
        loading it runs no code of the file's. What is the user's own code, as a backbone that
        is a callable or module, is left out and has to be given again to load it.

        Parameters
        ----------
        path : str or path
            The file, for example "encoder.safetensors". It is replaced at once when all is written.
        """
        check_is_fitted(self)
        write_estimator(self, path)

    def _weights(self):
        """Return the state of the network that ``_rebuild`` builds; None if there is none."""


@dataclasses.dataclass
class Description:
    """What a file says of an estimator."""

    about: dict  # the name of its class, parameters, fitted attributes, weights
    frozen: bool = False  # whether it is in a FrozenEstimator


def write_estimator(estimator, path, names=None, **more):
    """Write a fitted estimator to a file, and more values beside it.

    ``names`` are the attributes to write, which then all have to be plain but ``backbone_`` and
    ``views_``; None are all that there are, and of them what can be written.
    """
    tensors = {}
    about = _described(estimator, tensors, names)
    about["versions"] = {name: version(name) for name in ("sklearn-ssl", "torch", "torchvision")}
    about["more"] = {name: _encode(value, tensors) for name, value in more.items()}
    _write(path, about, tensors)


def _described(estimator, tensors, names=None, fitted=True):
    """Return what is written of an estimator, or of its parameters alone."""
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
    # Of an estimator that is a parameter, and not frozen, fit makes a clone.
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
        "custom": custom,  # names of what is left out
    }


def read_estimator(path):
    """Return what a file says of an estimator: a dict of its class's name, parameters and state."""
    about, tensors = _read(path)
    with _understood(path):
        more = {name: _decode(value, tensors) for name, value in about["more"].items()}
        return _understandable(about, tensors) | {"more": more}


def _understandable(about, tensors):
    """Return what was written of an estimator with its values as they were."""
    groups = {
        group: about[group] and {k: _decode(value, tensors) for k, value in about[group].items()}
        for group in ("parameters", "fitted", "weights")
    }
    return groups | {"class": about["class"], "custom": about["custom"]}


def write_values(path, values):
    """Write plain values, arrays and tensors to a file; raise CustomPart where one is no such."""
    tensors = {}
    _write(path, {"values": _encode(values, tensors)}, tensors, durable=False)


def read_values(path):
    """Return the values that were written to a file."""
    about, tensors = _read(path)
    with _understood(path):
        return _decode(about["values"], tensors)


def _write(path, about, tensors, durable=True):
    """Write a file of text and tensors, which appears under its name when it is complete."""
    text = json.dumps({"format": FORMAT} | about)
    metadata = {"sklearn_ssl": text, "digest": _digest(text, tensors)}
    with replaced(path, durable) as part:
        try:
            save_file(tensors, part, metadata)
        except SafetensorError as error:  # a full disk is told as text alone
            found = re.search(r"os error (\d+)", str(error))
            code = int(found[1]) if found else errno.EIO
            raise OSError(code, os.strerror(code), os.fspath(path)) from error


@contextlib.contextmanager
def replaced(path, durable=True):
    """Give the name of a file that takes the place of another when all is written."""
    part = f"{os.fspath(path)}.{uuid.uuid4().hex}.part"
    try:
        yield part
        if durable:  # else the name could outlive the content, without power
            with open(part, "rb") as file:
                os.fsync(file.fileno())
        os.replace(part, path)  # never half a file under this name
    finally:
        if os.path.exists(part):
            os.unlink(part)


def _read(path):
    """Return text and tensors of a file of ours, as they were written."""
    name = repr(os.fspath(path))
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file {name}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, OverflowError, RuntimeError) as error:
        if not os.path.exists(path):  # removed while it was read
            raise FileNotFoundError(f"There is no file {name}.") from error
        raise ValueError(
            f"{name} is no file of sklearn_ssl's, or it is broken: {error}."
        ) from error
    if not {"sklearn_ssl", "digest"} <= set(metadata):
        raise ValueError(f"{name} holds tensors, but no estimator of sklearn_ssl's.")
    text = metadata["sklearn_ssl"]
    if metadata["digest"] != _digest(text, tensors):
        raise ValueError(f"{name} was changed or broken since it was written.")
    with _understood(path):
        about = json.loads(text)
        if about["format"] > FORMAT:
            raise ValueError(
                f"{name} was written by sklearn_ssl {about['versions']['sklearn-ssl']}, in a "
                "format that this version does not know. Update sklearn_ssl."
            )
        return about, tensors


@contextlib.contextmanager
def _understood(path):
    """Say of which file it is that something in it is missing or of another kind."""
    try:
        yield
    except (AttributeError, KeyError, RecursionError, TypeError) as error:
        raise ValueError(
            f"{os.fspath(path)!r} does not say what estimator it holds, or not how."
        ) from error


def _encode(value, tensors):
    """Return a value as JSON knows it; arrays and tensors go into a dict, under a number."""
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
            tensor.numpy()  # fails where NumPy has no such numbers, or they are not in a row
        except (TypeError, ValueError, RuntimeError) as error:
            raise CustomPart(f"{value!r} is no plain array") from error
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
    if CLASSES.get(kind.__name__) is kind:
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {kind.__name__: _encode(fields, tensors)}
    raise CustomPart(f"{value!r} is no plain value")


def _decode(value, tensors):
    """Return the value that JSON stands for."""
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
    return CLASSES[kind](**_decode(content, tensors))


def _digest(text, tensors):
    """Return a fingerprint of all that a file holds."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name].numpy()
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
