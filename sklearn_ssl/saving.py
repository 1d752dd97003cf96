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
from importlib.metadata import version

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sklearn_ssl import views
from sklearn_ssl.sources import Scaling

FORMAT = 1
# What text may name, besides numbers and words.
CLASSES = {cls.__name__: cls for cls in (Scaling, views.CombinedViews, views.ImageViews)}
CLASSES["RowViews"] = views.RowViews
SEQUENCES = {"list": list, "tuple": tuple, "set": set}
# Fitted attributes that are built anew: modules, and what only training needs.
REBUILT = {"encoder_", "_objective", "_optimizer_state"}


class CustomPart(Exception):  # noqa: N818
    """Raised for what is code of the user's, which no file holds."""


def write_estimator(estimator, path, **more):
    """Write a fitted estimator to a file, and more values beside it."""
    tensors, custom = {}, []

    def encoded(group, values):
        kept = {}
        for name, value in values.items():
            try:
                kept[name] = _encode(value, f"{group}.{name}", tensors)
            except CustomPart:
                custom.append(name)
        return kept

    fitted = {k: v for k, v in vars(estimator).items() if k not in estimator.get_params()}
    about = {
        "class": type(estimator).__name__,
        "versions": {name: version(name) for name in ("sklearn-ssl", "torch", "torchvision")},
        "parameters": encoded("parameters", estimator.get_params(deep=False)),
        "fitted": encoded("fitted", {k: v for k, v in fitted.items() if k not in REBUILT}),
        "weights": encoded("weights", estimator._objective.state_dict()),
        "more": encoded("more", more),
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
    _write(path, {"values": _encode(values, "values", tensors)}, tensors, durable=False)


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
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
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


def _encode(value, name, tensors):
    """Return a value as JSON knows it; arrays and tensors go into a dict, under a name."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | np.number | np.bool_):
        number = value.item() if isinstance(value, np.generic) else value
        finite = not isinstance(number, float) or math.isfinite(number)
        return number if finite else {"float": str(number)}
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, np.ndarray) and value.dtype.kind in "buif":
        tensors[name] = torch.from_numpy(np.array(value, order="C"))
        return {"array": name}
    if isinstance(value, np.ndarray):
        return {"strings": [str(item) for item in value.ravel()]}
    if isinstance(value, os.PathLike | torch.device | torch.dtype):
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    if isinstance(value, list | tuple):
        items = [_encode(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
        return {type(value).__name__: items}
    if isinstance(value, dict):
        pairs = ((k, _encode(v, f"{name}.{k}", tensors)) for k, v in value.items())
        return {"dict": list(map(list, pairs))}
    if CLASSES.get(type(value).__name__) is type(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {type(value).__name__: _encode(fields, name, tensors)}
    if isinstance(value, set | frozenset):
        return {"set": [_encode(item, name, tensors) for item in sorted(value, key=repr)]}
    raise CustomPart(repr(value))


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
