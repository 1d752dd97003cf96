"""Training of an estimator: builds the networks, trains, and returns fitted attributes."""

import contextlib
import copy
import functools
import gc
import math

import numpy as np
import torch

from sklearn_ssl._runtime.isolation import isolated, seed_torch
from sklearn_ssl._runtime.malloc import untrimmed_heap
from sklearn_ssl.inference.batches import TRIAL_SAMPLES, check_views, in_batches, views_of
from sklearn_ssl.networks.encoder import count_features, encoder_at, make_encoder
from sklearn_ssl.training.health import health
from sklearn_ssl.training.net import StopTraining, finish, planned_epochs, train


class Fit:
    """Training of an estimator on the samples of a source, without changing the estimator.

    With ``resume`` it starts from the fitted weights; with ``anneal`` the learning rate is
    decayed over ``max_epochs``, or over the time of the clock. ``cached``, if given, stores
    checkpoints.
    """

    def __init__(self, estimator, source, device, seed, clock, *, resume, anneal, cached=None):
        self.estimator, self.source, self.device = estimator, source, device
        self.clock = clock
        self.resume, self.anneal = resume, anneal
        self.cached, self.state = cached, None if cached is None else cached.checkpoint()
        self.seed = seed if self.state is None else self.state["seed"]
        if self.state is not None:
            clock.spent += self.state["elapsed"]
            clock.origin = self.state["origin"]
        self.views = estimator._resolve_views(source.spec)
        resolve = estimator._fitted_backbone if resume else estimator._resolve_backbone
        self.backbone = resolve(source.spec, self.device)
        self.history = estimator.history_ if resume else []
        self.stopped_from_outside = False

    def run(self, task, n_epochs, X, y):
        """Train, and return the fitted attributes; ``task`` is the context of callbacks."""
        device, source, estimator = self.device, self.source, self.estimator
        with isolated(device), untrimmed_heap(device.type == "cpu"), self.clock.running():
            self.scaling = estimator._scaling if self.resume else estimator._learn_scaling(source)
            self.seen = self._seen()
            self._build()
            near, scale = source.near(device, estimator.verbose), self.scaling.on(device)
            make_views = functools.partial(views_of, self.views, scale)
            embed = functools.partial(_embed, near, scale, device)
            few = near.batch(slice(TRIAL_SAMPLES), device)
            for shape in {
                view.shape[1:] for view in check_views(self.views, scale, few, source.spec)
            }:
                if shape != source.shape:
                    count_features(self.objective.encoder, shape)
            self._plan(near, make_views, embed, n_epochs)
            if not self.resume and self.state is None:  # else it was called before
                samples = (scale(near.batch(part, device)) for part in near.parts())
                with torch.no_grad():
                    self.objective.to(device).before_training(samples)
            goes_on = self.resume and not self.anneal
            goes_on = goes_on and self.training.optimizer == estimator.optimizer_
            rows, optimizer_state = train(
                self.objective,
                near,
                make_views,
                functools.partial(embed, self.objective),
                self.training,
                n_epochs=n_epochs,
                clock=self.clock,
                epoch_task=functools.partial(self._epoch_task, task, X, y),
                callbacks=estimator.callbacks or [],
                earlier=self.history,
                optimizer_state=estimator._optimizer_state if goes_on else None,
                state=self.state,
                checkpoint=self.cached and self._checkpoint,
                checkpoint_seconds=60 * self.cached.checkpoint_minutes if self.cached else math.inf,
                unit=source.spec.unit,
                verbose=estimator.verbose,
            )
            self.objective.zero_grad()  # gradients would stay in memory
            return self.fitted(self.objective.cpu().eval(), rows, optimizer_state)

    def _plan(self, near, make_views, embed, n_epochs):
        """With a time limit, estimate the number of epochs, and rebuild for these."""
        if self.clock.seconds == math.inf or not self.anneal:
            return
        if self.state is not None:
            self._build(self.state["planned"])
            return
        # On a copy, as a factory may return the same module again.
        tried = copy.deepcopy(self.objective)
        parts = tried, near, make_views, functools.partial(embed, tried)
        how = {"n_epochs": n_epochs, "verbose": self.estimator.verbose}
        self._build(planned_epochs(self.clock, *parts, self.training, **how))
        self.clock.origin = self.clock.elapsed

    def _build(self, planned=None):
        """Build encoder, settings of training, and objective."""
        estimator, source = self.estimator, self.source
        with torch.device("cpu"):  # whatever the process's default device is
            if self.resume:
                encoder = copy.deepcopy(estimator._objective.encoder)
            else:
                seed_torch(self.device, self.seed)
                encoder = make_encoder(
                    self.backbone,
                    source.shape,
                    self.scaling.mean,
                    self.scaling.std,
                    weights=estimator.weights,
                    normalization=getattr(estimator.input, "normalization", "auto"),
                )
            n_features = count_features(encoder, source.shape)
            self.training = estimator._resolve_training(
                len(source), self.device, self.seed, len(self.history), self.anneal, planned
            )
            self.objective = estimator._make_objective(encoder, n_features, self.training).float()
            cut = encoder_at(self.objective.encoder, estimator.layer)
            self.n_features_out = count_features(cut, source.shape)
        if self.resume:
            _restore(self.objective, estimator._objective)

    def _seen(self):
        """Return digests of all samples seen in this and in resumed fits."""
        before = getattr(self.estimator, "_seen", None) if self.resume else None
        now = np.unique(self.source.digests())
        return now if before is None else np.union1d(before, now)

    def _checkpoint(self, state):
        """Write a checkpoint."""
        clock, planned = self.clock, self.training.max_epochs
        time = {"elapsed": clock.elapsed, "origin": clock.origin, "planned": planned}
        self.cached.write("checkpoint", state | time | {"seed": self.seed})

    def fitted(self, objective, rows, optimizer_state=None):
        """Return the fitted attributes after these epochs."""
        rows, training = self.history + rows, self.training
        encoder = encoder_at(objective.encoder, self.estimator.layer).eval()
        if self.estimator.layer is not None:
            # Tracing leaves reference cycles of frames, which hold the samples on a GPU.
            gc.collect()
        return {
            "encoder_": encoder,
            "history_": rows,
            "health_": health(rows),
            "loss_curve_": [row["train_loss"] for row in rows],
            "n_iter_": len(rows),
            "max_epochs_": training.max_epochs,
            "backbone_": self.backbone,
            "views_": self.views,
            "batch_size_": training.batch_size,
            "optimizer_": training.optimizer,
            "lr_": training.lr,
            "weight_decay_": training.weight_decay,
            "warmup_epochs_": training.warmup_epochs,
            "device_": str(self.device),
            "precision_": training.precision,
            "_n_features_out": self.n_features_out,
            "_objective": objective,
            "_optimizer_state": optimizer_state,
            "_scaling": self.scaling,
            "_spec": self.source.spec,
            "_seed": self.seed,
            "_n_samples": training.n_samples,
            "_cache_inputs": self.cached and self.cached.inputs,
            "_seen": self.seen,
            "_published": objective.encoder.published,
        } | self.estimator._fitted(objective, self.source)

    def _finished(self, rows):
        """Return the fitted attributes as if training ended now."""
        copied = copy.deepcopy(self.objective).cpu()
        cpu = torch.device("cpu")
        parts = copied.encoder.eval(), self.source, self.scaling.on(cpu), cpu
        finish(copied, functools.partial(in_batches, *parts), self.training, len(rows))
        # Not cached: a callback would wait for the lock of its own fit.
        return self.fitted(copied.eval(), rows) | {"_cache_inputs": None}

    @contextlib.contextmanager
    def _epoch_task(self, task, X, y, rows):
        """Call scikit-learn's callbacks around an epoch; stop if one requests it."""
        given = {"estimator": self.estimator, "X": X, "y": y}
        epoch = task.subcontext(task_name="epoch")
        epoch.call_on_fit_task_begin(**given)
        yield
        if epoch.call_on_fit_task_end(
            **given, reconstruction_attributes=lambda: self._finished(rows())
        ):
            self.stopped_from_outside = True
            raise StopTraining


def _embed(source, scale, device, objective):
    """Return the current features of all samples."""
    return in_batches(objective.encoder.eval(), source, scale, device)


def _restore(objective, old):
    """Load the weights of an old objective into a new one."""
    try:
        objective.load_state_dict(old.state_dict())
    except RuntimeError as error:
        raise ValueError(
            "Training cannot continue from the weights of the previous fit because a parameter "
            "that determines the shape of the network was changed. Set it back, or fit a clone."
        ) from error
