"""
Where does a vision transformer look?
=====================================

:class:`~sklearn_ssl.DINOTransformer` trains a small vision transformer, without labels, on the
pieces of two photographs that ship with scikit-learn, a temple and a flower. The picture shows,
for some pieces, the attention of the network's last block, and the pieces whose embedding is
nearest.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.neighbors import NearestNeighbors

from sklearn_ssl import DINOTransformer

EPOCHS, SIDE, N_NEIGHBORS, QUERIES = 6, 32, 6, (47, 84, 109, 165, 200, 385, 390, 490)

photographs = [
    np.lib.stride_tricks.sliding_window_view(photo, (SIDE, SIDE), axis=(0, 1))[::SIDE, ::SIDE]
    for photo in load_sample_images().images
]
pieces = np.concatenate([p.reshape(-1, 3, SIDE, SIDE) for p in photographs])
pieces = pieces.transpose(0, 2, 3, 1)  # (520, 32, 32, 3)
dino = DINOTransformer(backbone="small_vit", max_epochs=EPOCHS, random_state=0).fit(pieces)

# %%
# A piece, where the network looks in it, and the nearest other pieces. After so short a training
# on so few pieces, some of those are alike in colours alone, or not at all.

embedding = dino.transform(pieces)
embedding -= embedding.mean(axis=0)
neighbors = NearestNeighbors(n_neighbors=1 + N_NEIGHBORS, metric="cosine").fit(embedding)
nearest = neighbors.kneighbors(embedding[list(QUERIES)], return_distance=False)
attention = dino.attention_maps(pieces[list(QUERIES)]).mean(axis=1)  # over heads

figure, rows = plt.subplots(len(QUERIES), 2 + N_NEIGHBORS, figsize=(9, 9), layout="constrained")
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

plt.show()
