"""
Where does a vision transformer look?
=====================================

:class:`~sklearn_ssl.DINOTransformer` trains a small vision transformer without labels, on pieces of
two photographs of scikit-learn, a temple and a flower. The figure shows the attention of the last
block for some pieces, and their nearest neighbors in the embedding.
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
# A piece, the attention in it, and its nearest neighbors. After a short training on few pieces,
# some neighbors are similar only in color, or not at all.

embedding = dino.transform(pieces)
embedding -= embedding.mean(axis=0)
neighbors = NearestNeighbors(n_neighbors=1 + N_NEIGHBORS, metric="cosine").fit(embedding)
nearest = neighbors.kneighbors(embedding[list(QUERIES)], return_distance=False)
attention = dino.attention_maps(pieces[list(QUERIES)]).mean(axis=1)  # over heads

figure, rows = plt.subplots(len(QUERIES), 2 + N_NEIGHBORS, figsize=(9, 9), layout="constrained")
for row, weights, found in zip(rows, attention, nearest, strict=True):
    row[0].imshow(pieces[found[0]])
    row[1].imshow(pieces[found[0]].mean(axis=2), cmap="gray")
    row[1].imshow(weights, cmap="inferno", alpha=0.6, extent=(-0.5, SIDE - 0.5, SIDE - 0.5, -0.5))
    for axes, piece in zip(row[2:], found[1:], strict=True):
        axes.imshow(pieces[piece])
for axes in rows.flat:
    axes.axis("off")
for axes, title in zip(rows[0], ("piece", "attention", "nearest"), strict=False):
    axes.set_title(title, fontsize=10)

plt.show()
