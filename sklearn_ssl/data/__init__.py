"""What X may be: one class for each kind of data, given to estimators as ``input``."""

from sklearn_ssl.data.images import Images, images_of
from sklearn_ssl.data.table import Table, table_of

__all__ = ["Images", "Table", "images_of", "table_of"]
