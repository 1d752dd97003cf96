"""Fine-tuning: continue training a pretrained network with labels."""

import copy
import functools
import math
from dataclasses import replace
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import (
    assert_all_finite,
    check_consistent_length,
    check_random_state,
    get_tags,
)
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.nn.functional import cross_entropy

from sklearn_ssl._runtime.device import full_precision, gpu_freed
from sklearn_ssl._runtime.sklearn_private import Interval, StrOptions, _fit_context
from sklearn_ssl.base import SSLTransformer, all_or_nothing, for_samples
from sklearn_ssl.data.arrays import taken
from sklearn_ssl.data.labels import (
    PartlyLabeledClassifier,
    check_some,
    labels_of,
    read_mask,
    with_unlabeled,
)
from sklearn_ssl.data.recognition import recognized
from sklearn_ssl.evaluation.probes import LinearProbe, probabilities
from sklearn_ssl.inference.batches import transformed
from sklearn_ssl.inference.device import device_of
from sklearn_ssl.inference.embedder import Embedder
from sklearn_ssl.methods.baselines.encoder import EncoderTransformer
from sklearn_ssl.parameters import TakesRecipes, is_auto, suggesting
from sklearn_ssl.persistence.file_format import Saved
from sklearn_ssl.training.clock import Clock, seconds_of
from sklearn_ssl.training.objective import Epoch, Objective, wide
from sklearn_ssl.training.recipe import Hooks, TrainingRecipe
from sklearn_ssl.training.run import train
from sklearn_ssl.training.schedule import Training
from sklearn_ssl.views import ImageViews, TableViews, TextViews
from sklearn_ssl.views.combined import all_flip

N_STEPS, FEWEST_EPOCHS = 300, 5  # of max_epochs="auto"
# Only horizontal flips: the initial linear classifier is not trained on crops, and so few steps do
# not adapt it to them (benchmarks/README.md).
FLIPS = ImageViews(
    scale=(1.0, 1.0),
    ratio=(1.0, 1.0),
    color_jitter=0.0,
    grayscale=0.0,
    gaussian_blur=0.0,
    n_views=1,
)
# Attributes, except for numbers, that networks are rebuilt from.
NEEDED = {"backbone_", "image_shape_", "_pretrained", "_scaling", "_spec"}
# The first view of tabular data is the sample itself.
VIEWS = {"image": FLIPS, "table": TableViews(n_views=1), "text": TextViews(0.0, n_views=1)}


class ClassesObjective(Objective):
    """Cross-entropy of a linear classifier on an encoder, with the L2 penalty of LinearProbe."""

    def __init__(self, encoder, coef, intercept, scale, penalty, codes, weights):
        super().__init__(encoder)
        n_classes, n_features = coef.shape
        self.classify = nn.Linear(n_features, n_classes)
        with torch.no_grad():
            self.classify.weight.copy_(torch.from_numpy(coef))
            self.classify.bias.copy_(torch.from_numpy(intercept))
        # Standard deviation of features before fine-tuning.
        self.register_buffer("scale", torch.from_numpy(scale).float())
        self.register_buffer("weights", torch.from_numpy(weights).float())  # mean 1 over samples
        self.penalty = penalty
        self.codes = codes

    def train(self, mode=True):
        """Set training mode, except for batch norms, as statistics of few samples are noisy."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def plan_epoch(self, embed, rng):
        """Return the class labels as targets."""
        return Epoch(targets=self.codes)

    def forward(self, views, codes):
        """Return the mean loss over all views of a batch."""
        scores = self.classify(torch.cat([self.encoder(view) for view in views]))
        with full_precision(scores.device):
            codes = codes.repeat(len(views))
            losses = cross_entropy(wide(scores), codes, reduction="none")
            loss = (self.weights[codes] * losses).mean()
            squares = (self.classify.weight * self.scale).square().sum()
            return {"loss": loss + self.penalty / 2 * squares}


@suggesting
class FineTuneClassifier(TakesRecipes, Saved, PartlyLabeledClassifier, BaseEstimator):
    """Semi-supervised classifier: pretrain on all samples, fine-tune on the labeled ones.

    Use it if a linear model on a frozen embedding (:class:`~sklearn_ssl.LinearProbe`) is not
    enough: labels train the whole network, which takes longer. The classifier is initialized with
    that linear model, which avoids distortion of the pretrained features. With about ten labels per
    class it can be less accurate than the probe (``benchmarks/README.md``).

    Parameters
    ----------
    estimator : transformer
        Method of this package, which is fitted on all samples, labeled or not; or a fitted one in
        :class:`~sklearn.frozen.FrozenEstimator`; or an :class:`~sklearn_ssl.EncoderTransformer`.
        Its device and precision are also used for fine-tuning. With its ``memory``, a
        hyperparameter search of fine-tuning trains it once per fold.

    max_epochs : int or "auto", default="auto"
        Maximum number of epochs over the labeled samples. "auto" is the number for 300 steps, at
        least 5, or unlimited if ``max_time`` is given.

    max_time : float or str, default=None
        Time limit of fine-tuning, in seconds or as "90s", "10min" or "1.5h"; pretraining has the
        ``max_time`` of the estimator. The learning rate follows the elapsed share of it, so that
        short fits are annealed as well. At least one step is taken. The number of steps depends on
        the machine, so results are not reproducible with ``random_state``.

    batch_size : int, default=64
        Maximum number of samples per batch, at least 2.

    lr : float, default=0.0005
        Maximum learning rate of AdamW, after a linear warm-up in the first tenth of training and
        before cosine decay to 0.

    weight_decay : float, default=0.0001
        Weight decay, not applied to biases and normalization layers.

    views : callable or "auto", default="auto"
        Random augmentations that preserve the class, as for the methods. "auto" is random
        horizontal flips for images if the views of the estimator have them, or if it has
        ``flip_tta``; otherwise there is no augmentation.

    unlabeled : object, default="auto"
        Value of y for unlabeled samples, which are only used for pretraining, and ignored in
        ``score``. "auto" is -1, scikit-learn's convention, unless y contains only -1 and 1, which
        are then two classes. Missing values (None, NaN and NA) are unlabeled as well. None means
        that all samples are labeled.

    class_weight : dict or "balanced", default=None
        Weights of the classes in the loss. "balanced" gives all classes the same total weight.

    random_state : int, RandomState instance or None, default=None
        Seed of sample order and views. Pass an int for reproducible results, also to the estimator.

    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.

    transformer_ : EncoderTransformer
        Transformer with the fine-tuned encoder.

    coef_ : ndarray of shape (n_classes, n_features_out)
        Coefficients of the features of the embedding.

    intercept_ : ndarray of shape (n_classes,)
        Intercept.

    loss_curve_ : list of float
        Mean training loss of each epoch of fine-tuning.

    history_ : list of dict
        Record of each epoch of fine-tuning: loss, learning rate, duration in seconds and others.

    max_epochs_ : int
        Number of epochs of fine-tuning.

    n_features_in_ : int
        Number of features in X, as in the estimator.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during fit. Defined only if X is a DataFrame whose column names are
        all strings.

    Notes
    -----
    As in the paper, the linear classifier is trained first, and then all layers (LP-FT). Batch
    norms use the statistics of pretraining, and the loss includes the L2 penalty of the probe.

    References
    ----------
    `Kumar et al. "Fine-tuning can distort pretrained features and underperform
    out-of-distribution", ICLR 2022 <https://arxiv.org/abs/2202.10054>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import FineTuneClassifier, SimCLRTransformer
    >>> X, y = load_digits().images[:300], load_digits().target[:300].copy()
    >>> y[100:200] = -1  # unlabeled
    >>> simclr = SimCLRTransformer(max_epochs=1, random_state=0)
    >>> classifier = FineTuneClassifier(simclr, max_epochs=10, random_state=0)
    >>> classifier.fit(X[:200], y[:200]).score(X[200:], y[200:]) > 0.7
    True
    """

    _parameter_constraints = {
        "estimator": "no_validation",
        "max_epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_time": SSLTransformer._parameter_constraints["max_time"],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "views": [StrOptions({"auto"}), callable],
        "unlabeled": "no_validation",
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator,
        *,
        max_epochs="auto",
        max_time=None,
        batch_size=64,
        lr=5e-4,
        weight_decay=1e-4,
        views="auto",
        unlabeled="auto",
        class_weight=None,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.max_epochs = max_epochs
        self.max_time = max_time
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.views = views
        self.unlabeled = unlabeled
        self.class_weight = class_weight
        self.random_state = random_state
        self.verbose = verbose

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Pretrain on all samples, then fine-tune on the labeled ones.

        Parameters
        ----------
        X : array-like, tensor, DataFrame or data set
            Samples, as in fit of the estimator.

        y : array-like of shape (n_samples,)
            Class labels, and -1, or the value of ``unlabeled``, for unlabeled samples.

        Returns
        -------
        self : object
            Fitted classifier. If fit raises, it is unchanged.
        """
        frozen = isinstance(self.estimator, FrozenEstimator)
        pretrained = self.estimator.estimator if frozen else self.estimator
        if not isinstance(pretrained, Embedder):
            raise TypeError(
                "FineTuneClassifier trains a network, so estimator must be a method of "
                f"sklearn_ssl, EncoderTransformer, or a FrozenEstimator of one. Got {pretrained!r}."
            )
        has_label, y = labels_of(y, self.unlabeled)
        check_consistent_length(recognized(X), has_label)
        check_some(has_label, self.unlabeled, "FineTuneClassifier")
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        _check_classes(np.unique(y))  # before pretraining
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        clock = Clock(math.inf if self.max_time is None else seconds_of(self.max_time))
        if not frozen:
            pretrained = clone(pretrained).fit(X)
        check_is_fitted(pretrained)
        X = X if has_label.all() else taken(X, np.flatnonzero(has_label))
        with clock.running():
            source, device = pretrained._read_again(X)
        readable = read_mask(source)
        classes, codes = np.unique(y[readable], return_inverse=True)
        _check_classes(classes)
        weights = compute_class_weight(self.class_weight, classes=classes, y=y[readable])
        with gpu_freed(device), clock.running():
            objective, self.history_ = self._trained(
                pretrained, source, device, readable, codes, weights, seed, clock
            )
        self.classes_, self.max_epochs_ = classes, len(self.history_)
        self.loss_curve_ = [row["train_loss"] for row in self.history_]
        self.coef_, self.intercept_ = (p.detach().numpy() for p in objective.classify.parameters())
        self.transformer_ = _like(pretrained, objective.encoder)
        self.n_features_in_ = pretrained.n_features_in_
        if hasattr(pretrained, "feature_names_in_"):
            self.feature_names_in_ = pretrained.feature_names_in_
        return self

    def _trained(self, pretrained, source, device, readable, codes, weights, seed, clock):
        """Fine-tune; return the objective and the records of epochs."""
        embedding = pretrained._embedding(source, device)[readable]
        start = LinearProbe(
            random_state=seed,
            device=device_of(pretrained).name,
            class_weight=dict(enumerate(weights)),
            unlabeled=None,
        ).fit(embedding, codes)
        total = weights[codes].sum()
        coef, intercept, penalty = start.coef_, start.intercept_, 1 / (start.C_ * total)
        if len(coef) == 1:  # two classes: split the weights between both outputs
            coef, intercept = (np.concatenate([-w, w]) / 2 for w in (coef, intercept))
            penalty *= 2
        views = self.views
        if is_auto(views):
            views = VIEWS[source.spec.kind]
            flips = pretrained.flip_tta or all_flip(getattr(pretrained, "views_", None))
            if source.spec.has_mirror_images and not flips:
                views = replace(views, hflip=0.0)
        n_batches, n_epochs = math.ceil(len(source) / self.batch_size), self.max_epochs
        if is_auto(n_epochs):
            n_epochs = max(FEWEST_EPOCHS, math.ceil(N_STEPS / n_batches))
        timed = self.max_time is not None
        linear = coef, intercept, embedding.std(axis=0), penalty
        weights = weights * len(codes) / total

        def make_objective(encoder, n_features, settings):
            return ClassesObjective(encoder, *linear, torch.from_numpy(codes), weights)

        def make_settings(planned):
            planned = planned or n_epochs
            return Training(
                max_epochs=planned,
                batch_size=self.batch_size,
                optimizer="adamw",
                lr=self.lr,
                weight_decay=self.weight_decay,
                warmup_epochs=planned / 10,
                device=device,
                precision=pretrained._resolve_precision(device),
                compile=False,
                seed=seed,
                n_samples=len(source),
            )

        recipe = TrainingRecipe(
            backbone=pretrained.backbone_,
            make_encoder=functools.partial(copy.deepcopy, pretrained.encoder_),
            make_objective=make_objective,
            make_settings=make_settings,
            scaling=pretrained._scaling,
            views=for_samples(views, source.spec),
            n_epochs=math.inf if is_auto(self.max_epochs) and timed else n_epochs,
            device=device,
            seed=seed,
        )
        model = train(recipe, source, clock, Hooks(verbose=self.verbose))
        return model.objective, model.history

    def decision_function(self, X):
        """Return the logits of the classes.

        Parameters
        ----------
        X : array-like or tensor
            Samples of the same shape as in fit.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            Logits; for two classes the log-odds of the second one. NaN for unreadable images.
        """
        check_is_fitted(self)
        scores = transformed(self.transformer_, X) @ self.coef_.T + self.intercept_
        return scores if len(self.classes_) > 2 else scores[:, 1] - scores[:, 0]

    def predict_proba(self, X):
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : array-like or tensor
            Samples of the same shape as in fit.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Class probabilities, in the order of ``classes_``; NaN for unreadable images.
        """
        return probabilities(self.decision_function(X))

    def predict(self, X):
        """Return the most probable class of each sample.

        Parameters
        ----------
        X : array-like or tensor
            Samples of the same shape as in fit.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Predicted classes. Unreadable images, if ``on_error`` of the estimator skips them, get
            the value for unlabeled samples, or NaN if -1 is a class.
        """
        scores = self.decision_function(X)
        index = scores.argmax(axis=1) if scores.ndim > 1 else (scores > 0).astype(int)
        unreadable = np.isnan(scores.reshape(len(scores), -1)[:, 0])
        return with_unlabeled(self.classes_[index], unreadable, self.unlabeled, self.classes_)

    def __sklearn_tags__(self):
        """Return scikit-learn's tags, with the input tags of the estimator."""
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def _check_classes(classes):
    """Raise if there are fewer than two classes."""
    if len(classes) < 2:
        raise ValueError(
            "FineTuneClassifier needs labeled samples of at least two classes. y has "
            f"{len(classes)} class{'' if len(classes) == 1 else 'es'}: {classes.tolist()}."
        )


def _like(pretrained, encoder):
    """Return an EncoderTransformer with the input settings of ``pretrained`` and an encoder."""
    names = EncoderTransformer().get_params()
    given = {n: getattr(pretrained, n) for n in names if hasattr(pretrained, n)}
    transformer = EncoderTransformer(**given)
    vars(transformer).update(
        {
            name: getattr(pretrained, name)
            for name in vars(pretrained)
            if name in ("backbone_", "n_features_in_", "feature_names_in_", "image_shape_")
            or name in ("_n_features_out", "_scaling", "_spec")
        }
    )
    transformer.encoder_ = encoder
    # For save and load: the method, and the attributes that determine its network.
    transformer._pretrained = copy.copy(pretrained)
    for name in vars(pretrained).keys() - pretrained.get_params().keys() - NEEDED:
        if not isinstance(getattr(pretrained, name), Real):
            delattr(transformer._pretrained, name)
    return transformer
