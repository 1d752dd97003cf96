"""Views by a transform of single images, such as torchvision's."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from sklearn_ssl.parameters import recipe
from sklearn_ssl.views.drawn import Drawn, ViewRecipe, check_drawn


@recipe
class PerSampleViews(ViewRecipe):
    """Views by a random transform of single images, such as those of ``torchvision.transforms.v2``.

    Use it for augmentations that :class:`~sklearn_ssl.views.ImageViews` does not have. The
    transform is called for one image at a time, since torchvision's draw once per call, also for a
    batch. This takes many times as long as ``ImageViews``.

    Parameters
    ----------
    transform : callable
        Function of a float image, a tensor of shape (c, h, w) with values in [0, 1]. It returns a
        view, a tensor of the same shape for all images, float with values in [0, 1] or uint8. Leave
        out Normalize, since the encoder normalizes. Views are reproducible if it draws from torch's
        default generator, as torchvision's transforms do: ``draw`` gives a seed for each view.

    n_views : int, default=2
        Number of views.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ssl.views import PerSampleViews
    >>> from torchvision.transforms import v2
    >>> transform = v2.Compose([v2.RandomResizedCrop(32), v2.RandAugment()])
    >>> first, second = PerSampleViews(transform)(torch.rand(8, 3, 32, 32))
    >>> first.shape
    torch.Size([8, 3, 32, 32])
    """

    transform: Callable
    n_views: int = 2

    kind = "image"

    def __post_init__(self):
        if not callable(self.transform):
            raise ValueError(f"transform must be callable. Got {self.transform!r} instead.")
        if self.n_views < 1:
            raise ValueError(f"n_views must be at least 1. Got {self.n_views} instead.")

    def draw(self, n, shape, *, device, generator=None):
        """Draw a seed for each view of n images."""
        random = {"device": device, "generator": generator}
        return Seeds(torch.randint(2**63 - 1, (self.n_views, n), **random).T)

    def apply(self, batch, drawn, pool=None):
        """Return the views of a batch of images, and leave torch's generators as they are."""
        check_drawn(batch, drawn)
        devices = [batch.device] if batch.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            return [
                self._stack([self._transformed(*pair) for pair in zip(batch, seeds, strict=True)])
                for seeds in drawn.seeds.T.tolist()
            ]

    def _transformed(self, image, seed):
        torch.default_generator.manual_seed(seed)
        if image.device.type == "cuda":
            torch.cuda.default_generators[image.device.index].manual_seed(seed)
        image = image.clone()  # transforms may be in-place
        try:
            return self.transform(image)
        except Exception as error:
            raise ValueError(
                f"transform={self.transform!r} failed on an image, a float tensor of shape "
                f"{tuple(image.shape)} with values in [0, 1]. Leave out transforms of Pillow "
                f"images, such as ToTensor. {type(error).__name__}: {error}"
            ) from error

    def _stack(self, views):
        wrong = next((v for v in views if not isinstance(v, torch.Tensor)), None)
        if wrong is not None:
            raise ValueError(
                f"transform={self.transform!r} must return a tensor. It returned {type(wrong)}."
            )
        shapes = sorted({tuple(view.shape) for view in views})
        if len(shapes) > 1:
            raise ValueError(
                f"transform={self.transform!r} must return views of the same shape. It returned "
                f"shapes {shapes[0]} and {shapes[1]}. Add a resize or a crop at the end."
            )
        return torch.stack(views)


@dataclass(frozen=True, eq=False)
class Seeds(Drawn):
    """The seed with which each view of an image is transformed, (n, n_views)."""

    seeds: torch.Tensor
