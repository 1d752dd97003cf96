"""What looks alike, and where a vision transformer looks: DINO on pieces of two photographs.

    python examples/plot_dino.py [--epochs 20] [--picture plot_dino.png]

DINOTransformer trains a small vision transformer, without labels, on the pieces of two photographs
that ship with scikit-learn, a temple and a flower. The picture shows, for some pieces, the
attention of the network's last block, and the pieces whose embedding is nearest.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.neighbors import NearestNeighbors

from sklearn_ssl import DINOTransformer

SIDE, N_NEIGHBORS, QUERIES = 32, 6, (47, 84, 109, 165, 200, 385, 390, 490)

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--picture", default="plot_dino.png")
options = parser.parse_args()

photographs = [
    np.lib.stride_tricks.sliding_window_view(photo, (SIDE, SIDE), axis=(0, 1))[::SIDE, ::SIDE]
    for photo in load_sample_images().images
]
pieces = np.concatenate([p.reshape(-1, 3, SIDE, SIDE) for p in photographs])
pieces = pieces.transpose(0, 2, 3, 1)  # (520, 32, 32, 3)
dino = DINOTransformer(
    backbone="small_vit", max_epochs=options.epochs, random_state=0, verbose=1
).fit(pieces)

embedding = dino.transform(pieces)
embedding -= embedding.mean(axis=0)
neighbors = NearestNeighbors(n_neighbors=1 + N_NEIGHBORS, metric="cosine").fit(embedding)
nearest = neighbors.kneighbors(embedding[list(QUERIES)], return_distance=False)
attention = dino.attention_maps(pieces[list(QUERIES)]).mean(axis=1)  # over heads

figure, rows = plt.subplots(len(QUERIES), 2 + N_NEIGHBORS, figsize=(9, 9), layout="constrained")
figure.suptitle("A piece, where the network looks in it, and the nearest other pieces")
for row, looks, found in zip(rows, attention, nearest, strict=True):
    row[0].imshow(pieces[found[0]])
    row[1].imshow(pieces[found[0]].mean(axis=2), cmap="gray")
    row[1].imshow(looks, cmap="inferno", alpha=0.6, extent=(-0.5, SIDE - 0.5, SIDE - 0.5, -0.5))
    for axes, piece in zip(row[2:], found[1:], strict=True):
        axes.imshow(pieces[piece])
for axes in rows.flat:
    axes.axis("off")
for axes, title in zip(rows[0], ("piece", "attention", "nearest"), strict=False):
    axes.set_title(title, fontsize=10)
figure.savefig(options.picture, dpi=100)
print(f"Picture: {options.picture}")
