"""Random views of tabular data: a share of the features is replaced by those of other samples."""

from dataclasses import dataclass

import torch

from sklearn_ssl.parameters import recipe
from sklearn_ssl.views.drawn import Drawn, ViewRecipe, check_drawn


@recipe
class TableViews(ViewRecipe):
    """Views of tabular data by random feature corruption, as in SCARF [1]_.

    A random share of the features of each sample is replaced by values of random samples of the
    batch, drawn for each feature separately. As batches are random, these are draws from the
    marginal distribution of each feature.

    Parameters
    ----------
    corruption : float, default=0.6
        Share of the features that are replaced, in (0, 1]: ``int(corruption * n_features)`` of
        each sample, and at least one.

    n_views : int, default=2
        Number of views.

    keep_first : bool, default=True
        Whether the first view is the sample itself. With False all views are corrupted.

    References
    ----------
    .. [1] `Bahri et al. "SCARF: Self-supervised contrastive learning using random feature
       corruption", ICLR 2022 <https://arxiv.org/abs/2106.15147>`_

    Examples
    --------
    >>> import torch
    >>> from sklearn_ssl.views import TableViews
    >>> rows = torch.arange(20.0).reshape(4, 5)
    >>> original, corrupted = TableViews(corruption=0.4)(rows)
    >>> bool(((original != corrupted).sum(dim=1) <= 2).all())
    True
    """

    corruption: float = 0.6
    n_views: int = 2
    keep_first: bool = True

    kind = "table"
    uses_pool = True

    def __post_init__(self):
        if not 0 < self.corruption <= 1:
            raise ValueError(f"corruption must be in (0, 1]. Got {self.corruption} instead.")
        if self.n_views < 1:
            raise ValueError(f"n_views must be at least 1. Got {self.n_views} instead.")

    def draw(self, n, shape, *, device, generator=None):
        """Draw which features of n rows are replaced, and by those of which rows."""
        (n_features,), random = shape, {"device": device, "generator": generator}
        n_replaced = max(1, int(self.corruption * n_features))
        sizes = self.n_views - self.keep_first, n, n_features
        replaced = torch.empty(sizes, dtype=torch.bool, device=device)
        donors = torch.empty(sizes, dtype=torch.int64, device=device)
        for view in range(len(donors)):
            order = torch.rand(n, n_features, **random).argsort(dim=1)
            torch.lt(order, n_replaced, out=replaced[view])  # n_replaced True in each row
            torch.randint(n, (n, n_features), out=donors[view], generator=generator)
        return TableDraws(n, replaced.transpose(0, 1), donors.transpose(0, 1))

    def apply(self, batch, drawn, pool=None):
        """Return the views of a batch, of shape (n, n_features) each."""
        check_drawn(batch, drawn)
        pool = batch if pool is None else pool
        if len(pool) != drawn.n_pool:
            raise ValueError(
                f"pool must have the {drawn.n_pool} samples that values were drawn for, of which "
                f"the batch may be some. Got {len(pool)} samples."
            )
        views = [
            torch.where(replaced, pool.gather(0, donors), batch)
            for replaced, donors in zip(
                drawn.replaced.unbind(1), drawn.donors.unbind(1), strict=True
            )
        ]
        return [batch, *views] if self.keep_first else views


@dataclass(frozen=True, eq=False)
class TableDraws(Drawn):
    """Random values of corrupted views of rows, of shape (n, n_corrupted, n_features)."""

    n_pool: int  # rows that values are taken from
    replaced: torch.Tensor  # whether a value is replaced
    donors: torch.Tensor  # the index of the row that it is taken from
