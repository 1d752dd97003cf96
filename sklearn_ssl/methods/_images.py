"""Methods that compute images from images."""

import numpy as np

from sklearn_ssl.inference.batches import in_batches, moved


class MapsImages:
    """Mixin of methods for images, which return images like those of X."""

    def _map_images(self, source, device, function, extra=None, copies=1):
        """Return images computed by ``function(objective, images)`` from images in [0, 1].

        They have the layout and range of X, and its data type if that is bytes. ``extra``, a tensor
        with an entry per sample of X, is passed to the function as well. The results have
        ``copies`` times as many pixels as X.
        """
        objective, as_bytes = moved(self.objective_, device), source.array.dtype == np.uint8
        extra = extra if extra is None else extra[getattr(source, "rows", slice(None))]

        def make(images, *more):  # converted to bytes per batch, to save memory
            return self._scaling.undone(function(objective, images, *more), as_bytes)

        scale = self._scaling.on(device)
        images = in_batches(make, source, scale, device, copies=copies, extra=extra)
        return source.aligned(source.laid_out(images))
