"""Handwritten digits with few labels: raw pixels, PCA, an untrained encoder, and SimCLR.

    python examples/quickstart.py [--epochs 40] [--picture quickstart.png]

Most of the digits have no label. SimCLR learns features from all training images without labels;
then a logistic regression is trained with 1, 5 or 20 labels per class and evaluated on a test set.
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl.views import ImageViews

LABELS, DRAWS = (1, 5, 20), 20

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--picture", default="quickstart.png")
options = parser.parse_args()

images, digits = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8)
X, X_test, y, y_test = train_test_split(
    images, digits, test_size=500, stratify=digits, random_state=0
)

# Views that suit digits: they may be rotated a little, but not flipped.
views = ImageViews(hflip=0.0, rotation=15.0, scale=(0.5, 1.0))
simclr = SimCLRTransformer(views=views, max_epochs=options.epochs, random_state=0, verbose=1)
simclr.fit(X)
# The same network with random weights: with this learning rate only batch norm changes.
untrained = SimCLRTransformer(max_epochs=1, lr=1e-12, random_state=0).fit(X)
pca = PCA(20, random_state=0).fit(X.reshape(len(X), -1))


def accuracies(features, features_test):
    """Yield the test accuracy for each number of labels, over the same draws for all features."""
    for n_labels in LABELS:
        scores = []
        for draw in range(DRAWS):
            rng = np.random.default_rng(draw)
            chosen = [rng.choice(np.flatnonzero(y == c), n_labels, False) for c in range(10)]
            chosen = np.concatenate(chosen)
            classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            classifier.fit(features[chosen], y[chosen])
            scores.append(classifier.score(features_test, y_test))
        yield f"{np.mean(scores):.3f} ± {np.std(scores):.3f}"


features = {
    "raw pixels": lambda images: images.reshape(len(images), -1),
    "PCA": lambda images: pca.transform(images.reshape(len(images), -1)),
    "untrained encoder": untrained.transform,
    "SimCLR": simclr.transform,
}
print(f"\nTest accuracy, mean ± standard deviation over {DRAWS} draws of the labels\n")
print(f"{'labels per class':18}" + "".join(f"{n:>16}" for n in LABELS))
for name, embed in features.items():
    print(f"{name:18}" + "".join(f"{a:>16}" for a in accuracies(embed(X), embed(X_test))))

try:
    import matplotlib.pyplot as plt
except ImportError:
    raise SystemExit('\nNo figure: pip install "sklearn-ssl[plot]" for matplotlib.') from None

embedding, gallery = simclr.transform(X_test), simclr.transform(X)
figure, (left, right) = plt.subplots(1, 2, figsize=(14, 7), width_ratios=(3, 2))
left.set_title("Test digits by their embedding (t-SNE), colored by class")
position = TSNE(metric="cosine", random_state=0).fit_transform(embedding)
low, high = position.min(0), position.max(0)
position = (position - low) / (high - low)
colors = plt.get_cmap("tab10")(y_test)[:, None, None, :3]
for (x, height), image, color in zip(position, X_test, colors, strict=True):
    ink = (image / 16)[..., None]
    left.imshow(
        np.concatenate([np.broadcast_to(color[0, 0], (8, 8, 3)), ink], axis=2),
        extent=(x - 0.013, x + 0.013, height - 0.013, height + 0.013),
    )
left.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
left.axis("off")

right.set_title("Test digits (left) and their 7 nearest neighbors in the training set")
queries = [np.flatnonzero(y_test == c)[0] for c in range(10)]
nearest = NearestNeighbors(n_neighbors=7, metric="cosine").fit(gallery)
rows = nearest.kneighbors(embedding[queries], return_distance=False)
gap = np.full((8, 4), 16.0)
right.imshow(
    np.vstack(
        [
            np.pad(np.hstack([X_test[query], gap, *X[row]]), ((0, 2), (0, 0)))
            for query, row in zip(queries, rows, strict=True)
        ]
    ),
    cmap="gray",
)
right.axis("off")
figure.tight_layout()
figure.savefig(options.picture, dpi=100)
print(f"\nFigure: {options.picture}")
