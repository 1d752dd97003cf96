"""The examples, shortened: those of the gallery, and those on a folder of photographs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from common import ONE_THREAD, photo_patches
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def photos(tmp_path):
    """A folder of photographs of two classes."""
    for i, image in enumerate(photo_patches(60, 48)):
        folder = tmp_path / "photos" / ("china" if i < 30 else "flower")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.jpg")
    return tmp_path / "photos"


@pytest.mark.exhaustive
def test_what_is_made_of_photographs_is_shown(tmp_path, photos):
    names = ["ColorizationTransformer", "RelativePatchTransformer"]
    command = [sys.executable, EXAMPLES / "pretext_tasks.py", photos, "--minutes", "0.03"]
    how = {"cwd": tmp_path, "env": ONE_THREAD, "check": True}
    done = subprocess.run([*command, "--methods", *names], capture_output=True, text=True, **how)
    scores = {line.split()[0]: float(line.split()[-1]) for line in done.stdout.splitlines()}
    assert set(scores) == set(names)
    assert scores[names[0]] > 5
    assert 0 < scores[names[1]] <= 1
    for name in names:
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width < picture.height  # three columns, six rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("example", "rows"),
    [
        pytest.param(
            "imagenette.py", ["untrained encoder", "SimCLR"], marks=pytest.mark.exhaustive
        ),
        ("photo_column.py", ["numbers", "photographs", "both"]),
    ],
)
def test_examples_on_a_folder(example, rows, tmp_path, photos):
    command = [sys.executable, EXAMPLES / example, photos, "--epochs", "2"]
    how = {"cwd": tmp_path, "env": ONE_THREAD, "check": True}
    done = subprocess.run(command, capture_output=True, text=True, **how)
    lines = {
        line[:18].split("  ")[0].strip(): line.split()[-3] for line in done.stdout.splitlines()
    }
    assert all(float(lines[row]) > 0.7 for row in rows)


# These take longest.
LONG = "few_labels", "dino", "embedding", "deepcluster", "did_it_help", "jigsaw"
LONG += "settings_without_labels", "colors", "inpainting"
GALLERY = [
    pytest.param(
        path,
        id=path.stem,
        marks=pytest.mark.exhaustive if path.stem[5:] in LONG else pytest.mark.slow,
    )
    for path in sorted(EXAMPLES.glob("plot_*.py"))
]


@pytest.mark.parametrize("example", GALLERY)
def test_examples_of_the_gallery(example, tmp_path):
    text = example.read_text()
    assert text.splitlines()[1].endswith("?")  # each asks one question, its title
    short, n_found = re.subn(r"(?m)^(EPOCHS\b[^=]*= )\d+", r"\g<1>1", text)
    assert n_found == 1
    (tmp_path / "example.py").write_text(short + "assert plt.get_fignums()\n")
    command = [sys.executable, "example.py"]
    subprocess.run(command, cwd=tmp_path, check=True, env=ONE_THREAD | {"MPLBACKEND": "agg"})
