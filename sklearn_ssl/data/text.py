"""Texts as X: which strings are texts, their byte-pair encoding, and their checks."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from scipy.sparse import issparse

from sklearn_ssl._runtime.sklearn_private import _check_feature_names
from sklearn_ssl._runtime.warnings import tell
from sklearn_ssl.data.folders import SUFFIXES
from sklearn_ssl.data.image_decoding import is_missing
from sklearn_ssl.data.modality import Modality, Request
from sklearn_ssl.data.on_disk import OnDisk
from sklearn_ssl.data.recognition import is_path
from sklearn_ssl.data.spec import TextSpec
from sklearn_ssl.data.tokens import FIRST_MERGED, TokenSource, trained_vocabulary
from sklearn_ssl.parameters import recipe

# Number of evenly spaced strings that determine whether X holds texts or paths of images.
LOOKED_AT = 100
# A warning is issued if a larger share of all tokens is cut off.
MOST_CUT = 0.5


@recipe
class Text(Modality):
    """Texts in X: strings, which are split into tokens by byte-pair encoding.

    Passed to an estimator as ``input=Text(...)``. The default "auto" treats strings as texts unless
    most of them end in the file extension of an image or name existing files. X is a list, an
    array, a Series or a data frame of one column of strings. The vocabulary is learned from X in
    fit: frequent words are one token, others several. No text has unknown characters, as tokens are
    made of bytes. Requires the package tokenizers: ``pip install "sklearn-ssl[text]"``.

    Parameters
    ----------
    vocab_size : int, default=8000
        Maximum number of tokens in the vocabulary, at least 259. It is smaller if X has fewer
        repeated parts of words.

    max_length : int, default=128
        Maximum number of tokens of a text; the rest is cut off. Fit warns if that is more than
        half of the tokens of X. Time and memory grow with it.

    lowercase : bool, default=True
        Whether to convert texts to lowercase.

    Examples
    --------
    >>> from sklearn_ssl import SimCLRTransformer, Text
    >>> simclr = SimCLRTransformer(input=Text(max_length=64))
    """

    vocab_size: int = 8000
    max_length: int = 128
    lowercase: bool = True

    kind, noun = "text", "texts"
    forms = "Pass a list of strings."

    def __post_init__(self):
        for name, least in {"vocab_size": FIRST_MERGED + 1, "max_length": 1}.items():
            value = getattr(self, name)
            is_int = isinstance(value, Integral) and not isinstance(value, bool)
            if not (is_int and value >= least):
                raise ValueError(f"{name} must be an int, at least {least}. Got {value!r} instead.")
        if not isinstance(self.lowercase, bool):
            raise ValueError(f"lowercase must be a bool. Got {self.lowercase!r} instead.")

    @classmethod
    def accepts(cls, given):
        """Return whether X holds strings that are texts, after fit whether those in fit were."""
        if given.seen is not None:
            return given.seen.kind == cls.kind
        column = column_of(given.X)
        return column is not None and (_holds_texts(column) or _holds_lists_of_strings(column))

    def find(self, given, request):
        """Check X; return its texts, whose ``read()`` is the source."""
        column, seen = column_of(given.X), request.seen
        if column is None:
            shape = tuple(getattr(given.X, "shape", ()))
            raise ValueError(
                f"X, of type {type(given.X).__name__}{f' and shape {shape}' if shape else ''}, "
                f"holds no texts, but {self._wanted(request)}. {self.forms}"
            )
        if seen is not None and seen.kind != self.kind:
            raise ValueError(
                f"X holds texts, but {request.name} was fitted on {seen.described()}. {seen.remedy}"
            )
        header = request.header()
        _check_feature_names(header, given.X, reset=seen is None)
        names = getattr(header, "feature_names_in_", None)
        if len(column) < request.min_samples:
            raise ValueError(
                f"Found {len(column)} sample(s) while a minimum of {request.min_samples} is "
                f"required by {request.name}."
            )
        texts = self._checked(column, request)
        return ListedTexts(self, texts, request, TextSpec((self.max_length, 0), 1, names))

    def learn(self, source):
        """Return the vocabulary of the texts, which was learned when they were read."""
        return source.vocabulary

    def _checked(self, column, request):
        """Return the texts of X as a list of strings; raise for the first that is none."""
        texts = [str(text) if isinstance(text, str) else text for text in column]
        for i, text in enumerate(texts):
            if isinstance(text, str) and (text.isascii() or _is_unicode(text)):
                continue
            if is_missing(text):
                problem = f'is missing, {text!r}. Remove missing texts, or replace them by "".'
            elif isinstance(text, str):
                problem = f"holds half of a surrogate pair: {text!r:.100}. Decode it correctly."
            elif isinstance(text, bytes | bytearray):
                problem = f"is of bytes: {text!r:.100}. Decode them, such as by text.decode()."
            elif _is_list_of_strings(text):
                problem = (
                    f"is a {type(text).__name__} of strings: {text!r:.100}. Join words by "
                    '" ".join(words); pass labels as y.'
                )
            else:
                problem = f"is {text!r:.100}, of type {type(text).__name__}. {self.forms}"
            raise ValueError(f"{self._wanted(request)}: sample {i} of X {problem}")
        return texts

    def _wanted(self, request):
        """Return why X has to hold texts, as text."""
        if request.seen is not None and request.seen.kind == self.kind:
            return f"{request.name} was fitted on texts"
        return f"input={self!r} is for texts"


@dataclass(frozen=True)
class ListedTexts:
    """The texts of X, which are split into tokens by ``read``."""

    described: Text
    texts: list
    request: Request
    spec: TextSpec  # without the size of the vocabulary, which is learned when texts are read

    def content(self, by_content=False):
        """Return what identifies the texts."""
        values = hashlib.sha256()
        for text in self.texts:
            coded = text.encode()
            values.update(len(coded).to_bytes(8, "little") + coded)
        return [len(self.texts), values.digest()]

    def read(self):
        """Split the texts into tokens, in fit by a vocabulary learned from them."""
        described, request = self.described, self.request
        vocabulary, length = request.preprocessing, self.spec.shape[0]
        if vocabulary is None:
            vocabulary = trained_vocabulary(self.texts, described.vocab_size, described.lowercase)
        else:
            length = request.seen.shape[0]
        tokens = vocabulary.tokens_of(self.texts)
        source = TokenSource.of(tokens, length, vocabulary, self.spec)
        if request.seen is None:
            self._report(sum(map(len, tokens)), len(source.tokens), length)
        return source

    def _report(self, n_tokens, n_left, length):
        """Report how many tokens are cut off, by a warning if they are most."""
        if not n_left:
            raise ValueError("All texts of X are empty. Pass texts with at least one character.")
        cut = 1 - n_left / n_tokens
        if self.request.verbose:
            mean = n_tokens / len(self.texts)
            print(f"The texts of X have {mean:.3g} tokens on average; {cut:.0%} are cut off.")
        if cut > MOST_CUT:
            tell(
                f"{cut:.0%} of the tokens of X are cut off, as texts are longer than "
                f"max_length={length} of input=Text(...). Increase it, or split texts into parts."
            )


def column_of(X):
    """Return X as a list or array of objects, (n,); None if it has several columns."""
    if isinstance(X, Mapping | OnDisk | torch.Tensor) or issparse(X):
        return None
    if isinstance(X, list | tuple):
        return X
    if hasattr(X, "columns"):
        if len(X.columns) != 1:
            return None
        X = X[X.columns[0]]
    if not hasattr(X, "__array__"):
        return list(X) if isinstance(X, Sequence) and len(X) and isinstance(X[0], str) else None
    shape, kind = getattr(X, "shape", ()), getattr(getattr(X, "dtype", None), "kind", "O")
    if len(shape) == 2 and shape[1] == 1:
        X = X[:, 0]
    elif len(shape) != 1:
        return None
    return None if kind in "biufcmMV" else np.asarray(X, dtype=object)


def _holds_texts(column):
    """Return whether strings of a column are texts: fewer than half of them are paths of images."""
    if next((isinstance(x, str) for x in column if not is_missing(x)), False):
        rows = np.linspace(0, len(column) - 1, min(len(column), LOOKED_AT)).astype(int)
        strings = [column[row] for row in rows.tolist() if isinstance(column[row], str)]
        n_paths = sum(map(_is_path_of_image, strings))
        return 2 * n_paths < max(1, len(strings))
    return False


def _is_path_of_image(text):
    known = text.lower().endswith(SUFFIXES) or text.startswith("data:image/")
    return known or is_path(text)


def _holds_lists_of_strings(column):
    """Return whether a column holds texts that were split into words, or texts and labels."""
    first = next((x for x in column if not is_missing(x)), None)
    return _is_list_of_strings(first) and not _is_path_of_image(first[0])


def _is_list_of_strings(item):
    is_list = isinstance(item, list) and len(item) > 1
    return is_list and all(isinstance(part, str) for part in item)


def _is_unicode(text):
    """Return whether a string can be encoded: it has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
