"""Vocabularies of byte-pair encoding, and batches of padded ids."""

import hashlib
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from common import sentences

from sklearn_ssl.data.spec import TextSpec
from sklearn_ssl.data.tokens import FIRST_MERGED, MASK_ID, TokenSource, trained_vocabulary

TEXTS = sentences(40)[0]


@pytest.fixture(scope="module")
def vocabulary():
    return trained_vocabulary(TEXTS, 600, True)


def test_vocabulary_has_at_most_that_size(vocabulary):
    assert vocabulary.tokenizer().get_vocab_size() == 600
    small = trained_vocabulary(["abc abc", "abd"], 8000, True)
    # Of what occurs twice: " abc" and its parts, nothing of "abd" but "ab".
    assert FIRST_MERGED < small.tokenizer().get_vocab_size() <= FIRST_MERGED + 3
    assert len(small.tokens_of(["abc"])[0]) == 1
    assert vocabulary == pickle.loads(pickle.dumps(vocabulary))


def test_frequent_words_are_one_token(vocabulary):
    (ids,) = vocabulary.tokens_of(["the array"])
    assert vocabulary.words(ids) == [" the", " array"]
    assert "".join(vocabulary.words(vocabulary.tokens_of(["Zyxw the"])[0])) == " zyxw the"
    kept = trained_vocabulary(TEXTS, 600, False)
    assert "".join(kept.words(kept.tokens_of(["Zyxw"])[0])) == " Zyxw"


def test_special_tokens_in_texts_are_text(vocabulary):
    (ids,) = vocabulary.tokens_of(["the [MASK] [PAD] array"])
    assert min(ids) > MASK_ID
    assert "".join(vocabulary.words(ids)) == " the [mask] [pad] array"


def test_masks(vocabulary):
    the, array = (vocabulary.tokens_of([word])[0] for word in ("the", "array"))
    masked = vocabulary.tokens_with_masks(["the [MASK] array", "[MASK]array.", "the [PAD][MASK]"])
    assert masked[0] == [*the, MASK_ID, *array]
    assert masked[1][0] == MASK_ID
    assert vocabulary.words(masked[1][1:])[0].startswith("a")  # without a space before
    assert masked[1][-1] == vocabulary.tokens_with_masks(["[MASK]."])[0][-1]
    assert 0 not in masked[2]
    assert vocabulary.tokens_with_masks(["the array"]) == vocabulary.tokens_of(["the array"])


TRAINED = """
import hashlib, json, sys
from sklearn_ssl.data.tokens import trained_vocabulary
description = trained_vocabulary(json.load(sys.stdin), 600, True).description
print(hashlib.md5(description.encode()).hexdigest())
"""


@pytest.mark.slow
def test_the_same_texts_give_the_same_vocabulary_in_every_process(vocabulary):
    done = subprocess.run(
        [sys.executable, "-c", TRAINED],
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == hashlib.md5(vocabulary.description.encode()).hexdigest()


@pytest.fixture(scope="module")
def source(vocabulary):
    tokens = vocabulary.tokens_of(["the array", "", "a", *TEXTS])
    return TokenSource.of(tokens, 20, vocabulary, TextSpec((20, 0), 1))


def test_batches_are_padded_to_their_longest_text(source, vocabulary):
    batch = source.batch(np.array([0, 1, 2]))
    (the, array), (a,) = vocabulary.tokens_of(["the array", "a"])
    assert batch.tolist() == [[the, array], [0, 0], [a, 0]]
    assert batch.dtype == torch.int64
    assert source.batch(slice(1, 2)).tolist() == [[0]]
    assert source.batch(slice(0, 0)).shape == (0, 1)
    assert source.batch(slice(None)).shape == (len(source), 20)  # of longer texts the first 20
    expected = vocabulary.tokens_of([TEXTS[5]])[0][:20]
    assert source.batch(np.array([8]))[0].tolist() == expected
    assert source.spec.shape == source.shape == (20, 600)


def test_batches_in_the_order_of_rows(source):
    order = np.array([[5, 3], [0, 7]])
    made = list(source.batches(order, "cpu", np.random.default_rng(0)))
    for row, batch in zip(order, made, strict=True):
        assert torch.equal(batch, source.batch(row))


def test_parts_cover_all_texts(source, monkeypatch):
    monkeypatch.setattr("sklearn_ssl.data.tokens.CHUNK_VALUES", 20 * 7)
    parts = list(source.parts())
    assert [part.start for part in parts] == list(range(0, len(source), 7))
    assert parts[-1].stop == len(source)


def test_digests_and_content_are_of_the_tokens(source, vocabulary):
    other = vocabulary.tokens_of(["array the", "", "the array"])
    other = TokenSource.of(other, 20, vocabulary, source.spec)
    assert other.digests()[2] == source.digests()[0]
    assert other.digests()[1] == source.digests()[1]
    assert other.digests()[0] != source.digests()[0]
    assert other.content() != source.content()
    assert source.content() == source.read().content()
