"""Defaults of backbones, views and learning rates by kind of data, device and image size.

The benchmarks behind them are in ``benchmarks/README.md``, "How the defaults were chosen".
"""

from typing import NamedTuple


class Default(NamedTuple):
    """Default for images whose shorter side has at least ``side`` pixels."""

    side: int
    backbone: str
    view_size: float = 1.0  # as a share of the image's sides
    lr_factor: float = 1.0  # of the learning rates of ``training.optimizers``


# For a method's default views, and for views of the image's size, such as a user's. Largest images
# first.
OWN_VIEWS = {
    "cpu": (
        # CIFAR-10, 300 seconds of a core, linear / 20 neighbors: SimCLR .699 / .559, rotation
        # .676 / .511, DINO .651 / .475 and DeepCluster .624 / .489.
        Default(24, "small_multiscale_fine", 0.5),
        Default(0, "small_convnet"),  # digits of 8 pixels
    ),
    "cuda": (Default(0, "resnet18"),),  # as in published recipes, not measured
}
WHOLE_VIEWS = {
    "cpu": (
        # The same with views of full size: SimCLR .663 / .543 and rotation .649 / .516 after 10
        # epochs; the finer network reached .625 / .467 after 3 epochs.
        Default(24, "small_multiscale"),
        Default(0, "small_convnet"),
    ),
    "cuda": (Default(0, "resnet18"),),
}


# For data of other kinds than images.
OTHER = {
    "table": Default(0, "mlp"),
    # SimCLR on 5,400 texts, linear model with 10 and all labels, 1,540 steps: .487 / .685 with a
    # learning rate of 0.0003, .435 / .650 with 0.002, where it overfits (untrained .443 / .652).
    "text": Default(0, "small_bert", lr_factor=0.15),
}


def lr_factor_for(spec):
    """Return the default factor of learning rates for the samples of a spec."""
    return OTHER[spec.kind].lr_factor if spec.kind in OTHER else 1.0


def default_for(spec, device, whole_views=False):
    """Return the default for the samples of a spec."""
    if spec.kind in OTHER:
        return OTHER[spec.kind]
    choices = (WHOLE_VIEWS if whole_views else OWN_VIEWS)[device.type]
    return next(choice for choice in choices if min(spec.shape[1:]) >= choice.side)
