"""Modalities: what each kind of input, such as images, has to provide."""

from dataclasses import dataclass
from functools import cached_property

from sklearn.base import BaseEstimator

from sklearn_ssl.data.arrays import as_array
from sklearn_ssl.data.image_lists import listed_images
from sklearn_ssl.data.recognition import recognized
from sklearn_ssl.parameters import Recipe, recipe


@dataclass(frozen=True)
class Request:
    """What an estimator asks for when it reads X."""

    name: str  # of the estimator, for errors
    device_type: str = "cpu"
    min_samples: int = 1
    verbose: int = 0
    needs_color: bool = False  # whether fit needs color images, and transform accepts gray ones
    seen: object = None  # Spec of the samples in fit; None in fit
    preprocessing: object = None  # learned in fit

    def header(self):
        """Return a stand-in of the estimator for scikit-learn's checks of columns."""
        header = type(self.name, (BaseEstimator,), {})()
        if self.seen is not None:
            vars(header).update(self.seen.attributes())
        return header


class Given:
    """X as it was passed, and its conversions, which are computed once."""

    def __init__(self, X, seen=None):
        self.X, self.seen = recognized(X), seen

    @cached_property
    def listed(self):
        """The images listed in X, or None."""
        return listed_images(self.X, expected=self.seen is not None and self.seen.listed)

    @cached_property
    def array(self):
        """X as an array or data frame of numbers."""
        return as_array(self.X)


@recipe
class Modality(Recipe):
    """Kind of input, such as images: what X may be, and how it is read and preprocessed.

    A subclass is a value of the parameter ``input`` of estimators, and its parameters describe X.
    Batches of its sources are tensors, or tuples or dicts of tensors; so are views.
    """

    kind = None  # name in ``default_views`` of the methods
    noun = forms = None  # what it is, and in which forms X is accepted, in errors

    @classmethod
    def accepts(cls, given):
        """Return whether ``input="auto"`` treats X as this kind."""
        raise NotImplementedError

    def find(self, given, request):
        """Check X; return its source, or an object whose ``read()`` returns it."""
        raise NotImplementedError

    def learn(self, source):
        """Return the preprocessing of the samples of a source, learned in fit."""
        raise NotImplementedError

    def identity(self):
        """Return the parameters on which results depend, for the key of a cached fit."""
        return self
