"""Multi-crop: a few global views and several smaller local crops of each sample."""

from dataclasses import replace
from numbers import Integral

from sklearn_ssl.parameters import recipe
from sklearn_ssl.views.combined import CombinedViews
from sklearn_ssl.views.drawn import ViewRecipe
from sklearn_ssl.views.image import ImageViews
from sklearn_ssl.views.table import TableViews

GLOBAL_VIEWS = ImageViews(scale=(0.4, 1.0))


@recipe
class MultiCrop(ViewRecipe):
    """Multi-crop augmentation: global views, followed by smaller local crops [1]_.

    Use it for methods that compare local crops with global views, such as
    :class:`~sklearn_ssl.DINOTransformer`. Local crops have the augmentations of the global views,
    but a smaller size and scale. For tabular data they are additional corrupted views.

    Parameters
    ----------
    global_views : ImageViews or TableViews, default=ImageViews(scale=(0.4, 1.0))
        Recipe of the global views, which come first.

    n_local_crops : int, default=4
        Number of local crops, at least 0.

    local_size : float, default=0.5
        Sides of local crops, as a fraction of those of global views, in (0, 1]. Only for images.

    local_scale : tuple of two floats, default=(0.1, 0.4)
        Minimum and maximum area of local crops, as fractions of the image's area, in (0, 1]. Only
        for images.

    References
    ----------
    .. [1] `Caron et al. "Unsupervised learning of visual features by contrasting cluster
       assignments", NeurIPS 2020 <https://arxiv.org/abs/2006.09882>`_

    Examples
    --------
    >>> import torch
    >>> from sklearn_ssl.views import ImageViews, MultiCrop
    >>> multi_crop = MultiCrop(ImageViews(scale=(0.4, 1.0), hflip=0.0), n_local_crops=4)
    >>> [view.shape[2] for view in multi_crop(torch.rand(8, 3, 32, 32))]
    [32, 32, 16, 16, 16, 16]
    """

    global_views: ImageViews | TableViews = GLOBAL_VIEWS
    n_local_crops: int = 4
    local_size: float = 0.5
    local_scale: tuple = (0.1, 0.4)

    def __post_init__(self):
        if not isinstance(self.global_views, ImageViews | TableViews):
            raise ValueError(
                f"global_views must be ImageViews or TableViews. Got {self.global_views!r} instead."
            )
        if not isinstance(self.n_local_crops, Integral) or self.n_local_crops < 0:
            raise ValueError(
                f"n_local_crops must be an int in [0, inf). Got {self.n_local_crops!r} instead."
            )
        if not 0 < self.local_size <= 1:
            raise ValueError(f"local_size must be in (0, 1]. Got {self.local_size!r} instead.")
        low, high = self.local_scale
        if not 0 < low <= high <= 1:
            raise ValueError(
                "local_scale must be two fractions, 0 < low <= high <= 1. "
                f"Got {self.local_scale!r} instead."
            )

    @property
    def kind(self):
        """Whether the views are for "image" or "table"."""
        return self.global_views.kind

    def combined(self):
        """Return the recipes of global and local views as one recipe."""
        if not self.n_local_crops:
            return self.global_views
        local = {"n_views": self.n_local_crops}
        if self.kind == "image":
            size = self.local_size * self.global_views.size
            local |= {"size": size, "scale": self.local_scale}
        else:
            local |= {"keep_first": False}
        return CombinedViews((self.global_views, replace(self.global_views, **local)))

    def for_images(self, height, width, channels):
        """Return the combined recipe for images of this shape, with every "auto" resolved."""
        return self.combined().for_images(height, width, channels)

    @property
    def uses_pool(self):
        """Whether the views of a sample are made of others."""
        return self.global_views.uses_pool

    def draw(self, n, shape, *, device, generator=None):
        """Draw the random values of the views of n samples, global views first."""
        return self.combined().draw(n, shape, device=device, generator=generator)

    def apply(self, batch, drawn, pool=None):
        """Return the views of a batch, global views first."""
        return self.combined().apply(batch, drawn, pool)
