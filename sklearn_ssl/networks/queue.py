"""Queue of the most recent projections, as negatives or to find neighbors in."""

import torch
from torch import nn


class Queue(nn.Module):
    """First-in, first-out memory of vectors of length one, (size, dim), saved with the weights.

    It is empty at first, and never random: :attr:`is_filled` (size,) marks the vectors in it.
    """

    def __init__(self, size, dim):
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, dim))
        self.register_buffer("n_pushed", torch.zeros((), dtype=torch.long))

    @property
    def is_filled(self):
        """Mask of the places that hold a vector, (size,)."""
        return torch.arange(len(self.vectors), device=self.vectors.device) < self.n_pushed

    @torch.no_grad()
    def push(self, vectors):
        """Add vectors of length one, in place of the oldest ones."""
        size = len(self.vectors)
        vectors = vectors[-size:].to(self.vectors)
        places = (self.n_pushed + torch.arange(len(vectors), device=vectors.device)) % size
        self.vectors.index_copy_(0, places, vectors)
        self.n_pushed += len(vectors)

    def similarities(self, vectors):
        """Return the products of vectors with those of the queue, (n, size); -inf where empty."""
        return (vectors @ self.vectors.to(vectors).T).masked_fill(~self.is_filled, -torch.inf)

    @torch.no_grad()
    def nearest(self, vectors):
        """Return the nearest vector in the queue to each; the vector itself if it is empty."""
        found = self.vectors[self.similarities(vectors).argmax(dim=1)].to(vectors)
        return torch.where(self.n_pushed > 0, found, vectors)
