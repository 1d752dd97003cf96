"""Every method on a GPU that does not exist: its tensors have devices and shapes, but no values.

What only fails on a GPU fails here: operations between devices, and steps that wait for the GPU.
"""

import contextlib
import itertools
import warnings
from unittest import mock

import numpy as np
import pytest
import torch
from common import (
    ALL_METHODS,
    QUICK,
    REPRESENTED,
    exhaustively,
    photo_patches,
    sentences,
    shrunk,
    slowly,
)
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from torch import nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from sklearn_ssl import (
    DeepClusterEstimator,
    Device,
    DINOTransformer,
    EMPSSLTransformer,
    EncoderTransformer,
    ExemplarTransformer,
    FineTuneClassifier,
    FitCache,
    InpaintingTransformer,
    JigsawTransformer,
    KNNProbe,
    LinearProbe,
    PatchKMeansTransformer,
    RotationTransformer,
    SimCLRTransformer,
    SimMIMTransformer,
)
from sklearn_ssl.methods._patches import TakesPatches
from sklearn_ssl.methods.contrastive.exemplar import ExemplarObjective
from sklearn_ssl.methods.contrastive.simclr import SimCLRObjective
from sklearn_ssl.training.objective import Objective
from sklearn_ssl.views import CombinedViews, ImageViews, image

pytestmark = pytest.mark.skipif(
    not torch.backends.cuda.is_built(), reason="fake tensors on a GPU need torch built with CUDA"
)
aten = torch.ops.aten
READS = {aten._local_scalar_dense.default, aten.item.default, aten.nonzero.default}
IMAGES, ROWS = photo_patches(32, 24), np.random.default_rng(0).normal(size=(32, 6))


class WithoutDriver(FakeTensorMode):
    avoid_device_init = True  # although torch says that it has a GPU


class FakeGPU(TorchDispatchMode):
    """Tensors on "cuda" are fake, others are as always; what is copied from there is random.

    ``waits`` lists the operations of training steps for which the processor waits for the GPU.
    """

    def __init__(self, fakes):
        super().__init__()
        self.fakes, self.in_step, self.waits = fakes, False, []

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        copies = op in (aten._to_copy.default, aten.copy_.default)
        devices = {t.device.type for t in tensors if t.ndim or copies}
        devices |= {torch.device(kwargs["device"]).type} if kwargs.get("device") else set()
        if "cuda" not in devices and not any(isinstance(t, FakeTensor) for t in tensors):
            with unset_fake_temporarily():
                return op(*args, **kwargs)
        if self.in_step and (op in READS or len(devices) > 1):
            self.waits.append(op)
        if op is aten.nonzero.default:
            return torch.empty(0, args[0].ndim, dtype=torch.int64, device=args[0].device)
        if op in READS:
            if args[0].dtype is torch.bool:  # all are finite, none is out of range
                return getattr(args[0], "of_all", False)
            return 0.5 if args[0].is_floating_point() else 1
        if op is aten.copy_.default and not isinstance(args[0], FakeTensor):
            return args[0]
        args, kwargs = tree_map(self.as_fake, (args, kwargs))
        result = op(*args, **kwargs)
        if op is aten.all.default:
            result.of_all = True
        with unset_fake_temporarily():
            return tree_map(self.as_real, result)

    def as_fake(self, value):
        if not isinstance(value, torch.Tensor) or isinstance(value, FakeTensor):
            return value
        with unset_fake_temporarily():
            value = value.detach()
        return self.fakes.from_tensor(value)

    def as_real(self, value):
        if not isinstance(value, FakeTensor) or value.device.type != "cpu":
            return value
        real = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype)
        return real.uniform_() if real.is_floating_point() else real.zero_()


def apply(module, function, recurse=True):
    """What ``nn.Module._apply`` does, also for parameters that become fake."""
    for part in module.modules() if recurse else [module]:
        for name, weight in part._parameters.items():
            if weight is not None:
                with torch.no_grad():
                    moved = nn.Parameter(function(weight), weight.requires_grad)
                part._parameters[name] = moved
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else function(buffer)
    return module


def backward(loss, inputs=None, retain_graph=None):
    """Give a gradient to all parameters that a loss depends on; torch's own needs a GPU."""
    nodes, seen = [loss.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes.extend(following for following, _ in node.next_functions)
            if hasattr(node, "variable") and any(
                inputs is None or node.variable is x for x in inputs or [None]
            ):
                node.variable.grad = torch.empty_like(node.variable)


@pytest.fixture
def gpu():
    """Let torch have one GPU, which is fake."""
    answers = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_capability": (9, 0),
        "is_bf16_supported": True,
        "is_current_stream_capturing": False,
        "mem_get_info": (10**9, 10**9),
        "memory_reserved": 0,
        "memory_allocated": 0,
        "get_rng_state": torch.zeros(16, dtype=torch.uint8),
        "device": contextlib.nullcontext(),
    }
    answers |= dict.fromkeys(["_lazy_init", "set_rng_state", "empty_cache"])
    functions = {name: lambda *_, value=value, **__: value for name, value in answers.items()}
    caches = [value for value in vars(image).values() if hasattr(value, "cache_clear")]
    for cache in caches:
        cache.cache_clear()
    with (
        mock.patch.multiple(torch.cuda, default_generators=[torch.Generator()], **functions),
        mock.patch.object(
            torch.cuda.amp.common, "amp_definitely_not_available", return_value=False
        ),
        mock.patch.object(fake_tensor, "init_gpu_context"),
        mock.patch.object(nn.Module, "_apply", apply),
        mock.patch.multiple(torch.Tensor, backward=backward, pin_memory=lambda tensor: tensor),
        WithoutDriver() as fakes,
        FakeGPU(fakes) as fake,
    ):
        yield fake
    for cache in caches:
        cache.cache_clear()


class Watch(Callback):
    """Tell the GPU which operations are those of a training step."""

    def __init__(self, gpu):
        self.gpu, self.n_steps = gpu, 0

    def on_batch_begin(self, net, **kwargs):
        self.gpu.in_step = True

    def on_batch_end(self, net, **kwargs):
        self.gpu.in_step, self.n_steps = False, self.n_steps + 1


def check_output(module, given, result):
    """Check what goes into and comes out of an objective in training."""
    if isinstance(module, Objective) and module.training:
        tensors = tree_leaves((given, result))
        assert {str(t.device) for t in tensors if isinstance(t, torch.Tensor)} == {"cuda:0"}
        losses = [value for value in result.values() if not value.ndim]
        assert {value.dtype for value in losses} == {torch.float32}


def fitted(gpu, method, X, precision="bfloat16", n_steps=2, **parameters):
    """Return an estimator that was trained on the GPU, by steps that did not wait for it."""
    watch, device = Watch(gpu), Device("cuda", precision=precision)
    settings = {"device": device, "batch_size": 16, "callbacks": [watch]} | parameters
    hook = nn.modules.module.register_module_forward_hook(check_output)
    try:
        model = shrunk(method, **settings).fit(X)
    finally:
        hook.remove()
    assert gpu.waits == []
    assert watch.n_steps >= n_steps
    assert (model.device_, model.precision_) == ("cuda:0", precision)
    assert not any(isinstance(weight, FakeTensor) for weight in model.objective_.parameters())
    return model


KINDS = {"image": IMAGES, "table": ROWS, "text": sentences(20)[0][:32]}
CASES = [(method, kind) for method in ALL_METHODS for kind in method.default_views]
# What methods have besides ``transform`` and ``score``.
USES = ("predict", "predict_pretext", "score_pretext", "solve")
USES += ("inpaint", "colorize", "upscale", "reconstruct", "impute")


def marks(method, kind, precision):
    """Return the marks of a case, of which there are many."""
    quick, own = method.__name__ in QUICK, kind == next(iter(method.default_views))
    if precision == "bfloat16" and (own or method.__name__ not in REPRESENTED):
        return [] if quick else [pytest.mark.slow]
    return [pytest.mark.slow if quick else pytest.mark.exhaustive]


@pytest.mark.parametrize(
    ("method", "kind", "precision"),
    [
        pytest.param(*case, precision, marks=marks(*case, precision))
        for case in CASES
        for precision in ("bfloat16", "float32")
    ],
)
def test_every_method_works_on_a_gpu(method, kind, precision, gpu):
    X, small = KINDS[kind], kind == "image" and not issubclass(method, TakesPatches)
    backbone = {"backbone": "small_convnet"} if small else {}
    model = fitted(gpu, method, X, precision, **backbone)
    embedding = model.transform(X)
    assert embedding.shape == (32, model._n_features_out)
    assert embedding.dtype == np.float32
    assert np.isfinite(model.score(X))
    for name in USES:
        if hasattr(model, name):
            result = getattr(model, name)(X)
            assert len(result) == 32 if name != "score_pretext" else np.isfinite(result)


VIEWS = CombinedViews(
    (
        ImageViews(n_views=1, rotation=30, quarter_turn=0.5, gaussian_blur=0.5, square=True),
        ImageViews(n_views=1, solarize=0.5, random_erasing=0.5),
    )
)
SETTINGS = {  # the first three run with the quick tests
    "views": (SimCLRTransformer, {"views": VIEWS}),
    "learned classes": (ExemplarTransformer, {"memory_bank": False, "n_exemplars": 20}),
    "critic": (InpaintingTransformer, {"adversarial_weight": 0.1, "mask": "center"}),
    "as by default": (SimCLRTransformer, {}),
    "sgd": (SimCLRTransformer, {"optimizer": "sgd"}),
    "lars": (SimCLRTransformer, {"optimizer": "lars"}),
    "layer": (SimCLRTransformer, {"layer": "stage2"}),
    "micro-batches": (
        SimCLRTransformer,
        {"backbone": "small_vit", "device": Device("cuda", "bfloat16", micro_batch_size=8)},
    ),
    "max_time": (SimCLRTransformer, {"max_time": 20, "max_epochs": 1}),
    "flips": (RotationTransformer, {"transformations": "rotations_and_flips"}),
    "vision transformer": (DINOTransformer, {"backbone": "small_vit"}),
    "mean over crops": (EMPSSLTransformer, {"n_patches": 4, "flip_tta": True}),
    "normalized pixels": (SimMIMTransformer, {"norm_pix_loss": True}),
}


@pytest.mark.parametrize(
    "name",
    [
        *list(SETTINGS)[:3],
        *map(slowly, list(SETTINGS)[3:6]),
        *map(exhaustively, list(SETTINGS)[6:]),
    ],
)
@pytest.mark.slow
def test_settings_work_on_a_gpu(name, gpu):
    method, parameters = SETTINGS[name]
    if name != "as by default":
        parameters = {"backbone": "small_convnet"} | parameters
    model = fitted(gpu, method, IMAGES, **parameters)
    assert model.transform(IMAGES).shape == (32, model._n_features_out)
    if name == "vision transformer":
        assert model.attention_maps(IMAGES).shape == (32, 4, 8, 8)


@pytest.mark.slow
def test_puzzles_are_shuffled_on_a_gpu(gpu):
    model = fitted(gpu, JigsawTransformer, IMAGES, backbone="small_convnet")
    assert model.shuffle(IMAGES, 3).shape == IMAGES.shape


@pytest.mark.slow
def test_float16_scales_gradients_on_a_gpu(gpu):
    fitted(gpu, SimCLRTransformer, IMAGES, "float16", backbone="small_convnet")


def test_samples_are_copied_batch_by_batch_if_the_gpu_is_full(gpu):
    with mock.patch.object(torch.cuda, "mem_get_info", return_value=(0, 10**9)):
        fitted(gpu, DeepClusterEstimator, IMAGES, backbone="small_convnet")


@contextlib.contextmanager
def failing(objective, step, error):
    """Let the forward of an objective fail once, in this training step."""
    forward, steps = objective.forward, itertools.count(1)

    def fails(self, *given):
        if self.training and next(steps) == step:
            raise error
        return forward(self, *given)

    with mock.patch.object(objective, "forward", fails):
        yield
        assert next(steps) > step


@pytest.mark.slow
def test_interrupted_training_resumes_on_a_gpu(gpu, tmp_path):
    settings = {"backbone": "small_convnet", "max_epochs": 2, "batch_size": 16, "device": "cuda"}
    memory = FitCache(tmp_path, checkpoint_minutes=1e-9)
    model = shrunk(ExemplarTransformer, memory=memory, **settings)
    with failing(ExemplarObjective, 4, RuntimeError("no power")), pytest.raises(RuntimeError):
        model.fit(IMAGES)
    # One step was left, so the second one is that of partial_fit.
    with failing(ExemplarObjective, 2, RuntimeError("no power")), pytest.raises(RuntimeError):
        model.fit(IMAGES).partial_fit(IMAGES)
    assert model.n_iter_ == 2


@pytest.mark.slow
def test_step_is_repeated_if_the_gpu_runs_out_of_memory(gpu):
    warning = pytest.warns(UserWarning, match="Steps are computed in micro-batches")
    with failing(SimCLRObjective, 1, torch.OutOfMemoryError()), warning:
        fitted(gpu, SimCLRTransformer, IMAGES, backbone="small_vit")


@pytest.mark.slow
def test_networks_without_training_embed_on_a_gpu(gpu):
    encoder = EncoderTransformer(backbone="small_convnet", device="cuda").fit(IMAGES)
    patches = PatchKMeansTransformer(n_centroids=8, n_patches=100, device="cuda").fit(IMAGES)
    assert encoder.transform(IMAGES).shape == (32, 256)
    assert patches.transform(IMAGES).shape == (32, 32)


@pytest.mark.slow
def test_classifiers_work_on_a_gpu(gpu):
    y, settings = np.arange(32) % 3, {"backbone": "small_convnet", "device": "cuda"}
    simclr = shrunk(SimCLRTransformer, **settings).fit(IMAGES)
    assert FineTuneClassifier(simclr, max_epochs=1).fit(IMAGES, y).predict(IMAGES).shape == (32,)
    for probe in (LinearProbe(device="cuda"), KNNProbe(device="cuda")):
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            assert probe.fit(ROWS, y).predict(ROWS).shape == (32,)


class Broken(SimCLRTransformer):
    """SimCLR whose loss has a mistake that is only one on a GPU."""

    mistake = None

    def _make_objective(self, *args):
        objective = super()._make_objective(*args)
        forward, mistake = objective.forward, type(self).mistake

        def broken(views):
            found = forward(views)
            return found | {"loss": mistake(found["loss"])}

        objective.forward = broken
        return objective


MISTAKES = {
    "tensor on the CPU": (lambda loss: (loss + torch.zeros(3)).sum(), RuntimeError),
    "part on the CPU": (lambda loss: loss + loss.cpu(), AssertionError),
    "value is read": (lambda loss: loss * loss.item(), AssertionError),
    "branch on a value": (lambda loss: loss if loss > 0 else -loss, AssertionError),
    "copy to the GPU": (lambda loss: loss * torch.tensor(2.0, device=loss.device), AssertionError),
    "half precision": (lambda loss: loss.bfloat16(), AssertionError),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_found(name, gpu):
    mistake, error = MISTAKES[name]
    with mock.patch.object(Broken, "mistake", staticmethod(mistake)), pytest.raises(error):
        fitted(gpu, Broken, IMAGES, backbone="small_convnet")
