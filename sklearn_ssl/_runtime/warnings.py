"""Warnings that point to the user's code."""

import contextlib
import sys
import warnings
from pathlib import Path

from sklearn_ssl._runtime.world import world

PACKAGE = str(Path(__file__).parents[1])
# scikit-learn's wrappers of fit and transform, between the user's code and the package.
WRAPPERS = "sklearn/base.py", "sklearn/utils/_set_output.py"


@contextlib.contextmanager
def compiling_quietly(compiled):
    """Context of calls of compiled modules, where the compiler reads gradients of other tensors."""
    with warnings.catch_warnings() if compiled else contextlib.nullcontext():
        if compiled:
            warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
        yield


def tell(text, category=UserWarning):
    """Issue a warning at the line of code that called the package, in one of several processes."""
    if not world().is_main:
        return
    frames, frame = [], sys._getframe(1)
    while frame is not None:
        frames.append(frame.f_code.co_filename)
        frame = frame.f_back
    level = 1 + max(i for i, name in enumerate(frames) if name.startswith(PACKAGE))
    while level < len(frames) - 1 and frames[level].endswith(WRAPPERS):
        level += 1
    warnings.warn(text, category, stacklevel=level + 2)
