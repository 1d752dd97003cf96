"""Format of samples: their kind, shape and column names."""

import math
from dataclasses import dataclass, replace

import torch

from sklearn_ssl.data.batch import leaves

# A small share of values in views of images may be slightly outside [0, 1], because of noise or
# interpolation.
TOLERANCE, SHARE_OUTSIDE, FAR_OUT = 0.25, 0.01, 1.0
SPREAD_LEFT = 0.01  # share of the standard deviation; below, images were scaled down


PADDING = 0  # id that follows the tokens of shorter texts


class Stored:
    """Base of dataclasses that files of estimators may contain."""


@dataclass(frozen=True)
class Spec(Stored):
    """Format of the samples of X, learned in fit."""

    shape: tuple  # of a sample as network input
    n_features: int = 0
    names: object = None  # of the columns of a data frame
    listed: bool = False  # whether samples were listed, and read one by one

    kind = None  # name in ``default_views`` of the methods
    unit = "sample"
    noun = methods = None  # name of such data, and of methods for it, in errors
    remedy = ""  # if X is of another kind than in fit
    has_mirror_images = has_maps = False

    @property
    def n_positions(self):
        """Number of positions of a sample, by which batches of inference are limited."""
        return math.prod(self.shape[1:])

    def described(self):
        """Return what the samples are, as text."""
        raise NotImplementedError

    def samples(self, n=2):
        """Return a batch on which networks are tried, of values from 0 to 1."""
        return trial_values(n, *self.shape)

    def attributes(self):
        """Return the fitted attributes that describe X."""
        names = {} if self.names is None else {"feature_names_in_": self.names}
        return {"n_features_in_": self.n_features, **names}

    def complete(self, views):
        """Return views with settings that depend on the samples filled in."""
        return views

    def check_views(self, views, made, samples):
        """Raise if values of the views ``made`` of samples are implausible."""
        if any(not part.isfinite().all() for part in leaves(list(made))):
            raise ValueError(
                f"Views must be finite. Those of {views!r} contain NaN or infinite values."
            )

    def named(self, other):
        """Return the spec with the columns of another one."""
        return replace(self, n_features=other.n_features, names=other.names)


class TableSpec(Spec):
    """Tabular data of shape (n_features,)."""

    kind, unit, noun = "table", "row", "tabular data"
    methods = "SimCLRTransformer or VIMETransformer"
    remedy = "Pass an array (n_samples, n_features)."

    def described(self):
        """Return what the samples are, as text."""
        return f"tabular data with {self.n_features} features"

    def exported(self, X):
        """Return the batch of the input of an exported model."""
        return X

    def export_samples(self):
        """Return a batch as input of an exported model, and largest sizes of its free axes."""
        return torch.zeros(2, *self.shape, device="cpu"), {"n": None}


class TextSpec(Spec):
    """Texts as token ids, of shape (max_length, n_tokens): length, and size of the vocabulary."""

    kind, unit, noun = "text", "text", "texts"
    methods = "SimCLRTransformer or BERTTransformer"
    remedy = "Pass a list of strings."

    @property
    def n_positions(self):
        """Maximum number of tokens of a text."""
        return self.shape[0]

    def described(self):
        """Return what the samples are, as text."""
        return "texts"

    def samples(self, n=2):
        """Return a batch on which networks are tried, without padding."""
        return trial_ids(n, *self.shape)

    def check_views(self, views, made, samples):
        """Raise if views of texts are not ids of the vocabulary."""
        n_tokens = self.shape[1]
        for view in made:
            low, high = (extreme.item() for extreme in view.aminmax())
            if low < 0 or high >= n_tokens or view.shape[1] > self.shape[0]:
                raise ValueError(
                    f"Views of texts must have at most {self.shape[0]} ids from 0 to "
                    f"{n_tokens - 1}, like the batch. Those of {views!r} have {view.shape[1]}, "
                    f"from {low} to {high}."
                )

    def exported(self, X):
        """Return the batch of the input of an exported model, token ids."""
        return X

    def export_samples(self):
        """Return a batch as input of an exported model, and largest sizes of its free axes."""
        return self.samples(), {"n": None, "length": self.shape[0]}


def trial_values(*shape):
    """Return values from 0 to 1 of this shape, on which networks are tried."""
    return torch.linspace(0, 1, math.prod(shape), device="cpu").reshape(shape)


def trial_ids(n, length, n_tokens):
    """Return token ids (n, length) on which networks are tried, none of which is padding."""
    return torch.arange(1, n * length + 1, device="cpu").reshape(n, length) % (n_tokens - 1) + 1


class ImageSpec(Spec):
    """Images of shape (channels, height, width)."""

    kind, unit, noun = "image", "img", "images"
    methods = "SimCLRTransformer or SimMIMTransformer"
    has_mirror_images = has_maps = True
    remedy = (
        "Pass images, or set input=Images(shape=...) for flattened ones. If X is one image, pass "
        "[image]."
    )

    @property
    def shape_of_one(self):
        """Height, width and channels."""
        return (*self.shape[1:], self.shape[0])

    def described(self):
        """Return what the samples are, as text."""
        return f"images of (height, width, channels) = {self.shape_of_one}"

    def attributes(self):
        """Return the fitted attributes that describe X."""
        return super().attributes() | {"image_shape_": self.shape_of_one}

    def complete(self, views):
        """Return views with settings that depend on the size and channels of images filled in."""
        channels, height, width = self.shape
        fill = getattr(views, "for_images", None)
        return views if fill is None else fill(height, width, channels)

    def check_views(self, views, made, samples):
        """Raise if values of the views ``made`` of samples are not in [0, 1]."""
        super().check_views(views, made, samples)
        spread = samples.std().item()
        for view in made:
            low, high = (extreme.item() for extreme in view.aminmax())
            below, above = (view < -TOLERANCE).float().mean(), (view > 1 + TOLERANCE).float().mean()
            if low < -FAR_OUT or high > 1 + FAR_OUT or max(below, above) > SHARE_OUTSIDE:
                raise ValueError(
                    "Views must have values in [0, 1], like the input images. Got values from "
                    f"{low:.3g} to {high:.3g}. Leave out Normalize, since the encoder normalizes; "
                    "divide values up to 255 by 255; clamp values after adding noise. They are "
                    f"those of {views!r}."
                )
            if view.std().item() < SPREAD_LEFT * spread:
                raise ValueError(
                    f"Views have almost no contrast, with values from {low:.3g} to {high:.3g}. The "
                    "input images have values in [0, 1]: do not divide them by 255, and convert "
                    f"them to bytes only with scale=True. They are those of {views!r}."
                )

    def exported(self, X):
        """Return the batch of the input of an exported model, (n, height, width, channels)."""
        return X.permute(0, 3, 1, 2).contiguous()

    def export_samples(self):
        """Return a batch as input of an exported model, and largest sizes of its free axes."""
        return torch.zeros(2, *self.shape_of_one, device="cpu"), {"n": None}
