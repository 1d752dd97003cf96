"""Fine-tuning: train a pretrained network further with the few labels there are."""

import contextlib
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
from sklearn_ssl._runtime.isolation import isolated
from sklearn_ssl._runtime.malloc import untrimmed_heap
from sklearn_ssl._runtime.sklearn_private import Interval, StrOptions, _fit_context
from sklearn_ssl.base import SSLTransformer, all_or_nothing, for_samples
from sklearn_ssl.data.inputs import recognized, taken
from sklearn_ssl.data.labels import (
    PartlyLabeledClassifier,
    check_some,
    labels_of,
    with_unlabeled,
)
from sklearn_ssl.evaluation.probes import LinearProbe, probabilities
from sklearn_ssl.inference.batches import TRIAL_SAMPLES, check_views, transformed, views_of
from sklearn_ssl.inference.device import device_of
from sklearn_ssl.inference.embedder import Embedder, is_auto
from sklearn_ssl.methods.baselines.encoder import EncoderTransformer
from sklearn_ssl.networks.encoder import count_features
from sklearn_ssl.parameters import TakesRecipes, suggesting
from sklearn_ssl.persistence.file_format import Saved
from sklearn_ssl.training.clock import Clock, seconds_of
from sklearn_ssl.training.net import planned_epochs, train
from sklearn_ssl.training.objective import Epoch, Objective, wide
from sklearn_ssl.training.schedule import Training
from sklearn_ssl.views import ImageViews, TableViews
from sklearn_ssl.views.combined import all_flip

N_STEPS, FEWEST_EPOCHS = 300, 5  # of max_epochs="auto"
# Mirrored, and else as they are: of crops the linear model knew nothing, and in so few steps it did
# not learn them (benchmarks/README.md).
FLIPS = ImageViews(
    scale=(1.0, 1.0),
    ratio=(1.0, 1.0),
    color_jitter=0.0,
    grayscale=0.0,
    gaussian_blur=0.0,
    n_views=1,
)
# What networks are built anew from, beside numbers.
NEEDED = {"backbone_", "image_shape_", "_pretrained", "_scaling"}
VIEWS = {"image": FLIPS, "table": TableViews(n_views=1)}  # of rows the first view is the row itself


class ClassesObjective(Objective):
    """Cross entropy of a linear classifier on an encoder, and the penalty of LinearProbe."""

    def __init__(self, encoder, coef, intercept, scale, penalty, codes, weights):
        super().__init__(encoder)
        n_classes, n_features = coef.shape
        self.classify = nn.Linear(n_features, n_classes)
        with torch.no_grad():
            self.classify.weight.copy_(torch.from_numpy(coef))
            self.classify.bias.copy_(torch.from_numpy(intercept))
        self.register_buffer("scale", torch.from_numpy(scale).float())  # of the features before
        self.register_buffer("weights", torch.from_numpy(weights).float())  # mean 1 over samples
        self.penalty = penalty
        self.codes = codes

    def train(self, mode=True):
        """Train all but the statistics of batch norms, which a few samples would spoil."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def before_epoch(self, embed, rng):
        """Give each sample its class."""
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
    """Classify with a network that learned without labels first, and then from the few there are.

    Use it where a linear model on a frozen embedding (:class:`~sklearn_ssl.LinearProbe`) is not
    enough: here the labels change the whole network, which takes longer. It begins with the linear
    model of that probe, so that the first steps do not spoil what the network has learned. With few
    labels it may do harm all the same: of images of CIFAR-10 it was .01 better than the probe with
    100 labels a class, and worse by up to .03 with ten (``benchmarks/README.md``).

    Parameters
    ----------
    estimator : transformer
        A method of this package, which learns from all samples, labeled or not, in fit; or one
        that was fitted before, in :class:`~sklearn.frozen.FrozenEstimator`; or an
        :class:`~sklearn_ssl.EncoderTransformer`. Its device and precision are used here too. With
        its ``memory``, searches over the parameters here train it once a fold.

    max_epochs : int or "auto", default="auto"
        Largest number of passes over the samples with labels. "auto" is as many as make 300 steps,
        and at least 5; and no limit where ``max_time`` is one.

    max_time : float or str, default=None
        Time that fine-tuning may take, in seconds or as "90s", "10min" or "1.5h"; pretraining has
        the ``max_time`` of the estimator. The learning rate follows the share of it that has
        passed, so that a short fit is annealed as a long one is. At least one step is taken. How
        many there are depends on the machine, so ``random_state`` does not make fit reproducible.

    batch_size : int, default=64
        Largest number of samples in a step, at least 2.

    lr : float, default=0.0005
        Highest learning rate, of AdamW: reached in the first tenth, and followed by half a cosine
        to 0.

    weight_decay : float, default=0.0001
        Weight decay of all weights but biases and norms.

    views : callable or "auto", default="auto"
        Random changes of samples that do not change their class, as the methods take them. "auto"
        flips images if the estimator's views or ``flip_tta`` do, and leaves
        others, and rows, as they are.

    unlabeled : object, default="auto"
        What y has for samples without a label, which serve pretraining alone, and are left out in
        ``score``. "auto" is -1, scikit-learn's convention, unless y holds -1 and 1 alone, which are
        two classes then. Missing values, None, NaN and NA, count as unlabeled as well. None says
        that all samples have a label.

    class_weight : dict or "balanced", default=None
        Weights of the classes in the loss, as in LogisticRegression: "balanced" gives all classes
        the same total weight.

    random_state : int, RandomState instance or None, default=None
        Seed of the order of samples and of views. An int makes fit reproducible if the estimator
        is.

    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.

    transformer_ : EncoderTransformer
        Gives the embedding of the fine-tuned network.

    coef_ : ndarray of shape (n_classes, n_features_out)
        Weights of the embedding's features in the scores of the classes.

    intercept_ : ndarray of shape (n_classes,)
        What is added.

    loss_curve_ : list of float
        Mean loss of each epoch of fine-tuning.

    history_ : list of dict
        What was recorded in each epoch of fine-tuning: loss, learning rate, seconds.

    max_epochs_ : int
        Number of epochs of fine-tuning.

    n_features_in_ : int
        Number of features in X, as the estimator counts them.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X is a DataFrame whose column names are all strings.

    Notes
    -----
    The linear model comes first, and then the whole network with it, as in the paper. Batch norms
    keep the means and variances of pretraining, and the loss keeps the probe's penalty on the
    weights of the classes.

    References
    ----------
    `Kumar et al. "Fine-tuning can distort pretrained features and underperform
    out-of-distribution", ICLR 2022 <https://arxiv.org/abs/2202.10054>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import FineTuneClassifier, SimCLRTransformer
    >>> X, y = load_digits().images[:300], load_digits().target[:300].copy()
    >>> y[100:200] = -1  # nobody knows
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
        """Pretrain on all samples, then train with those that have a label.

        Parameters
        ----------
        X : array-like, tensor, DataFrame or data set
            Samples, as the estimator takes them.

        y : array-like of shape (n_samples,)
            Classes, and -1, or what ``unlabeled`` is, where nobody knows.

        Returns
        -------
        self : object
            The fitted classifier. If fit raises, it is left as it was.
        """
        frozen = isinstance(self.estimator, FrozenEstimator)
        pretrained = self.estimator.estimator if frozen else self.estimator
        if not isinstance(pretrained, Embedder):
            raise TypeError(
                "FineTuneClassifier trains a network, so its estimator has to be one of "
                f"sklearn_ssl that has one, or that in a FrozenEstimator. Got {pretrained!r}."
            )
        has_label, y = labels_of(y, self.unlabeled)
        check_consistent_length(recognized(X), has_label)
        check_some(has_label, self.unlabeled, "FineTuneClassifier")
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        _check_classes(np.unique(y))  # before minutes of pretraining
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        clock = Clock(math.inf if self.max_time is None else seconds_of(self.max_time))
        if not frozen:
            pretrained = clone(pretrained).fit(X)
        check_is_fitted(pretrained)
        X = X if has_label.all() else taken(X, np.flatnonzero(has_label))
        with clock.running():
            source, device = pretrained._read_again(X)
        readable = source.aligned(np.zeros(len(source), np.int8)) == 0
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
        """Return the objective after training, and the records of its epochs."""
        embedding = pretrained._embedding(source, device)[readable]
        start = LinearProbe(
            random_state=seed,
            device=device_of(pretrained).name,
            class_weight=dict(enumerate(weights)),
            unlabeled=None,
        ).fit(embedding, codes)
        total = weights[codes].sum()
        coef, intercept, penalty = start.coef_, start.intercept_, 1 / (start.C_ * total)
        if len(coef) == 1:  # the scores of the second class, of two, whose squares are twice these
            coef, intercept = (np.concatenate([-w, w]) / 2 for w in (coef, intercept))
            penalty *= 2
        views = self.views
        if is_auto(views):
            views = VIEWS[source.kind]
            flips = pretrained.flip_tta or all_flip(getattr(pretrained, "views_", None))
            if source.is_image and not flips:
                views = replace(views, hflip=0.0)
        views, scale = for_samples(views, source), pretrained._scaling.on(device)
        make_views = functools.partial(views_of, views, scale)
        n_batches, timed = math.ceil(len(source) / self.batch_size), self.max_time is not None
        planned = n_epochs = self.max_epochs
        if is_auto(n_epochs):
            planned = max(FEWEST_EPOCHS, math.ceil(N_STEPS / n_batches))
            n_epochs = math.inf if timed else planned
        training = Training(
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
        with isolated(device), untrimmed_heap(device.type == "cpu"):
            encoder = copy.deepcopy(pretrained.encoder_)
            few = source.batch(slice(TRIAL_SAMPLES), device)
            for shape in {view.shape[1:] for view in check_views(views, scale, few)}:
                if shape != source.shape:
                    count_features(encoder, shape)
            linear = coef, intercept, embedding.std(axis=0), penalty
            weights = weights * len(codes) / total
            objective = ClassesObjective(encoder, *linear, torch.from_numpy(codes), weights)
            samples = source.near(device, self.verbose)
            parts = samples, make_views, None  # it asks for no embedding
            how = {"n_epochs": n_epochs, "verbose": self.verbose}
            if timed:
                planned = planned_epochs(clock, copy.deepcopy(objective), *parts, training, **how)
                training = replace(training, max_epochs=planned, warmup_epochs=planned / 10)
                clock.origin = clock.elapsed
            rows, _ = train(
                objective,
                *parts,
                training,
                clock=clock,
                epoch_task=lambda records: contextlib.nullcontext(),
                unit="img" if source.is_image else "row",
                **how,
            )
            objective.zero_grad()  # gradients would stay in memory
            return objective.cpu().eval(), rows

    def decision_function(self, X):
        """Return the scores of the classes.

        Parameters
        ----------
        X : array-like or tensor
            Samples of the same shape as in fit.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes), or (n_samples,) of two classes
            Logits; of two classes the logarithm of the odds of the second. Those of an image that
            could not be read are NaN.
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
            In the order of ``classes_``; NaN for an image that could not be read.
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
            Classes; -1, or what ``unlabeled`` is, for an image that could not be read, where
            ``on_error`` of the estimator lets such pass; NaN where -1 is a class.
        """
        scores = self.decision_function(X)
        told = self.classes_[scores.argmax(axis=1) if scores.ndim > 1 else (scores > 0).astype(int)]
        unreadable = np.isnan(scores.reshape(len(scores), -1)[:, 0])
        return with_unlabeled(told, unreadable, self.unlabeled, self.classes_)

    def __sklearn_tags__(self):
        """Return scikit-learn's tags: samples as the estimator takes them."""
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def _check_classes(classes):
    """Raise where there are no two classes to tell apart."""
    if len(classes) < 2:
        raise ValueError(
            "FineTuneClassifier needs labels of two classes or more to tell apart. y has "
            f"{len(classes)} class{'' if len(classes) == 1 else 'es'}: {classes.tolist()}."
        )


def _like(pretrained, encoder):
    """Return a transformer that reads samples as another does, and embeds them with an encoder."""
    names = EncoderTransformer().get_params()
    given = {n: getattr(pretrained, n) for n in names if hasattr(pretrained, n)}
    transformer = EncoderTransformer(**given)
    vars(transformer).update(
        {
            name: getattr(pretrained, name)
            for name in vars(pretrained)
            if name in ("backbone_", "n_features_in_", "feature_names_in_", "image_shape_")
            or name in ("_listed", "_n_features_out", "_scaling")
        }
    )
    transformer.encoder_ = encoder
    # What a file needs to build such an encoder: the method, and what decides about its network.
    transformer._pretrained = copy.copy(pretrained)
    for name in vars(pretrained).keys() - pretrained.get_params().keys() - NEEDED:
        if not isinstance(getattr(pretrained, name), Real):
            delattr(transformer._pretrained, name)
    return transformer
