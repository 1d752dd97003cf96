"""Where networks compute, and how: device, precision, compilation, micro-batches."""

from dataclasses import dataclass
from numbers import Integral

import torch

from sklearn_ssl._runtime.device import PRECISIONS
from sklearn_ssl.parameters import Recipe


@dataclass(frozen=True)
class Device(Recipe):
    """Device that networks compute on, with the precision and the way in which they do.

    Give it to an estimator as ``device=Device(...)`` where the name of a device is not enough.

    Parameters
    ----------
    name : str or torch.device, default="auto"
        "cpu", "cuda" or "cuda:1". "auto" is the GPU where there is one, and is resolved again at
        every call, so that an estimator fitted on a GPU works without one. Of several GPUs it is
        torch's current one, as "cuda" is; worker processes, as those of joblib and dask, take them
        in turn.

    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Number type of the network's products, in training and, on a GPU, in ``transform``. Losses,
        weights and the embedding stay float32. "auto" is "bfloat16" on GPUs that have it and
        "float32" elsewhere.

    compile : bool, default=False
        Whether to compile the objective with :func:`torch.compile`: slower to start, faster on a
        GPU.

    micro_batch_size : int, default=None
        Largest number of views, or of tiles that a method cuts of them, that pass the encoder at
        once in training, to the same result up to rounding error and dropout, where a batch takes
        too much memory: their embeddings are computed without gradients, then the loss of the
        whole batch, then each micro-batch again for its gradients. Batch norms need the whole
        batch; with them activations are moved to the memory of the CPU instead. With None, a step
        for which a GPU has not enough memory is repeated in this way, and fit warns.

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
    """Return the :class:`Device` that a parameter ``device`` stands for."""
    device = estimator.device
    return device if isinstance(device, Device) else Device(device)
