"""Training loop of all methods, based on skorch: the training step."""

import math

import torch
from skorch import NeuralNet
from skorch.utils import TeeGenerator
from torch import nn

from sklearn_ssl._runtime.world import world
from sklearn_ssl.data.batch import n_samples
from sklearn_ssl.training.callbacks.users import stopping
from sklearn_ssl.training.micro_batches import MicroBatches
from sklearn_ssl.training.optimizers import make_optimizer
from sklearn_ssl.training.step import seeded_views, terms_of


class SSLNet(NeuralNet):
    """skorch net of an objective; reads the loss from the device once per epoch.

    ``settings`` are those of training, ``make_views`` maps a batch to its views, ``plan`` plans an
    epoch of the objective, and ``budget`` decides how many steps are taken.
    """

    _default_callbacks = []  # they read the loss at every step
    epoch = None  # in progress
    position = progress = 0.0  # in epochs; from 0 to 1, larger after the planned end

    @property
    def objective(self):
        """The objective, without the wrapper of torch.compile that renames its state."""
        return getattr(self.module_, "_orig_mod", self.module_)

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Train one epoch, or the rest of one."""
        if not training:
            return
        self.begin_epoch(len(iterator))
        extends = self.budget.extends_epoch
        for batch in self.epoch.read(iterator, self.settings, lambda: extends(self)):
            if not self.budget.allows_step():
                break
            self.advance(0.5)
            self.notify("on_batch_begin", batch=batch[0], training=True)
            terms = step_fn(batch)
            self.notify("on_batch_end", batch=batch[0], training=True, **terms)

    def train_step(self, batch, **fit_params):
        """Train on samples, their targets and their partners, without waiting for the device."""
        (samples, targets, partners), s, epoch = batch, self.settings, self.epoch
        targets = () if targets is None else (targets,)
        key = s.seed, epoch.number, epoch.n_steps
        views = seeded_views(self.make_views, samples, s.device, *key, partners=partners)
        terms = self.compute_gradients(views, targets)
        self.objective.before_update(self.progress)
        self.notify(
            "on_grad_computed",
            named_parameters=TeeGenerator(self.module_.named_parameters()),
            batch=(views, *targets),
            training=True,
        )
        self.scaler_.step(self.optimizer_)
        self.scaler_.update()
        terms = {name: value.detach() for name, value in terms.items()}
        self.advance(1.0)
        self.objective.after_update(terms, self.progress)
        return epoch.add(terms)

    def compute_gradients(self, views, targets):
        """Return the output of the objective, after the backward pass."""
        s = self.settings

        def forward_and_backward(in_parts):
            module = self.objective if in_parts else self.module_  # parts cannot be compiled
            self.optimizer_.zero_grad()
            terms = terms_of(module, views, targets, s.device, s.precision, s.compile)
            several = len(self.losses) > 1
            for name, parameters in self.losses.items():
                inputs = {"inputs": parameters, "retain_graph": True} if several else {}
                self.scaler_.scale(terms[name]).backward(**inputs)
            return terms

        n = n_samples(views[0])
        terms = self.micro_batches.run(forward_and_backward, self.objective, s.device, n)
        gradients = [p.grad for p in self.module_.parameters() if p.grad is not None]
        scalars = [value.detach() for value in terms.values() if not value.ndim]
        world().average_([*gradients, *scalars])
        if self.scaler_.is_enabled():
            self.scaler_.unscale_(self.optimizer_)
            finite = torch.stack(torch._foreach_norm(gradients)).isfinite().all()
            terms["skipped_steps"] = (~finite).float()  # as the scaler does
        return terms

    def begin_epoch(self, n_samples):
        """Plan an epoch, unless one is resumed."""
        seconds = None
        self.module_.train()
        if self.epoch is None:
            number = self.settings.first_epoch + len(self.history) - 1
            given = self.objective, self.settings, number, n_samples
            self.epoch, renewed, seconds = self.plan(*given)
            for parameter in renewed:
                self.optimizer_.state.pop(parameter, None)
        self.budget.begin_steps(seconds)
        self.module_.train()  # planning may have ended it

    def advance(self, share):
        """Set position and progress to where they are after this share of the step."""
        s, epoch = self.settings, self.epoch
        ended = (0 if s.anneal else s.first_epoch) + len(self.history) - 1
        epochs = ended + (epoch.n_steps + share) / epoch.n_planned
        self.position = self.budget.position(self, epochs)
        self.progress = self.position / s.max_epochs

    def notify(self, method_name, **kwargs):
        """Call the callbacks."""
        with stopping(self):
            super().notify(method_name, **kwargs)

    def initialize_optimizer(self):
        """Build the optimizer from its name."""
        s = self.settings
        groups = self.objective.optimizer_groups()
        self.optimizer_ = make_optimizer(s.optimizer, groups, s.lr, s.weight_decay)
        # The parameters that each term trains; with one term these are all.
        self.losses = {
            group.get("loss", "loss"): [p for p in group["params"] if p.requires_grad]
            for group in groups
        }
        self.scaler_ = torch.amp.GradScaler(s.device.type, enabled=s.precision == "float16")
        return self

    def get_split_datasets(self, X, y=None, **fit_params):
        """Train on all samples."""
        return X, None

    def get_iterator(self, dataset, training=False):
        """Return the samples; an epoch draws its batches."""
        return dataset


def make_net(objective, settings, make_views, plan, budget, callbacks, verbose=0):
    """Return the initialized net of an objective."""
    net = SSLNet(
        objective.to(settings.device, memory_format=torch.channels_last),
        criterion=nn.Identity,
        max_epochs=math.ceil(min(budget.n_epochs, settings.max_epochs)),
        device=settings.device,
        compile=settings.compile,
        callbacks=callbacks,
        verbose=verbose,
    )
    net.settings, net.make_views, net.plan, net.budget = settings, make_views, plan, budget
    net.micro_batches = MicroBatches(settings.micro_batch_size)
    return net.initialize()
