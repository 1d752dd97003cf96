"""Tokens of texts: the vocabulary learned in fit, and batches of padded ids."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from sklearn.utils import gen_batches

from sklearn_ssl.data.sources import CHUNK_VALUES, one_behind
from sklearn_ssl.data.spec import PADDING, Stored, TextSpec

# The first ids: of padding, and of masked tokens. Those of the 256 bytes follow.
SPECIAL = PAD, MASK = "[PAD]", "[MASK]"
MASK_ID = SPECIAL.index(MASK)
FIRST_MERGED = len(SPECIAL) + 256
# Parts of words that occur once are no tokens, of which nothing could be learned.
FEWEST = 2


@dataclass(frozen=True)
class Vocabulary(Stored):
    """Byte-pair encoding of texts, learned in fit."""

    description: str  # of the tokenizer, in the JSON format of tokenizers

    mean = std = np.zeros(0, np.float32)  # ids are not normalized

    def on(self, device):
        """Return the scaling of batches, which leaves ids as they are."""
        return _unchanged

    def described(self):
        """Return metadata of exported models, whose input are ids: the tokenizer."""
        return {"tokenizer": self.description}

    def tokenizer(self):
        """Return the tokenizer of the package tokenizers."""
        tokenizer = _tokenizers().Tokenizer.from_str(self.description)
        tokenizer.encode_special_tokens = True  # "[MASK]" in a text is text
        return tokenizer

    def tokens_of(self, texts):
        """Return the token ids of each text, as lists."""
        coded = self.tokenizer().encode_batch_fast([f" {text}" if text else "" for text in texts])
        return [text.ids for text in coded]

    def tokens_with_masks(self, texts):
        """Return the token ids of each text, in which "[MASK]" is a masked token."""
        parts = [text.split(MASK) for text in texts]
        # A token includes the space before its word.
        parts = [[part.rstrip() for part in text[:-1]] + text[-1:] for text in parts]
        tokenizer = self.tokenizer()

        def ids(part):
            return tokenizer.encode(part).ids if part else []

        return [
            [*ids(f" {first}" if first else ""), *chain(*([MASK_ID, *ids(p)] for p in others))]
            for first, *others in parts
        ]

    def words(self, ids):
        """Return the text of each token; it begins with a space if a word does."""
        tokenizer = self.tokenizer()
        return [tokenizer.decode([i]) for i in ids]


def _unchanged(batch):
    return batch


def trained_vocabulary(texts, vocab_size, lowercase):
    """Return the vocabulary of at most ``vocab_size`` tokens that is learned from texts."""
    tokenizers = _tokenizers()
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    normalizers = [tokenizers.normalizers.NFC()]
    normalizers += [tokenizers.normalizers.Lowercase()] if lowercase else []
    tokenizer.normalizer = tokenizers.normalizers.Sequence(normalizers)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.encode_special_tokens = True
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=FEWEST,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((f" {text}" for text in texts), trainer, len(texts))
    return Vocabulary(tokenizer.to_str())


def _tokenizers():
    """Return the package tokenizers."""
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError(
            'Texts require the package tokenizers: pip install "sklearn-ssl[text]".'
        ) from error
    return tokenizers


@dataclass(frozen=True)
class TokenSource:
    """Texts as token ids, batch by batch.

    A batch has shape (n, length), int64, where length is that of its longest text, at least 1. Ids
    of shorter texts are followed by 0, padding.
    """

    tokens: np.ndarray  # int32, of all texts one after the other
    lengths: np.ndarray  # of the texts
    vocabulary: Vocabulary
    spec: TextSpec

    @classmethod
    def of(cls, tokens, length, vocabulary, spec):
        """Return the source of lists of ids, which are cut to a length."""
        tokens = [ids[:length] for ids in tokens]
        lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
        ids = np.fromiter(chain(*tokens), np.int32, lengths.sum())
        shape = length, vocabulary.tokenizer().get_vocab_size()
        return cls(ids, lengths, vocabulary, replace(spec, shape=shape))

    def __post_init__(self):
        object.__setattr__(self, "_starts", np.cumsum(self.lengths) - self.lengths)

    def __len__(self):
        return len(self.lengths)

    @property
    def shape(self):
        """Maximum length, and size of the vocabulary."""
        return self.spec.shape

    def batch(self, indices, device="cpu"):
        """Return the ids of the texts at these indices (an array or a slice) on a device."""
        return self._padded(indices, device).to(device, non_blocking=True)

    def _padded(self, indices, device):
        """Return the padded ids of texts on the CPU, to copy to a device."""
        lengths = self.lengths[indices]
        places = np.arange(max(1, lengths.max(initial=0)))
        real = places < lengths[:, None]
        ids = np.full(real.shape, PADDING, np.int64)
        ids[real] = self.tokens[(self._starts[indices][:, None] + places)[real]]
        ids = torch.from_numpy(ids)
        return ids.pin_memory() if torch.device(device).type == "cuda" else ids

    def batches(self, order, device, rng=None):
        """Yield the batch of each row of indices; the next one is prefetched by a thread."""
        with ThreadPoolExecutor(1) as fetcher:
            fetched = (fetcher.submit(self._padded, indices, device) for indices in order)
            for ids in one_behind(fetched):
                # Copied by the calling thread, as CUDA streams belong to threads.
                yield ids.result().to(device, non_blocking=True)

    def blank(self, device):
        """Return a batch of one sample, for shapes of results if there are no texts."""
        return torch.full((1, 1), PADDING, device=device)

    def aligned(self, results):
        """Return the results of all samples, with one row for each sample of X."""
        return results

    def read(self):
        """Return the source itself, as its texts are already split into tokens."""
        return self

    def content(self, by_content=False):
        """Return what identifies the samples: a hash of the vocabulary and of their tokens."""
        parts = self.vocabulary.description.encode(), self.tokens, self.lengths
        return [hashlib.sha256(part).digest() for part in parts]

    def digests(self):
        """Return a hash of the tokens of each text, (n,) int64."""
        parts = np.split(self.tokens, self._starts[1:])
        digests = b"".join(hashlib.blake2b(part, digest_size=8).digest() for part in parts)
        return np.frombuffer(digests, np.int64)

    def near(self, device, verbose=0):
        """Return the source for training: itself, as its batches are small."""
        return self

    def parts(self):
        """Slices that cover the samples in order, each of about ``CHUNK_VALUES`` ids."""
        return gen_batches(len(self), max(1, CHUNK_VALUES // self.shape[0]))
