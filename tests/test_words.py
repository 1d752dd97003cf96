"""Docstrings, messages, the guide and benchmarks use the field's standard terms."""

import ast
import re
from pathlib import Path

import pytest

import sklearn_ssl

PACKAGE = Path(sklearn_ssl.__file__).parent
ROOT = PACKAGE.parent
# What not to write, and what to write instead.
INSTEAD = {
    r"who guess(es)?\b": "chance level",
    r"\bshall\b": "should; is invariant to",
    r"\b(tells|told|telling)\b": "predicts, classifies, reports, matches",
    r"\bkept\b": "stored, cached, saved",
    r"\btable rows\b": "tabular data, samples",
    r"\b(labels|samples) a class\b|\b(images|samples|files) a second\b": "per class, per second",
    r"\bbeside the best\b": "difference to the best baseline",
    r"\bmoving teachers?\b": "momentum (EMA) teacher",
    r"\bpoints? everywhere\b": "spreads embeddings over all directions",
    r"\bseen from another\b": "relative position",
    r"\bholes?\b": "masked regions",
    r"\bclassical rivals?\b": "classical baseline",
    r"\bthat (ask|vote)s?\b": "queries, gallery",
    r"\bin training alone\b": "during training only",
    r"\bis no number\b": "is NaN or infinite",
    r"\b(is|are) not there\b": "is not available",
    r"\bbut for rounding\b": "up to rounding error",
    r"\bmend\b": "fix",
    r"\bmean over an image and its mirror image\b": "horizontal-flip test-time augmentation",
    r"\bdivides the (cosine|scores)\b": "temperature of the softmax",
    r"\banew\b": "again",
    r"\bone who\b": "whoever, or the standard term",
    r"\b(un)?(colour|neighbour|behaviour|favour|labell|standardis|normalis|minimis)\w*": "American",
}
GUIDE = ROOT / "docs" / "guide"
PAGES = [ROOT / "docs" / "index.rst", ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
BENCHMARKS = ROOT / "benchmarks"
PAGES += [BENCHMARKS / "README.md", *BENCHMARKS.glob("*.py")]
FILES = sorted([*PACKAGE.rglob("*.py"), *GUIDE.glob("*.rst"), *PAGES])


def texts(path):
    """Return line numbers and texts: the strings of a Python file, or all of another one."""
    source = path.read_text()
    if path.suffix != ".py":
        return [(1, source)]
    strings = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return [(node.lineno, node.value) for node in strings if isinstance(node.value, str)]


def found_in(text):
    """Return the words of a text that have a standard term."""
    pairs = (
        (re.search(word, " ".join(text.split()), re.IGNORECASE), term)
        for word, term in INSTEAD.items()
    )
    return [f"{match[0]!r} (instead: {term})" for match, term in pairs if match]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_standard_terms_are_used(path):
    wrong = [f"line {line}: {word}" for line, text in texts(path) for word in found_in(text)]
    assert not wrong


def test_words_are_found_wherever_they_stand():
    assert found_in("What a moving\nteacher told of 10 labels a class") != []
    assert found_in("Nearest neighbours of standardised, unlabelled samples") != []
    assert found_in("A momentum teacher predicts; a whole image, wholes and holistic views") == []
