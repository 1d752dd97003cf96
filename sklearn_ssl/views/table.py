"""Random views of tabular data: a share of the features is replaced by those of other samples."""

import torch

from sklearn_ssl.parameters import Recipe, recipe


@recipe
class TableViews(Recipe):
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

    def __post_init__(self):
        if not 0 < self.corruption <= 1:
            raise ValueError(f"corruption must be in (0, 1]. Got {self.corruption} instead.")
        if self.n_views < 1:
            raise ValueError(f"n_views must be at least 1. Got {self.n_views} instead.")

    def __call__(self, rows):
        """Return the views of a batch, of shape (n, n_features) each."""
        n_corrupted = self.n_views - self.keep_first
        views = [replace_features(rows, self.corruption) for _ in range(n_corrupted)]
        return [rows, *views] if self.keep_first else views


def replace_features(rows, share):
    """Replace a share of the features of each row by those of random rows of the batch."""
    n, n_features = rows.shape
    n_replaced = max(1, int(share * n_features))
    order = torch.rand(rows.shape, device=rows.device).argsort(dim=1)
    replaced = order < n_replaced  # (n, n_features), n_replaced True in each row
    donors = torch.randint(n, rows.shape, device=rows.device)
    return torch.where(replaced, rows.gather(0, donors), rows)
