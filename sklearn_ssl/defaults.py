"""What "auto" stands for, by device and size of images, and the run that each choice comes from.

The runs stand in ``benchmarks/README.md``, "How the defaults were chosen".
"""

from typing import NamedTuple


class Default(NamedTuple):
    """The choice for images whose shorter side has at least so many pixels."""

    side: int
    backbone: str
    view_size: float  # sides of SimCLR's views, as a share of the image's


# By type of device, larger images first.
DEFAULTS = {
    "cpu": (
        # CIFAR-10, 10,000 images, 300 seconds of one core: .684 linear and .561 by 20 neighbours;
        # with views of 24 pixels .677 and .555, of 32 .663 and .543.
        Default(24, "small_multiscale", 0.5),
        # Digits of 8 pixels.
        Default(0, "small_convnet", 1.0),
    ),
    # Nothing was measured: the network and views of published recipes.
    "cuda": (Default(0, "resnet18", 1.0),),
}


def default_for(source, device):
    """Return the choice for the images of a source."""
    side = min(source.shape[1:])
    return next(choice for choice in DEFAULTS[device.type] if side >= choice.side)
