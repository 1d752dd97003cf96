"""The arrows between the parts, and that no method is left out anywhere."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import test_references
from common import METHODS

import sklearn_ssl

PACKAGE = Path(sklearn_ssl.__file__).parent
ARROWS = {
    "_sklearn": set(),
    "optimizers": set(),
    "parameters": set(),
    "timing": set(),
    "data": {"data", "decoding", "folders", "recipes", "telling"},
    "defaults": set(),
    "engine": {"health", "microbatches", "optimizers", "telling", "timing"},
    "microbatches": set(),
    "health": {"telling"},
    "telling": set(),
    "fingerprint": set(),
    "memory": {"fingerprint", "locking", "saving", "telling"},
    "embedding": {"engine", "heap", "sources"},
    "fitting": {"backbones", "data", "embedding", "engine", "health", "heap", "sources", "views"},
    "decoding": set(),
    "locking": set(),
    "cache": {"locking"},
    "reading": {"cache", "data", "decoding"},
    "sources": {"cache", "data", "reading"},
    "inputs": {"_sklearn", "data", "decoding", "reading", "sources", "telling"},
    "folders": set(),
    "saving": {"data", "sources", "views"},
    "exporting": {"engine", "saving"},
    "loading": {"discovery", "fine_tuning", "methods", "saving"},
    "checkpoints": {"saving"},
    "backbones": {"checkpoints", "vision_transformers"},
    "vision_transformers": set(),
    "layers": set(),
    "colors": set(),
    "folding": set(),
    "heap": set(),
    "recipes": set(),
    "views": {"parameters", "recipes", "views"},
    "embedder": {
        *("_sklearn", "backbones", "defaults", "embedding", "engine", "folding", "inputs"),
        *("recipes", "saving"),
    },
    "base": {
        *("_sklearn", "backbones", "embedder", "embedding", "engine", "exporting", "fingerprint"),
        *("fitting", "health", "inputs", "memory", "optimizers", "telling"),
        *("data", "defaults", "parameters", "timing"),
    },
    "methods": {
        *("_sklearn", "backbones", "base", "colors", "data", "decompositions", "embedder"),
        *("embedding", "engine", "inputs", "layers", "parameters", "recipes", "saving", "sources"),
        *("telling", "views", "vision_transformers"),
    },
    "discovery": {"base", "methods"},
    "inspection": {
        *("comparison", "data", "decompositions", "embedding", "engine", "inputs", "inspection"),
        *("labels", "methods", "neighbors", "sources"),
    },
    "comparison": {
        *("base", "decompositions", "embedding", "inputs", "labels", "methods", "model_selection"),
        "probes",
    },
    "fine_tuning": {
        *("_sklearn", "backbones", "base", "embedder", "embedding", "engine", "heap", "inputs"),
        *("labels", "layers", "methods", "parameters", "probes", "recipes", "saving", "timing"),
        "views",
    },
    "decompositions": set(),
    "labels": {"telling"},
    "neighbors": {"engine"},
    "metrics": {"decompositions", "embedding", "engine", "labels", "metrics", "neighbors"},
    "model_selection": {"labels"},
    "probes": {
        *("_sklearn", "decompositions", "engine", "labels", "neighbors", "parameters", "telling"),
    },
    "__init__": {"comparison", "data", "fine_tuning", "folders", "loading", "methods", "probes"},
}


def imports(path):
    """Names of all modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "sklearn_ssl"
                else [node.module]
            )
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_arrows_point_one_way(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    modules = list(imports(path))
    ours = {m.split(".")[1] for m in modules if m.startswith("sklearn_ssl.")}
    assert ours <= ARROWS[part]
    assert part == "engine" or not any(m.split(".")[0] == "skorch" for m in modules)


def test_every_method_is_public():
    public = {getattr(sklearn_ssl, name) for name in sklearn_ssl.__all__}
    assert set(METHODS) <= public


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_reference(method):
    module = method.__module__.rsplit(".", 1)[1]
    assert hasattr(test_references, f"test_{module}"), (
        f"tests/test_references.py needs test_{module}: value and gradient of the loss"
    )


def test_import_is_light():
    code = (
        "import sys, torch, sklearn.callback, sklearn.model_selection\n"
        "before = set(sys.modules)\nimport sklearn_ssl\n"
        "print(*{m.split('.')[0] for m in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torchvision", "matplotlib", "pandas", "PIL", "tqdm", "IPython", "rich"}
    heavy |= {"onnx", "onnxscript"}
    assert not heavy & set(done.stdout.split())
