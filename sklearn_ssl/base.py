"""Base class of self-supervised methods: shared parameters, fit and score."""

import contextlib
import copy
import functools
import inspect
import math
import os
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_ssl._runtime.device import gpu_freed, resolve_device
from sklearn_ssl._runtime.isolation import isolated, torch_defaults
from sklearn_ssl._runtime.sklearn_private import (
    HasMethods,
    _fit_context,
)
from sklearn_ssl._runtime.warnings import tell
from sklearn_ssl._runtime.world import ending_together, world
from sklearn_ssl.data import Described
from sklearn_ssl.data.inputs import (
    check_same_in_all,
    described_as,
    equal_in_all,
    identified,
    needs_color,
    other_views,
    wrong_kind,
)
from sklearn_ssl.data.labels import ids_of_groups, of_read
from sklearn_ssl.inference.batches import in_batches, moved, views_of
from sklearn_ssl.inference.device import Device, device_of
from sklearn_ssl.inference.embedder import Embedder
from sklearn_ssl.inference.onnx import write_onnx
from sklearn_ssl.networks.backbone import named
from sklearn_ssl.networks.defaults import default_for, lr_factor_for
from sklearn_ssl.networks.encoder import count_features, encoder_at, make_encoder
from sklearn_ssl.parameters import (
    Auto,
    Count,
    FilePath,
    NonNegative,
    Positive,
    RandomState,
    Verbose,
    at_least,
    is_auto,
    parameters,
)
from sklearn_ssl.persistence.fingerprint import NoContent, fingerprint
from sklearn_ssl.persistence.fit_cache import CachedFit, FitCache, cache_of, folder_of, key_of
from sklearn_ssl.training.callbacks.users import check_callbacks
from sklearn_ssl.training.clock import Clock, seconds_of
from sklearn_ssl.training.health import health, symptoms, warn
from sklearn_ssl.training.optimizers import DEFAULTS
from sklearn_ssl.training.recipe import Hooks, Start, TrainingRecipe
from sklearn_ssl.training.run import train
from sklearn_ssl.training.schedule import Training
from sklearn_ssl.training.step import seeded_views, terms_of

MAX_EPOCHS = 60
# Parameters that may differ among the processes of a fit.
PER_PROCESS = {"device", "random_state", "memory", "callbacks", "verbose"}
# Parameters that do not affect the result of a fit, or are in its key in another form.
NEUTRAL = {"memory", "input", "device", "random_state", "warm_start", "flip_tta", "verbose"}


def all_or_nothing(fit):
    """Restore the estimator if fit raises, including KeyboardInterrupt."""

    @functools.wraps(fit)
    def wrapped(self, *args, **kwargs):
        before = dict(vars(self))
        try:
            with ending_together(fit.__name__):
                return fit(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return wrapped


@parameters
class SSLTransformer(CallbackSupportMixin, Embedder, BaseEstimator):
    """Base class of all methods: learn an encoder without labels, and embed samples with it.

    A method declares its own parameters as annotated class attributes, its ``default_views`` for
    each kind of input it supports, and ``_make_objective``. If these depend on its parameters, it
    extends ``_default_views``, ``_resolve_training`` or ``_fitted``.

    Parameters
    ----------
    backbone : str, callable or torch.nn.Module, default="auto"
        Network to train, whose output is the embedding:

        - "auto": "mlp" for tabular data, "small_bert" for texts, "resnet18" for images on a GPU. On
          the CPU, "small_convnet" for images below 24 pixels; for larger ones
          "small_multiscale_fine", or "small_multiscale" if ``views`` are given or the method fills
          in or colorizes images.
        - Other names: "small_resnet", "small_resnet18", "small_vit", and every classification model
          of torchvision, such as "resnet50" or "vit_b_16". The functions of torchvision, such as
          ``torchvision.models.resnet50``, are the same as their names. For images up to 64 pixels,
          the stem of these models does not reduce the resolution.
        - Any other callable: called with the shape of a sample, (channels, height, width) or
          (n_features,), it returns a module.
        - A module, which is copied.

        A module returns a vector, a map (n, d, height, width) or tokens (n, tokens, d) per sample;
        maps and tokens are averaged to one vector. From a tuple or list the first entry is used;
        from a dict, dataclass or ModelOutput ``last_hidden_state``, else ``features``, else
        ``pooler_output``, else its only tensor.

    weights : str or path, default=None
        Initial weights of the backbone: a file, or the name of pretrained weights of torchvision,
        such as "DEFAULT", which are downloaded at first use. None is random initialization.

        The file is from ``torch.save``, safetensors or ``save``. Nested state dicts, prefixes such
        as "module.encoder_q." of MoCo, the names of timm's vision transformers, and a missing or
        different classifier are supported. If several networks in it fit, a teacher or averaged
        weights are preferred. From a file of ``save`` only the backbone's weights are used;
        :func:`sklearn_ssl.load` loads the estimator itself.

        With weights of torchvision models, the stem is the published one, also for small images,
        and images are normalized with their constants; see ``normalization`` of
        :class:`~sklearn_ssl.Images`.

    views : callable or "auto", default="auto"
        Random augmentations of the samples: :class:`~sklearn_ssl.views.ImageViews`,
        :class:`~sklearn_ssl.views.TableViews`, :class:`~sklearn_ssl.views.TextViews`,
        :class:`~sklearn_ssl.views.CombinedViews`, transforms of torchvision in a
        :class:`~sklearn_ssl.views.PerSampleViews`, or any callable that returns a list of views of
        a batch. The batch is a float tensor: images (n, c, h, w) with values in [0, 1], or
        standardized tabular data (n, n_features); that of texts is an integer tensor of token ids
        (n, length), 0 after the end. Views of images have values in [0, 1] or are bytes; the
        encoder normalizes them, so Normalize is left out. Draw from torch's default generator for
        reproducible results.

        "auto" is ``default_views`` of the method, with Gaussian blur only for images above 32
        pixels and color augmentations only for color images. On the CPU with ``backbone="auto"``,
        default views of images from 24 pixels on have half the side length, which is several times
        faster, unless the method reconstructs images or cuts them into tiles.

    max_epochs : int or "auto", default="auto"
        Maximum number of epochs. "auto" is 60, or unlimited if ``max_time`` is given.

    max_time : float or str, default=None
        Time limit of fit, in seconds or as "90s", "10min" or "1.5h", including reading files,
        clustering and compilation. The learning rate and other schedules follow the elapsed share
        of it, so that short fits are annealed as well. The last epoch is cut off or extended to end
        in time; at least one step is taken. Waiting for other fits does not count, and a fit
        resumed from ``memory`` has the remaining time. The number of epochs depends on the machine,
        so results are not reproducible with ``random_state``. In ``partial_fit`` it is the limit of
        each call.

    batch_size : int or "auto", default="auto"
        Maximum number of samples per batch, at least 2. All batches have the same size; a remainder
        of fewer samples than there are batches is left out of an epoch. "auto" is the power of two
        below n_samples / 64, at least 64 and at most 256.

    optimizer : {"auto", "adamw", "sgd", "lars"}, default="auto"
        Optimizer. "auto" is "adamw". "sgd" and "lars" have a momentum of 0.9.

    lr : float or "auto", default="auto"
        Maximum learning rate, after a linear warm-up and before cosine decay to 0, unless the
        method says otherwise. "auto" is 0.002 for "adamw", 0.12 * batch_size / 256 for "sgd" and
        0.3 * batch_size / 256 for "lars"; for texts, 0.15 times as much.

    weight_decay : float or "auto", default="auto"
        Weight decay, not applied to biases and normalization layers. "auto" is 0.0001, or 0.0005
        for "sgd".

    warmup_epochs : float or "auto", default="auto"
        Number of epochs of linear learning rate warm-up from 0. "auto" is a tenth of the planned
        epochs, at most 10.

    layer : str, default=None
        Name of the layer of the backbone whose output is the embedding, such as "stage2" of
        "small_convnet" or "layer3" of "resnet18". The whole backbone is trained; later layers are
        left out of ``encoder_``. None is the last layer before the classifier. Methods that decode
        the last map or tokens use their mean instead, if layers that would not be trained follow
        or if only one token is read.

    flip_tta : bool, default=False
        Whether ``transform`` uses horizontal-flip test-time augmentation: the embedding of an
        image is the mean of the features of the image and of its mirror image, which takes twice
        as long. Ignored for tabular data. It may be changed after fit.

    input : Images, Table, Text or "auto", default="auto"
        How X is interpreted: layout, size, pixel range, normalization and decoding of images
        (:class:`~sklearn_ssl.Images`), scaling of tabular data (:class:`~sklearn_ssl.Table`), or
        vocabulary and length of texts (:class:`~sklearn_ssl.Text`). "auto" treats
        two-dimensional arrays as tabular data, strings that are not paths of images as texts, and
        all other X as images, with the defaults of these classes.

    device : str, torch.device or Device, default="auto"
        Device to compute on: "cpu", "cuda" or "cuda:1". "auto" is the GPU if one is available.
        :class:`~sklearn_ssl.Device` also sets precision, compilation and the size of micro-batches.

    memory : str, path, FitCache or joblib.Memory, default=None
        Folder in which fits are cached. A fit with the same samples, parameters and package
        versions is loaded instead of repeated, with identical results; concurrent equal fits wait
        for each other. An interrupted fit, even a killed one, resumes from its last checkpoint, and
        embeddings of cached fits are cached as well.

        Samples are identified by their values, files by path, size, modification time and inode,
        modules by their weights and code, functions by their code and what it refers to. Global
        settings of torch, such as the number of threads, are ignored. With ``random_state=None``
        the first fit is reused. Callbacks are not called when a fit is loaded.
        :class:`~sklearn_ssl.FitCache` sets how files are identified and how often checkpoints are
        written. ``clear()`` and ``reduce_size(bytes_limit=...)`` of a :class:`joblib.Memory` of
        the same folder remove cached fits.

    callbacks : list of skorch callbacks, default=None
        Callbacks of the training loop, such as
        ``skorch.callbacks.EarlyStopping(monitor="train_loss")``. They cannot change the learning
        rate, which follows the schedule of ``lr``. Callbacks of scikit-learn are set with
        ``set_callbacks``.

    warm_start : bool, default=False
        Whether to continue from the weights of the previous fit, and append to its history. The
        backbone and the scaling of X remain those of the first fit.

    random_state : int, RandomState instance or None, default=None
        Seed of weight initialization, sample order and views. Pass an int for reproducible results
        on the CPU; on a GPU, operations of torch may be nondeterministic.

    verbose : int, default=0
        1 shows a progress bar with loss, samples per second and remaining time, and reports whether
        X is stored on the GPU during training, as it is if it takes at most a quarter of the free
        memory.

    Attributes
    ----------
    encoder_ : torch.nn.Module
        The trained encoder, on the CPU and in evaluation mode. It maps float images (n, c, h, w)
        with values in [0, 1], or standardized tabular data, to features. Its ``mean`` and ``std``
        are the constants used to normalize images. ``flip_tta`` is not applied.

    objective_ : torch.nn.Module
        The trained objective: the whole encoder, and what only training uses, such as a projection
        head, a decoder or a momentum teacher, on the CPU and in evaluation mode.

    loss_curve_ : list of float
        Mean training loss of each epoch.

    history_ : list of dict
        Record of each epoch: loss, learning rate, duration in seconds and others.

    health_ : dict of ndarray of shape (n_iter_,)
        Training diagnostics of each epoch:

        - "embedding_std": standard deviation of the L2-normalized embedding, between 0 (all samples
          are equal) and 1. The embedding is that of the loss, or else the features.
        - "effective_rank": effective number of dimensions of the embedding, which has
          "embedding_dim".
        - "train_loss" and "chance_loss": training loss, and loss at chance level.
        - "epoch" and "n_steps": number of the epoch, and of its steps.
        - Diagnostics of the method, if any.

        If they indicate a problem, such as collapse, fit issues a
        :class:`~sklearn.exceptions.ConvergenceWarning` that names the parameters to change.

    n_iter_ : int
        Number of epochs trained.

    image_shape_ : tuple of int
        Height, width and channels of the images. Only defined for images.

    n_features_in_ : int
        Number of features in X; for an array of images, the number of values per image, and 1 for a
        list or column of images.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during fit. Defined only if X is a DataFrame whose column names are
        all strings.

    backbone_, views_ : object
        Backbone and views, with "auto" resolved.

    max_epochs_, batch_size_, optimizer_, lr_, weight_decay_, warmup_epochs_ : object
        Settings of training, with "auto" resolved. With ``max_time``, ``max_epochs_`` is the
        planned number.

    device_, precision_ : str
        Device and precision of training.
    """

    backbone: str | Callable = "auto"
    weights: FilePath | None = None
    views: Auto | Callable = "auto"
    max_epochs: Auto | Count = "auto"
    max_time: Positive | str | None = None
    batch_size: Auto | at_least(2) = "auto"
    optimizer: Literal["auto", *DEFAULTS] = "auto"
    lr: Auto | Positive = "auto"
    weight_decay: Auto | NonNegative = "auto"
    warmup_epochs: Auto | NonNegative = "auto"
    layer: str | None = None
    flip_tta: bool = False
    input: Auto | Described = "auto"
    device: str | torch.device | Device = "auto"
    memory: FilePath | FitCache | Annotated[object, HasMethods(["cache"])] | None = None
    callbacks: list | tuple | None = None
    warm_start: bool = False
    random_state: RandomState = None
    verbose: Verbose = 0

    _recipes = Embedder._recipes | {"memory": (FitCache,)}
    # Default views for each supported kind of input, as the modalities are named.
    default_views = {}
    # Whether default views have the full image size on the CPU as well.
    whole_views = False
    # A base with the name "x" fills its sections into docstrings: {x_parameters}, {x_attributes}.
    doc_name = "shared"

    def __init_subclass__(cls, **kwargs):
        """Declare the parameters of the class, and insert shared parts into its docstring."""
        super().__init_subclass__(**kwargs)
        parameters(cls)
        for base in cls.__mro__[1:] if cls.__doc__ else ():
            for title in ("Parameters", "Attributes") if "doc_name" in vars(base) else ():
                place = f"{{{base.doc_name}_{title.lower()}}}"
                cls.__doc__ = inspect.cleandoc(cls.__doc__).replace(place, section_of(base, title))

    def _make_objective(self, encoder, n_features, training):
        """Return the objective for an encoder with ``n_features`` outputs."""
        raise NotImplementedError

    def _default_views(self, spec):
        """Return the default views for samples."""
        views = self.default_views[spec.kind]
        whole = getattr(views, "size", None) == 1.0
        if self.whole_views or not whole or not is_auto(self.backbone):  # which may need the size
            return views
        return replace(views, size=default_for(spec, resolve_device(self.device)).view_size)

    def _fitted(self, objective, source):
        """Return fitted attributes specific to the method."""
        return {}

    def _pictures(self, images):
        """Return the input of the objective for images, and its output."""
        return self.objective_.pictures(images)

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train the encoder on X.

        Parameters
        ----------
        X : array-like, tensor, DataFrame or data set
            Training samples:

            - Array of images, (n_samples, height, width), (n_samples, height, width, channels) or
              (n_samples, channels, height, width), inferred from the shape or set in ``input``.
              Unsigned bytes range from 0 to 255; the range of other data types is learned from X.
            - Tabular data, (n_samples, n_features), or flattened images with
              ``input=Images(shape=...)``.
            - List, array, Series or DataFrame of one column with paths of image files, their
              content as bytes, Pillow images or arrays, of any size.
            - Texts: strings in a list, array, Series or DataFrame of one column.
            - Data set with ``__len__`` and ``__getitem__`` of such images, of pairs (image, label)
              or of dicts with an entry "image", "img", "bytes" or "path".

            Arrays are not copied; arrays on disk, such as those of h5py and zarr, are read in
            parts. Images of lists and data sets are rotated by their EXIF orientation, put on
            a white background if they are transparent, and resized to ``size`` of ``input``; gray
            ones get three equal channels if others are in color.

        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : object
            Fitted estimator. If fit raises, it is unchanged.
        """
        return self._fit(X, y)

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Train one more epoch on X.

        The state of the optimizer is preserved. The learning rate is constant after the warm-up, as
        the number of calls is unknown.

        Parameters
        ----------
        X : array-like or tensor
            Samples of the same shape as in previous calls.

        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : object
            Fitted estimator. If partial_fit raises, it is unchanged.
        """
        return self._fit(X, y, in_part=True)

    def _fit(self, X, y, groups=None, in_part=False):
        n_epochs, device = 1 if in_part else self.max_epochs, resolve_device(self.device)
        if is_auto(n_epochs):
            n_epochs = MAX_EPOCHS if self.max_time is None else math.inf
        how = {"resume": in_part or self.warm_start, "anneal": not in_part}
        with gpu_freed(device):  # around a call, whose variables are deleted by then
            self._fit_on(device, X, y, groups, n_epochs, **how)
        return self

    def _fit_on(self, device, X, y, groups, n_epochs, *, resume, anneal):
        check_callbacks(self.callbacks or [])
        ids = self._ids(y, groups)
        self._check_same_in_all(ids)
        resume = resume and self.__sklearn_is_fitted__()
        clock = Clock(math.inf if self.max_time is None else seconds_of(self.max_time))
        known = None if n_epochs == math.inf else n_epochs
        task = self._init_callback_context(max_subtasks=known)
        given = {"estimator": self, "X": X, "y": y}
        task.call_on_fit_task_begin(**given)
        with clock.running():
            found = self._find(X, reset=not resume, min_samples=2)
            seed = self._seed if resume else self._new_seed()
            how = ids, device, seed, resume, anneal
            found, cached, key_now = self._cached_fit(found, *how)
        with contextlib.nullcontext() if cached is None else cached.alone():
            finished = None if cached is None else cached.read("fit")
            if finished is not None:
                self._take_over(finished, found.spec, resume)
                cached.remove("checkpoint")  # left if the process was killed
            else:
                with clock.running():
                    data = equal_in_all(found.read())
                state = None if cached is None else cached.checkpoint()
                seed = seed if state is None else state["seed"]
                with isolated(device):
                    with clock.running():
                        ids = {name: of_read(values, data, name) for name, values in ids.items()}
                        targets = self._targets(X, ids, data, None if resume else seed)
                        how = targets, device, seed, n_epochs, resume, anneal
                        recipe = self._training_recipe(data, ids.get("groups"), *how)
                        attributes = self._attributes_of(recipe, data, cached)
                    hooks = self._hooks(task, given, attributes, cached)
                    model = train(recipe, data, clock, hooks, state)
                    fitted = attributes(model)
                changed = cached is not None and key_now() != cached.inputs
                names = self._adopt(fitted, resume)
                if cached is not None and not model.stopped_from_outside:
                    self._write_to_cache(cached, names, changed)
        task.call_on_fit_task_end(**given, reconstruction_attributes=dict)

    def _check_same_in_all(self, ids):
        """Raise unless all processes of the fit have the same parameters, labels and groups."""
        if world().size == 1:
            return
        plain = {
            name: repr(value)
            for name, value in self.get_params(deep=False).items()
            if name not in PER_PROCESS
            and (isinstance(value, int | float | str | None) or is_dataclass(value))
        }
        hashes = {name: f"values of hash {fingerprint(part)[:8]}" for name, part in ids.items()}
        check_same_in_all({"The method": type(self).__name__} | plain | hashes)

    def _new_seed(self):
        """Return a seed drawn from ``random_state``, the same in all processes."""
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        return world().from_main(seed)

    def _ids(self, y, groups):
        """Return what training depends on besides the samples: integers for each, by name."""
        return {} if groups is None else {"groups": ids_of_groups(groups)}

    def _targets(self, X, ids, source, seed=None):
        """Return the targets of X, the samples of a source, as a tensor; None without any.

        ``seed`` is that of a new fit, else None.
        """
        return

    def _cached_fit(self, found, ids, device, seed, resume, anneal):
        """Return the samples, the cache of a fit on them or None, and a function of its key."""
        root = folder_of(self.memory) if anneal else None
        if root is None:
            return found, None, None
        settings = cache_of(self)
        found, content = identified(found, settings.hash_files)
        how = content, ids, device, seed, resume, found.spec
        key_now = functools.partial(self._fit_key, *how)
        cached = CachedFit(root, key_now(), self.verbose, settings.checkpoint_minutes)
        return found, cached, key_now

    def _training_recipe(self, data, groups, targets, device, seed, n_epochs, resume, anneal):
        """Return all that training on the samples of a source depends on."""
        start, scaling = None, self._scaling if resume else self._learn_scaling(data)
        views = self._resolve_views(data.spec)
        if resume:
            backbone = self._fitted_backbone()
            start = Start(self.objective_, self.history_)
            build = functools.partial(copy.deepcopy, self.objective_.encoder)
        else:
            backbone = self._resolve_backbone(data.spec, device)
            build = functools.partial(
                make_encoder,
                *(backbone, data.shape, scaling.mean, scaling.std),
                weights=self.weights,
                normalization=getattr(self.input, "normalization", "auto"),
            )
        n_earlier = 0 if start is None else len(start.history)
        settings = data.spec, len(data), device, seed, n_earlier, anneal
        make_settings = functools.partial(self._resolve_training, *settings)
        if resume and not anneal and make_settings().optimizer == self.optimizer_:
            start = replace(start, optimizer_state=self._optimizer_state)
        return TrainingRecipe(
            backbone=backbone,
            make_encoder=build,
            make_objective=self._make_objective,
            make_settings=make_settings,
            scaling=scaling,
            views=views,
            n_epochs=n_epochs,
            device=device,
            seed=seed,
            layer=self.layer,
            start=start,
            targets=targets,
            groups=groups,
        )

    def _hooks(self, task, given, attributes, cached):
        """Return what training calls."""
        return Hooks(
            callbacks=tuple(self.callbacks or ()),
            epoch_task=task,
            given=given,
            # Not cached: a callback would wait for the lock of its own fit.
            finished=lambda model: attributes(model) | {"_cache_inputs": None},
            write=None if cached is None else cached.write,
            checkpoint_seconds=math.inf if cached is None else 60 * cached.checkpoint_minutes,
            verbose=self.verbose if world().is_main else 0,
        )

    def _attributes_of(self, recipe, data, cached):
        """Return a function of a trained model that returns the fitted attributes."""
        seen = np.unique(data.digests())
        if recipe.start is not None and getattr(self, "_seen", None) is not None:
            seen = np.union1d(self._seen, seen)

        def attributes(model):
            rows, settings = model.history, model.settings
            return {
                "encoder_": model.encoder,
                "history_": rows,
                "health_": health(rows),
                "loss_curve_": [row["train_loss"] for row in rows],
                "n_iter_": len(rows),
                "max_epochs_": settings.max_epochs,
                "backbone_": recipe.backbone,
                "views_": recipe.views,
                "batch_size_": settings.batch_size,
                "optimizer_": settings.optimizer,
                "lr_": settings.lr,
                "weight_decay_": settings.weight_decay,
                "warmup_epochs_": settings.warmup_epochs,
                "device_": str(recipe.device),
                "precision_": settings.precision,
                "_n_features_out": model.n_features_out,
                "objective_": model.objective,
                "_optimizer_state": model.optimizer_state,
                "_scaling": recipe.scaling,
                "_spec": data.spec,
                "_seed": recipe.seed,
                "_n_samples": settings.n_samples,
                "_cache_inputs": cached and cached.inputs,
                "_seen": seen,
                "_published": model.objective.encoder.published,
            } | self._fitted(model.objective, data)

        return attributes

    def _adopt(self, fitted, resume):
        """Set the attributes of a fit; return their names."""
        if resume:
            fitted = {name: value for name, value in fitted.items() if name != "_spec"}
        else:
            self._set_spec(fitted["_spec"])
        vars(self).update(fitted)
        return set(fitted)

    def _fit_key(self, content, ids, device, seed, resume, spec):
        """Return the cache key of a fit, computed from everything that its result depends on."""
        given = {k: v for k, v in self.get_params(deep=False).items() if k not in NEUTRAL}
        parts = {f"parameter {name}": value for name, value in given.items()} | {
            "X": content,
            "class": type(self),
            "device": device.type,
            "precision": self._resolve_precision(device),
            "computed": [device_of(self).compile, device_of(self).micro_batch_size],
            "input": described_as(self.input, spec).identity(),
            "seed": None if self.random_state is None else seed,
        }
        parts |= ids
        if self.max_time is not None:
            parts["parameter max_time"] = seconds_of(self.max_time)
        if self.weights is not None and os.path.isfile(self.weights):
            parts["weights"] = Path(self.weights).read_bytes()
        if resume:
            parts["start"] = [self.objective_.state_dict(), self.history_]
        return key_of(parts)

    def _write_to_cache(self, cached, names, changed):
        """Cache the fit, with the attributes ``names``, if it can be restored exactly."""
        if changed:
            tell("The fit is not cached because it changed its views or callbacks.")
        elif not self._is_rebuilt():
            tell("The fit is not cached because its backbone cannot be restored from a state_dict.")
        elif cached.write("fit", (self, names)):
            cached.remove("checkpoint")

    def _take_over(self, cached, spec, resume):
        """Restore the fitted attributes of a cached fit to samples of a spec."""
        backbone = self.backbone_ if resume else self.backbone
        fitted = cached["fitted"]
        if not resume:
            fitted = fitted | {"_spec": fitted["_spec"].named(spec)}
        self._adopt(fitted, resume)
        # Code is not stored, but was passed again as a parameter.
        if "backbone_" in cached["custom"]:
            self.backbone_ = backbone
        if "views_" in cached["custom"]:
            self.views_ = self._resolve_views(self._spec)
        self._rebuild(cached["weights"])
        self._optimizer_state = cached["more"]["optimizer_state"]
        warn(symptoms(self.history_, self.objective_))

    def _is_rebuilt(self):
        """Return whether a network rebuilt from its state gives identical embeddings."""
        copied = copy.copy(self)
        try:
            copied._rebuild(self.objective_.state_dict())
        except (RuntimeError, ValueError, TypeError):
            return False
        with torch_defaults(torch.device("cpu")), torch.inference_mode():
            samples = self._spec.samples()
            return torch.equal(copied.encoder_(samples), self.encoder_(samples))

    def _fitted_backbone(self, *_):
        """Return the backbone of the previous fit; raise if the parameter was changed."""
        fitted = self.backbone_
        same = self.backbone is fitted or (
            isinstance(fitted, str) and named(self.backbone) == fitted
        )
        if not same and not is_auto(self.backbone):
            raise ValueError(
                f"Training continues with backbone={fitted!r} of the previous fit, but backbone is "
                f"{self.backbone!r}. Set it back, or fit a clone."
            )
        return fitted

    def _resolve_views(self, spec):
        """Return the views, with settings that depend on the samples filled in."""
        if spec.kind not in self.default_views:
            raise wrong_kind(type(self).__name__, self.default_views, spec)
        if self.needs_color and spec.shape[0] != 3:
            raise needs_color(type(self).__name__, spec)
        return for_samples(self._default_views(spec) if is_auto(self.views) else self.views, spec)

    def _resolve_training(self, spec, n_samples, device, seed, first_epoch, anneal, planned=None):
        """Return the settings of training, with "auto" resolved.

        ``planned`` is the number of epochs estimated for ``max_time``.
        """

        def resolve(name, value):
            return value if is_auto(getattr(self, name)) else getattr(self, name)

        power_of_two = 2 ** int(np.log2(max(1, n_samples / 64)))
        batch_size = resolve("batch_size", min(256, max(64, power_of_two)))
        batch_size = min(batch_size, n_samples)
        max_epochs = planned or resolve("max_epochs", MAX_EPOCHS)
        optimizer = resolve("optimizer", "adamw")
        defaults = DEFAULTS[optimizer]
        lr = defaults["lr"] * (1 if optimizer == "adamw" else batch_size / 256)
        lr *= lr_factor_for(spec)
        return Training(
            max_epochs=max_epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            lr=resolve("lr", lr),
            weight_decay=resolve("weight_decay", defaults["weight_decay"]),
            warmup_epochs=resolve("warmup_epochs", min(10, max_epochs / 10)),
            device=device,
            precision=self._resolve_precision(device),
            compile=device_of(self).compile,
            seed=seed,
            n_samples=n_samples,
            micro_batch_size=device_of(self).micro_batch_size,
            first_epoch=first_epoch,
            anneal=anneal,
        )

    def _embedding_of(self, found, device):
        """Return the embedding of checked samples, from the cache if possible."""
        if self.memory is None or getattr(self, "_cache_inputs", None) is None:
            return self._embedding(found.read(), device)
        found, content = identified(found, cache_of(self).hash_files)
        precision = self._resolve_precision(device)
        inputs = [content, self._network(), self._scaling, device.type, precision]
        with contextlib.ExitStack() as stack:
            try:
                part = f"embedding-{fingerprint(inputs)}"
                cached = CachedFit(folder_of(self.memory), self._cache_inputs, self.verbose)
                stack.enter_context(cached.alone(part))
            except (NoContent, OSError) as error:
                tell(f"The embedding is not cached: {error}.")
                return self._embedding(found.read(), device)
            before = cached.read(part)
            if before is not None:
                return before["embedding"]
            embedding = self._embedding(found.read(), device)
            cached.write(part, {"embedding": embedding})
        return embedding

    def score(self, X, y=None):
        """Return the negative loss on X; larger is better.

        The views are the same at every call. Scores of different methods, temperatures or batch
        sizes are not comparable.

        Parameters
        ----------
        X : array-like or tensor
            Samples of the same shape as in fit.

        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        score : float
            Negative mean loss over batches of about ``batch_size_`` samples.
        """
        source, device = self._read_again(X)
        check_any(len(source))
        order = np.random.default_rng(self._seed).permutation(len(source))
        batches = np.array_split(order, max(1, round(len(order) / self.batch_size_)))
        total = 0.0
        with isolated(device), torch.no_grad():
            # A shallow copy: attributes that the objective sets for these samples are discarded.
            objective = moved(copy.copy(self.objective_), device)
            scale = self._scaling.on(device)
            make_views = functools.partial(views_of, self.views_, scale)
            embed = functools.partial(in_batches, objective.encoder, source, scale, device)
            ids = self._ids(y, None)
            ids = {name: of_read(values, source, name) for name, values in ids.items()}
            targets = self._targets(X, ids, source)
            targets = objective.scoring_targets(embed) if targets is None else targets.to(device)
            for i, indices in enumerate(batches):
                samples = source.batch(indices, device)
                views = seeded_views(make_views, samples, device, self._seed, i)
                given = () if targets is None else (targets[indices],)
                loss = terms_of(objective, views, given, device)["loss"]
                total += loss.item() * len(indices)
        return -total / len(order)

    def _of_read(self, X, function):
        """Return the results of ``function(objective, samples)`` for the readable samples of X."""
        return self._results(X, "objective_", function)[1]

    def has_seen(self, X):
        """Return which samples were seen during training.

        Evaluating a frozen encoder on samples that it was trained on is optimistic (data leakage);
        :func:`~sklearn_ssl.compare` reports them.

        Samples match if their values are equal as float32, regardless of layout, data type and
        byte order. Images of files match if their decoded and resized pixels are equal.

        Parameters
        ----------
        X : array-like or tensor
            Samples as in fit.

        Returns
        -------
        seen : ndarray of shape (n_samples,), bool
            Whether each sample was in fit or ``partial_fit``; False for unreadable images.
        """
        source, _ = self._read_again(X)
        return source.aligned(np.isin(source.digests(), self._seen).astype(np.int8)) == 1

    def to_onnx(self, path):
        """Export the encoder, including the scaling of X, to ONNX, for inference without torch.

        The model computes the same as ``transform`` on the CPU, up to rounding error. Files of
        ``save``, not of ``to_onnx``, are loaded by :func:`sklearn_ssl.load`.

        The input "X" is float32 with the same range as X in fit, for example 0 to 255 for bytes:
        images (n, height, width, channels), with the shape ``image_shape_``, or tabular data (n,
        n_features). For texts it holds token ids, int64; the tokenizer is in the metadata of the
        file. Images of files have to be decoded and resized first. The output "embedding" is
        float32, (n, n_features_out). The number n of samples is arbitrary. Features whose standard
        deviation is small compared with their mean lose precision, as ``transform`` scales them in
        float64.

        Parameters
        ----------
        path : str or path
            The file, for example "encoder.onnx". An existing file is replaced atomically.

        Raises
        ------
        ImportError
            If onnx or onnxscript is missing: ``pip install "sklearn-ssl[onnx]"``.

        ValueError
            If the backbone cannot be exported, for example because its forward depends on values
            of the input, or if its weights take more than 2 GB.
        """
        check_is_fitted(self)
        write_onnx(self, path)

    def _weights(self):
        """Return the state of the objective, including the encoder."""
        return self.objective_.state_dict() if hasattr(self, "objective_") else None

    def _rebuild(self, weights):
        """Rebuild the networks of a restored fit, with these weights."""
        self.objective_ = rebuilt(self._new_objective, weights, self)
        self._optimizer_state = None
        self.encoder_ = encoder_at(self.objective_.encoder, self.layer).eval()

    def _new_objective(self, published):
        """Return the objective of fit, before training."""
        shape = self._spec.shape
        settings = self._n_samples, torch.device("cpu"), self._seed, self.n_iter_, True
        training = self._resolve_training(self._spec, *settings, self.max_epochs_)
        constants = self._scaling.mean, self._scaling.std
        encoder = make_encoder(self.backbone_, shape, *constants, published=published)
        n_features = count_features(encoder, self._spec.samples())
        objective = self._make_objective(encoder, n_features, training).float()
        return objective.to(memory_format=torch.channels_last)  # as after training

    def _new_encoder(self, published):
        """Return the encoder of fit, before training."""
        return encoder_at(self._new_objective(published).encoder, self.layer)


def section_of(cls, title):
    """Return a section of the docstring of a class, without its title."""
    section = inspect.cleandoc(cls.__doc__).partition(f"{title}\n----------\n")[2]
    return section.partition("\n\nAttributes\n")[0]


def rebuilt(make, weights, estimator):
    """Return ``make(published)`` with weights loaded; pretrained networks have their own stem."""
    known = getattr(estimator, "_published", None)  # missing in files of old versions
    stems = (False, True) if known is None else (known,)
    with isolated(torch.device("cpu")):
        for published in stems:
            module = make(published)
            try:
                module.load_state_dict(weights)
                return module.eval()
            except RuntimeError:
                if published == stems[-1] or not isinstance(estimator.backbone_, str):
                    raise
    return None


def check_any(n_samples):
    """Raise if no image could be read."""
    if not n_samples:
        raise ValueError("None of the images in X could be read: there is nothing to score.")


def mean_of(values):
    """Return the mean of values, (n,), of readable images."""
    check_any(len(values))
    return float(np.mean(values, dtype=np.float64))


def for_samples(views, spec):
    """Check views, and fill in settings that depend on the samples."""
    if isinstance(views, type):
        raise ValueError(
            f"views={views.__name__} is a class. Pass an instance: views={views.__name__}(...)."
        )
    origins = [views, *type(views).__mro__]
    if any(str(getattr(o, "__module__", "")).startswith("torchvision.") for o in origins):
        name = getattr(views, "__name__", type(views).__name__)
        raise ValueError(
            f"views={name} of torchvision transforms single images. Wrap it in "
            "sklearn_ssl.views.PerSampleViews, which applies it to each image: "
            f"views=PerSampleViews({name}{'' if name != type(views).__name__ else '(...)'})."
        )
    if getattr(views, "kind", spec.kind) != spec.kind:
        raise other_views(views, spec)
    return spec.complete(views)
