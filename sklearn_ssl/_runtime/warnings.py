"""Warnings that point to the line of the user's that led to them."""

import sys
import warnings
from pathlib import Path

PACKAGE = str(Path(__file__).parents[1])
# What may lie between a user's line and ours: scikit-learn's wrappers of fit and transform.
WRAPPERS = "sklearn/base.py", "sklearn/utils/_set_output.py"


def tell(text, category=UserWarning):
    """Warn of something at the line that called into the package."""
    frames, frame = [], sys._getframe(1)
    while frame is not None:
        frames.append(frame.f_code.co_filename)
        frame = frame.f_back
    level = 1 + max(i for i, name in enumerate(frames) if name.startswith(PACKAGE))
    while level < len(frames) - 1 and frames[level].endswith(WRAPPERS):
        level += 1
    warnings.warn(text, category, stacklevel=level + 2)
