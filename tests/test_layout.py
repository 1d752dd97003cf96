"""The arrows between the parts, and that no method is left out anywhere."""

import ast
import inspect
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from common import ALL_METHODS

import sklearn_ssl
from sklearn_ssl.data.inputs import MODALITIES
from sklearn_ssl.training.net import SSLNet

PACKAGE = Path(sklearn_ssl.__file__).parent
# Tests of all files of a folder.
ACROSS = {Path("methods", "test_all_methods.py"), Path("metrics", "test_metrics.py")}
ACROSS |= {Path("inspection", "test_displays.py")}
# Which folders and files at the top of the package each of them may import, besides itself.
ARROWS = {
    "_runtime": set(),
    "parameters": {"_runtime"},
    "data": {"_runtime", "parameters"},
    "views": {"data", "parameters"},
    "persistence": {"_runtime", "data", "parameters"},
    "networks": {"_runtime", "data", "persistence"},
    "inference": {"_runtime", "data", "networks", "parameters", "persistence", "views"},
    "training": {"_runtime", "data", "inference", "networks", "views"},
    "base": {
        *("_runtime", "data", "inference", "networks", "parameters", "persistence", "training"),
    },
    "methods": {
        *("_runtime", "base", "data", "inference", "networks", "parameters", "persistence"),
        *("training", "views"),
    },
    "discovery": {"base", "methods"},
    "metrics": {"_runtime", "data", "inference"},
    "evaluation": {
        *("_runtime", "base", "data", "inference", "methods", "metrics", "networks"),
        *("parameters", "persistence", "training", "views"),
    },
    "inspection": {"_runtime", "data", "evaluation", "inference", "methods", "metrics"},
    "__init__": {"data", "evaluation", "inference", "methods", "persistence"},
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
    assert ours <= ARROWS[part] | {part}
    assert part == "training" or not any(m.split(".")[0] == "skorch" for m in modules)


def identifiers(path):
    """Names, attributes, arguments and text of the code of a file, without its docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword):  # named by what is called
            continue
        for field in ("id", "attr", "arg", "name", "value"):
            if isinstance(found := getattr(node, field, None), str):
                yield found


def constants(path):
    """Text of the code of a file, without its docstrings."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def files_of(room):
    return sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]


@pytest.mark.parametrize("room", ["base", "training", "inference", "persistence"])
def test_no_modality_is_named(room):
    """Adding one changes no line of these."""
    kinds = {cls.kind for cls in MODALITIES}
    named = {name for cls in MODALITIES for name in (cls.__name__, f"is_{cls.kind}")}
    for path in files_of(room):
        assert not named & set(identifiers(path)), path
        assert not kinds & set(constants(path)), path


@pytest.mark.parametrize("room", ["data", "views", "networks", "training"])
def test_rooms_below_know_no_estimator(room):
    for path in files_of(room):
        assert "estimator" not in set(identifiers(path)), path


def test_table_of_arrows_is_complete_and_has_no_cycle():
    parts = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")}
    assert set(ARROWS) == {part.removesuffix(".py") for part in parts}
    tuple(TopologicalSorter(ARROWS).static_order())  # raises where there is a cycle


def test_contributing_lists_every_folder():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    table = text.partition("## Where things are")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([^`]+)` \|", table, flags=re.M)
    folders = {path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")} - {Path()}
    files = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert sorted(listed) == sorted({f"{folder}/" for folder in folders} | files)


def test_every_method_is_public():
    public = {getattr(sklearn_ssl, name) for name in sklearn_ssl.__all__}
    assert set(ALL_METHODS) <= public


@pytest.mark.parametrize("method", ALL_METHODS)
def test_every_method_has_a_reference(method):
    *_, family, name = method.__module__.split(".")
    path = Path(__file__).parent / "methods" / family / f"test_{name}.py"
    assert f"def test_{name}(" in path.read_text(), (
        f"{path} needs test_{name}: value and gradient of the loss beside a reference"
    )


def test_the_training_step_is_on_one_screen():
    assert len(inspect.getsource(SSLNet).splitlines()) <= 150
    steps = SSLNet.train_step, SSLNet.compute_gradients, SSLNet.run_single_epoch
    assert all(len(inspect.getsource(step).splitlines()) <= 40 for step in steps)


def test_tests_mirror_the_package():
    tests = Path(__file__).parent
    for path in tests.glob("*/**/test_*.py"):
        place = path.relative_to(tests)
        tested = PACKAGE / place.with_name(place.name.removeprefix("test_"))
        assert tested.exists() or place.parts[0] == "cases" or place in ACROSS


def test_import_is_light():
    code = (
        "import sys, torch, sklearn.callback, sklearn.model_selection\n"
        "before = set(sys.modules)\nimport sklearn_ssl\n"
        "print(*{m.split('.')[0] for m in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torchvision", "matplotlib", "pandas", "PIL", "tqdm", "IPython", "rich"}
    heavy |= {"onnx", "onnxscript", "tokenizers"}
    assert not heavy & set(done.stdout.split())
