"""Tiles: crops from the cells of a grid over each image, for pretext tasks on parts of images."""

import math
from dataclasses import dataclass, replace

import torch

from sklearn_ssl.parameters import Recipe, recipe
from sklearn_ssl.views.drawn import Drawn, check_drawn, check_image_shape, uniform
from sklearn_ssl.views.geometry import Crop, geometries
from sklearn_ssl.views.image import line_matrices

SMALLEST = 0.5  # side of a tile, in pixels of the image
# Tiles of images with shorter sides are upsampled, to the image's sides or to half of them.
TO_WHOLE, TO_HALF = 24, 64


@recipe
class Tiles(Recipe):
    """Tiles of an image: one from each cell of a grid, at a random position in the cell.

    Use it as the ``tiles`` of :class:`~sklearn_ssl.JigsawTransformer` and
    :class:`~sklearn_ssl.RelativePatchTransformer`. The defaults keep the network from solving its
    task by low-level cues: edges that continue in the neighboring tile (``gap``, ``jitter``), and
    brightness or contrast that depend on the position (``standardize``).

    Parameters
    ----------
    grid : {2, 3} or "auto", default="auto"
        Number of tiles along each side of the image. "auto" is 3 for RelativePatchTransformer,
        which takes no other; for JigsawTransformer it is 3 for images whose shorter side has at
        least 48 pixels, and 2 for smaller ones.

    gap : float, default=0.125
        Minimum distance between neighboring tiles, as a fraction of the side of a cell, in [0, 1);
        at least one pixel, unless it is 0.

    jitter : float, default=0.125
        Range of the random position of a tile in its cell, as a fraction of the side of a cell, in
        [0, 1). The sum of ``gap`` and ``jitter`` must be below 1.

    standardize : bool, default=True
        Whether each channel of each tile gets the mean and standard deviation that it has in the
        whole image.

    Notes
    -----
    Where the shorter side of the images has fewer than 64 pixels, tiles are upsampled to half the
    sides of the image, and where it has fewer than 24, to all of them.

    Examples
    --------
    >>> from sklearn_ssl import JigsawTransformer
    >>> from sklearn_ssl.views import Tiles
    >>> JigsawTransformer(tiles=Tiles(grid=2)).set_params(tiles__gap=0.25).tiles
    Tiles(grid=2, gap=0.25, jitter=0.125, standardize=True)
    """

    grid: int | str = "auto"
    gap: float = 0.125
    jitter: float = 0.125
    standardize: bool = True

    def __post_init__(self):
        if self.grid not in (2, 3, "auto"):
            raise ValueError(f'grid must be 2, 3 or "auto". Got {self.grid!r} instead.')
        for name in ("gap", "jitter"):
            value = getattr(self, name)
            if isinstance(value, str) or not 0 <= value < 1:
                raise ValueError(f"{name} must be in [0, 1). Got {value!r} instead.")
        if 1 - self.gap - self.jitter <= 0:
            raise ValueError(
                f"gap={self.gap} and jitter={self.jitter} leave nothing of a tile. Their sum must "
                "be below 1."
            )
        if self.standardize not in (True, False):
            raise ValueError(f"standardize must be a bool. Got {self.standardize!r} instead.")

    def over(self, sides, auto):
        """Return the cutter of tiles of images of these sides; ``auto`` is the grid if "auto" is.

        Raise where the images are too small.
        """
        grid = auto if self.grid == "auto" else self.grid
        share = 1 - self.gap - self.jitter
        smallest = [SMALLEST / share] + [(SMALLEST + 1) / (1 - self.jitter)] * (self.gap > 0)
        least = grid * math.ceil(max(smallest) - 1e-9)
        if min(sides) < least:
            raise ValueError(
                f"Images of {sides[0]} x {sides[1]} pixels are too small for {grid} x {grid} tiles "
                f"with gap={self.gap} and jitter={self.jitter}: the shorter side needs at least "
                f"{least} pixels. Give larger images, set input=Images(size=...), or lower gap and "
                "jitter."
            )
        if min(sides) >= TO_WHOLE:
            part = 1 / 2 if min(sides) < TO_HALF else share / grid
            sides = (max(1, round(side * part)) for side in sides)
        return TileCutter(replace(self, grid=grid), tuple(sides))


@dataclass(frozen=True)
class TileCutter:
    """Cuts the tiles of a recipe, with its grid resolved, and resizes them to ``sides``."""

    recipe: Tiles
    sides: tuple  # height and width of the tiles, in pixels

    @property
    def grid(self):
        """Number of cells along each side of an image."""
        return self.recipe.grid

    def draw(self, n, shape, *, device, generator=None, centered=False, drop_colors=False):
        """Draw the positions of the tiles of n images of shape (c, h, w), or center all tiles.

        With ``drop_colors`` a channel of each tile is drawn, or the middle one, to replace all.
        """
        gap, jitter = self.recipe.gap, self.recipe.jitter
        cell = torch.arange(self.grid**2, device=device)
        starts, lengths = [], []
        for index, n_in in zip((cell // self.grid, cell % self.grid), shape[1:], strict=True):
            side = n_in / self.grid
            empty = max(1.0, gap * side) if gap else 0.0  # no pixel belongs to two tiles
            position = 0.5 if centered else uniform((n, len(cell)), 0, 1, device, generator)
            starts.append((index * side + empty / 2 + position * (jitter * side)).expand(n, -1))
            lengths.append(torch.full_like(starts[-1], side - empty - jitter * side))
        sizes, channels = (n, len(cell)), None
        if drop_colors and shape[0] > 1:
            middle = torch.full(sizes, shape[0] // 2, device=device)  # green is sharpest
            random = {"device": device, "generator": generator}
            channels = middle if centered else torch.randint(shape[0], sizes, **random)
        return TileDraws(tuple(shape), self.sides, Crop(*starts, *lengths), channels)

    def apply(self, images, drawn):
        """Return tiles row by row, (n, grid**2, c, h, w)."""
        check_drawn(images, drawn)
        check_image_shape(images, drawn.shape)
        (top, left, height, width), matrices = drawn.crop, []
        pairs = (top, height), (left, width)
        for (start, length), n_in, n_out in zip(pairs, images.shape[2:], self.sides, strict=True):
            parts = line_matrices(start.flatten(), length.flatten(), n_in, n_out)
            matrices.append(parts.unflatten(0, start.shape).to(images.dtype))
        rows, columns = matrices
        with torch.autocast(images.device.type, enabled=False):
            tiles = torch.einsum("npyh,nchw->npcyw", rows, images)
            tiles = torch.einsum("npcyw,npxw->npcyx", tiles, columns)
        if self.recipe.standardize:
            (mean, std), (own_mean, own_std) = moments(images[:, None]), moments(tiles)
            tiles = (tiles - own_mean) * (std / own_std) + mean
        return tiles if drawn.channels is None else drop_colors(tiles, drawn.channels)


@dataclass(frozen=True, eq=False)
class TileDraws(Drawn):
    """Positions of the tiles of images, and the channels that replace others."""

    shape: tuple  # of the images: channels, height and width
    sides: tuple  # height and width of the tiles
    crop: Crop  # of each tile, (n, grid**2)
    channels: torch.Tensor | None  # the same

    def geometries(self):
        """Return the geometry of each tile."""
        return geometries(self.crop, self.sides)


def moments(images):
    """Return mean and standard deviation of each channel, (..., 1, 1)."""
    variance, mean = torch.var_mean(images, dim=(-2, -1), correction=0, keepdim=True)
    return mean, (variance + 1e-4).sqrt()  # constant tiles stay constant


def drop_colors(tiles, channels):
    """Return tiles (n, tiles, c, h, w) with one of the channels, (n, tiles), in place of all."""
    index = channels[:, :, None, None, None].expand(-1, -1, 1, *tiles.shape[3:])
    return tiles.gather(2, index).expand_as(tiles)


def rearranged(images, grid, order, fill=0.0):
    """Return images in which cell ``order[:, i]`` is at position i, both numbered row by row.

    Positions of order -1 get the value ``fill``. Cells have whole pixels; what remains at the
    bottom and at the right is unchanged.
    """
    height, width = (side // grid * grid for side in images.shape[2:])
    inner = images[:, :, :height, :width].unflatten(3, (grid, -1)).unflatten(2, (grid, -1))
    cells = inner.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (n, cells, c, h, w)
    order = order[:, :, None, None, None]
    moved = cells.gather(1, order.clamp(min=0).expand_as(cells)).where(order >= 0, fill)
    moved = moved.unflatten(1, (grid, grid)).permute(0, 3, 1, 4, 2, 5)
    result = images.clone()
    result[:, :, :height, :width] = moved.flatten(4, 5).flatten(2, 3)
    return result
