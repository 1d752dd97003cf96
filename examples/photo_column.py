"""Combine a column of photographs with columns of numbers in a data frame.

    python examples/photo_column.py FOLDER

The data frame has a row for each file of FOLDER (with a subfolder for each class): the path of the
photograph, the size of the file, and its mean brightness. A ColumnTransformer passes the paths to
SimCLRTransformer and the numbers to StandardScaler; a linear model classifies.
"""

import argparse
import os
import tempfile

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ssl import Images, SimCLRTransformer, image_paths


def brightness(path):
    """Return the mean gray value of a photograph."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((16, 16))).mean()


def main():
    """Cross-validate a linear model on the numbers, on the photographs, and on both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()

    paths, labels = image_paths(options.folder)
    table = pd.DataFrame(
        {
            "photo": paths,
            "size": [os.stat(path).st_size for path in paths],
            "brightness": [brightness(path) for path in paths],
        }
    )
    with tempfile.TemporaryDirectory() as cache:
        simclr = SimCLRTransformer(
            max_epochs=options.epochs, input=Images(cache=cache, n_jobs=-1), random_state=0
        )
        photo = ("photo", make_pipeline(simclr, StandardScaler()), ["photo"])
        numbers = ("numbers", StandardScaler(), ["size", "brightness"])
        for name, columns in {
            "numbers": [numbers],
            "photographs": [photo],
            "both": [photo, numbers],
        }.items():
            model = make_pipeline(
                ColumnTransformer(columns), LogisticRegression(C=0.01, max_iter=1000)
            )
            scores = cross_val_score(model, table, labels, cv=3)
            print(f"{name:12} {scores.mean():.3f} ± {scores.std():.3f}")


if __name__ == "__main__":
    main()
