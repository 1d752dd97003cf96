"""Inference in batches, and checks of views."""

import contextlib
import copy

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils import check_array, gen_batches

from sklearn_ssl._runtime.device import autocast
from sklearn_ssl._runtime.isolation import torch_defaults
from sklearn_ssl._runtime.malloc import untrimmed_heap
from sklearn_ssl._runtime.world import launched, shared_if_all_come, world
from sklearn_ssl.data.batch import leaves, mapped, shape_of, structure
from sklearn_ssl.data.sources import one_behind
from sklearn_ssl.persistence.fingerprint import NoContent, fingerprint
from sklearn_ssl.views.drawn import draws_apart

# Views are checked with this many samples before training.
TRIAL_SAMPLES = 64
# Batches of about this many pixels, and at most this many samples.
EMBEDDING_PIXELS = 2**20
EMBEDDING_BATCH = {"cpu": 256, "cuda": 1024}
# Processes share a transform of more than this many batches, which takes a minute or so.
SHARED_BATCHES = 256


def transformed(transformer, X):
    """Return the output of a fitted transformer as an array (n_samples, n_features).

    DataFrames, of ``set_output`` or ``set_config``, and sparse matrices are converted. NaN is
    allowed.
    """
    output = transformer.transform(X)
    output = output.toarray() if issparse(output) else output
    try:
        return check_array(
            output,
            order="C",  # another order would change rounding errors of matrix products
            ensure_all_finite=False,
            ensure_min_samples=0,
            force_writeable=True,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{type(transformer).__name__}.transform must return an array of numbers of shape "
            f"(n_samples, n_features): {error}"
        ) from error


def embedding_batch(source, device):
    """Return the batch size of inference."""
    fitting = EMBEDDING_PIXELS // source.spec.n_positions
    return min(EMBEDDING_BATCH[device.type], max(8, fitting))


def in_batches(function, source, scale, device, precision="float32", *, copies=1, extra=None):
    """Return the results of a function of batches on the device for all samples, as one array.

    Batches are smaller if the function makes more than two ``copies`` of each sample. The tensor
    ``extra``, if given, has an entry per sample, which is passed to the function as well. Each of
    several processes computes a share of the batches, and gets the results of all.
    """
    results = None
    size = max(1, 2 * embedding_batch(source, device) // max(2, copies))
    parts = list(gen_batches(len(source), size)) if len(source) else []
    parts = parts[world().share(len(parts))]
    first, n = (parts[0].start, parts[-1].stop - parts[0].start) if parts else (0, 0)
    heap = untrimmed_heap(device.type == "cpu" and len(parts) > 1)
    with torch_defaults(device), torch.inference_mode(), autocast(device, precision), heap:
        computed = _computed(function, source, scale, device, parts, extra)
        for part, result in one_behind(computed):  # copied while the next is computed
            result = result.cpu().numpy()
            if results is None:
                results = np.empty((n, *result.shape[1:]), result.dtype)
            results[part.start - first : part.stop - first] = result
        if results is None:  # no image could be read, or others compute all
            blank = source.blank(device)
            more = () if extra is None else (extra.new_zeros(1, *extra.shape[1:]).to(device),)
            results = function(scale(blank), *more).cpu().numpy()[:0]
    return world().concatenate(results)


@contextlib.contextmanager
def shared_if_large(source, encoder, device):
    """Context in which processes share the batches of a large source, if all embed it."""
    with contextlib.ExitStack() as stack:
        if launched() and len(source) > SHARED_BATCHES * embedding_batch(source, device):
            with contextlib.suppress(NoContent):
                key = fingerprint([source.content(), encoder.state_dict()])
                stack.enter_context(shared_if_all_come("transform", key))
        yield


def _computed(function, source, scale, device, parts, extra):
    """Yield slices of the samples, each with the result of a function."""
    for part in parts:
        more = () if extra is None else (extra[part].to(device),)
        yield part, function(scale(source.batch(part, device)), *more)


def views_of(views, scale, batch):
    """Return the views of a batch, with checked shapes and data types.

    They are float32, or int64 for samples that are ids.
    """
    samples = scale(batch)
    made = _made(views, samples)
    if not isinstance(made, list | tuple):
        raise _unfit_views(views, samples, f"It returned a {type(made).__name__}")
    if not made:
        raise _unfit_views(views, samples, "It returned none")
    for i, view in enumerate(made):
        if structure(view) != structure(samples):
            raise _unfit_views(views, samples, f"View {i} is a {type(view).__name__}")
        for part, given in zip(leaves(view), leaves(samples), strict=True):
            problem = _problem(part, given)
            if problem:
                raise _unfit_views(views, given, f"View {i} {problem}")
    return [mapped(_converted, view, samples) for view in made]


def _problem(view, samples):
    """Return why a view cannot be one of a tensor of samples, or None."""
    if not isinstance(view, torch.Tensor):
        return f"is a {type(view).__name__}"
    if view.is_nested or view.layout is not torch.strided:
        return "is nested or sparse"
    if view.ndim != samples.ndim or len(view) != len(samples):
        return f"has the shape {tuple(view.shape)}"
    if view.device != samples.device:
        return f"is on {view.device}"
    are_bytes = view.dtype is torch.uint8 and view.ndim == 4
    if view.is_floating_point() != samples.is_floating_point() and not are_bytes:
        return f"is of {view.dtype}"
    return None


def _unfit_views(views, samples, problem):
    """Return the error of views that are not those of samples."""
    part = leaves(samples)[0]
    return ValueError(
        f"views={views!r} must map a batch to a list of tensors, each with a view of all "
        f"{len(part)} samples: {'floats' if part.is_floating_point() else 'integers'}, like the "
        f"batch of shape {tuple(part.shape)} on {part.device}. {problem}."
    )


def _made(views, samples):
    """Return the views of samples, which of several processes are shares of one draw."""
    if world().size == 1:
        return views(samples)
    first = leaves(samples)[0]
    if not draws_apart(views):
        devices = [first.device] if first.is_cuda else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(torch.initial_seed() + world().rank)
            return views(samples)

    shape = shape_of(samples)
    if not all(part.is_floating_point() for part in leaves(samples)):
        # Texts may be longer in other processes.
        shapes = world().gather_objects(mapped(_sides, samples))
        shape = mapped(lambda *sides: tuple(torch.stack(sides).amax(dim=0).tolist()), *shapes)

    def draw(n):
        return views.draw(n, shape, device=first.device)

    drawn = world().drawn(draw, len(first))
    if not getattr(views, "uses_pool", False):
        return views.apply(samples, drawn)
    return views.apply(samples, drawn, world().gather(samples))


def _sides(part):
    """Return the shape of a sample as a tensor."""
    return torch.tensor(part.shape[1:], device="cpu")


def _converted(view, samples):
    """Return a view, detached, of ids in int64, else in float32, with bytes scaled to [0, 1]."""
    if not samples.is_floating_point():
        return view.detach().long()
    return view.detach() / 255 if view.dtype is torch.uint8 else view.detach().float()


def check_views(views, scale, batch, spec):
    """Return the views of a batch; raise if their values are implausible for samples of a spec.

    Called once before training, as it synchronizes with the device.
    """
    made = views_of(views, scale, batch)
    spec.check_views(views, made, scale(batch))
    return made


def moved(module, device):
    """Return the module on a device, in evaluation mode; fitted modules stay on the CPU.

    Copies of traced modules, such as those of ``layer``, are in training mode.
    """
    return (module if device.type == "cpu" else copy.deepcopy(module).to(device)).eval()
