"""DINO: self-distillation with a momentum teacher, multi-crop, balancing and sharpening."""

from sklearn_ssl.methods.distillation._prototypes import PrototypeObjective, PrototypeTransformer
from sklearn_ssl.views import ImageViews, TableViews


class DINOObjective(PrototypeObjective):
    """Cross entropy between balanced, sharpened teacher outputs and student outputs."""

    def forward(self, views):
        """Return the loss of a batch of views, global views first, and the teacher's entropies."""
        return self.dino_terms(*self.teach(views), *self.study(views))


class DINOTransformer(PrototypeTransformer):
    """DINO: self-distillation that matches the outputs of a momentum teacher across crops.

    The student sees global views and local crops; the teacher, its exponential moving average,
    only global views. Balancing and sharpening of the teacher's outputs prevent collapse without
    negatives. ``transform`` uses the teacher. Use it with vision transformers, and
    ``attention_maps``. For tabular data, each view replaces a random share of the features.

    Parameters
    ----------
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
    The teacher's outputs are balanced by Sinkhorn-Knopp, and features spread by KoLeo, as in
    DINOv2: with ``centering="softmax"`` and ``koleo_weight=0``, features of digits were worse than
    those of the untrained encoder after few epochs, unless the teacher was slow, which is worse on
    photographs. Both global views have the same augmentations, without solarization.

    References
    ----------
    `Caron et al. "Emerging properties in self-supervised vision transformers", ICCV 2021
    <https://arxiv.org/abs/2104.14294>`_

    `Oquab et al. "DINOv2: Learning robust visual features without supervision", TMLR 2024
    <https://arxiv.org/abs/2304.07193>`_

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

    def _make_objective(self, encoder, n_features, training):
        settings = self._prototype_settings(training)
        return DINOObjective(encoder, self._head(n_features, training), **settings)
