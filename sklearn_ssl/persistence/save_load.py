"""Estimators from files that others saved."""

import os
from dataclasses import replace

from sklearn.frozen import FrozenEstimator

import sklearn_ssl
from sklearn_ssl.parameters import Recipe
from sklearn_ssl.persistence.file_format import Description, Saved, read_estimator


def load(path, *, device="auto", backbone=None, views=None):
    """Load a fitted estimator that its ``save`` method wrote.

    Nothing in the file can run code, so that files of strangers can be loaded; pickles can run
    anything. What was code of its author's is not in the file, and has to be given again.

    Parameters
    ----------
    path : str or path
        The file.

    device : str or torch.device, default="auto"
        Becomes the estimator's parameter of that name.

    backbone : callable or torch.nn.Module, default=None
        The backbone that the estimator was fitted with, if it was no name. A module's own weights
        are replaced by those of the file.

    views : callable, default=None
        The views that it was fitted with, if they were a callable of the author's own. Only
        ``score`` and ``partial_fit`` use them.

    Returns
    -------
    estimator : object
        The fitted estimator: ``transform`` gives what it gave before it was saved, to the bit on
        a machine of the same kind. ``partial_fit`` goes on with a fresh optimizer. ``memory``
        and ``cache`` of ``input`` are None, since they named folders of another machine.

    Raises
    ------
    FileNotFoundError
        If there is no file.

    ValueError
        If the file is of another kind, broken, changed since it was written, or of a newer version;
        or if it needs a backbone that is not given.

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


def _made(about, name, given, inner=False):
    """Return the estimator that a file of this name describes, or one ``inner`` to it."""
    cls = vars(sklearn_ssl).get(about["class"])
    if not (isinstance(cls, type) and issubclass(cls, Saved)):
        raise ValueError(
            f"{name} holds a {about['class']}, which is no method of this version of sklearn_ssl."
        )
    custom, fitted = about["custom"], about["fitted"]
    if "backbone_" in custom and given["backbone"] is None:
        raise ValueError(
            f"{name} holds the weights of a backbone of its author's own, and not the code. Give "
            "it again: load(path, backbone=...)."
        )
    # The author of a file should not decide where on this machine anything is stored.
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
        for key, value in group.items():
            if isinstance(value, Description):
                made = _made(value.about, name, given, inner=True)
                group[key] = FrozenEstimator(made) if value.frozen else made
    try:
        estimator = cls(**parameters)
        vars(estimator).update(fitted)
        if about["weights"] is not None:
            estimator._rebuild(about["weights"])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"What {name} says of a {about['class']} does not fit together, or not to the backbone "
            "that was given."
        ) from error
    return estimator
