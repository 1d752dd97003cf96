"""What all estimators share that train: parameters, fit and score."""

import contextlib
import copy
import functools
import inspect
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_ssl._runtime.device import gpu_freed, resolve_device
from sklearn_ssl._runtime.isolation import isolated, seed_torch, torch_defaults
from sklearn_ssl._runtime.sklearn_private import (
    HasMethods,
    _fit_context,
)
from sklearn_ssl._runtime.warnings import tell
from sklearn_ssl.data import Images, Table, images_of, table_of
from sklearn_ssl.data.inputs import identified, needs_color, needs_images
from sklearn_ssl.inference.batches import in_batches, moved, views_of
from sklearn_ssl.inference.device import Device, device_of
from sklearn_ssl.inference.embedder import Embedder, is_auto
from sklearn_ssl.inference.onnx import write_onnx
from sklearn_ssl.networks.backbone import named
from sklearn_ssl.networks.defaults import default_for
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
    parameters,
)
from sklearn_ssl.persistence.fingerprint import NoContent, fingerprint
from sklearn_ssl.persistence.fit_cache import CachedFit, FitCache, cache_of, folder_of, key_of
from sklearn_ssl.training.clock import Clock, seconds_of
from sklearn_ssl.training.health import symptoms, warn
from sklearn_ssl.training.net import check_callbacks
from sklearn_ssl.training.optimizers import DEFAULTS
from sklearn_ssl.training.run import Fit
from sklearn_ssl.training.schedule import Training

MAX_EPOCHS = 60
# Parameters that change nothing in the result of a fit, or that its key has in another form.
NEUTRAL = {"memory", "input", "device", "random_state", "warm_start", "flip_tta", "verbose"}


def all_or_nothing(fit):
    """Let a fit that raises, also by Ctrl-C, leave the estimator as it was before."""

    @functools.wraps(fit)
    def wrapped(self, *args, **kwargs):
        before = dict(vars(self))
        try:
            return fit(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return wrapped


@parameters
class SSLTransformer(CallbackSupportMixin, Embedder, BaseEstimator):
    """Base of all methods: trains an encoder without labels in fit, embeds samples in transform.

    A method declares its own parameters as annotated class attributes, its ``default_views`` for
    each kind of input it takes, and ``_make_objective``. Where they depend on its parameters, it
    extends ``_default_views``, ``_resolve_training`` or ``_fitted``.

    Parameters
    ----------
    backbone : str, callable or torch.nn.Module, default="auto"
        The network that is trained and gives the features. "auto" is "mlp" for rows, "resnet18" for
        images on a GPU, and on the CPU "small_convnet" for images below 24 pixels and, for larger
        ones, "small_multiscale_fine", or "small_multiscale" where ``views`` are given or the
        method fills in or colours images. Other names: "small_resnet", "small_resnet18",
        "small_vit", and every classification model of torchvision, as "resnet50" or "vit_b_16";
        with images up to 64 pixels their stems keep the resolution; torchvision's functions, as
        ``torchvision.models.resnet50``, stand for their names. Any other callable gets the shape of
        a sample, (channels, height, width) or (n_features,), and returns a module. A module is
        copied. It returns a vector, a map (n, d, height, width) or tokens (n, tokens, d) for each
        sample; the latter two are averaged to one vector. Of a tuple or list the first entry is
        taken; of a dict, dataclass or ModelOutput ``last_hidden_state``, else ``features``, else
        ``pooler_output``, else its only tensor.

    weights : str or path, default=None
        Where training starts: a file of the backbone's weights, or the name of torchvision's
        pretrained weights, such as "DEFAULT", which torchvision downloads at first use. None starts
        from random weights. A file is of ``torch.save``, of safetensors, or of ``save``; it may
        hold the ``state_dict`` in a dict, next to other entries, and under a prefix, as
        "module.encoder_q." of MoCo, the names of timm's vision transformers, and another classifier
        or none. Of several networks that fit, a teacher or averaged weights come before the others.
        Of a file of ``save`` it takes the backbone's weights; :func:`sklearn_ssl.load` gives the
        estimator itself. Weights of a torchvision model keep the published stem, for small images
        too, and images are normalized with the constants of torchvision's weights; see
        ``normalization`` of :class:`~sklearn_ssl.Images`.

    layer : str, default=None
        Name of the backbone's layer whose output is the embedding, such as "stage2" of
        "small_convnet" or "layer3" of "resnet18". The whole backbone is trained; what follows the
        layer is left out of ``encoder_``. None is the last one before the classifier; for methods
        that make images of the network's last map, or tokens, it is their mean if layers with
        weights follow, which would not be trained, or if one token alone is read.

    flip_tta : bool, default=False
        Whether ``transform`` uses horizontal-flip test-time augmentation: the embedding of an
        image is the mean of the features of the image and of its mirror image, for which it takes
        twice as long. Not used for tabular data. It may be changed after fit.

    views : callable or "auto", default="auto"
        The random changes that the features learn not to notice:
        :class:`~sklearn_ssl.views.ImageViews`, :class:`~sklearn_ssl.views.TableViews`,
        :class:`~sklearn_ssl.views.CombinedViews`, torchvision's transforms in a
        :class:`~sklearn_ssl.views.PerSampleViews`, or any callable that turns a float batch,
        (n, c, h, w) with values in [0, 1] or standardised rows (n, n_features), into a list of
        batches. It is reproducible if it draws from torch's default generator. Views of images have
        values in [0, 1] too, or are bytes: without Normalize, as the encoder normalizes. "auto" is
        the method's own recipe, ``default_views``, with blur for images above 32 pixels alone and
        changes of colour for colour images alone. On the CPU, where ``backbone`` is "auto" too,
        views of images from 24 pixels on have half their sides, which gives several times as many
        steps in the same time, unless the method makes images or cuts them into tiles.

    input : Images, Table or "auto", default="auto"
        What X holds, and what is to be known about it: layout, size and pixel range of images,
        their normalization, how files are read and decoded (:class:`~sklearn_ssl.Images`), or how
        tabular data is scaled (:class:`~sklearn_ssl.Table`). "auto" takes arrays with two
        dimensions for tabular data and all else for images, with the defaults of these classes.

    memory : str, path, FitCache or joblib.Memory, default=None
        Folder in which fits are cached, for this and other processes. A fit of equal samples, by
        equal parameters and versions, is read back instead of repeated, to the bit; others that
        want the same one at the same time wait for it. A fit that was interrupted, even killed,
        resumes from its last checkpoint, and embeddings of a cached fit are cached as well. Samples
        are identified by their values, files by path, size, time of change and inode, modules by
        their weights and code, code by itself and what it refers to; torch's global settings, as
        its number of threads, do not count. With ``random_state=None`` the fit that comes first
        stays. Callbacks of a fit that is read back are not called. :class:`~sklearn_ssl.FitCache`
        sets how files are identified and how often checkpoints are written. ``clear()`` and
        ``reduce_size(bytes_limit=...)`` of a :class:`joblib.Memory` of the same folder remove
        what is cached.

    max_epochs : int or "auto", default="auto"
        Largest number of passes over X. "auto" is 60, and no limit where ``max_time`` is one.

    max_time : float or str, default=None
        Time that fit may take, in seconds or as "90s", "10min" or "1.5h", with all that it does:
        reading files, clustering, compiling. Learning rate and what else changes in training
        follow the share of it that is gone, so that a short fit ends as a long one does. The last
        epoch stops where time does, and goes on until then where another one would mostly be
        clustered for. At least one step is taken. Waiting for another thread's fit, or for an equal
        one that ``memory`` keeps, does not count; a fit that ``memory`` goes on with has the rest
        of its time. How far a fit comes is up to the machine, so ``random_state`` does not make it
        reproducible. In ``partial_fit`` it is the most that a call may take.

    batch_size : int or "auto", default="auto"
        Largest number of samples in a step, at least 2. The batches of an epoch have one size;
        samples that do not fill up a batch, fewer than there are batches, wait for the next
        epoch. "auto" is the power of two below n_samples / 64, at least 64 and at most 256.

    optimizer : {"auto", "adamw", "sgd", "lars"}, default="auto"
        "auto" is "adamw". "sgd" and "lars" have a momentum of 0.9.

    lr : float or "auto", default="auto"
        Highest learning rate, reached after the warm-up and followed by half a cosine to 0, if
        the method does not say otherwise. "auto" is 0.002 for "adamw"; for "sgd" 0.12 and for
        "lars" 0.3, times batch_size / 256.

    weight_decay : float or "auto", default="auto"
        Weight decay of all weights but biases and norms. "auto" is 0.0001, and 0.0005 for "sgd".

    warmup_epochs : float or "auto", default="auto"
        Epochs in which the learning rate rises from 0. "auto" is a tenth of max_epochs, or of those
        that ``max_time`` is expected to give, at most 10.

    device : str, torch.device or Device, default="auto"
        Where to compute: "cpu", "cuda" or "cuda:1". "auto" is the GPU where there is one.
        :class:`~sklearn_ssl.Device` also sets precision, compilation and the size of micro-batches.

    callbacks : list of skorch callbacks, default=None
        Called in training, for example ``skorch.callbacks.EarlyStopping(monitor="train_loss")``.
        The learning rate follows the schedule of ``lr``, whatever a callback sets. scikit-learn's
        own callbacks are set with ``set_callbacks``.

    warm_start : bool, default=False
        Whether fit starts from the weights of the fit before, and adds to its history. Backbone
        and the scale of X stay those of the first fit.

    random_state : int, RandomState instance or None, default=None
        Seed of weights, order of samples and views. An int makes fit reproducible on the CPU, and
        on a GPU as far as torch's own operations are.

    verbose : int, default=0
        1 shows a progress bar with loss, samples a second and time left, and says whether X lies
        on the GPU in training, as it does where it takes at most a quarter of its free memory.

    Attributes
    ----------
    encoder_ : torch.nn.Module
        The trained encoder, on the CPU and in evaluation mode: float images (n, c, h, w) in
        [0, 1], or standardised rows, to features. Its ``mean`` and ``std`` are the constants that
        it normalizes images with. ``flip_tta`` says what ``transform`` adds.

    loss_curve_ : list of float
        Mean loss of each epoch.

    history_ : list of dict
        What was recorded in each epoch: loss, learning rate, seconds.

    health_ : dict of ndarray of shape (n_iter_,)
        Figures of each epoch that tell whether training goes well: ``embedding_std``, the
        standard deviation of the vectors that the loss compares, or else of the features, brought
        to length one, from 0 where all samples are the same to 1; ``effective_rank``, the number
        of dimensions that they differ in, of ``embedding_dim``; ``train_loss`` and
        ``chance_loss``, that of one who guesses; ``epoch`` and ``n_steps``, the number of steps in
        it; and what the method adds. Where one of them says that something is wrong, fit
        gives a :class:`~sklearn.exceptions.ConvergenceWarning` that says what to change.

    n_iter_ : int
        Number of epochs trained.

    image_shape_ : tuple of int
        Height, width and channels of the images. Only for images.

    n_features_in_ : int
        Number of features in X; for an array of images the number of values in one, and 1 for a
        list or column of them.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X is a DataFrame whose column names are all strings.

    backbone_, views_, max_epochs_, batch_size_, optimizer_, lr_, weight_decay_ : object
        What the parameter of that name came to be, with "auto" resolved. ``max_epochs_`` is what
        was planned, where ``max_time`` decides.

    warmup_epochs_, device_, precision_ : object
        Likewise.
    """

    backbone: str | Callable = "auto"
    weights: FilePath | None = None
    layer: str | None = None
    flip_tta: bool = False
    views: Auto | Callable = "auto"
    input: Auto | Images | Table = "auto"
    memory: FilePath | FitCache | Annotated[object, HasMethods(["cache"])] | None = None
    max_epochs: Auto | Count = "auto"
    max_time: Positive | str | None = None
    batch_size: Auto | at_least(2) = "auto"
    optimizer: Literal["auto", *DEFAULTS] = "auto"
    lr: Auto | Positive = "auto"
    weight_decay: Auto | NonNegative = "auto"
    warmup_epochs: Auto | NonNegative = "auto"
    device: str | torch.device | Device = "auto"
    callbacks: list | tuple | None = None
    warm_start: bool = False
    random_state: RandomState = None
    verbose: Verbose = 0

    _recipes = Embedder._recipes | {"memory": (FitCache,)}
    # The recipe of views for each kind of input that the method takes, "image" and "table".
    default_views = {}
    # Whether these keep the size of images also on the CPU, with the network for whole images.
    whole_views = False
    # Whether fit needs images in colour, of which transform takes gray ones too.
    needs_color = False

    def __init_subclass__(cls, **kwargs):
        """Declare the parameters of the class, and add the shared parts to its docstring."""
        super().__init_subclass__(**kwargs)
        parameters(cls)
        if "{shared_parameters}" in (cls.__doc__ or ""):
            doc = inspect.cleandoc(SSLTransformer.__doc__)
            _, shared, attributes = doc.split("----------\n")
            shared = shared.removesuffix("\n\nAttributes\n")
            cls.__doc__ = (
                inspect.cleandoc(cls.__doc__)
                .replace("{shared_parameters}", shared)
                .replace("{shared_attributes}", attributes)
            )

    def _make_objective(self, encoder, n_features, training):
        """Return the method's objective on an encoder with this number of features."""
        raise NotImplementedError

    def _default_views(self, source):
        """Return the method's view recipe for the samples of a source."""
        views = self.default_views[source.kind]
        whole = source.is_image and getattr(views, "size", None) == 1.0
        if self.whole_views or not whole or not is_auto(self.backbone):  # which may need the size
            return views
        return replace(views, size=default_for(source, resolve_device(self.device)).view_size)

    def _fitted(self, objective, source):
        """Return the fitted attributes that only this method has."""
        return {}

    def _pictures(self, images):
        """Return what the objective sees of images, and what it makes of it."""
        return self._objective.pictures(images)

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train the encoder on X.

        Parameters
        ----------
        X : array-like, tensor, DataFrame or data set
            Images of shape (n_samples, height, width), (n_samples, height, width, channels) or
            (n_samples, channels, height, width), which the shape tells or ``input`` says; or rows
            (n_samples, n_features), flattened images with ``input=Images(shape=...)``. Any number
            type and scale: unsigned bytes run from 0 to 255, the range of others is learned from X.
            X is not copied; arrays on disk, as h5py and zarr have them, are read by parts.

            Or a list, array, Series or DataFrame of one column that holds, for each image, the
            path of its file, the file's bytes, an image of Pillow's, or an array, all of any
            size; or a data set, with ``__len__`` and ``__getitem__``, of such images, of pairs
            (image, label) or of dicts with an entry "image", "img", "bytes" or "path". They are
            turned upright by their EXIF data, put on white where they are transparent, and
            resized to ``size`` of ``input``. If one of them has colours, gray ones get three equal
            channels.

        y : Ignored
            Not used, here for scikit-learn's conventions.

        Returns
        -------
        self : object
            The fitted estimator. If fit raises, it is left as it was.
        """
        n_epochs = self.max_epochs
        if is_auto(n_epochs):
            n_epochs = MAX_EPOCHS if self.max_time is None else math.inf
        return self._fit(X, y, n_epochs, resume=self.warm_start, anneal=True)

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Train one more epoch, on X.

        The optimizer goes on from where it was. As nobody knows how many calls will follow, the
        learning rate stays where the warm-up took it.

        Parameters
        ----------
        X : array-like or tensor
            Samples as in fit, of the shape of those before.

        y : Ignored
            Not used, here for scikit-learn's conventions.

        Returns
        -------
        self : object
            The fitted estimator. If partial_fit raises, it is left as it was.
        """
        return self._fit(X, y, 1, resume=True, anneal=False)

    def _fit(self, X, y, n_epochs, **how):
        device = resolve_device(self.device)
        with gpu_freed(device):  # around a call, whose variables are gone by then
            self._fit_on(device, X, y, n_epochs, **how)
        return self

    def _fit_on(self, device, X, y, n_epochs, *, resume, anneal):
        check_callbacks(self.callbacks or [])
        resume = resume and self.__sklearn_is_fitted__()
        clock = Clock(math.inf if self.max_time is None else seconds_of(self.max_time))
        known = None if n_epochs == math.inf else n_epochs
        task = self._init_callback_context(max_subtasks=known)
        task.call_on_fit_task_begin(estimator=self, X=X, y=y)
        with clock.running():
            found = self._find(X, reset=not resume, min_samples=2)
        if resume:
            seed = self._seed
        else:
            seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        root = folder_of(self.memory) if anneal else None
        cached = None
        if root is not None:
            with clock.running():
                found, content = identified(found, cache_of(self).hash_files)
                key = self._fit_key(content, device, seed, resume)
            cached = CachedFit(root, key, self.verbose)
        with contextlib.nullcontext() if cached is None else cached.alone():
            finished = None if cached is None else cached.read("fit")
            if finished is not None:
                self._take_over(finished, resume)
                cached.remove("checkpoint")  # which a kill could leave
            else:
                how = {"resume": resume, "anneal": anneal, "cached": cached}
                how["checkpoint_minutes"] = cache_of(self).checkpoint_minutes
                with clock.running():
                    source = found.read()
                fit = Fit(self, source, device, seed, clock, **how)
                fitted = fit.run(task, n_epochs, X, y)
                if cached is not None:
                    changed = self._fit_key(content, device, seed, resume) != key
                vars(self).update(fitted)
                if cached is not None and not fit.stopped_from_outside:
                    self._write_to_cache(cached, {*fitted, "image_shape_"}, changed)
        task.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes=dict)

    def _fit_key(self, content, device, seed, resume):
        """Return the key of a fit: of all that its result depends on."""
        given = {k: v for k, v in self.get_params(deep=False).items() if k not in NEUTRAL}
        parts = {f"parameter {name}": value for name, value in given.items()} | {
            "X": content,
            "class": type(self),
            "device": device.type,
            "precision": self._resolve_precision(device),
            "computed": [device_of(self).compile, device_of(self).micro_batch_size],
            "input": replace(images_of(self), cache=None, n_jobs=None),
            "table": table_of(self),
            "seed": None if self.random_state is None else seed,
        }
        if self.max_time is not None:
            parts["parameter max_time"] = seconds_of(self.max_time)
        if self.weights is not None and os.path.isfile(self.weights):
            parts["weights"] = Path(self.weights).read_bytes()
        if resume:
            parts["start"] = [self._objective.state_dict(), self.history_]
        return key_of(parts)

    def _write_to_cache(self, cached, names, changed):
        """Keep the fit, with the attributes of these names, if it can be read back as it is."""
        if changed:
            tell("The fit is not cached, as views or callbacks were changed by it.")
        elif not self._is_rebuilt():
            tell("The fit is not cached, as its backbone does not come from its state_dict alone.")
        elif cached.write("fit", (self, names)):
            cached.remove("checkpoint")

    def _take_over(self, cached, resume):
        """Become what was cached of a fit like this one."""
        backbone = self.backbone_ if resume else self.backbone
        vars(self).update(cached["fitted"])
        # What no file holds, as it is code, was given again.
        if "backbone_" in cached["custom"]:
            self.backbone_ = backbone
        if "views_" in cached["custom"]:
            shape = self._sample_shape()
            is_image = len(shape) == 3
            kind = "image" if is_image else "table"
            self.views_ = self._resolve_views(
                SimpleNamespace(kind=kind, is_image=is_image, shape=shape)
            )
        self._rebuild(cached["weights"])
        self._optimizer_state = cached["more"]["optimizer_state"]
        warn(symptoms(self.history_, self._objective))

    def _is_rebuilt(self):
        """Tell whether a network with the same state embeds to the bit as the fitted one does."""
        copied = copy.copy(self)
        try:
            copied._rebuild(self._objective.state_dict())
        except (RuntimeError, ValueError, TypeError):
            return False
        shape = (2, *self._sample_shape())
        with torch_defaults(torch.device("cpu")), torch.inference_mode():
            samples = torch.linspace(0, 1, math.prod(shape), device="cpu").reshape(shape)
            return torch.equal(copied.encoder_(samples), self.encoder_(samples))

    def _fitted_backbone(self, *_):
        """Return the backbone of the fit before; raise where another one is asked for now."""
        fitted = self.backbone_
        same = self.backbone is fitted or (
            isinstance(fitted, str) and named(self.backbone) == fitted
        )
        if not same and not is_auto(self.backbone):
            raise ValueError(
                f"Training goes on with backbone={fitted!r} of the fit before, and not with "
                f"{self.backbone!r}. Set it back, or fit a clone."
            )
        return fitted

    def _resolve_views(self, source):
        """Return the view recipe, with all filled in that the samples decide."""
        if source.kind not in self.default_views:
            raise needs_images(self, source)
        if self.needs_color and source.is_image and source.shape[0] != 3:
            raise needs_color(self, source)
        return for_samples(
            self._default_views(source) if is_auto(self.views) else self.views, source
        )

    def _resolve_training(self, n_samples, device, seed, first_epoch, anneal, planned=None):
        """Return the settings of training, with every "auto" resolved.

        ``planned`` is the number of epochs where time decides it.
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
        """Return the embedding of samples that were found, which ``memory`` may hold."""
        if self.memory is None or getattr(self, "_cache_inputs", None) is None:
            return self._embedding(found.read(), device)
        found, content = identified(found, cache_of(self).hash_files)
        precision = self._resolve_precision(device)
        told = [content, self._network(), self._scaling, device.type, precision]
        with contextlib.ExitStack() as stack:
            try:
                part = f"embedding-{fingerprint(told)}"
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
        """Return minus the objective on X, so that larger is better.

        The same views are drawn at every call, and nothing is trained. Scores of different
        methods, temperatures or batch sizes cannot be compared with each other.

        Parameters
        ----------
        X : array-like or tensor
            Samples as in fit, of the same shape.

        y : Ignored
            Not used, here for scikit-learn's conventions.

        Returns
        -------
        score : float
            Minus the mean loss over batches of about ``batch_size_`` samples.
        """
        source, device = self._read_again(X)
        check_any(len(source))
        order = np.random.default_rng(self._seed).permutation(len(source))
        batches = np.array_split(order, max(1, round(len(order) / self.batch_size_)))
        total = 0.0
        with isolated(device), torch.no_grad():
            # A copy of the shell: what an objective notes of these samples goes with it.
            objective = moved(copy.copy(self._objective), device)
            scale = self._scaling.on(device)
            make_views = functools.partial(views_of, self.views_, scale)
            embed = functools.partial(in_batches, objective.encoder, source, scale, device)
            targets = objective.before_epoch(embed, np.random.default_rng(self._seed)).targets
            for i, indices in enumerate(batches):
                seed_torch(device, self._seed, i)
                given = () if targets is None else (targets[indices],)
                views = make_views(source.batch(indices, device))
                loss = objective(views, *given)["loss"]
                total += loss.item() * len(indices)
        return -total / len(order)

    def _of_read(self, X, function):
        """Return what a function of objective and samples gives for those of X that can be read."""
        return self._results(X, "_objective", function)[1]

    def has_seen(self, X):
        """Report which samples fit has learned from.

        An encoder that is used frozen is judged too well on samples that it learned from:
        :func:`~sklearn_ssl.compare` reports them.

        Samples match if their values are equal as float32, whatever their layout, number type and
        byte order are. Images of files match by their decoded and resized pixels.

        Parameters
        ----------
        X : array-like or tensor
            Samples as in fit.

        Returns
        -------
        seen : ndarray of shape (n_samples,), bool
            Whether each was in fit or ``partial_fit``; False for images that cannot be read.
        """
        source, _ = self._read_again(X)
        return source.aligned(np.isin(source.digests(), self._seen).astype(np.int8)) == 1

    def to_onnx(self, path):
        """Write the encoder, with the scaling of X, to an ONNX file, which needs no torch to run.

        The file gives what ``transform`` gives on the CPU, but for rounding. It is not for
        :func:`sklearn_ssl.load`, which reads the files of ``save``.

        Its input "X" is float32, with the values that X has in fit, so that bytes run from 0 to
        255: images (n, height, width, channels), as ``image_shape_`` says, or rows (n,
        n_features). Images of files have to be decoded and resized before. Its output "embedding"
        is float32, (n, n_features_out). Both are of any number n of samples. Where rows are large
        beside their spread, float32 has lost digits that ``transform`` sees in float64.

        Parameters
        ----------
        path : str or path
            The file, for example "encoder.onnx". It is replaced at once when all is written.

        Raises
        ------
        ImportError
            If onnx or onnxscript is missing: ``pip install "sklearn-ssl[onnx]"``.

        ValueError
            If the backbone cannot be written as ONNX, as one whose forward decides by values, or
            if its weights take more than 2 GB.
        """
        check_is_fitted(self)
        write_onnx(self, path)

    def _weights(self):
        """Return the state of the objective, which holds the encoder."""
        return self._objective.state_dict() if hasattr(self, "_objective") else None

    def _rebuild(self, weights):
        """Build the networks anew and give them weights; all else of a fit is there."""
        self._objective = rebuilt(self._new_objective, weights, self)
        self._optimizer_state = None
        self.encoder_ = encoder_at(self._objective.encoder, self.layer).eval()

    def _new_objective(self, published):
        """Return an objective as that of fit, before training."""
        shape = self._sample_shape()
        training = self._resolve_training(
            self._n_samples, torch.device("cpu"), self._seed, self.n_iter_, True, self.max_epochs_
        )
        constants = self._scaling.mean, self._scaling.std
        encoder = make_encoder(self.backbone_, shape, *constants, published=published)
        n_features = count_features(encoder, shape)
        objective = self._make_objective(encoder, n_features, training).float()
        return objective.to(memory_format=torch.channels_last)  # as training leaves it

    def _new_encoder(self, published):
        """Return an encoder as that of fit, before training."""
        return encoder_at(self._new_objective(published).encoder, self.layer)


def rebuilt(make, weights, estimator):
    """Return a module that a function makes, with weights; pretrained networks keep their stems."""
    known = getattr(estimator, "_published", None)  # files of old versions do not say it
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
    """Raise where no image could be read that a score could be of."""
    if not n_samples:
        raise ValueError("None of the images in X could be read: there is nothing to score.")


def mean_of(values):
    """Return the mean of values, (n,), of images that could be read."""
    check_any(len(values))
    return float(np.mean(values, dtype=np.float64))


def decibels(errors):
    """Return the peak signal-to-noise ratio of mean squared errors, (n,)."""
    with np.errstate(divide="ignore"):  # infinite where nothing is wrong
        return float(-10 * np.log10(mean_of(errors)))


def share_right(told):
    """Return the share of labels (n, k) that are the number of their column; -1 is unreadable."""
    told = told[told[:, 0] >= 0]
    check_any(len(told))
    return float(np.mean(told == np.arange(told.shape[1])))


def for_samples(views, source):
    """Return a view recipe, checked, with all filled in that the samples decide."""
    if isinstance(views, type):
        raise ValueError(
            f"views={views.__name__} is a class. Give an object: views={views.__name__}(...)."
        )
    origins = [views, *type(views).__mro__]
    if any(str(getattr(o, "__module__", "")).startswith("torchvision.") for o in origins):
        name = getattr(views, "__name__", type(views).__name__)
        raise ValueError(
            f"views={name} of torchvision is a transform of single images. Give it to "
            "sklearn_ssl.views.PerSampleViews, which calls it for each image: "
            f"views=PerSampleViews({name}{'' if name != type(views).__name__ else '(...)'})."
        )
    kind = source.kind
    if getattr(views, "kind", kind) != kind:
        raise ValueError(
            f"views={views!r} are for tabular data, but X holds images."
            if kind == "image"
            else f"views={views!r} are for images, but X is tabular data. Set "
            "input=Images(shape=...) if it holds flattened images."
        )
    channels, *size = source.shape if source.is_image else (0,)
    return views.for_images(*size, channels) if size and hasattr(views, "for_images") else views
