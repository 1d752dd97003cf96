"""Arrays on disk, of which parts are read."""

import numpy as np


class OnDisk:
    """An array on disk, such as h5py's, zarr's and dask's.

    Indices reach it in increasing order, each once, as h5py wants it.
    """

    def __init__(self, array):
        self.array = array
        self.shape, self.dtype, self.ndim = array.shape, np.dtype(array.dtype), len(array.shape)
        if any(side != side for side in self.shape):  # NaN
            raise ValueError(
                f"X has shape {self.shape}: its number of samples is not known. Of a dask array, "
                "X.compute_chunk_sizes() finds it."
            )

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, indices):
        if isinstance(indices, slice) or np.ndim(indices) == 0:
            return np.asarray(self.array[indices])
        found, places = np.unique(np.asarray(indices), return_inverse=True)
        return np.asarray(self.array[found])[places]
