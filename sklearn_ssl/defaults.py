"""What "auto" stands for, by device and size of images, and the run that each choice comes from.

The runs stand in ``benchmarks/README.md``, "How the defaults were chosen".
"""

from typing import NamedTuple


class Default(NamedTuple):
    """The choice for images whose shorter side has at least so many pixels."""

    side: int
    backbone: str
    view_size: float = 1.0  # sides of views, as a share of the image's


# Of methods that learn from views of any size, and of those that need whole images; larger first.
SMALL_VIEWS = {
    "cpu": (
        # CIFAR-10, SimCLR for 300 seconds of one core: .699 linear, .559 by 20 neighbours.
        Default(24, "small_multiscale_fine", 0.5),
        Default(0, "small_convnet"),  # digits of 8 pixels
    ),
    "cuda": (Default(0, "resnet18"),),  # nothing was measured: the network of published recipes
}
WHOLE_VIEWS = {
    "cpu": (
        # CIFAR-10, rotation for 300 seconds of one core: .649 and .516, 10 epochs; with the finer
        # network there were 3.
        Default(24, "small_multiscale"),
        Default(0, "small_convnet"),
    ),
    "cuda": (Default(0, "resnet18"),),
}


def default_for(source, device, small_views):
    """Return the choice for the images of a source."""
    choices = (SMALL_VIEWS if small_views else WHOLE_VIEWS)[device.type]
    return next(choice for choice in choices if min(source.shape[1:]) >= choice.side)
