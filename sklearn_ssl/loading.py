"""Estimators from files that others saved."""

import os

from sklearn_ssl.discovery import all_methods
from sklearn_ssl.saving import read_estimator


def load(path, *, device="auto", backbone=None, views=None):
    """Load a fitted estimator that :meth:`~sklearn_ssl.SimCLRTransformer.save` wrote.

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
        a machine of the same kind. ``partial_fit`` goes on with a fresh optimizer. ``cache``
        and ``memory`` are None again, since they named folders of another machine.

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
    name = repr(os.fspath(path))
    about = read_estimator(path)
    method = all_methods().get(about["class"])
    if method is None:
        raise ValueError(
            f"{name} holds a {about['class']}, which is no method of this version of sklearn_ssl."
        )
    if "backbone_" in about["custom"] and backbone is None:
        raise ValueError(
            f"{name} holds the weights of a backbone of its author's own, and not the code. Give "
            "it again: load(path, backbone=...)."
        )
    # A stranger shall not say where on this machine anything is kept.
    fitted, parameters = about["fitted"], about["parameters"] | {"cache": None, "memory": None}
    parameters["device"], fitted["_kept_as"] = device, None
    if backbone is not None:
        parameters["backbone"] = fitted["backbone_"] = backbone
    if views is not None:
        parameters["views"] = fitted["views_"] = views
    try:
        estimator = method(**parameters)
        vars(estimator).update({"views_": None} | fitted)
        estimator._rebuild(about["weights"])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"What {name} says of a {about['class']} does not fit together, or not to the backbone "
            "that was given."
        ) from error
    return estimator
