"""What X may be: one class for each kind of data, given to estimators as ``input``."""

from sklearn_ssl.data.images import Images, images_of

__all__ = ["Images", "images_of"]
