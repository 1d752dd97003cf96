"""Device of computation, with precision, compilation and micro-batches."""

from numbers import Integral

import torch

from sklearn_ssl._runtime.device import PRECISIONS
from sklearn_ssl.parameters import Recipe, recipe


@recipe
class Device(Recipe):
    """Device to compute on, with precision, compilation and micro-batches.

    Pass it to an estimator as ``device=Device(...)`` if the name of a device is not enough.

    Parameters
    ----------
    name : str or torch.device, default="auto"
        "cpu", "cuda" or "cuda:1". "auto" is the GPU if one is available. It is resolved at every
        call, so an estimator fitted on a GPU also works without one. With several GPUs, "auto" and
        "cuda" are torch's current one; worker processes, such as those of joblib and dask, are
        distributed over the GPUs.

    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Data type of automatic mixed precision in training and, on a GPU, in ``transform``.
        Losses, weights and the embedding are float32. "auto" is "bfloat16" on GPUs that support it
        and "float32" otherwise.

    compile : bool, default=False
        Whether to compile the training step with :func:`torch.compile`, which takes time at the
        start and speeds up training on a GPU.

    micro_batch_size : int, default=None
        Maximum number of views, or of tiles of views, that the encoder processes at once in
        training, to reduce memory. Unlike a smaller ``batch_size``, it does not change the result,
        up to rounding error and dropout: the loss is computed from the whole batch, with gradient
        checkpointing. Batch norms need the whole batch; with them, activations are moved to CPU
        memory instead. With None, this is done only if a GPU runs out of memory, with a warning.

    Examples
    --------
    >>> from sklearn_ssl import Device, SimCLRTransformer
    >>> simclr = SimCLRTransformer(device=Device("cpu", precision="bfloat16"))
    """

    name: str | torch.device = "auto"
    precision: str = "auto"
    compile: bool = False
    micro_batch_size: int | None = None

    def __post_init__(self):
        if not isinstance(self.name, str | torch.device):
            raise ValueError(f"name must be a str or torch.device. Got {self.name!r} instead.")
        known = "auto", *PRECISIONS
        if self.precision not in known:
            raise ValueError(f"precision must be one of {known}. Got {self.precision!r} instead.")
        if not isinstance(self.compile, bool):
            raise ValueError(f"compile must be a bool. Got {self.compile!r} instead.")
        size = self.micro_batch_size
        if size is not None and not (isinstance(size, Integral) and size >= 1):
            raise ValueError(f"micro_batch_size must be None or at least 1. Got {size!r} instead.")


def device_of(estimator):
    """Return the :class:`Device` of an estimator's parameter ``device``."""
    device = estimator.device
    return device if isinstance(device, Device) else Device(device)
