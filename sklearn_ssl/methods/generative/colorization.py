"""Colorization: predict the colors of an image from its lightness."""

import torch
from torch import nn
from torch.nn.functional import interpolate, log_softmax, softmax

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods.generative import cielab
from sklearn_ssl.methods.generative._base import ImageGenerator
from sklearn_ssl.networks.decoders import Decoder
from sklearn_ssl.parameters import Positive, between
from sklearn_ssl.training.objective import Objective, joined, wide


class ColorizationObjective(Objective):
    """Cross entropy of color bins, weighted by the inverse frequency of the colors."""

    near_chance = 0.98  # most of it is between plausible colors of the same object

    def __init__(self, encoder, uniform_share):
        super().__init__(encoder)
        encoder.seen_as = cielab.lightness_channels
        self.uniform_share = uniform_share
        bins, sides = cielab.ab_bins(), cielab.reduced(encoder.in_shape[1:])
        self.decode = Decoder(encoder.find_map(), (len(bins), *sides))
        self.register_buffer("bins", bins)  # a and b, (bins, 2)
        self.register_buffer("weights", torch.ones(len(bins)))
        self.register_buffer("mean_code", torch.full((len(bins),), 1 / len(bins)))

    def before_training(self, samples):
        """Compute the class weights from the frequencies of colors."""
        found = cielab.bin_frequencies(samples, self.bins)
        weights = cielab.class_weights(found.sum(dim=1), self.bins, self.uniform_share)
        self.weights.copy_(weights)
        self.mean_code.copy_(weights @ found)
        # The prediction starts from the frequencies, which are learned slowly.
        nn.init.zeros_(self.decode.last.weight)
        self.decode.last.bias.copy_((self.mean_code + 0.1 / len(self.bins)).log())

    def forward(self, views):
        """Return the loss of a batch of views."""
        images = joined(views)
        cielab.check_colored(images, "The images of X, or what views make of them,")
        logits, features = self.predict(images)
        with full_precision(images.device):
            colors = cielab.ab_of(wide(images), logits.shape[2:])
            index, share = cielab.soft_targets(colors, self.bins)
            logs = log_softmax(wide(logits).flatten(2).transpose(1, 2), dim=2).gather(2, index)
            loss = -(self.weights[index[..., 0]] * (share * logs).sum(dim=2)).mean()
        return {"loss": loss, "embedding": features[: len(views[0])]}

    def chance_loss(self, n):
        """Return the loss of predicting the frequencies of the colors everywhere."""
        code = self.mean_code
        return (torch.special.entr(code).sum() + code.sum() * code.sum().log()).item()

    def predict(self, images):
        """Return the logits of the bins, (n, bins, h', w'), and the features."""
        features, maps = self.encoder(images, dense=True)
        return self.decode(maps, cielab.reduced(images.shape[2:])), features

    def colorize(self, images, temperature):
        """Return images with three channels or one in the predicted colors."""
        shares = softmax(wide(self.predict(images)[0]) / temperature, dim=1)
        colors = torch.einsum("nqhw,qc->nchw", shares, self.bins.to(shares))
        colors = interpolate(colors, images.shape[2:], mode="bilinear", align_corners=False)
        return cielab.lab_to_rgb(torch.cat([100 * cielab.lightness(images), colors], dim=1))

    def pictures(self, images, temperature):
        """Return the lightness of images, and the images in the predicted colors."""
        light = 100 * cielab.lightness(images)
        gray = cielab.lab_to_rgb(torch.cat([light, *2 * [torch.zeros_like(light)]], dim=1))
        return gray, self.colorize(images, temperature)


class ColorizationTransformer(ImageGenerator):
    """Colorization: predict the colors of an image from its lightness.

    Use it for photographs, and to color gray ones, by ``colorize``. It is trained on color images;
    ``transform`` and ``colorize`` also take gray arrays (n_samples, height, width).

    Parameters
    ----------
    temperature : float, default=0.38
        Temperature of the softmax over color bins, of which ``colorize`` takes the mean, above 0:
        towards 0 the most likely color. It is not used in training, and can be set after fit.

    uniform_share : float, default=0.9
        Weight of rare colors, in (0, 1]: the weight of a pixel is one over the frequency of its
        color, mixed with this share of a uniform distribution. With 1 all pixels count the same.

    {shared_parameters}

    Attributes
    ----------
    ab_bins_ : ndarray of shape (n_bins, 2), float32
        The color bins, on the axes a and b of CIELAB: a grid of spacing 10.

    color_weights_ : ndarray of shape (n_bins,), float32
        Weight in the loss of a pixel of each bin, with mean 1 over the smoothed color frequencies.

    {shared_attributes}

    Notes
    -----
    The encoder sees three equal channels of lightness, so pretrained weights can be used. Colors
    are predicted at a quarter of the image's sides. The frequencies of colors are those of the
    first fit, without views. ``uniform_share`` is 0.5 in the paper, whose network has no pooling.

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
    >>> colorization.colorize(images.mean(axis=3)).shape
    (100, 16, 16, 3)
    """

    temperature: Positive = 0.38
    uniform_share: between(0, 1, "right") = 0.9

    needs_color = True

    def _make_objective(self, encoder, n_features, training):
        return ColorizationObjective(encoder, self.uniform_share)

    def _fitted(self, objective, source):
        bins, weights = (x.numpy().copy() for x in (objective.bins, objective.weights))
        return {"ab_bins_": bins, "color_weights_": weights}

    def _pictures(self, images):
        return self._objective.pictures(images, self.temperature)

    def colorize(self, X):
        """Predict the colors of images.

        Parameters
        ----------
        X : array-like or tensor
            Gray or color images with the height and width of those in fit. Their lightness is used.

        Returns
        -------
        images : ndarray of shape (n_samples, height, width, 3)
            {generated} Their lightness is that of X, unless a color is out of the gamut.
        """
        source, device = self._read_again(X)
        return self._map_images(source, device, lambda o, x: o.colorize(x, self.temperature))

    def _squared_errors(self, X):
        def compared(objective, images):
            cielab.check_colored(images)
            errors = (objective.colorize(images, self.temperature) - images).square()
            chroma = cielab.rgb_to_lab(images)[:, 1:].abs()
            return torch.stack([errors.mean(dim=(1, 2, 3)), chroma.amax(dim=(1, 2, 3))], dim=1)

        errors, chroma = self._of_read(X, compared).T
        if len(chroma):
            cielab.check_chroma(chroma.max())
        return errors
