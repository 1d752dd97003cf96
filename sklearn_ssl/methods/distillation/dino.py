"""DINO: self-distillation with a momentum teacher, multi-crop, centering and sharpening."""

from sklearn_ssl.methods.distillation._prototypes import PrototypeObjective, PrototypeTransformer
from sklearn_ssl.views import ImageViews, TableViews


class DINOObjective(PrototypeObjective):
    """Cross entropy between centered, sharpened teacher outputs and student outputs."""

    def forward(self, views):
        """Return the loss of a batch of views, global views first, and the teacher's entropies."""
        return self.dino_terms(*self.teach(views), *self.study(views))


class DINOTransformer(PrototypeTransformer):
    """DINO: self-distillation that matches the outputs of a momentum teacher across crops.

    The student sees global views and local crops; the teacher, its exponential moving average,
    only global views. Centering and sharpening of the teacher's outputs prevent collapse without
    negatives. ``transform`` uses the teacher. Use it with vision transformers, and
    ``attention_maps``. For tabular data, each view replaces a random share of the features.

    Parameters
    ----------
    centering : {"softmax", "sinkhorn"}, default="softmax"
        How the teacher's outputs become probabilities: by a softmax of centered outputs, or by
        Sinkhorn-Knopp, which uses all prototypes of a batch equally, and no center (DINOv2).

    {prototype_parameters}

    {distillation_parameters}

    {shared_parameters}

    Attributes
    ----------
    {distillation_attributes}

    {shared_attributes}

    Notes
    -----
    Differences from the paper: defaults are for small networks and short training, with at most 512
    prototypes instead of 65,536 and teacher temperatures of 0.02 to 0.04 instead of 0.04 to 0.07.
    Both global views have the same augmentations, without solarization.

    References
    ----------
    `Caron et al. "Emerging properties in self-supervised vision transformers", ICCV 2021
    <https://arxiv.org/abs/2104.14294>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import DINOTransformer
    >>> images = load_digits().images[:100]
    >>> dino = DINOTransformer(backbone="small_vit", max_epochs=1, random_state=0).fit(images)
    >>> dino.transform(images).shape
    (100, 128)
    >>> dino.attention_maps(images).shape  # four heads, patches of 2 x 2 pixels
    (100, 4, 4, 4)
    """

    default_views = {"image": ImageViews(scale=(0.4, 1.0)), "table": TableViews(keep_first=False)}
    least_momentum = 0.99  # or the teacher, which embeds, follows the first, poor steps

    def _make_objective(self, encoder, n_features, training):
        settings = self._prototype_settings(training)
        return DINOObjective(encoder, self._head(n_features, training), **settings)
