"""Modalities, the classes for the parameter ``input``."""

from sklearn_ssl.data.images import Images
from sklearn_ssl.data.modality import Modality
from sklearn_ssl.data.table import Table
from sklearn_ssl.data.text import Text

__all__ = ["Images", "Modality", "Table", "Text"]
