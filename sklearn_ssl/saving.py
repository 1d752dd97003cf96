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

from sklearn_ssl import views
from sklearn_ssl.data import Images
from sklearn_ssl.sources import Scaling

FORMAT = 1
# What text may name, besides numbers and words.
CLASSES = {cls.__name__: cls for cls in (Scaling, views.CombinedViews, views.ImageViews)}
CLASSES |= {"Images": Images, "RowViews": views.RowViews}
SEQUENCES = {"list": list, "tuple": tuple, "set": set}
# Fitted attributes that are built anew: modules, and what only training needs.
REBUILT = {"encoder_", "_objective", "_optimizer_state"}


class CustomPart(ValueError):  # noqa: N818
    """Raised for what is code of the user's, or holds it, which no file does."""


def write_estimator(estimator, path, names=None, **more):
    """Write a fitted estimator to a file, and more values beside it.

    ``names`` are the attributes to write, which then all have to be plain but ``backbone_`` and
    ``views_``; None are all that there are, and of them what can be written.
    """
    tensors, custom = {}, []

    def encoded(values, strict=False):
        kept = {}
        for name, value in values.items():
            try:
                kept[name] = _encode(value, tensors)
            except CustomPart:
                if strict and name not in ("backbone_", "views_"):
                    raise
                custom.append(name)
        return kept

    fitted = {
        name: value
        for name, value in vars(estimator).items()
        if (name not in estimator.get_params() if names is None else name in names)
    }
    about = {
        "class": type(estimator).__name__,
        "versions": {name: version(name) for name in ("sklearn-ssl", "torch", "torchvision")},
        "parameters": encoded(estimator.get_params(deep=False)),
        "fitted": encoded({k: v for k, v in fitted.items() if k not in REBUILT}, names is not None),
        "weights": encoded(estimator._objective.state_dict(), strict=True),
        "more": encoded(more, strict=True),
        "custom": custom,  # names of what is left out
    }
    _write(path, about, tensors)


def read_estimator(path):
    """Return what a file says of an estimator: a dict of its class's name, parameters and state."""
    about, tensors = _read(path)
    with _understood(path):
        if "class" not in about:
            raise KeyError
        for group in ("parameters", "fitted", "weights", "more"):
            about[group] = {k: _decode(value, tensors) for k, value in about[group].items()}
    return about


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
        if isinstance(value, np.ndarray) and value.dtype.kind not in "buif":
            return {"strings": [str(item) for item in value.ravel()]}
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
        return np.array(content, dtype=object)
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
