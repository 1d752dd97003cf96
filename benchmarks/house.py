"""How the package is built: files, lines of methods, parameters, arrows, names; to compare changes.

python benchmarks/house.py [--tests]
"""

import argparse
import ast
import dataclasses
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import sklearn_ssl
from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.discovery import all_methods

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
    print(f"files at the top of the package: {len(top)}, of {len(files)}")
    print(f"folders of the package: {len({path.parent for path in files}) - 1}")
    print(f"lines of methods: mean {statistics.mean(lines.values()):.0f}, {lines}")
    print(f"shared parameters: {len(dataclasses.fields(SSLTransformer))}")
    print(f"rows of the table of arrows: {arrows()}")
    print(f"names defined twice: {len(twice)}, {', '.join(twice)}")
    if given.tests:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=ROOT, check=True)
        print(f"quick tests: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
