"""The benchmarks that cannot run everywhere, on a tiny scale."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from common import IMAGE_METHODS, METHODS, ONE_THREAD, photo_patches, sentences
from PIL import Image

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def result():
    """Where a trial writes its results, which nobody wants to keep."""
    path = BENCHMARKS / "results" / "trial.json"
    yield path
    path.unlink(missing_ok=True)


def run(script, *options, cwd):
    command = [sys.executable, BENCHMARKS / script, *options]
    how = {"cwd": cwd, "env": ONE_THREAD, "check": True}
    return subprocess.run(command, capture_output=True, text=True, **how).stdout


def numbers(results):
    """Give all numbers in results, except that of repetitions."""
    for name, value in results.items():
        if isinstance(value, dict):
            yield from numbers(value)
        elif name != "repetitions":
            yield from value if isinstance(value, list) else [value]


@pytest.mark.exhaustive
def test_full_cifar_10_resumes(tmp_path, result):
    """In two stretches: no epoch begins in the first, all are made in the second."""
    X, y = photo_patches(120), np.arange(120) % 2
    np.savez(tmp_path / "cifar10.npz", X_train=X, y_train=y, X_test=X[:20], y_test=y[:20])
    options = [tmp_path, "--epochs", "1", "--backbone", "small_convnet", "--batch-size", "60"]
    options += ["--name", "trial"]
    assert "run the same command again" in run(
        "cifar10.py", *options, "--minutes", "0", cwd=tmp_path
    )
    assert run("cifar10.py", *options, cwd=tmp_path).endswith("done\n")
    found = json.loads(result.read_text())["results"]
    assert set(found) == {method.__name__ for method in IMAGE_METHODS}
    assert all(0 <= row["accuracy"] <= 1 for row in found.values())
    assert len(list((tmp_path / "checkpoints").glob("*.joblib"))) == len(IMAGE_METHODS)


@pytest.mark.exhaustive
def test_gpu_benchmark_resumes(tmp_path, result):
    X, y = photo_patches(64), np.arange(64) % 2
    np.savez(tmp_path / "cifar10.npz", X_train=X, y_train=y, X_test=X[:20], y_test=y[:20])
    options = [tmp_path, "--device", "cpu", "--tiny", "--backbone", "small_convnet"]
    options += ["--cifar-minutes", "0.02", "--name", "trial"]
    parts = ["--parts", "correct, VIME", "bfloat16"]
    first = run("gpu.py", *options, "--minutes", "0", *parts, cwd=tmp_path)
    assert first.endswith("run the same command again: 1 parts are missing\n")
    [correct] = json.loads(result.read_text())["results"].items()
    assert run("gpu.py", *options, cwd=tmp_path).endswith("done\n")
    found = json.loads(result.read_text())["results"]
    assert correct in found.items()
    correct = {name for name in found if name.startswith("correct, ")}
    others = {"step", "views", "throughput", "bfloat16", "CIFAR-10, 0.02 min"}
    others |= {"out of memory, small_vit", "out of memory, small_convnet"}
    assert set(found) == correct | others
    assert {name.split(", ")[1] for name in correct} == {method.__name__ for method in METHODS}
    assert not any("error" in part for part in found.values())
    assert run("gpu.py", *options, cwd=tmp_path) == "done\n"
    again = run("gpu.py", *options, "--again", "--parts", "bfloat16", cwd=tmp_path)
    assert [*json.loads(again.splitlines()[0])] == ["bfloat16"]
    assert json.loads(result.read_text())["results"].keys() == found.keys()


PEERS = [name for name in ("lightly", "kornia") if importlib.util.find_spec(name)]
# Script and options, a group of its results, and the ratios that are in it.
TRIALS = [
    ("step.py --batch-size 8 --steps 2", None, ["fit / bare", "fit / floor"]),
    (
        f"views.py DATA --ways ours torchvision {' '.join(PEERS)} --sides 40 --batch-sizes 8 "
        "--batches 2 --seconds 0 --step-repetitions 0",
        "40 px",
        [f"ours / {peer}" for peer in ("torchvision", *PEERS)],
    ),
    (
        "embed.py DATA --networks small_convnet-40 --n-images 20",
        "small_convnet-40",
        ["transform / plain", "folded / transform"],
    ),
    ("memory.py --n-images 128 --megabytes 2", None, ["transform / transform, quarter"]),
    pytest.param(
        "train_throughput.py DATA --backbones small_convnet --n-images 32 --batch-size 16",
        "small_convnet",
        ["ours / lightly", "ours / floor"],
        marks=pytest.mark.skipif("lightly" not in PEERS, reason="compares with lightly"),
    ),
    (
        f"files.py FOLDER --n-images 70 --size 16 --batch-size 16 --epochs 1 --memory 40 "
        f"{'' if 'lightly' in PEERS else '--without-lightly'}",
        None,
        ["later epochs / array, later", "seconds of the first epoch / of the slower floor"],
    ),
    (
        "overhead.py DATA --n-images 60 --epochs 1",
        "10,000 images, small_convnet",
        ["with both / without"],
    ),
    (
        "patch_kmeans.py DATA --train 40 --few 8 --centroids 8 --without-accuracy",
        None,
        ["fit, usual / fit, ours", "transform, usual / transform, ours"],
    ),
]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("command", "group", "ratios"),
    TRIALS,
    ids=[
        "step",
        "views",
        "embed",
        "memory",
        "train_throughput",
        "files",
        "overhead",
        "patch_kmeans",
    ],
)
def test_speed_is_measured(command, group, ratios, tmp_path, result):
    X, y = photo_patches(64), np.arange(64) % 2
    np.savez(tmp_path / "cifar10.npz", X_train=X, y_train=y)
    for i, image in enumerate(X):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    folders = ("DATA", "FOLDER")
    options = [tmp_path if word in folders else word for word in command.split()]
    repetitions = "2" if command.startswith(("step", "views")) else "1"
    run(*options, "--repetitions", repetitions, "--name", "trial", cwd=tmp_path)
    found = json.loads(result.read_text())["results"]
    found = found if group is None else found[group]
    assert set(ratios) <= set(found)
    assert all(np.isfinite(list(numbers(found))))
    assert all(found[ratio] > 0 for ratio in ratios)
    assert found.get("difference", 0) < 1e-3  # both ways compute the same
    if "difference, transform" in found:  # transform gives what the plain pass gives
        assert max(found["difference, transform"], found["difference, folded"]) < 1e-3


@pytest.mark.exhaustive
def test_filling_of_missing_values_is_measured(tmp_path, result):
    run("impute.py", "--seeds", "1", "--epochs", "1", "--name", "trial", cwd=tmp_path)
    found = json.loads(result.read_text())["results"]
    assert 0.3 < found["wine, KNNImputer"]["error"] < found["wine, mean"]["error"] < 1.2
    assert 0.3 < found["wine, VIMETransformer"]["error"] < 3
    assert 0.5 < found["iris, three labels per class"]["rows"] <= 1


@pytest.mark.exhaustive
def test_accuracy_over_minutes_reuses_existing_rows(tmp_path, result):
    X, y = photo_patches(64), np.arange(64) % 2
    np.savez(tmp_path / "cifar10.npz", X_train=X, y_train=y, X_test=X[:20], y_test=y[:20])
    options = [
        "budget.py",
        tmp_path,
        "--datasets",
        "cifar10",
        "--minutes",
        "0.02",
        "--name",
        "trial",
    ]
    picture = result.with_suffix(".png")
    try:
        run(*options, "--rows", "SimCLR", cwd=tmp_path)
        found = json.loads(result.read_text())["results"]["cifar10"]
        run(*options, "--rows", "SimCLR", "raw", "Inpainting", cwd=tmp_path)
        more = json.loads(result.read_text())["results"]["cifar10"]
        run(*options, "--plot", cwd=tmp_path)
        assert picture.stat().st_size > 10_000
    finally:
        picture.unlink(missing_ok=True)
    timed = "SimCLRTransformer, 0.02 min"
    inpainting = [f"InpaintingTransformer, {part}" for part in ("untrained", "0.02 min")]
    assert list(more) == [timed, "raw pixels", *inpainting]
    assert more[inpainting[1]]["score_pretext"] > 0
    assert more[timed] == found[timed]
    assert all(0 <= a <= 1 for row in more.values() for a in row["accuracy"].values())


@pytest.mark.exhaustive
def test_learning_is_compared_with_baselines(tmp_path, result):
    X, y = photo_patches(60), np.arange(60) % 2
    np.savez(tmp_path / "cifar10.npz", X_train=X, y_train=y, X_test=X, y_test=y)
    options = ["--datasets", "cifar10", "--methods", "SimCLRTransformer", "--folds", "2"]
    options += ["--minutes", "0.02", "--name", "trial"]
    picture = result.with_suffix(".png")
    try:
        told = run("did_it_help.py", tmp_path, *options, cwd=tmp_path)
        found = json.loads(result.read_text())["results"]["cifar10"]
        assert picture.stat().st_size > 10_000
        again = run("did_it_help.py", tmp_path, *options, cwd=tmp_path)
    finally:
        picture.unlink(missing_ok=True)
    names = ["SimCLRTransformer", "PatchKMeansTransformer", "raw values", "PCA"]
    for n in (1, 10, None):
        rows = [row for row in found if row["labels"] == n]
        assert [row["name"] for row in rows][:4] == names
        assert [row["is_baseline"] for row in rows] == [False, False] + [True] * (len(rows) - 2)
    assert all(0 <= score <= 1 for row in found for score in row["scores"])
    table = told[told.index("\ncifar10\n") :]
    assert again == table  # of what was kept


@pytest.mark.exhaustive
def test_metrics_are_timed(tmp_path, result):
    rows = ["--rows", "clustering_accuracy", "rankme"]
    size = ["--samples", "200", "--features", "8"]
    run("metrics.py", *size, *rows, "--name", "trial", cwd=tmp_path)
    found = json.loads(result.read_text())["results"]
    assert list(found) == rows[1:]
    assert all(row["seconds"] > 0 for row in found.values())
    assert 0.8 < found["clustering_accuracy"]["value"][0] < 0.97


@pytest.mark.exhaustive
def test_fine_tuning_is_compared(tmp_path, result):
    X, y = photo_patches(60), np.arange(60) % 2
    np.savez(tmp_path / "cifar10.npz", X_train=X, y_train=y, X_test=X, y_test=y)
    options = ["--minutes", "0.02", "--n-labels", "5", "--draws", "1", "--n-test", "20"]
    run("fine_tuning.py", tmp_path, *options, "--name", "trial", cwd=tmp_path)
    [row] = json.loads(result.read_text())["results"].values()
    ways = "probe", "fine-tuned", "from scratch"
    assert all(0 <= row[way]["median"] <= 1 < 1 + row[f"seconds, {way}"] for way in ways)


@pytest.mark.exhaustive
def test_choices_are_compared_in_equal_time(tmp_path, result):
    X, y = photo_patches(128), np.arange(128) % 2
    np.savez(tmp_path / "cifar10.npz", X_train=X, y_train=y)
    options = ["--rows", "SimCLR", "rotation, before", "--seconds", "2", "--name", "trial"]
    run("choices.py", tmp_path, *options, cwd=tmp_path)
    found = json.loads(result.read_text())["results"]
    assert list(found) == ["SimCLR, seed 0", "rotation, before, seed 0"]
    assert all(0 <= a <= 1 for row in found.values() for a in row["accuracy"].values())


@pytest.mark.exhaustive
def test_time_is_measured(tmp_path, result):
    options = ["--methods", "SimCLRTransformer", "--n-images", "100", "--seconds", "1"]
    run("max_time.py", *options, "--name", "trial", cwd=tmp_path)
    found = json.loads(result.read_text())["results"]
    assert len(found) == 2
    assert all(row["seconds / max_time"] > 0.9 for row in found.values())


@pytest.mark.slow
def test_the_table_of_speed_names_every_goal(tmp_path):
    table = run("speed.py", tmp_path, "--quick", "--table-only", cwd=tmp_path)
    assert table.count("| at least ") + table.count("| at most ") == 18


@pytest.mark.exhaustive
def test_texts(tmp_path, result):
    texts, labels = sentences()
    path = tmp_path / "texts.csv"
    pd.DataFrame({"text": texts, "section": labels}).to_csv(path, index=False)
    run("text.py", path, "--minutes", "0.05", "--name", "trial", cwd=tmp_path)
    found = json.loads(result.read_text())["results"]
    names = ["TF-IDF", "TF-IDF, SVD 256", "untrained", "BERTTransformer", "SimCLRTransformer"]
    assert list(found) == names
    assert all(0.2 < row["all"][0] <= 1 for row in found.values())
