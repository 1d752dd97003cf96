"""Multi-crop: what methods share that compare local crops with global views."""

import torch
from torch.nn.functional import log_softmax

from sklearn_ssl.methods._joint_embedding import JointEmbeddingTransformer
from sklearn_ssl.parameters import Auto, at_least
from sklearn_ssl.views import MultiCrop


class MultiCropTransformer(JointEmbeddingTransformer):
    """Base of the methods whose views are two global views and some local crops.

    Parameters
    ----------
    n_local_crops : int or "auto", default="auto"
        Number of local crops in addition to the two global views: of images, half as high and wide
        as these. "auto" is 0 for images below 24 pixels and 4 otherwise. Ignored if ``views`` is
        set, as to :class:`~sklearn_ssl.views.MultiCrop`.
    """

    doc_name = "multi_crop"

    n_local_crops: Auto | at_least(0) = "auto"

    def _default_views(self, spec):
        views, n_local_crops = super()._default_views(spec), self.n_local_crops
        if n_local_crops == "auto":
            n_local_crops = 0 if spec.kind == "image" and min(spec.shape[1:]) < 24 else 4
        return MultiCrop(views, n_local_crops=n_local_crops)


def multi_crop_loss(targets, logits, temperature):
    """Return the mean cross entropy over all pairs of a global view and another view.

    ``targets`` are the teacher's probabilities of the global views, (g, n, k); ``logits`` those of
    the student for all views, (v, n, k), global views first.
    """
    log_probabilities = log_softmax(logits / temperature, dim=2)
    pairs = -torch.einsum("gnk,vnk->gv", targets, log_probabilities) / targets.shape[1]
    same = torch.eye(*pairs.shape, device=pairs.device, dtype=torch.bool)
    return pairs.masked_fill(same, 0).sum() / (pairs.numel() - len(pairs))
