"""Filling the gaps of texts by a model of masked tokens."""

from numbers import Integral

import numpy as np
import torch

from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.data.tokens import MASK, MASK_ID, TokenSource
from sklearn_ssl.inference.batches import in_batches, moved


class FillMask(SSLTransformer):
    """Base class of estimators whose objective gives logits of tokens, by ``logits``."""

    def fill_mask(self, X, n_candidates=1):
        """Replace each "[MASK]" in texts by the most probable token.

        Parameters
        ----------
        X : array-like of str
            Texts, each with "[MASK]" at least once.

        n_candidates : int, default=1
            Number of texts to return for each text.

        Returns
        -------
        texts : ndarray of shape (n_samples,) or (n_samples, n_candidates) of str objects
            Texts without "[MASK]". With several candidates, every "[MASK]" is replaced by the most
            probable token in the first of them, by the second most probable one in the second, ...
        """
        if not (isinstance(n_candidates, Integral) and n_candidates >= 1):
            raise ValueError(f"n_candidates must be an int, at least 1. Got {n_candidates!r}.")
        found, device = self._find_again(X)
        vocabulary, (length, n_tokens) = self._scaling, self._spec.shape
        tokens = vocabulary.tokens_with_masks(found.texts)
        places = [np.flatnonzero(np.equal(ids, MASK_ID)) for ids in tokens]
        for i, (text, here) in enumerate(zip(found.texts, places, strict=True)):
            if not len(here) or here[-1] >= length:
                where = f" among its first {length} tokens" if len(here) else ""
                raise ValueError(
                    f'fill_mask requires "{MASK}" in each text; sample {i} of X has not all of '
                    f"them{where}: {text!r:.100}."
                )
        words = np.array(vocabulary.words(range(n_tokens)), dtype=object)
        # Parts of characters are no candidates.
        fit = torch.tensor([bool(word.strip()) and "\ufffd" not in word for word in words])
        fit, objective = fit.to(device), moved(self.objective_, device)

        def candidates(ids, place):
            states = objective.encoder.features(ids).tokens
            logits = objective.logits(states[torch.arange(len(ids), device=ids.device), place])
            return logits.where(fit, -torch.inf).topk(n_candidates, dim=1).indices

        rows = np.repeat(np.arange(len(tokens)), list(map(len, places)))  # one for each mask
        source = TokenSource.of([tokens[i] for i in rows], length, vocabulary, found.spec)
        where = torch.from_numpy(np.concatenate(places))
        ids = in_batches(candidates, source, vocabulary.on(device), device, extra=where)
        filled = np.empty((len(tokens), n_candidates), dtype=object)
        for i, text in enumerate(found.texts):
            for j in range(n_candidates):
                filled[i, j] = filled_text(text, words[ids[rows == i, j]])
        return filled[:, 0] if n_candidates == 1 else filled


def filled_text(text, words):
    """Return a text with each "[MASK]" replaced by a token, which includes the space before it."""
    first, *others = text.split(MASK)
    for word, other in zip(words, others, strict=True):
        first = (first.rstrip() + word if first.strip() else word.lstrip()) + other
    return first
