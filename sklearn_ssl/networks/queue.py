"""Queue of the most recent projections, as negatives or to find neighbors in."""

import torch
from torch import nn


class Queue(nn.Module):
    """First-in, first-out memory of vectors of length one, (size, dim), saved with the weights.

    It is empty at first, and never random: :attr:`is_filled` (size,) marks the vectors in it. One
    that is loaded has the size of the one that was saved, as X may now have more samples or fewer.
    """

    def __init__(self, size, dim):
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, dim))
        self.register_buffer("n_pushed", torch.zeros((), dtype=torch.long))

    def _load_from_state_dict(self, state_dict, prefix, *args):
        saved = state_dict.get(f"{prefix}vectors", self.vectors)
        self.vectors = self.vectors.new_empty(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)

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
    def nearest(self, vectors, k=1):
        """Return the k nearest vectors in the queue to each of n vectors, (n, k, dim).

        Where the queue holds fewer, it is the vector itself.
        """
        similarities, places = self.similarities(vectors).topk(k, dim=1)
        found = self.vectors[places].to(vectors)
        return torch.where(similarities[..., None].isinf(), vectors[:, None], found)
