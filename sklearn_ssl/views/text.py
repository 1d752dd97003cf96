"""Random views of texts: a share of the tokens is deleted."""

from dataclasses import dataclass

import torch

from sklearn_ssl.data.spec import PADDING
from sklearn_ssl.parameters import recipe
from sklearn_ssl.views.drawn import Drawn, ViewRecipe, check_drawn


@recipe
class TextViews(ViewRecipe):
    """Views of texts by random token deletion.

    A random share of the tokens of each text is deleted; the others move up. Views are shorter than
    the texts, so that training on them takes less time.

    Parameters
    ----------
    deletion : float, default=0.5
        Share of the tokens that are deleted, in [0, 1); at least one token of a text is left.

    n_views : int, default=2
        Number of views.

    disjoint : bool, default=True
        Whether the views of a text have as few tokens in common as possible: two views with
        ``deletion=0.5`` are two halves of it. They cannot be matched by equal words, but only by
        words that occur together. With False, views are drawn independently.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ssl.views import TextViews
    >>> ids = torch.tensor([[5, 6, 7, 8], [9, 4, 0, 0]])  # 0 is padding
    >>> first, second = TextViews(deletion=0.5)(ids)
    >>> first.shape
    torch.Size([2, 2])
    >>> torch.cat([first[0], second[0]]).sort().values
    tensor([5, 6, 7, 8])
    """

    deletion: float = 0.5
    n_views: int = 2
    disjoint: bool = True

    kind = "text"

    def __post_init__(self):
        if not 0 <= self.deletion < 1:
            raise ValueError(f"deletion must be in [0, 1). Got {self.deletion} instead.")
        if self.n_views < 1:
            raise ValueError(f"n_views must be at least 1. Got {self.n_views} instead.")
        if not isinstance(self.disjoint, bool):
            raise ValueError(f"disjoint must be a bool. Got {self.disjoint!r} instead.")

    def draw(self, n, shape, *, device, generator=None):
        """Draw random orders of the tokens of n texts, of which the last are deleted."""
        sizes = n, 1 if self.disjoint else self.n_views, *shape
        return TextDraws(torch.rand(sizes, device=device, generator=generator))

    def apply(self, batch, drawn, pool=None):
        """Return the views of a batch of token ids (n, length)."""
        check_drawn(batch, drawn)
        real, views = batch != PADDING, []
        noises = drawn.noise[..., : batch.shape[1]].unbind(1)  # others may have longer texts
        orders = [ranks(real, noise) for noise in noises]
        n = real.sum(dim=1, keepdim=True)
        for i in range(self.n_views):
            order = orders[0 if self.disjoint else i]
            if self.disjoint:  # begins elsewhere in each view
                turned = (order - i * n // self.n_views) % n.clamp(min=1)
                order = turned.where(real, order)
            views.append(left(batch, order, self.deletion))
        return views


@dataclass(frozen=True, eq=False)
class TextDraws(Drawn):
    """Random values of views of texts."""

    noise: torch.Tensor  # (n, n_drawn, length), whose order is that of the tokens


def left(ids, order, deletion):
    """Return the texts without a share of their tokens: those whose place in ``order`` is last."""
    n_left = _n_left((ids != PADDING).sum(dim=1), deletion)
    # Deleted tokens and padding are sorted to the end, others stay in order.
    deleted = order >= n_left[:, None]
    places = deleted.to(torch.uint8).argsort(dim=1, stable=True)
    longest = max(1, _n_left(torch.tensor(ids.shape[1], device="cpu"), deletion).item())
    return ids.masked_fill(deleted, PADDING).gather(1, places[:, :longest])


def ranks(real, noise):
    """Return the place of each token in the order of noise in its text; padding is last.

    ``real`` is True for tokens, and False for padding.
    """
    return noise.masked_fill(~real, 2.0).argsort(dim=1).argsort(dim=1)


def _n_left(n, share):
    """Return how many of n tokens are left, at least one."""
    return n - torch.minimum((share * n.double()).round().long(), (n - 1).clamp(min=0))
