"""Eigendecomposition with fallbacks if LAPACK's fastest routine does not converge."""

import numpy as np
import scipy.linalg
import torch
from sklearn.decomposition import PCA

# LAPACK drivers: divide and conquer, relatively robust representations, QR iteration.
DRIVERS = "evd", "evr", "ev"


def symmetric_eigh(matrix):
    """Return eigenvalues (d,) in ascending order, and eigenvectors (d, d) in columns, as float64.

    ``matrix`` is an array or a tensor on any device; results are arrays or tensors on the CPU.
    """
    given = matrix if torch.is_tensor(matrix) else torch.from_numpy(matrix)
    given = given.double()
    try:
        values, vectors = torch.linalg.eigh(given)
        if torch.isfinite(values).all():
            values, vectors = values.cpu(), vectors.cpu()
            return (
                (values, vectors) if torch.is_tensor(matrix) else (values.numpy(), vectors.numpy())
            )
    except RuntimeError:  # torch's LinAlgError
        pass
    plain = given.cpu().numpy()
    for driver in DRIVERS:
        try:
            found = scipy.linalg.eigh(plain, driver=driver)
            return tuple(map(torch.from_numpy, found)) if torch.is_tensor(matrix) else found
        except np.linalg.LinAlgError:
            continue
    # Singular vectors of a symmetric matrix are eigenvectors.
    vectors, values, other = np.linalg.svd(plain)
    values = values * np.sign((vectors * other.T).sum(axis=0))
    order = np.argsort(values)
    found = values[order], vectors[:, order]
    return tuple(map(torch.from_numpy, found)) if torch.is_tensor(matrix) else found


def fit_pca(X, n_components, seed):
    """Return scikit-learn's PCA of X, with a fallback if the SVD does not converge."""
    try:
        return PCA(n_components, random_state=seed).fit(X)
    except np.linalg.LinAlgError:
        exact = np.asarray(X, np.float64)
        return PCA(n_components, svd_solver="covariance_eigh").fit(exact)
