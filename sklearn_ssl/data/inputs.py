"""From X to a source of samples, for every modality."""

import hashlib

from sklearn_ssl._runtime.world import world
from sklearn_ssl.data.images import Images
from sklearn_ssl.data.modality import Given, Modality
from sklearn_ssl.data.table import Table
from sklearn_ssl.data.text import Text

# In this order, the first that accepts X is used for input="auto".
MODALITIES = Text, Images, Table


def find_samples(X, described, request):
    """Check X; return its source, or an object whose ``read()`` returns it.

    ``described`` is the parameter ``input`` of the estimator.
    """
    given = Given(X, request.seen)
    if not isinstance(described, Modality):
        described = next(cls for cls in MODALITIES if cls.accepts(given))()
    return described.find(given, request)


def described_as(described, spec):
    """Return the parameter ``input`` of an estimator, with "auto" resolved for samples."""
    if isinstance(described, Modality):
        return described
    return next(cls for cls in MODALITIES if cls.kind == spec.kind)()


def identified(found, hash_files):
    """Return the result of ``find_samples``, read if necessary, and what identifies it."""
    content = found.content(hash_files)
    if content is None:
        found = found.read()
        content = found.content()
    return found, content


def equal_in_all(source):
    """Return a source; raise if it is not the same in all processes of a fit, or too small."""
    together, n = world(), len(source)
    if together.size == 1:
        return source
    if n < 2 * together.size:
        raise ValueError(
            f"X has {n} samples, but training needs at least {2 * together.size} samples, two for "
            f"each of {together.size} processes."
        )
    digests = together.gather_objects(hashlib.sha256(source.digests()).hexdigest())
    differing = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
    if differing:
        raise ValueError(
            "X is not the same in all processes, which each train on a share of it: that of "
            f"process {differing[0]} differs from that of process 0. Give all of them the whole X, "
            "in the same order."
        )
    return source


def check_same_in_all(values):
    """Raise unless values, a dict of strings, are the same in all processes of a fit."""
    of_all = world().gather_objects(values)
    for rank, others in enumerate(of_all):
        for name in of_all[0] | others:
            first, other = of_all[0].get(name), others.get(name)
            if first != other:
                raise ValueError(
                    f"{name} is not the same in all processes: {first} in process 0, but {other} "
                    f"in process {rank}. All have to call the same fit, with the same parameters."
                )


def wrong_kind(name, kinds, spec):
    """Return the error of an estimator for samples of a kind that is not among its ``kinds``."""
    suited = [cls for cls in MODALITIES if cls.kind in kinds]
    return ValueError(
        f"{name} needs {' or '.join(cls.noun for cls in suited)}, X holds {spec.described()}. "
        f"{' '.join(cls.forms for cls in suited)} For {spec.noun} use a method such as "
        f"{spec.methods}."
    )


def other_views(views, spec):
    """Return the error of views for another kind of samples."""
    meant = next(cls for cls in MODALITIES if cls.kind == views.kind)
    return ValueError(
        f"views={views!r} are for {meant.noun}, but X holds {spec.described()}. {meant.forms}"
    )


def needs_color(name, spec):
    """Return the error of estimators that learn from color images only."""
    return ValueError(
        f"{name} learns from color images of 3 channels (red, green, blue). Those of X have "
        f"{spec.shape[0]}. Pass an array (n, h, w, 3), or files of color images. Gray images are "
        "accepted after fit only; to train on them, use another method, such as SimCLRTransformer."
    )
