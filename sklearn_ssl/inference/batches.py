"""What a network gives for all samples of a source, batch by batch."""

import copy
import math

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils import check_array, gen_batches
from torch import nn

from sklearn_ssl._runtime.device import autocast
from sklearn_ssl._runtime.isolation import torch_defaults
from sklearn_ssl._runtime.malloc import untrimmed_heap
from sklearn_ssl.data.sources import one_behind

# Views are tried with so many samples before training. Of those of images a small share of values
# may be outside of [0, 1], as noise is and what interpolation overshoots, and none far out.
TRIAL_SAMPLES = 64
TOLERANCE, SHARE_OUTSIDE, FAR_OUT = 0.25, 0.01, 1.0
SPREAD_LEFT = 0.01  # of the standard deviation, else they were scaled down
# Embedding takes batches of about this many pixels, and at most this many samples.
EMBEDDING_PIXELS = 2**20
EMBEDDING_BATCH = {"cpu": 256, "cuda": 1024}


class FlipTTA(nn.Module):
    """The mean of what an encoder gives for images and for their mirror images."""

    copies = 2  # of each image, which pass the encoder together

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, images):
        """Return the features of images (n, c, h, w)."""
        # In one batch: an encoder that is called once can be folded, and is written once by ONNX.
        return self.encoder(torch.cat([images, images.flip(3)])).unflatten(0, (2, -1)).mean(dim=0)


def transformed(transformer, X):
    """Return the output of a fitted transformer as an array (n_samples, n_features).

    Data frames, of ``set_output`` or ``set_config``, and sparse matrices are converted. Values may
    be NaN.
    """
    output = transformer.transform(X)
    output = output.toarray() if issparse(output) else output
    try:
        return check_array(
            output,
            order="C",  # as arrays have it: another one would change the rounding of products
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
    """Return how many samples are embedded at once."""
    fitting = EMBEDDING_PIXELS // math.prod(source.shape[1:])
    return min(EMBEDDING_BATCH[device.type], max(8, fitting))


def in_batches(function, source, scale, device, precision="float32", *, copies=1, beside=None):
    """Return what a function of batches on the device gives for all samples, as one array.

    It makes so many ``copies`` of each sample; batches are smaller where these are more than two.
    The tensor ``beside`` has something for each sample that the function gets as well.
    """
    results = None
    size = max(1, 2 * embedding_batch(source, device) // max(2, copies))
    parts = list(gen_batches(len(source), size)) if len(source) else []
    heap = untrimmed_heap(device.type == "cpu" and len(parts) > 1)
    with torch_defaults(device), torch.inference_mode(), autocast(device, precision), heap:
        computed = _computed(function, source, scale, device, parts, beside)
        for part, result in one_behind(computed):  # read while the next is computed
            result = result.cpu().numpy()
            if results is None:
                results = np.empty((len(source), *result.shape[1:]), result.dtype)
            results[part] = result
        if results is None:  # no image could be read
            blank = torch.zeros(1, *source.shape, dtype=torch.uint8, device=device)
            more = () if beside is None else (beside.new_zeros(1, *beside.shape[1:]).to(device),)
            results = function(scale(blank), *more).cpu().numpy()[:0]
    return results


def _computed(function, source, scale, device, parts, beside):
    """Yield slices of the samples, each with what a function gives for it."""
    for part in parts:
        more = () if beside is None else (beside[part].to(device),)
        yield part, function(scale(source.batch(part, device)), *more)


def views_of(views, scale, batch):
    """Return the views of a batch, float32 tensors that are checked to hold every sample."""
    samples = scale(batch)
    made = views(samples)
    problem = None
    if not isinstance(made, list | tuple):
        problem = f"It returned a {type(made).__name__}"
    elif not made:
        problem = "It returned none"
    for i, view in enumerate(made if problem is None else ()):
        place = f"View {i}"
        if not isinstance(view, torch.Tensor):
            problem = f"{place} is a {type(view).__name__}"
        elif view.is_nested or view.layout is not torch.strided:
            problem = f"{place} is nested or sparse"
        elif view.ndim != samples.ndim or len(view) != len(samples):
            problem = f"{place} has the shape {tuple(view.shape)}"
        elif view.device != samples.device:
            problem = f"{place} is on {view.device}"
        elif not view.is_floating_point() and (view.dtype is not torch.uint8 or view.ndim != 4):
            problem = f"{place} is of {view.dtype}"
        if problem:
            break
    if problem:
        raise ValueError(
            f"views={views!r} must turn a batch into a list of tensors, each with a view of all of "
            f"its {len(samples)} samples: floats, as the batch of shape {tuple(samples.shape)} on "
            f"{samples.device} that it gets. {problem}."
        )
    return [_floats(view) for view in made]


def _floats(view):
    """Return a view in float32, and bytes from 0 to 1, without the graph that made it."""
    return view.detach() / 255 if view.dtype is torch.uint8 else view.detach().float()


def check_views(views, scale, batch):
    """Return the views of a batch; raise where their values cannot be right.

    Once, before training: it waits for the device.
    """
    spread = scale(batch).std().item()
    made = views_of(views, scale, batch)
    for view in made:
        low, high = (extreme.item() for extreme in view.aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(
                f"Views must be finite. Those of {views!r} hold NaN or infinite values."
            )
        if view.ndim != 4:
            continue
        below, above = (view < -TOLERANCE).float().mean(), (view > 1 + TOLERANCE).float().mean()
        if low < -FAR_OUT or high > 1 + FAR_OUT or max(below, above) > SHARE_OUTSIDE:
            raise ValueError(
                "Views must have values in [0, 1], like the images that they are made of, but have "
                f"values from {low:.3g} to {high:.3g}. Leave out Normalize, since the encoder "
                "normalizes; divide values up to 255 by 255; clamp what noise adds. They are those "
                f"of {views!r}."
            )
        if view.std().item() < SPREAD_LEFT * spread:
            raise ValueError(
                f"Views have next to no contrast left, with values from {low:.3g} to {high:.3g}. "
                "Views are made of images with values in [0, 1]: do not divide these by 255, and "
                f"convert them to bytes with scale=True only. They are those of {views!r}."
            )
    return made


def moved(module, device):
    """Return the module on a device; fitted modules themselves stay on the CPU, and picklable.

    Copies of traced modules, which ``layer`` makes, forget that they are in evaluation mode.
    """
    return (module if device.type == "cpu" else copy.deepcopy(module).to(device)).eval()
