"""Masks of patches of images, of the methods that predict what a teacher says of them."""

import math

import torch
from torch.nn.functional import interpolate

from sklearn_ssl._runtime.world import world

BLOCK = 3  # sides of blocks, about, in patches


def drawn_blocks(images, grid, mask_ratio, share=1.0, n_views=1):
    """Draw places of masked patches of images, (n, k), and which share of the images is masked.

    Masked patches are connected regions, where smooth noise is large. ``n_views`` is the number of
    views that are concatenated in ``images``.
    """
    device, coarse = images.device, [-(-side // BLOCK) for side in grid]

    def draw(n):
        noise = torch.rand(n, 1, *coarse, device=device)
        smooth = interpolate(noise, list(grid), mode="bilinear", align_corners=False)
        return (smooth + 0.1 * torch.rand(n, 1, *grid, device=device)).flatten(1)

    def choose(n):
        return torch.rand(n, device=device).argsort() < share * n

    noise, masked = (world().drawn(f, len(images), n_views) for f in (draw, choose))
    n_masked = n_of(mask_ratio, math.prod(grid))
    return noise.argsort(dim=1, descending=True)[:, :n_masked], masked


def drawn_patches(images, grid, mask_ratio, n_views=1):
    """Draw places of visible patches of images and of masked ones, anywhere in a grid."""

    def draw(n):
        return torch.rand(n, math.prod(grid), device=images.device)

    order = world().drawn(draw, len(images), n_views).argsort(dim=1)
    n_masked = n_of(mask_ratio, order.shape[1])
    return order[:, n_masked:], order[:, :n_masked]


def n_of(share, n):
    """Return the number of masked ones of n patches; at least one is masked and one visible."""
    if n < 2:
        raise ValueError(
            "Patches of images are masked, and views of this size have only one. Give larger "
            "images or views, or another backbone."
        )
    return min(max(1, round(share * n)), n - 1)


def masks_of(places, grid, masked=None):
    """Return masks of the patches at places (n, k) of a grid, (n, 1, rows, columns)."""
    values = True if masked is None else masked[:, None].expand_as(places)
    masks = torch.zeros(len(places), math.prod(grid), dtype=torch.bool, device=places.device)
    masks = masks.scatter(1, places, values)
    return masks.unflatten(1, (1, *grid))


def blanked(images, masks, blank):
    """Return images whose masked patches have one color, (c, 1, 1)."""
    masks = interpolate(masks.to(images), images.shape[2:], mode="nearest").bool()
    return torch.where(masks, blank.to(images), images)


def at_places(maps, places):
    """Return the features of maps (n, d, rows, columns) at places (n, k): (n, k, d)."""
    tokens = maps.flatten(2).transpose(1, 2)
    return tokens.gather(1, places[:, :, None].expand(-1, -1, tokens.shape[2]))
