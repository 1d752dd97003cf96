"""What a network gives for all samples of a source, batch by batch."""

import copy
import math

import numpy as np
import torch
from sklearn.utils import gen_batches
from torch import nn

from sklearn_ssl.engine import autocast, torch_defaults
from sklearn_ssl.heap import kept_heap
from sklearn_ssl.sources import one_behind

# Embedding takes batches of about this many pixels, and at most this many samples.
EMBEDDING_PIXELS = 2**20
EMBEDDING_BATCH = {"cpu": 256, "cuda": 1024}


class Mirrored(nn.Module):
    """The mean of what an encoder gives for images and for their mirror images."""

    copies = 2  # of each image, which pass the encoder together

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, images):
        """Return the features of images (n, c, h, w)."""
        # In one batch: an encoder that is called once can be folded, and is written once by ONNX.
        return self.encoder(torch.cat([images, images.flip(3)])).unflatten(0, (2, -1)).mean(dim=0)


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
    kept = kept_heap(device.type == "cpu" and len(parts) > 1)
    with torch_defaults(device), torch.inference_mode(), autocast(device, precision), kept:
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
    """Return the views of a batch, which are checked to hold every sample."""
    made = views(scale(batch))
    if not isinstance(made, list | tuple) or not all(
        isinstance(view, torch.Tensor) and len(view) == len(batch) for view in made
    ):
        raise ValueError(
            f"views={views!r} must turn a batch into a list of tensors, each with a view of "
            f"all of its {len(batch)} samples."
        )
    return made


def moved(module, device):
    """Return the module on a device; fitted modules themselves stay on the CPU, and picklable.

    Copies of traced modules, which ``layer`` makes, forget that they are in evaluation mode.
    """
    return (module if device.type == "cpu" else copy.deepcopy(module).to(device)).eval()
