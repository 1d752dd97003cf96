"""The benchmarks that cannot run everywhere, on a tiny scale."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from common import METHODS, photo_patches

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def result():
    """Where a trial writes its results, which nobody wants to keep."""
    path = BENCHMARKS / "results" / "trial.json"
    yield path
    path.unlink(missing_ok=True)


def run(script, *options, cwd):
    command = [sys.executable, BENCHMARKS / script, cwd, *options, "--name", "trial"]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_full_cifar_10_goes_on_where_it_was(tmp_path, result):
    """In two stretches: no epoch begins in the first, all are made in the second."""
    X, y = photo_patches(120), np.arange(120) % 2
    np.savez(tmp_path / "cifar10.npz", X_train=X, y_train=y, X_test=X[:20], y_test=y[:20])
    options = ["--epochs", "1", "--backbone", "small_convnet", "--batch-size", "60"]
    assert "run the same command again" in run(
        "cifar10.py", *options, "--minutes", "0", cwd=tmp_path
    )
    assert run("cifar10.py", *options, cwd=tmp_path).endswith("done\n")
    found = json.loads(result.read_text())["results"]
    assert set(found) == {method.__name__ for method in METHODS}
    assert all(0 <= row["accuracy"] <= 1 for row in found.values())
    assert len(list((tmp_path / "checkpoints").glob("*.joblib"))) == len(METHODS)
