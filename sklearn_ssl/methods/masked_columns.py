"""Masked columns: tell which values of a row were replaced, and what they had been."""

import math

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from sklearn_ssl.engine import Objective, full_precision
from sklearn_ssl.layers import mlp, wide

VALUES_WEIGHT = 2.0  # of telling values, beside telling which were replaced; VIME's


class MaskedColumnsObjective(Objective):
    """Squared error of replaced values, and how well they are told from the others."""

    def __init__(self, encoder, n_features, mask_ratio, width, depth):
        super().__init__(encoder)
        self.mask_ratio = mask_ratio
        self.decode = mlp(n_features, *depth * [width], 2 * encoder.in_shape[0])

    def forward(self, views):
        """Return the loss of a batch: rows as they are, and copies with values replaced."""
        if len(views) < 2:
            raise ValueError(
                "Masked columns need each row and a copy with values replaced; the view recipe "
                f"gave {len(views)} view. Give RowViews with keep_first=True and n_views=2."
            )
        seen, rows = torch.cat(views[1:]), views[0].repeat(len(views) - 1, 1)
        values, scores, features = self.told(seen)
        with full_precision(rows.device):
            replaced = (seen != rows).to(rows)  # other rows may have the same value
            errors = (wide(values) - rows).square() * replaced
            error = errors.sum() / replaced.sum().clamp(min=1)
            mask = binary_cross_entropy_with_logits(wide(scores), replaced)
        found = {"loss": mask + VALUES_WEIGHT * error, "embedding": features[: len(views[0])]}
        return found | {"squared_error": error.detach(), "mask_loss": mask.detach()}

    def chance_loss(self, n):
        """Return the loss of one who knows the columns' means, and how many are replaced."""
        n_columns = self.encoder.in_shape[0]
        p = max(1, int(self.mask_ratio * n_columns)) / n_columns
        return VALUES_WEIGHT - sum(q * math.log(q) for q in (p, 1 - p) if q)

    def told(self, rows):
        """Return the values of all columns, scores of being replaced, and features."""
        features = self.encoder(rows)
        return *self.decode(features).chunk(2, dim=1), features

    def imputed(self, rows):
        """Return standardised rows with values for NaN, which begin as their column's mean."""
        unknown, rows = rows.isnan(), rows.nan_to_num(0.0)
        return torch.where(unknown, self.told(rows)[0], rows)
