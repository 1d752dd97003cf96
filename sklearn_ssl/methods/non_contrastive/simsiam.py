"""SimSiam: predict the projections of other views, with a stop-gradient, without a teacher."""

import math
from dataclasses import replace

from sklearn_ssl.methods._joint_embedding import JointEmbeddingObjective
from sklearn_ssl.methods.non_contrastive._base import PredictorTransformer
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Count, at_least
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class SimSiamObjective(JointEmbeddingObjective):
    """Negative cosine similarity of predictions to the mean projection of the other views."""

    most_views = math.inf

    def __init__(self, encoder, projector, predictor):
        super().__init__(encoder, projector)
        self.predict = predictor

    def forward(self, views):
        """Return the loss of a batch of views, the mean over all of them."""
        z = self.projections(views)
        return {"loss": self.predict.negative_cosine(z, z), "embedding": z[0]}

    def optimizer_groups(self):
        """Return the predictor's parameters as a group of constant learning rate."""
        predictor = list(self.predict.parameters())
        others = [*self.encoder.parameters(), *self.project.parameters()]
        return [{"params": others}, {"params": predictor, "constant_lr": True}]

    def after_update(self, terms, progress):
        """Update the queue by the projections of the first view."""
        self.predict.remember(terms["embedding"])


class SimSiamTransformer(PredictorTransformer):
    """Learn features by predicting the projection of one view from another, without negatives.

    The simplest of these methods: it has no negatives and no momentum teacher, but a predictor
    and a stop-gradient. It takes many epochs; ``n_views=4`` is FastSiam, whose targets vary less
    and which takes fewer. With ``neighbors=True`` it is NNSiam. On tabular data, random features of
    all but the first view are replaced; of texts, each view has half of the tokens.

    Parameters
    ----------
    n_views : int, default=2
        Number of views of a sample, at least 2. The target of a view is the mean projection of the
        others. Ignored if ``views`` is set.

    projection_dim : int, default=512
        Width of the projection in which views are compared, used during training only.

    projection_hidden_dim : int, default=512
        Width of the two hidden layers of the projector.

    {predictor_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    As in the paper, the learning rate of the predictor does not decay. Optimizer and widths are not
    the published ones, but chosen for minutes of training. With ``neighbors=True`` and more than
    two views, the target is the mean of the nearest neighbors of the other views; the queue has the
    projections of the first view.

    References
    ----------
    `Chen and He "Exploring simple siamese representation learning", CVPR 2021
    <https://arxiv.org/abs/2011.10566>`_

    `Pototzky et al. "FastSiam: resource-efficient self-supervised learning on a single GPU",
    GCPR 2022 <https://doi.org/10.1007/978-3-031-16788-1_4>`_

    `Dwibedi et al. "With a little help from my friends: nearest-neighbor contrastive learning of
    visual representations", ICCV 2021 <https://arxiv.org/abs/2104.14548>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import SimSiamTransformer
    >>> images = load_digits().images[:200]
    >>> simsiam = SimSiamTransformer(max_epochs=1, random_state=0).fit(images)
    >>> simsiam.transform(images).shape
    (200, 256)
    """

    n_views: at_least(2) = 2
    projection_dim: Count = 512
    projection_hidden_dim: Count = 512

    default_views = {"image": ImageViews(), "table": TableViews(), "text": TextViews()}

    def _default_views(self, spec):
        return replace(super()._default_views(spec), n_views=self.n_views)

    def _make_objective(self, encoder, n_features, training):
        widths = self.projection_hidden_dim, self.projection_hidden_dim, self.projection_dim
        projector = mlp(n_features, *widths, last_norm=True, affine=False)
        predictor = self._predictor(self.projection_dim, training)
        return SimSiamObjective(encoder, projector, predictor)
