"""Arrays on disk that are read in parts."""

import numpy as np


class OnDisk:
    """Array on disk, such as those of h5py, zarr and dask.

    It is indexed by sorted unique indices, as h5py requires.
    """

    def __init__(self, array):
        self.array = array
        self.shape, self.dtype, self.ndim = array.shape, np.dtype(array.dtype), len(array.shape)
        if any(side != side for side in self.shape):  # NaN
            raise ValueError(
                f"X has shape {self.shape}: its number of samples is unknown. For a dask array, "
                "call X.compute_chunk_sizes() first."
            )

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, indices):
        if isinstance(indices, slice) or np.ndim(indices) == 0:
            return np.asarray(self.array[indices])
        found, places = np.unique(np.asarray(indices), return_inverse=True)
        return np.asarray(self.array[found])[places]
