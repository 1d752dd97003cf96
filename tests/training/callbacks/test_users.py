"""Callbacks of users: what they see, and that they may stop a fit at any time."""

import signal
from functools import partial

import numpy as np
import pytest
import skorch.callbacks
import torch
from common import each_image_method, shrunk
from sklearn.callback import ProgressBar

from sklearn_ssl import SimCLRTransformer

simclr = partial(shrunk, SimCLRTransformer)


class InterruptLater(skorch.callbacks.Callback):
    def on_batch_end(self, net, **kwargs):
        signal.raise_signal(signal.SIGINT)


@each_image_method
def test_interrupted_partial_fit_leaves_the_fit_as_it_was(method, images):
    """Weights, moments of the optimizer, teachers and clusterings."""
    model, never = (shrunk(method).partial_fit(images) for _ in range(2))
    score = model.score(images)
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callbacks=[InterruptLater()]).partial_fit(images)
    assert model.score(images) == score
    model.set_params(callbacks=None).partial_fit(images)
    np.testing.assert_array_equal(
        model.transform(images), never.partial_fit(images).transform(images)
    )
    if hasattr(model, "assignments_"):
        np.testing.assert_array_equal(model.assignments_, never.assignments_)


class StoppingInTheMiddle(skorch.callbacks.Callback):
    def on_batch_end(self, net, **kwargs):
        if len(net.history) == 3:
            raise KeyboardInterrupt


@each_image_method
def test_callback_may_stop_in_the_middle_of_an_epoch(method, images):
    model = shrunk(method, max_epochs=9, callbacks=[StoppingInTheMiddle()]).fit(images)
    assert model.n_iter_ == len(model.history_) == 2
    if hasattr(model, "assignments_"):
        assert (len(model.assignments_), len(model.nmi_curve_)) == (3, 2)
        np.testing.assert_array_equal(model.predict(images), model.labels_)


class StoppingAtOnce(skorch.callbacks.Callback):
    def on_train_begin(self, net, **kwargs):
        raise KeyboardInterrupt


@each_image_method
def test_callback_may_stop_before_all_epochs(method, images):
    model = shrunk(method, callbacks=[StoppingAtOnce()]).fit(images)
    assert model.n_iter_ == 0
    assert np.isfinite(model.transform(images)).all()


class InterruptedCallback(skorch.callbacks.Callback):
    def on_epoch_end(self, net, **kwargs):
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_inside_a_callback_leaves_fit(images):
    with pytest.raises(KeyboardInterrupt):
        simclr(callbacks=[InterruptedCallback()]).fit(images)


def test_early_stopping_ends_fit(images):
    stopping = skorch.callbacks.EarlyStopping(
        monitor="train_loss", patience=2, threshold=10.0, threshold_mode="abs", sink=lambda _: None
    )
    model = simclr(max_epochs=50, callbacks=[stopping]).fit(images)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.history_) == 3
    assert model.transform(images).shape[0] == len(images)


@pytest.mark.parametrize("callback", [3, ("name", 3), ProgressBar()])
def test_callbacks_that_are_none_of_skorch(images, callback):
    with pytest.raises(TypeError, match=r"not a skorch callback.*set_callbacks"):
        simclr(callbacks=[callback]).fit(images)


def test_callbacks_see_gradients_losses_and_a_learning_rate(images):
    seen = []

    class Spy(skorch.callbacks.Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            seen.append(max(p.grad.abs().max().item() for _, p in named_parameters))

    clipping = skorch.callbacks.GradientNormClipping(1e-9)
    model = simclr(callbacks=[Spy(), ("clip", clipping)], optimizer="sgd", weight_decay=0)
    model.fit(images)
    assert min(seen) > 0
    start = simclr(lr=1e-12, optimizer="sgd", weight_decay=0).fit(images)
    for clipped, untrained in zip(
        model.objective_.parameters(), start.objective_.parameters(), strict=True
    ):
        torch.testing.assert_close(clipped, untrained, atol=1e-6, rtol=0)
