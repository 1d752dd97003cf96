"""BERT: predict masked tokens of texts."""

import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.world import world
from sklearn_ssl.data.spec import PADDING
from sklearn_ssl.data.tokens import MASK_ID, SPECIAL
from sklearn_ssl.methods.sequence._fill_mask import FillMask
from sklearn_ssl.parameters import between
from sklearn_ssl.training.objective import Objective, joined, wide
from sklearn_ssl.views import TextViews
from sklearn_ssl.views.text import ranks

# Of masked tokens, these shares are replaced by [MASK] and by a random token; others stay.
REPLACED, RANDOM = 0.8, 0.1


class BERTObjective(Objective):
    """Cross entropy of the predictions of masked tokens."""

    def __init__(self, encoder, n_features, mask_ratio):
        super().__init__(encoder)
        self.mask_ratio, (self.longest, self.n_tokens) = mask_ratio, encoder.in_shape
        self.head = nn.Sequential(
            nn.Linear(n_features, n_features), nn.GELU(), nn.LayerNorm(n_features)
        )
        self.bias = nn.Parameter(torch.zeros(self.n_tokens))

    def forward(self, views):
        """Return the loss of a batch of views."""
        ids = joined(views)
        masked, chosen = self.masked(ids, len(views))
        features = self.encoder.features(masked)
        tokens, labels = self.selected(features.tokens, ids, chosen)
        logits = self.logits(tokens)
        n = world().mean((labels != PADDING).sum().float()).clamp(min=1)
        with full_precision(ids.device):
            errors = cross_entropy(wide(logits), labels, ignore_index=PADDING, reduction="sum")
        accuracy = (logits.argmax(dim=1) == labels).where(labels != PADDING, False).sum() / n
        embedding = features.pooled[: len(views[0])]
        return {"loss": errors / n, "accuracy": accuracy, "embedding": embedding}

    def masked(self, ids, n_views=1):
        """Return ids with masked tokens, and which these are; at least one of each text."""
        real, (n, length) = ids != PADDING, ids.shape

        def drawn(draw, *limits):
            # Other processes may have longer texts.
            values = world().drawn(
                lambda n: draw(*limits, (n, self.longest), device=ids.device), n, n_views
            )
            return values[:, :length]

        noise, share = drawn(torch.rand), drawn(torch.rand)
        chosen = (ranks(real, noise) < self.n_masked(real.sum(dim=1))[:, None]) & real
        other = drawn(torch.randint, len(SPECIAL), self.n_tokens)
        masked = ids.where(share >= REPLACED + RANDOM, other).where(share >= REPLACED, MASK_ID)
        return masked.where(chosen, ids), chosen

    def n_masked(self, lengths):
        """Return the number of masked tokens of texts of these lengths."""
        return (self.mask_ratio * lengths.double()).round().clamp(min=1)

    def selected(self, tokens, ids, chosen):
        """Return states and ids of the masked tokens, and on a GPU some of padding."""
        if ids.device.type == "cpu":
            return tokens[chosen], ids[chosen]
        # A GPU would be waited for until their number is known.
        most = int(self.n_masked(torch.tensor(ids.shape[1], device="cpu")))
        places = chosen.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
        labels = ids.where(chosen, PADDING).gather(1, places)
        states = tokens.gather(1, places[:, :, None].expand(-1, -1, tokens.shape[2]))
        return states.flatten(0, 1), labels.flatten()

    def chance_loss(self, n):
        """Return the loss at chance level, where all tokens are equally likely."""
        return math.log(self.n_tokens)

    def logits(self, tokens):
        """Return the logits of all tokens of the vocabulary, with the weights of the embedding."""
        return self.head(tokens) @ self.encoder.backbone.embedding.weight.T + self.bias


class BERTTransformer(FillMask):
    """BERT: predict masked tokens of texts from the other tokens.

    Use it for texts, and to fill gaps in them by ``fill_mask``. The embedding is the mean of the
    output tokens. For ``fill_mask`` after training on few texts, increase ``lr``, such as to 0.002.

    Parameters
    ----------
    mask_ratio : float, default=0.15
        Share of the tokens of each text that are masked, in (0, 1), at least one. The loss is that
        of masked tokens. 80 % of them are replaced by "[MASK]", 10 % by a random token, and 10 %
        stay as they are.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The vocabulary is learned from X by byte-pair encoding, not WordPiece. There is no prediction of
    the next sentence and no class token, and blocks have layer norms before, not after them.

    References
    ----------
    `Devlin et al. "BERT: Pre-training of deep bidirectional transformers for language
    understanding", NAACL 2019 <https://arxiv.org/abs/1810.04805>`_

    Examples
    --------
    >>> from sklearn_ssl import BERTTransformer
    >>> texts = ["the cat sat on the mat", "the dog sat on the log"] * 20
    >>> bert = BERTTransformer(max_epochs=1, random_state=0).fit(texts)
    >>> bert.transform(texts).shape
    (40, 512)
    >>> len(bert.fill_mask(["the [MASK] sat on the mat"], n_candidates=3)[0])
    3
    """

    mask_ratio: between(0, 1, "neither") = 0.15

    default_views = {"text": TextViews(deletion=0.0, n_views=1)}

    def _make_objective(self, encoder, n_features, training):
        if getattr(encoder.backbone, "embedding", None) is None:
            raise ValueError(
                "BERTTransformer predicts tokens by the weights of their embedding. Its backbone "
                'must return tokens (n, tokens, d) and have an attribute "embedding", a '
                "torch.nn.Embedding of width d, as small_bert has."
            )
        return BERTObjective(encoder, n_features, self.mask_ratio)
