"""Names of parameters: what to use instead of one that a class does not have."""

import difflib
import functools
import inspect

# Names that are usual elsewhere.
USUAL = {
    **dict.fromkeys(("epochs", "n_epochs", "num_epochs", "max_iter", "n_iter"), "max_epochs"),
    **dict.fromkeys(("learning_rate", "learning_rate_init", "base_lr"), "lr"),
    **dict.fromkeys(("seed", "random_seed"), "random_state"),
    **dict.fromkeys(("model", "network", "encoder", "architecture", "arch"), "backbone"),
    **dict.fromkeys(("augmentation", "augmentations", "transform", "transforms"), "views"),
    **dict.fromkeys(("img_size", "input_size", "size"), "image_size"),
    **dict.fromkeys(("num_workers", "workers"), "n_jobs"),
    **dict.fromkeys(("pretrained", "checkpoint"), "weights"),
    **dict.fromkeys(("amp", "dtype"), "precision"),
    **dict.fromkeys(("timeout", "time_limit"), "max_time"),
    **dict.fromkeys(("n_clusters", "k"), "n_centroids"),
    "tau": "temperature",
    "solver": "optimizer",
    "gpu": "device",
}


def suggesting(cls):
    """Name similar parameters where a class is constructed with one that it does not have."""
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
    """Return which of these names was probably meant, as text."""
    if USUAL.get(name) in names:
        return f"Did you mean {USUAL[name]!r}?"
    by_lower = {other.lower(): other for other in names}
    near = [by_lower[other] for other in difflib.get_close_matches(name.lower(), by_lower)]
    if not near:
        return f"The parameters are {', '.join(names)}."
    return f"Did you mean {' or '.join(map(repr, near))}?"
