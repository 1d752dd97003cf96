"""Tiles: parts of images at the places of a grid, with gaps between them, and normalized."""

import math
from dataclasses import dataclass

import torch

from sklearn_ssl.views.image import line_matrices, uniform

SMALLEST = 0.5  # side of a tile, in pixels of the image
# Of images with shorter sides, tiles are enlarged, to the image's sides or to half of them: with
# patches of 8 pixels 20 neighbours had .306 of CIFAR-10, of 16 pixels .369.
TO_WHOLE, TO_HALF = 24, 64


@dataclass(frozen=True)
class Tiles:
    """Cut a tile of each cell of a grid over images, and resize it.

    Neighbours could be told by how their edges go on in each other, and places by brightness or
    contrast alone. So tiles have a ``gap`` between them and a random place in their cell, within
    the ``jitter``, both shares of a cell's side; and with ``standardize`` each channel has the mean
    and standard deviation of the whole image in all of them.
    """

    grid: int  # cells along a side
    sides: tuple  # of the tiles that are made, in pixels
    gap: float
    jitter: float
    standardize: bool

    @classmethod
    def over(cls, sides, grid, gap, jitter, standardize):
        """Return the tiles of images of these sides, enlarged where these are small.

        Raise where they are too small.
        """
        share = 1 - gap - jitter
        if share <= 0:
            raise ValueError(
                f"gap={gap} and jitter={jitter} leave nothing of a tile. Their sum must be below 1."
            )
        smallest = [SMALLEST / share] + [(SMALLEST + 1) / (1 - jitter)] * (gap > 0)
        least = grid * math.ceil(max(smallest) - 1e-9)
        if min(sides) < least:
            raise ValueError(
                f"Images of {sides[0]} x {sides[1]} pixels are too small for {grid} x {grid} tiles "
                f"with gap={gap} and jitter={jitter}: the shorter side needs at least {least} "
                "pixels. Give larger images, set input=Images(size=...), or lower gap and jitter."
            )
        if min(sides) >= TO_WHOLE:
            part = 1 / 2 if min(sides) < TO_HALF else share / grid
            sides = (max(1, round(side * part)) for side in sides)
        return cls(grid, tuple(sides), gap, jitter, standardize)

    def __call__(self, images, middle=False):
        """Return the tiles row by row, (n, grid**2, c, h, w), at random places or in the middle."""
        n, device, matrices = len(images), images.device, []
        cell = torch.arange(self.grid**2, device=device)
        at = cell // self.grid, cell % self.grid
        for index, n_in, n_out in zip(at, images.shape[2:], self.sides, strict=True):
            side = n_in / self.grid
            # At least a pixel, of which no two tiles have a part then.
            empty = max(1.0, self.gap * side) if self.gap else 0.0
            place = 0.5 if middle else uniform((n, len(cell)), 0, 1, device)
            start = (index * side + empty / 2 + place * (self.jitter * side)).expand(n, -1)
            length = torch.full_like(start, side - empty - self.jitter * side)
            parts = line_matrices(start.flatten(), length.flatten(), n_in, n_out)
            matrices.append(parts.unflatten(0, (n, -1)).to(images.dtype))
        rows, columns = matrices
        with torch.autocast(device.type, enabled=False):
            tiles = torch.einsum("npyh,nchw->npcyw", rows, images)
            tiles = torch.einsum("npcyw,npxw->npcyx", tiles, columns)
        if not self.standardize:
            return tiles
        (mean, std), (own_mean, own_std) = moments(images[:, None]), moments(tiles)
        return (tiles - own_mean) * (std / own_std) + mean


def moments(images):
    """Return mean and standard deviation of each channel, (..., 1, 1)."""
    variance, mean = torch.var_mean(images, dim=(-2, -1), correction=0, keepdim=True)
    return mean, (variance + 1e-4).sqrt()  # with which what is flat stays flat


def rearranged(images, grid, order):
    """Return images of whose cells, row by row, number order[i] lies at place i, (n, cells).

    Cells have whole pixels; what remains at the bottom and at the right stays as it is.
    """
    height, width = (side // grid * grid for side in images.shape[2:])
    inner = images[:, :, :height, :width].unflatten(3, (grid, -1)).unflatten(2, (grid, -1))
    cells = inner.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (n, cells, c, h, w)
    order = order[:, :, None, None, None].expand_as(cells)
    moved = cells.gather(1, order).unflatten(1, (grid, grid)).permute(0, 3, 1, 4, 2, 5)
    result = images.clone()
    result[:, :, :height, :width] = moved.flatten(4, 5).flatten(2, 3)
    return result
