"""Loading of saved estimators."""

import os
from dataclasses import replace

from sklearn.frozen import FrozenEstimator

import sklearn_ssl
from sklearn_ssl.parameters import Recipe
from sklearn_ssl.persistence.file_format import Description, Saved, read_estimator


def load(path, *, device="auto", backbone=None, views=None):
    """Load a fitted estimator from a file written by its ``save`` method.

    Unlike a pickle, the file cannot execute code, so that files from untrusted sources can be
    loaded. Custom code, such as a backbone that is a module, is not in the file and has to be
    passed again.

    Parameters
    ----------
    path : str or path
        The file.

    device : str or torch.device, default="auto"
        Value of the estimator's parameter ``device``.

    backbone : callable or torch.nn.Module, default=None
        The backbone that the estimator was fitted with, if it was not a name. The weights of a
        module are replaced by those of the file.

    views : callable, default=None
        The views that the estimator was fitted with, if they were a custom callable. Only
        ``score`` and ``partial_fit`` use them.

    Returns
    -------
    estimator : object
        The fitted estimator. On the same hardware, ``transform`` returns bitwise identical
        results. ``partial_fit`` continues with a new optimizer. ``memory``, and ``cache`` of
        ``input``, are None, as they are folders of the machine that saved the file.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.

    ValueError
        If the file is not a saved estimator, is corrupted or modified, was written by a newer
        version, or needs a backbone that is not given.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_digits
    >>> import sklearn_ssl
    >>> images = load_digits().images[:200]
    >>> model = sklearn_ssl.SimCLRTransformer(max_epochs=1, random_state=0).fit(images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "digits.safetensors")
    ...     model.save(path)
    ...     loaded = sklearn_ssl.load(path)
    >>> bool((loaded.transform(images) == model.transform(images)).all())
    True
    """
    given = {"device": device, "backbone": backbone, "views": views}
    return _made(read_estimator(path), repr(os.fspath(path)), given)


def restored(value, name, given):
    """Return a value in a file of this name, with the estimator that it may describe."""
    if not isinstance(value, Description):
        return value
    made = _made(value.about, name, given, inner=True)
    return FrozenEstimator(made) if value.frozen else made


def _made(about, name, given, inner=False):
    """Return the estimator described by a file of this name, or one nested in it (``inner``)."""
    cls = vars(sklearn_ssl).get(about["class"])
    if not (isinstance(cls, type) and issubclass(cls, Saved)):
        raise ValueError(
            f"{name} contains a {about['class']}, which is not available in this version of "
            "sklearn_ssl."
        )
    custom, fitted = about["custom"], about["fitted"]
    if "backbone_" in custom and given["backbone"] is None:
        raise ValueError(
            f"{name} contains the weights of a custom backbone, but not its code. Give it again: "
            "load(path, backbone=...)."
        )
    # Files from untrusted sources must not set folders in which data is stored.
    known, parameters = cls._get_param_names(), about["parameters"]
    ours = {"memory": None, "device": given["device"]}
    if isinstance(parameters.get("device"), Recipe):
        ours["device"] = replace(parameters["device"], name=given["device"])
    if getattr(parameters.get("input"), "cache", None) is not None:
        ours["input"] = replace(parameters["input"], cache=None)
    parameters |= {k: v for k, v in ours.items() if k in known}
    if "_cache_inputs" in fitted:
        fitted["_cache_inputs"] = None
    if "views_" in custom:
        fitted["views_"] = None
    for part in ("backbone", "views"):
        left_out = part in custom or f"{part}_" in custom
        if given[part] is not None and (left_out if inner else part in known):
            parameters[part] = given[part]
            if fitted:
                fitted[f"{part}_"] = given[part]
    for group in (parameters, fitted):
        group |= {key: restored(value, name, given) for key, value in group.items()}
    try:
        estimator = cls(**parameters)
        vars(estimator).update(fitted)
        if about["weights"] is not None:
            estimator._rebuild(about["weights"])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"The content of {name} for a {about['class']} is inconsistent, or does not match the "
            "given backbone."
        ) from error
    return estimator
