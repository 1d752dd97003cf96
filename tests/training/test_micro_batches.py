"""Steps in micro-batches end where whole ones do; running out of memory costs time alone."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from common import each_image_method_long, exhaustively, shrunk, suited, takes_network
from torch import nn

from sklearn_ssl import Device, DINOTransformer, SimCLRTransformer
from sklearn_ssl.methods._images import MapsImages
from sklearn_ssl.training import micro_batches as engine
from sklearn_ssl.training.micro_batches import micro_batches, needs_whole_batches

simclr = partial(shrunk, SimCLRTransformer)


class Plain(nn.Module):
    """A backbone without batch norm that notes how many samples it takes at once."""

    def __init__(self, noted, norm=False, most=None, n_channels=1, maps=False):
        super().__init__()
        layers = (
            nn.Conv2d(n_channels, 8, 3),
            nn.BatchNorm2d(8) if norm else nn.Identity(),
            nn.GELU(),
        )
        rest = () if maps else (nn.Flatten(), nn.Linear(8 * 36, 16))
        self.net = nn.Sequential(*layers, *rest)
        self.noted, self.most, self.maps = noted, most, maps

    def __deepcopy__(self, memo):
        norm, n_channels = isinstance(self.net[1], nn.BatchNorm2d), self.net[0].in_channels
        copied = Plain(self.noted, norm, self.most, n_channels, self.maps)
        copied.load_state_dict(self.state_dict())
        return copied

    def forward(self, x):
        if self.training:
            self.noted.append((len(x), torch.is_grad_enabled()))
            if self.most is not None and len(x) > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return self.net(x)


def plain(noted, **settings):
    torch.manual_seed(0)
    return Plain(noted, **settings)


def gradients(model, X, size):
    """Return loss and gradients of a step of a fitted model, in micro-batches."""
    objective = model.objective_.train()
    objective.zero_grad()
    torch.manual_seed(0)
    batch = torch.from_numpy(X).float() / 16
    batch = batch[:, None] if batch.ndim == 3 else batch.permute(0, 3, 1, 2)
    epoch = objective.plan_epoch(lambda: model.transform(X), np.random.default_rng(0))
    objective.train()  # which transform has ended
    given = () if epoch.targets is None else (epoch.targets,)
    views = [batch, batch + 0.1 * torch.rand_like(batch)]
    with micro_batches(objective, size):
        loss = objective(views, *given)["loss"]
        loss.backward()
    return loss.item(), [p.grad for p in objective.parameters() if p.grad is not None]


@pytest.mark.parametrize("size", [1, 7, exhaustively(10), exhaustively(1000)])
@pytest.mark.parametrize("backbone", ["plain", "small_vit", "small_convnet"])
@each_image_method_long
def test_gradients_are_those_of_the_whole_batch(method, backbone, size, images):
    X, noted = suited(method, images[:40]), []
    if backbone == "plain":
        maps = issubclass(method, MapsImages)
        backbone = plain(noted, n_channels=3 if method.needs_color else 1, maps=maps)
    if not takes_network(method, backbone):
        return
    noted.clear()
    model = shrunk(method, backbone=backbone).fit(X)
    state = {k: v.clone() for k, v in model.objective_.state_dict().items() if k != "_extra_state"}
    loss, whole = gradients(model, X, None)
    model.objective_.load_state_dict(state, strict=False)
    noted.clear()
    micro_loss, micro = gradients(model, X, size)
    assert micro_loss == pytest.approx(loss, rel=1e-6)
    # Rounding grows with the loss, which is about 80 for EMP-SSL.
    torch.testing.assert_close(micro, whole, rtol=1e-4, atol=1e-6 * max(1, abs(loss) / 10))
    assert all(n <= size for n, _ in noted)
    if backbone == "small_convnet":
        assert all(torch.equal(one, other) for one, other in zip(micro, whole, strict=True))
    elif noted and size < 40 and method is not DINOTransformer:
        first = next(i for i, (_, with_gradients) in enumerate(noted) if with_gradients)
        assert first == 0  # checkpointed: gradients are on, and nothing is kept


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["small_vit", "small_convnet"])
def test_a_fit_in_micro_batches_is_the_same(backbone, images):
    settings = {"backbone": backbone, "max_epochs": 3, "batch_size": 50}
    settings |= {"optimizer": "sgd", "lr": 0.0003}  # a higher one makes rounding grow
    whole = simclr(**settings).fit(images)
    micro = simclr(device=Device(micro_batch_size=8), **settings).fit(images)
    assert micro.batch_size_ == 50
    np.testing.assert_allclose(micro.loss_curve_, whole.loss_curve_, rtol=1e-5)
    np.testing.assert_allclose(micro.transform(images), whole.transform(images), atol=1e-3)
    assert "forward" not in vars(micro.objective_.encoder)


@pytest.mark.slow
def test_no_more_than_the_micro_batch_needs_memory(images):
    """What is kept for gradients at any time, counted by autograd itself."""

    def most(size, backbone):
        model = simclr(backbone=backbone).fit(images)
        objective, kept = model.objective_.train(), [0]

        def pack(tensor):
            kept[0] += tensor.nbytes
            return tensor

        batch = torch.rand(128, 1, 8, 8)
        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with micro_batches(objective, size), hooks:
            objective([batch, batch])
        return kept[0]

    assert most(8, "small_vit") < 0.2 * most(None, "small_vit")


def test_what_needs_whole_batches(images):
    assert needs_whole_batches(simclr().fit(images).objective_)
    assert not needs_whole_batches(simclr(backbone="small_vit").fit(images).objective_)


@pytest.fixture
def running_out(monkeypatch):
    """Let the processor be asked again, as a GPU is."""
    monkeypatch.setattr(engine, "may_run_out", lambda device: True)


class Dropout(nn.Dropout):
    """Draws, and changes a buffer, before memory runs out."""

    def __init__(self):
        super().__init__(0.5)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls.add_(self.training)
        return super().forward(x)


@pytest.mark.usefixtures("running_out")
def test_a_step_that_runs_out_of_memory_is_repeated_in_parts(images):
    def fit(noted, most):
        backbone = plain(noted, most=most)
        settings = {"max_epochs": 2, "batch_size": 50, "optimizer": "sgd"}
        return simclr(backbone=backbone, **settings).fit(images)

    noted = []
    whole = fit([], None)
    with pytest.warns(UserWarning, match=r"not enough for batches of 50 samples.*same") as warned:
        model = fit(noted, 13)
    assert len(warned) == 1
    assert [n for n, _ in noted[:4]] == [50, 25, 12, 12]  # halved until it fits, and so it stays
    assert max(n for n, _ in noted[2:]) == 12
    assert model.batch_size_ == 50
    np.testing.assert_allclose(model.loss_curve_, whole.loss_curve_, rtol=1e-5)
    np.testing.assert_allclose(model.transform(images), whole.transform(images), atol=1e-4)


@pytest.mark.usefixtures("running_out")
def test_batch_norms_see_the_whole_batch_and_only_once(images, monkeypatch):
    """What a failed step had drawn and counted is undone."""
    failing, real = [], engine.micro_batches

    def run_out(objective, size):
        if size is None:  # late: after batch norms have counted
            hook = objective.project.register_forward_pre_hook(fail)
            failing.append(hook)
        elif failing:
            failing.pop().remove()
        return real(objective, size)

    def fail(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    def fit():
        torch.manual_seed(0)
        backbone = nn.Sequential(Dropout(), plain([], norm=True).net)
        return simclr(backbone=backbone, max_epochs=2, batch_size=50).fit(images)

    whole = fit()
    monkeypatch.setattr(engine, "micro_batches", run_out)
    with pytest.warns(UserWarning, match="moved to CPU memory, as the backbone has batch norms"):
        model = fit()
    for name, value in whole.objective_.state_dict().items():
        assert torch.equal(value, model.objective_.state_dict()[name]), name


@pytest.mark.usefixtures("running_out")
@pytest.mark.parametrize("norm", [True, False])
def test_where_nothing_helps_it_is_said(norm, images):
    backbone = plain([], norm=norm, most=3)
    with (
        warnings.catch_warnings(action="ignore", category=UserWarning),
        pytest.raises(MemoryError, match=r"batches of 50 samples, even in micro-.*Lower batch_si"),
    ):
        simclr(backbone=backbone, batch_size=50).fit(images)


def test_micro_batches_that_are_none_are_refused(images):
    with pytest.raises(ValueError, match=r"micro_batch_size must be None or at least 1. Got 0"):
        simclr(device=Device(micro_batch_size=0)).fit(images)
