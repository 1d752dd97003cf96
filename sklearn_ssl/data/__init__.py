"""Modalities, the classes for the parameter ``input``."""

from sklearn_ssl.data.images import Images
from sklearn_ssl.data.modality import Modality
from sklearn_ssl.data.table import Table
from sklearn_ssl.data.text import Text

Described = Images | Table | Text | Modality  # the type of ``input``; errors name each of them

__all__ = ["Described", "Images", "Modality", "Table", "Text"]
