"""What view recipes share: random values are drawn for a batch, and then applied to it."""

from dataclasses import dataclass, fields, replace

import torch

from sklearn_ssl.parameters import Recipe, recipe


@dataclass(frozen=True, eq=False)
class Drawn:
    """Random values of the views of n samples: tensors whose first dimension is that of samples.

    ``drawn[samples]``, with a slice, a mask or indices, are the values of some of them.
    """

    def __len__(self):
        """Return the number of samples."""
        return len(next(_tensors(tuple(vars(self).values()))))

    def __getitem__(self, samples):
        """Return the values of some samples."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: _at(value, samples) for name, value in values.items()})

    def geometries(self):
        """Return the :class:`~sklearn_ssl.views.Geometry` of each view, if it is of images."""
        return []


@recipe
class ViewRecipe(Recipe):
    """Base of recipes that draw the random values of views, and then apply them to a batch."""

    # Whether ``apply`` needs all samples of the batch to make the views of some.
    uses_pool = False

    def draw(self, n, shape, *, device, generator=None):
        """Draw the random values of the views of n samples.

        Parameters
        ----------
        n : int
            Number of samples.

        shape : tuple of int
            Shape of a sample: (c, h, w) of images, (n_features,) of tabular data.

        device : torch.device or str
            Device of the values.

        generator : torch.Generator, default=None
            Generator on the device; None is torch's default generator.

        Returns
        -------
        drawn : object
            The values of each sample. ``drawn[samples]``, with a slice, a mask or indices, are
            those of some samples; ``drawn.geometries()`` has the geometry of each view of images.
        """
        raise NotImplementedError

    def apply(self, batch, drawn, pool=None):
        """Return the views of a batch that have been drawn.

        Parameters
        ----------
        batch : tensor of shape (n, ...)
            Images (n, c, h, w) with values in [0, 1], or tabular data (n, n_features).

        drawn : object
            What ``draw`` returned, for these samples.

        pool : tensor of shape (n_pool, ...), default=None
            The samples of which values may be taken, which are as many as those in ``draw``; None
            is the batch. Only for tabular data.

        Returns
        -------
        views : list of tensors
            The views of the batch.
        """
        raise NotImplementedError

    def __call__(self, batch):
        """Return the views of a batch, a list of tensors."""
        drawn = self.draw(len(batch), batch.shape[1:], device=batch.device)
        return self.apply(batch, drawn)


def draws_apart(views):
    """Return whether views, a recipe or any function of a batch, have ``draw`` and ``apply``.

    A subclass of a recipe that only replaces ``__call__`` has none that give its views.
    """
    classes = type(views).__mro__
    places = [
        next((i for i, cls in enumerate(classes) if name in vars(cls)), None)
        for name in ("draw", "apply", "__call__")
    ]
    apart = None not in places and max(places[:2]) <= places[2]
    return apart and all(map(draws_apart, getattr(views, "recipes", ())))


def check_drawn(batch, drawn):
    """Raise if values were drawn for another number of samples than those of a batch."""
    if len(drawn) != len(batch):
        raise ValueError(
            f"drawn has the values of {len(drawn)} samples, but the batch has {len(batch)}. Draw "
            "as many, or give drawn[samples] for some samples of a batch."
        )


def check_image_shape(images, shape):
    """Raise if values were drawn for images of another shape."""
    if tuple(images.shape[1:]) != tuple(shape):
        raise ValueError(
            f"drawn is for images of shape {tuple(shape)}, but those of the batch have the shape "
            f"{tuple(images.shape[1:])}. Give draw the shape of the images."
        )


def uniform(n, low, high, device, generator=None):
    """Draw n values uniformly between low and high."""
    values = torch.empty(n, dtype=torch.float32, device=device)
    return values.uniform_(low, high, generator=generator)


def _at(value, samples):
    """Return the entries of samples in a tensor, drawn values, or a tuple of these."""
    if isinstance(value, torch.Tensor | Drawn):
        return value[samples]
    if isinstance(value, tuple):
        parts = [_at(part, samples) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _tensors(value):
    """Yield the tensors in drawn values and tuples."""
    if isinstance(value, torch.Tensor):
        yield value
    for part in vars(value).values() if isinstance(value, Drawn) else ():
        yield from _tensors(part)
    for part in value if isinstance(value, tuple) else ():
        yield from _tensors(part)
