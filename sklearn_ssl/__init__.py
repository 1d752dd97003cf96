"""Self-supervised learning as scikit-learn estimators."""

from sklearn_ssl.methods.simclr import SimCLRTransformer

__version__ = "0.1.0"

__all__ = ["SimCLRTransformer"]
