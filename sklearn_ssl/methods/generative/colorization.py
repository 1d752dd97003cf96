"""Colorization: predict the colors of an image from its lightness."""

import torch
from torch import nn

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods.generative import cielab
from sklearn_ssl.methods.generative._base import ImageGenerator
from sklearn_ssl.networks.decoders import Decoder
from sklearn_ssl.networks.encoder import with_map
from sklearn_ssl.parameters import Positive, between
from sklearn_ssl.training.objective import Objective, joined, wide


class ColorizationObjective(Objective):
    """Cross entropy of color bins, weighted by the inverse frequency of the colors."""

    near_chance = 0.98  # most of it is between plausible colors of the same object

    def __init__(self, encoder, uniform_share):
        encoder, map_shape = with_map(encoder.changed(preprocess=cielab.LightnessChannels()))
        super().__init__(encoder)
        self.uniform_share = uniform_share
        bins, sides = cielab.ab_bins(), cielab.reduced(encoder.in_shape[1:])
        self.decode = Decoder(map_shape, (len(bins), *sides))
        self.register_buffer("bins", bins)  # a and b, (bins, 2)
        self.register_buffer("weights", torch.ones(len(bins)))
        self.register_buffer("mean_code", torch.full_like(self.weights, 1 / len(bins)))

    def before_training(self, samples):
        """Compute the class weights from the frequencies of colors."""
        found = cielab.bin_frequencies(samples, self.bins)
        weights = cielab.class_weights(found.sum(dim=1), self.bins, self.uniform_share)
        self.weights.copy_(weights)
        self.mean_code.copy_(weights @ found)
        nn.init.zeros_(self.decode.last.weight)  # training starts from the frequencies
        self.decode.last.bias.copy_((self.mean_code + 0.1 / len(self.bins)).log())

    def forward(self, views):
        """Return the loss of a batch of views."""
        images = joined(views)
        cielab.check_colored(images, "The images of X, or what views make of them,")
        logits, features = self.predict(images)
        with full_precision(images.device):
            colors = cielab.lab_of(wide(images), logits.shape[2:])[:, 1:]
            losses, nearest = cielab.cross_entropy(logits, colors, self.bins)
            loss = (self.weights[nearest] * losses).mean()
        return {"loss": loss, "embedding": features[: len(views[0])]}

    def chance_loss(self, n):
        """Return the loss of predicting the frequencies of the colors everywhere."""
        return cielab.weighted_entropy(self.mean_code)

    def predict(self, images):
        """Return the logits of the bins, (n, bins, h', w'), and the features."""
        features = self.encoder.features(images)
        return self.decode(features.map, cielab.reduced(images.shape[2:])), features.pooled

    def colorize(self, images, temperature):
        """Return images with three channels or one in the predicted colors."""
        colors = cielab.expected(self.predict(images)[0], self.bins, temperature)
        return cielab.with_colors(images, colors)

    def pictures(self, images, temperature):
        """Return the lightness of images, and the images in the predicted colors."""
        return cielab.gray(images), self.colorize(images, temperature)


class ColorizationTransformer(ImageGenerator):
    """Colorization: predict the colors of an image from its lightness.

    Use it to learn from color photographs, and to ``colorize`` gray ones, (n_samples, height,
    width), which ``transform`` takes too.

    Parameters
    ----------
    temperature : float, default=0.38
        Temperature, above 0, of the softmax over bins, whose mean color ``colorize`` takes; towards
        0 the most likely one. Not used in training; can be changed after fit.

    uniform_share : float, default=0.9
        Weight of rare colors, in (0, 1]: the weight of a pixel is one over the frequency of its
        color, mixed with this share of a uniform distribution. With 1 all pixels count the same.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The encoder sees three equal channels of lightness, so pretrained weights can be used. Colors
    are predicted at a quarter of the image's sides, with the frequencies of the first fit. In the
    paper ``uniform_share`` is 0.5.

    References
    ----------
    `Zhang et al. "Colorful image colorization", ECCV 2016 <https://arxiv.org/abs/1603.08511>`_

    Examples
    --------
    >>> from sklearn.datasets import load_sample_image
    >>> from sklearn.feature_extraction.image import extract_patches_2d
    >>> from sklearn_ssl import ColorizationTransformer
    >>> images = extract_patches_2d(load_sample_image("flower.jpg"), (16, 16), max_patches=100)
    >>> colorization = ColorizationTransformer(max_epochs=1, random_state=0).fit(images)
    >>> colorization.colorize(images.mean(axis=3)).shape
    (100, 16, 16, 3)
    """

    temperature: Positive = 0.38
    uniform_share: between(0, 1, "right") = 0.9

    needs_color = True

    def _make_objective(self, encoder, n_features, training):
        return ColorizationObjective(encoder, self.uniform_share)

    def _pictures(self, images):
        return self.objective_.pictures(images, self.temperature)

    def colorize(self, X):
        """Predict the colors of images.

        Parameters
        ----------
        X : array-like or tensor
            Gray or color images, of which the lightness is used, with the sides of those in fit.

        Returns
        -------
        images : ndarray of shape (n_samples, height, width, 3)
            {generated} Their lightness is that of X, unless a color is out of the gamut.
        """
        source, device = self._read_again(X)
        return self._map_images(source, device, lambda o, x: o.colorize(x, self.temperature))

    def _squared_errors(self, X):
        def compared(objective, images):
            return cielab.errors_and_chroma(objective.colorize(images, self.temperature), images)

        errors, chroma = self._of_read(X, compared).T
        if len(chroma):
            cielab.check_chroma(chroma.max())
        return errors
