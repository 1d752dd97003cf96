"""Images and tabular data as X: the classes for the parameter ``input``."""

from sklearn_ssl.data.images import Images, images_of
from sklearn_ssl.data.table import Table, table_of

__all__ = ["Images", "Table", "images_of", "table_of"]
