"""Classify a folder of photographs with features learned from its files.

    python examples/imagenette.py FOLDER

FOLDER has a subfolder for each class, as Imagenette, ImageNet or your own photographs. In each of
three folds, the training set trains an encoder without labels and a linear model with labels. The
baseline is the same linear model on an encoder with random weights. Files are decoded once, and
cached in the folder of --cache.
"""

import argparse

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ssl import Images, SimCLRTransformer, image_paths


def main():
    """Cross-validate both models and print their accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--cache", default="imagenette_cache", help="folder of decoded images")
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()

    paths, labels = image_paths(options.folder)
    print(f"{len(paths)} images of {len(set(labels))} classes")
    simclr = SimCLRTransformer(
        max_epochs=options.epochs, input=Images(cache=options.cache, n_jobs=-1), random_state=0
    )
    # With this learning rate, the weights stay random.
    untrained = SimCLRTransformer(
        max_epochs=1, lr=1e-12, input=Images(cache=options.cache, n_jobs=-1), random_state=0
    )
    for name, encoder in {"untrained encoder": untrained, "SimCLR": simclr}.items():
        model = make_pipeline(encoder, StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        scores = cross_val_score(model, paths, labels, cv=3)
        print(f"{name:18} {scores.mean():.3f} ± {scores.std():.3f}")


if __name__ == "__main__":
    main()
