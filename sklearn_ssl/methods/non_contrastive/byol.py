"""BYOL: predict the projections of a momentum teacher, without negatives."""

from sklearn_ssl.methods._joint_embedding import MomentumObjective, MomentumTransformer
from sklearn_ssl.methods.non_contrastive._base import PredictorTransformer
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Count
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class BYOLObjective(MomentumObjective):
    """Distances of predictions to the teacher's projections of the other view."""

    def __init__(self, encoder, projector, predictor, momentum):
        super().__init__(encoder, projector, momentum)
        self.predict = predictor

    def forward(self, views):
        """Return the loss of a batch of two views: the sum of both directions of 2 - 2 cosine."""
        z, targets = self.projections(views), self.taught(views)
        loss = 4 + 4 * self.predict.negative_cosine(z, targets)
        return {"loss": loss, "embedding": z[0], "targets": targets[0]}

    def after_update(self, terms, progress):
        """Update the teacher, and the queue by its projections of the first view."""
        super().after_update(terms, progress)
        self.predict.remember(terms["targets"])


class BYOLTransformer(PredictorTransformer, MomentumTransformer):
    """Learn features by predicting a momentum teacher's projection of one view from another view.

    It needs no negatives, and depends less on the batch size than contrastive methods. A predictor
    and the teacher, an exponential moving average of encoder and projector, prevent collapse.
    ``transform`` uses the student. With ``neighbors=True`` it is NNBYOL. On tabular data, random
    features of the second view are replaced; of texts, each view has half of the tokens.

    Parameters
    ----------
    projection_dim : int, default=256
        Width of the projection in which views are compared, used during training only.

    projection_hidden_dim : int, default=512
        Width of the hidden layer of the projector.

    {predictor_parameters}

    {momentum_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    Optimizer, widths and momentum are not the published ones, which are for hundreds of epochs, but
    chosen for minutes of training, and so is a batch norm at the end of the projector. Both views
    have the same augmentations. The loss, the sum of both directions, is from 0 to 8. The queue of
    NNBYOL has the teacher's projections of the first view.

    References
    ----------
    `Grill et al. "Bootstrap your own latent: a new approach to self-supervised learning",
    NeurIPS 2020 <https://arxiv.org/abs/2006.07733>`_

    `Dwibedi et al. "With a little help from my friends: nearest-neighbor contrastive learning of
    visual representations", ICCV 2021 <https://arxiv.org/abs/2104.14548>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import BYOLTransformer
    >>> images = load_digits().images[:200]
    >>> byol = BYOLTransformer(max_epochs=1, random_state=0).fit(images)
    >>> byol.transform(images).shape
    (200, 256)
    """

    projection_dim: Count = 256
    projection_hidden_dim: Count = 512

    default_views = {"image": ImageViews(), "table": TableViews(), "text": TextViews()}

    def _make_objective(self, encoder, n_features, training):
        widths = n_features, self.projection_hidden_dim, self.projection_dim
        projector = mlp(*widths, last_norm=True)
        predictor = self._predictor(self.projection_dim, training)
        return BYOLObjective(encoder, projector, predictor, self._resolve_momentum(training))
