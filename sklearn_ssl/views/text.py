"""Random views of texts: a share of the tokens is deleted."""

import torch

from sklearn_ssl.data.spec import PADDING
from sklearn_ssl.parameters import Recipe, recipe


@recipe
class TextViews(Recipe):
    """Views of texts by random token deletion.

    A random share of the tokens of each text is deleted; the others move up. Views are shorter than
    the texts, so that training on them takes less time.

    Parameters
    ----------
    deletion : float, default=0.5
        Share of the tokens that are deleted, in [0, 1); at least one token of a text is left.

    n_views : int, default=2
        Number of views.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ssl.views import TextViews
    >>> ids = torch.tensor([[5, 6, 7, 8], [9, 4, 0, 0]])  # 0 is padding
    >>> first, second = TextViews(deletion=0.5)(ids)
    >>> first.shape
    torch.Size([2, 2])
    >>> (first != 0).sum(dim=1)
    tensor([2, 1])
    """

    deletion: float = 0.5
    n_views: int = 2

    kind = "text"

    def __post_init__(self):
        if not 0 <= self.deletion < 1:
            raise ValueError(f"deletion must be in [0, 1). Got {self.deletion} instead.")
        if self.n_views < 1:
            raise ValueError(f"n_views must be at least 1. Got {self.n_views} instead.")

    def __call__(self, ids):
        """Return the views of a batch of token ids (n, length)."""
        return [delete_tokens(ids, self.deletion) for _ in range(self.n_views)]


def delete_tokens(ids, share):
    """Delete a share of the tokens of each text, at random."""
    real = ids != PADDING
    n_left = _n_left(real.sum(dim=1), share)
    # Deleted tokens and padding are sorted to the end, others stay in order.
    deleted = ranks(real) >= n_left[:, None]
    order = deleted.to(torch.uint8).argsort(dim=1, stable=True)
    longest = max(1, _n_left(torch.tensor(ids.shape[1], device="cpu"), share).item())
    return ids.masked_fill(deleted, PADDING).gather(1, order[:, :longest])


def ranks(real):
    """Return the place of each token in a random order of those of its text; padding is last.

    ``real`` is True for tokens, and False for padding.
    """
    noise = torch.rand(real.shape, device=real.device).masked_fill(~real, 2.0)
    return noise.argsort(dim=1).argsort(dim=1)


def _n_left(n, share):
    """Return how many of n tokens are left, at least one."""
    return n - torch.minimum((share * n.double()).round().long(), (n - 1).clamp(min=0))
