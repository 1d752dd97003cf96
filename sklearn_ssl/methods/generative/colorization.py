"""Colorization: tell the colours of an image from its lightness."""

import torch
from torch import nn
from torch.nn.functional import interpolate, log_softmax, softmax

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.base import SSLTransformer, decibels
from sklearn_ssl.methods.generative.cielab import lab_of, lightness, rgb_of
from sklearn_ssl.networks.decoders import Decoder
from sklearn_ssl.parameters import Positive, between
from sklearn_ssl.training.objective import Objective, joined, wide
from sklearn_ssl.views import ImageViews

SPACING, SPREAD = 10, 5  # of bins along the axes a and b; standard deviation of what is near
N_NEAREST = 5  # bins that stand for a colour
REDUCTION = 4  # sides of the image, over those of what is told of its colours
FAINTEST = 0.5  # what has to be along a or b for colours to be there


class ColorizationObjective(Objective):
    """Cross entropy of the bins that colours fall into, where rare ones count more."""

    near_chance = 0.98  # most of it is that nobody can tell which of some colours a thing has

    def __init__(self, encoder, uniform_share):
        super().__init__(encoder)
        encoder.seen_as = light_channels
        self.uniform_share = uniform_share
        bins = bins_of_gamut()
        sides = (-(-side // REDUCTION) for side in encoder.in_shape[1:])
        self.decode = Decoder(encoder.find_map(), (len(bins), *sides))
        self.register_buffer("bins", bins)  # a and b, (bins, 2)
        self.register_buffer("weights", torch.ones(len(bins)))
        self.register_buffer("mean_code", torch.full((len(bins),), 1 / len(bins)))

    def before_training(self, samples):
        """Learn how frequent colours are."""
        n, strongest = len(self.bins), 0.0
        found = self.bins.new_zeros(n * n, dtype=torch.float64)  # shares, by the nearest bin
        for images in samples:
            colors = self.colors(images, self.sides(images))
            index, share = self.code(colors)
            index = index + n * index[..., :1]
            found.index_add_(0, index.flatten(), share.flatten().double())
            strongest = max(strongest, colors.abs().max().item())
        check_strongest(strongest)
        found = found.view(n, n) / found.sum()
        near = near_to(torch.cdist(self.bins, self.bins).double())
        frequency = found.sum(dim=1) @ (near / near.sum(dim=1, keepdim=True))
        weights = 1 / ((1 - self.uniform_share) * frequency + self.uniform_share / n)
        weights /= (frequency * weights).sum()
        self.weights.copy_(weights)
        self.mean_code.copy_(weights @ found)
        # It begins with the frequencies, which it would learn slowly.
        nn.init.zeros_(self.decode.last.weight)
        self.decode.last.bias.copy_((self.mean_code + 0.1 / n).log())

    def forward(self, views):
        """Return the loss of a batch of views."""
        images = joined(views)
        check_colored(images, "The images of X, or what views make of them,")
        scores, features = self.scores(images)
        with full_precision(images.device):
            index, share = self.code(self.colors(wide(images), scores.shape[2:]))
            told = log_softmax(wide(scores).flatten(2).transpose(1, 2), dim=2).gather(2, index)
            weights = self.weights[index[..., 0]]
            loss = -(weights * (share * told).sum(dim=2)).mean()
        return {"loss": loss, "embedding": features[: len(views[0])]}

    def chance_loss(self, n):
        """Return the loss of one who tells of all places how frequent colours are."""
        code = self.mean_code
        return (torch.special.entr(code).sum() + code.sum() * code.sum().log()).item()

    def scores(self, images):
        """Return the scores of the bins at each place, (n, bins, h', w'), and the features."""
        features, maps = self.encoder(images, dense=True)
        return self.decode(maps, self.sides(images)), features

    def sides(self, images):
        """Return the sides of what is told of the colours of images."""
        return tuple(-(-side // REDUCTION) for side in images.shape[2:])

    def colors(self, images, sides):
        """Return a and b of images, (n, 2, *sides), each the mean of the pixels that it is of."""
        return interpolate(lab_of(images)[:, 1:], sides, mode="area")

    def code(self, colors):
        """Return the bins nearest to colours, and their shares, (n, h' * w', 5), largest first."""
        places = colors.flatten(2).transpose(1, 2)
        distances = torch.cdist(
            places, self.bins.to(places), compute_mode="donot_use_mm_for_euclid_dist"
        )
        nearest = distances.topk(N_NEAREST, largest=False)
        share = near_to(nearest.values)
        return nearest.indices, share / share.sum(dim=2, keepdim=True)

    def colored(self, images, temperature):
        """Return images, of three channels or one, in the colours that they are told to have."""
        scores, _ = self.scores(images)
        shares = softmax(wide(scores) / temperature, dim=1)
        colors = torch.einsum("nqhw,qc->nchw", shares, self.bins.to(shares))
        colors = interpolate(colors, images.shape[2:], mode="bilinear", align_corners=False)
        return rgb_of(torch.cat([100 * lightness(images), colors], dim=1))

    def pictures(self, images, temperature):
        """Return what is seen of images, and what is made of it."""
        light = 100 * lightness(images)
        seen = rgb_of(torch.cat([light, *2 * [torch.zeros_like(light)]], dim=1))
        return seen, self.colored(images, temperature)


def light_channels(images):
    """Return three channels of the lightness of images."""
    return lightness(images).expand(-1, 3, -1, -1)


def near_to(distances):
    """Return how much what is at these distances counts, 1 where there is none."""
    return torch.exp(-(distances**2) / (2 * SPREAD**2))


def bins_of_gamut(n_steps=86):
    """Return the colours on a grid that are nearest to any that a screen has, (bins, 2)."""
    steps = torch.linspace(0, 1, n_steps, device="cpu")
    cube = torch.cartesian_prod(steps, steps, torch.tensor([0.0, 1.0], device="cpu"))
    # All colours of a lightness or another are on the outside of the cube.
    outside = torch.cat([cube.roll(turn, dims=1) for turn in range(3)])
    colors = lab_of(outside[:, :, None, None])[:, 1:, 0, 0]
    return SPACING * torch.unique((colors / SPACING).round(), dim=0)


def check_colored(images, what="The images of X"):
    """Raise where images are gray, and have no colours to compare with."""
    if images.shape[1] != 3:
        raise ValueError(
            f"{what} are gray, and have no colours that those told could be compared with. Pass "
            "images in colour; transform and colorize take gray ones."
        )


def check_strongest(strongest):
    """Raise where images of three channels have no colours, by the most that is along a or b."""
    if strongest < FAINTEST:
        raise ValueError(
            "The images of X have three channels and no colours, as gray ones have. Pass images "
            "in colour."
        )


class ColorizationTransformer(SSLTransformer):
    """Learn features by telling the colours of an image from its lightness.

    Use it for photographs, to colour gray ones: ``colorize`` returns them in colours, and
    ``score_pretext`` says how near these are. It learns from colour images alone; ``transform``
    takes gray ones as well, since the features are those of the lightness: arrays (n, height,
    width), and not flattened in rows.

    Parameters
    ----------
    temperature : float, default=0.38
        Divides the scores of colours before their mean is taken, above 0. Towards 0 it is the most
        likely colour, and 1 gives the mean of all that are likely. It has no part in training, and
        may be set anew after fit.

    uniform_share : float, default=0.9
        How much rare colours count, in (0, 1]: a pixel counts as one over the frequency of its
        colour, of which this share is taken to be the same for all. With 1 all pixels count alike.

    {shared_parameters}

    Attributes
    ----------
    ab_bins_ : ndarray of shape (n_bins, 2), float32
        The colours that are told apart, on the axes a and b of CIELAB: a grid of spacing 10.

    color_weights_ : ndarray of shape (n_bins,), float32
        How much a pixel of each colour counts in the loss, 1 in the mean over the smoothed
        frequencies of colours.

    {shared_attributes}

    Notes
    -----
    The features are those of three equal channels of lightness, so that pretrained weights serve
    as well. Colours are told at a quarter of the image's sides, as in the paper, whose network does
    not pool; here the map of the encoder is decoded. How frequent colours are is counted in the
    first fit, on images as they are, so views should not change colours. A gray image stands for
    one of three equal channels: as light as a colour image is the one with its L of CIELAB.

    In the paper ``uniform_share`` is .5, for a million photographs. Of 3,000 images of CIFAR-10, in
    25 epochs, .5 led to 21.4 decibels on others, .9 to 22.4 and 1 to 22.4, where gray has 21.6. A
    linear model of their classes had .508, .533 and .525, 20 neighbours .388, .405 and .398; of the
    encoder before training .420 and .328 (one run each, tested on 1,000 images).

    References
    ----------
    `Zhang et al. "Colorful image colorization", ECCV 2016 <https://arxiv.org/abs/1603.08511>`_

    Examples
    --------
    >>> from sklearn.datasets import load_sample_image
    >>> from sklearn.feature_extraction.image import extract_patches_2d
    >>> from sklearn_ssl import ColorizationTransformer
    >>> photo = load_sample_image("flower.jpg")
    >>> images = extract_patches_2d(photo, (16, 16), max_patches=100, random_state=0)
    >>> colorization = ColorizationTransformer(max_epochs=1, random_state=0).fit(images)
    >>> gray = images.mean(axis=3)
    >>> colorization.transform(gray).shape
    (100, 256)
    >>> colorization.colorize(gray).shape
    (100, 16, 16, 3)
    """

    temperature: Positive = 0.38
    uniform_share: between(0, 1, "right") = 0.9

    default_views = {
        "image": ImageViews(
            scale=(0.5, 1.0), color_jitter=0.0, grayscale=0.0, gaussian_blur=0.0, n_views=1
        )
    }
    whole_views = True  # things are as large as in the images that users have
    needs_color = True

    def _make_objective(self, encoder, n_features, training):
        return ColorizationObjective(encoder, self.uniform_share)

    def _fitted(self, objective, source):
        bins, weights = (x.numpy().copy() for x in (objective.bins, objective.weights))
        return {"ab_bins_": bins, "color_weights_": weights}

    def _pictures(self, images):
        return self._objective.pictures(images, self.temperature)

    def colorize(self, X):
        """Give images the colours that they may have.

        Parameters
        ----------
        X : array-like or tensor
            Images of the height and width of fit's, gray or in colours, of which the lightness
            alone is looked at.

        Returns
        -------
        images : ndarray of shape (n_samples, height, width, 3)
            Or with the channels where those of X are. They have the lightness of X, but where no
            colour of it is as strong as the one told, and values of the same range: bytes if X
            holds bytes, else float32.
        """
        source, device = self._read_again(X)
        return self._map_images(source, device, lambda o, x: o.colored(x, self.temperature))

    def score_pretext(self, X, y=None):
        """Return how near the colours told are to those of images, the peak signal-to-noise ratio.

        Parameters
        ----------
        X : array-like or tensor
            Images in colours, as in fit, of the same shape.

        y : Ignored
            Not used, here for scikit-learn's conventions.

        Returns
        -------
        ratio : float
            10 * log10(1 / mean squared error) of red, green and blue of all images, in decibels,
            where the largest value is 1. Larger is better.
        """

        def compared(objective, images):
            check_colored(images)
            errors = (objective.colored(images, self.temperature) - images).square()
            strength = lab_of(images)[:, 1:].abs()
            return torch.stack([errors.mean(dim=(1, 2, 3)), strength.amax(dim=(1, 2, 3))], dim=1)

        errors, strength = self._of_read(X, compared).T
        ratio = decibels(errors)
        check_strongest(strength.max())
        return ratio
