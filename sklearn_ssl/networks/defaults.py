"""What "auto" stands for, by device and size of images, and the run that each choice comes from.

The runs stand in ``benchmarks/README.md``, "How the defaults were chosen".
"""

from typing import NamedTuple


class Default(NamedTuple):
    """The choice for images whose shorter side has at least so many pixels."""

    side: int
    backbone: str
    view_size: float = 1.0  # sides of views, as a share of the image's


# Where views are the method's own, and where they have the image's size, as given ones may; larger
# images first.
OWN_VIEWS = {
    "cpu": (
        # CIFAR-10, 300 seconds of a core, linear / 20 neighbours: SimCLR .699 / .559, rotation
        # .676 / .511, DINO .651 / .475 and DeepCluster .624 / .489.
        Default(24, "small_multiscale_fine", 0.5),
        Default(0, "small_convnet"),  # digits of 8 pixels
    ),
    "cuda": (Default(0, "resnet18"),),  # nothing was measured: the network of published recipes
}
WHOLE_VIEWS = {
    "cpu": (
        # The same with whole views: SimCLR .663 / .543 and rotation .649 / .516, in 10 epochs; the
        # finer network had 3, and .625 / .467.
        Default(24, "small_multiscale"),
        Default(0, "small_convnet"),
    ),
    "cuda": (Default(0, "resnet18"),),
}


def default_for(source, device, whole_views=False):
    """Return the choice for the images of a source."""
    choices = (WHOLE_VIEWS if whole_views else OWN_VIEWS)[device.type]
    return next(choice for choice in choices if min(source.shape[1:]) >= choice.side)
