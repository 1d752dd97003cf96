"""Where the pixels of views come from: affine maps to the image, and between two views of it."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from sklearn_ssl.views.drawn import Drawn


@dataclass(frozen=True, eq=False)
class Geometry(Drawn):
    """Where the pixels of a view come from, for each of n images.

    Recipes of images return it: ``drawn = views.draw(...)`` has one for each view in
    ``drawn.geometries()``. Positions are (row, column), and pixel (i, j) has its center at the
    position (i, j). ``geometry[samples]`` is that of some images.

    Parameters
    ----------
    matrix : tensor of shape (n, 2, 3)
        The position in the image is ``matrix @ (row, column, 1)`` of that in the view.

    sides : tuple of two ints
        Height and width of the view, in pixels.

    Examples
    --------
    >>> from sklearn_ssl.views import ImageViews
    >>> drawn = ImageViews(size=0.5).draw(8, (3, 32, 32), device="cpu")
    >>> first, second = drawn.geometries()
    >>> first.matrix.shape, first.sides
    (torch.Size([8, 2, 3]), (16, 16))
    """

    matrix: torch.Tensor
    sides: tuple


def map_points(points, source, target):
    """Map positions in one view to the positions in another view that show the same place.

    Use it to compare the features of two views position by position.

    Parameters
    ----------
    points : tensor of shape (n, n_points, 2) or (n_points, 2)
        Positions (row, column) in the source view of each of n images, or the same for all. Pixel
        (i, j) has its center at the position (i, j).

    source : Geometry
        Geometry of the view that the positions are in.

    target : Geometry
        Geometry of another view of the same images.

    Returns
    -------
    mapped : tensor of shape (n, n_points, 2)
        Positions in the target view.

    inside : tensor of shape (n, n_points), bool
        Whether the target view shows them.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ssl.views import ImageViews, map_points
    >>> views, images = ImageViews(), torch.rand(8, 3, 32, 32)
    >>> drawn = views.draw(len(images), images.shape[1:], device=images.device)
    >>> first, second = views.apply(images, drawn)
    >>> corners = torch.tensor([[0.0, 0.0], [0.0, 31.0], [31.0, 0.0], [31.0, 31.0]])
    >>> mapped, inside = map_points(corners, *drawn.geometries())
    >>> mapped.shape, inside.shape
    (torch.Size([8, 4, 2]), torch.Size([8, 4]))
    """
    if points.ndim not in (2, 3) or points.shape[-1] != 2:
        raise ValueError(
            "points must have the shape (n, n_points, 2) or (n_points, 2), rows and columns. "
            f"Got the shape {tuple(points.shape)}."
        )
    numbers = {"source": len(source), "target": len(target)}
    numbers |= {"points": len(points)} if points.ndim == 3 else {}
    if len(set(numbers.values())) > 1:
        raise ValueError(f"Views must be of the same images. Got numbers of images {numbers}.")
    points = points.to(source.matrix)
    (forth, start), (back, end) = (g.matrix.split([2, 1], dim=2) for g in (source, target))
    places = points @ forth.mT + (start - end).mT  # in the image, relative to the target
    mapped = places @ _inverse(back).mT
    sides = torch.stack([torch.full_like(mapped[..., 0], side) for side in target.sides], dim=-1)
    return mapped, ((mapped >= -0.5) & (mapped <= sides - 0.5)).all(dim=-1)


class Crop(NamedTuple):
    """Rectangles, one per view: tensors of the same shape, in pixels."""

    top: torch.Tensor
    left: torch.Tensor
    height: torch.Tensor
    width: torch.Tensor


def geometries(crop, sides, flipped=None, angle=None):
    """Return the geometry of each view, of values (n, n_views).

    ``sides`` are those of the views, to which crops are resized; ``angle`` turns them around their
    centers, in radians.
    """
    height, width = sides
    angle = torch.zeros_like(crop.top) if angle is None else angle
    mirror = torch.ones_like(crop.top) if flipped is None else torch.where(flipped, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    by_row, by_column = crop.height / height, mirror * crop.width / width
    rows, columns = (cos * by_row, sin * by_column), (-sin * by_row, cos * by_column)
    # From the center of the view to that of the crop.
    middle = (height - 1) / 2, (width - 1) / 2
    centers = crop.top + (crop.height - 1) / 2, crop.left + (crop.width - 1) / 2
    matrix = [
        torch.stack([a, b, center - a * middle[0] - b * middle[1]], dim=-1)
        for (a, b), center in zip((rows, columns), centers, strict=True)
    ]
    return [Geometry(view, tuple(sides)) for view in torch.stack(matrix, dim=-2).unbind(1)]


def _inverse(matrix):
    """Return the inverses of matrices (n, 2, 2), without synchronizing with the device."""
    a, b, c, d = matrix.flatten(1).unbind(1)
    adjugate = torch.stack([d, -b, -c, a], dim=1).view_as(matrix)
    return adjugate / (a * d - b * c)[:, None, None]
