"""Adversarial learning: a discriminator of filled images, with a loss of its own."""

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, leaky_relu

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.training.objective import Objective, wide


class AdversarialObjective(Objective):
    """Objective with a discriminator, if ``adversarial_weight`` is not 0."""

    def add_discriminator(self, n_channels):
        """Add the discriminator of images with so many channels."""
        if self.adversarial_weight:
            self.discriminate = Discriminator(n_channels)

    def optimizer_groups(self):
        """Return the network, and the discriminator, which has a loss of its own."""
        if not self.adversarial_weight:
            return super().optimizer_groups()
        critic = list(self.discriminate.parameters())
        others = [p for name, p in self.named_parameters() if not name.startswith("discriminate.")]
        return [{"params": others}, {"params": critic, "loss": "discriminator_loss"}]

    def adversarial_losses(self, images, predicted, masks):
        """Return the losses of the generator and of the discriminator, both cross entropies.

        The discriminator classifies images as real or filled; the generator minimizes the cross
        entropy of its filled images being real (the non-saturating loss).
        """
        filled = torch.where(masks, predicted, images)
        logits = self.discriminate(torch.cat([images, filled]).clamp(0, 1))
        is_real = (torch.arange(len(logits), device=logits.device) < len(images)).to(logits)
        with full_precision(images.device):
            logits, is_real = wide(logits), wide(is_real)
            fooled = binary_cross_entropy_with_logits(logits[len(images) :], is_real[: len(images)])
            found = binary_cross_entropy_with_logits(logits, is_real)
        return {"adversarial_loss": fooled, "discriminator_loss": found}


class Discriminator(nn.Module):
    """Logits of images being real and not filled, (n,)."""

    def __init__(self, n_channels, widths=(32, 64)):
        super().__init__()
        self.first = nn.Conv2d(n_channels, widths[0], 4, 2, 1)
        self.second = nn.Conv2d(widths[0], widths[1], 4, 2, 1)
        self.score = nn.Linear(widths[1], 1)

    def forward(self, images):
        """Return a logit for each image."""
        maps = leaky_relu(self.second(leaky_relu(self.first(images), 0.2)), 0.2)
        return self.score(maps.mean(dim=(2, 3)))[:, 0]
