"""Structure of the package, with goals: what a fit enters, lines of code, parameters, names.

    python benchmarks/house.py [--tests]

Entered by a fit of 128 digits are files of the package and functions that are defined in them, each
counted once, by `sys.setprofile`. A call up enters a function of the estimator from a file that is
below `base.py`. Modalities are named where no file should name them: base, training, inference and
persistence.
"""

import argparse
import ast
import dataclasses
import inspect
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from sklearn.datasets import load_digits

import sklearn_ssl
from sklearn_ssl import SimCLRTransformer
from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.data.inputs import MODALITIES
from sklearn_ssl.discovery import all_methods
from sklearn_ssl.training.net import SSLNet

ROOT = Path(__file__).parents[1]
PACKAGE = Path(sklearn_ssl.__file__).parent


def names_of(path):
    """Return the names of the functions and classes that a file defines at its top."""
    kinds = ast.FunctionDef | ast.ClassDef
    return [node.name for node in ast.parse(path.read_text()).body if isinstance(node, kinds)]


def arrows():
    """Return the number of rows of the table of arrows in the layout test."""
    tree = ast.parse((ROOT / "tests" / "test_layout.py").read_text())
    tables = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    return len(tables["ARROWS"].keys)


def lines_of_methods():
    """Return the number of lines of each file that holds a method, by its name."""
    files = {Path(sys.modules[cls.__module__].__file__) for cls in all_methods().values()}
    return {path.stem: len(path.read_text().splitlines()) for path in sorted(files)}


def entered(fit):
    """Return the functions of the package that a fit enters, and those called from below.

    A function is its file and its name, with that of its class or outer function.
    """
    functions, upwards = set(), set()

    def place(code):
        path = Path(code.co_filename)
        return path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else None

    def of_estimator(frame):
        return isinstance(frame.f_locals.get("self"), SSLTransformer)

    def caller(frame):
        """Return the nearest frame below in the stack that is in the package."""
        frame = frame.f_back
        while frame is not None and place(frame.f_code) is None:
            frame = frame.f_back
        return frame

    def profile(frame, event, argument):
        if event != "call" or (path := place(frame.f_code)) is None:
            return
        if frame.f_code.co_name.startswith("<"):  # lambdas, comprehensions and modules
            return
        functions.add((path, frame.f_code.co_qualname))
        if of_estimator(frame) and (before := caller(frame)) is not None:
            below = place(before.f_code).parts[0] not in ("base.py", "methods", "inference")
            if below and not of_estimator(before):
                upwards.add((path, frame.f_code.co_qualname))

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        fit()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return functions, upwards


def lines_of(function):
    """Return the number of lines of a class or function, with its docstring."""
    return len(inspect.getsource(function).splitlines())


def named_modalities():
    """Return the lines that name a modality in the code of the folders that should know none."""
    kinds = {cls.kind for cls in MODALITIES}
    names = {name for cls in MODALITIES for name in (cls.__name__, f"is_{cls.kind}")}
    lines = []
    for room in ("base.py", "training", "inference", "persistence"):
        for path in sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / room]:
            for node in ast.walk(ast.parse(path.read_text())):
                found = {getattr(node, field, None) for field in ("id", "attr", "arg", "name")}
                text = node.value if isinstance(node, ast.Constant) else None
                if found & names or text in kinds | names:
                    lines.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    return lines


def main():
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", action="store_true", help="also time the quick tests (minutes)")
    given = parser.parse_args()
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    top = [path for path in files if path.parent == PACKAGE]
    lines = lines_of_methods()
    counted = Counter(name for path in files for name in names_of(path))
    twice = sorted(name for name, n in counted.items() if n > 1)
    X = load_digits().images[:128]
    functions, upwards = entered(lambda: SimCLRTransformer(max_epochs=1, random_state=0).fit(X))
    files_entered = sorted({str(path) for path, _ in functions})
    print(f"files that a fit enters (at most 12): {len(files_entered)}, {', '.join(files_entered)}")
    print(f"functions that a fit enters (at most 130): {len(functions)}")
    print(f"calls up (at most 2): {len(upwards)}, {', '.join(sorted(n for _, n in upwards))}")
    print(f"lines of SSLNet (at most 150): {lines_of(SSLNet)}")
    print(f"lines of its step (at most 40): {lines_of(SSLNet.train_step)}")
    modalities = named_modalities()
    print(f"lines that name a modality (none): {len(modalities)}, {', '.join(modalities)}")
    print(f"files at the top of the package: {len(top)}, of {len(files)}")
    print(f"folders of the package: {len({path.parent for path in files}) - 1}")
    print(
        f"lines of methods (mean at most 150): mean {statistics.mean(lines.values()):.0f}, {lines}"
    )
    print(f"shared parameters: {len(dataclasses.fields(SSLTransformer))}")
    print(f"rows of the table of arrows: {arrows()}")
    print(f"names defined twice: {len(twice)}, {', '.join(twice)}")
    if given.tests:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=ROOT, check=True)
        print(f"quick tests: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
