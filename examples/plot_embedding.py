"""
Which images are similar in an embedding?
=========================================

The nearest neighbors of some digits, by pixels and by the embedding, and a scatter plot of the
embedding. None of the images was in training. Frames are green for neighbors of the same class and
red for others.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl.inspection import EmbeddingDisplay, NeighborsDisplay
from sklearn_ssl.metrics import knn_accuracy
from sklearn_ssl.views import ImageViews

EPOCHS = 20

X, X_test, y, y_test = train_test_split(
    *(load_digits().images, load_digits().target), test_size=0.5, random_state=0
)
views = ImageViews(hflip=0.0, rotation=15.0, scale=(0.5, 1.0))
simclr = SimCLRTransformer(views=views, max_epochs=EPOCHS, random_state=0).fit(X)
queries = [np.flatnonzero(y_test == digit)[0] for digit in (1, 5, 8, 9)]

# %%
# Neighbors by pixels.

pixels = X_test.reshape(len(X_test), -1)
NeighborsDisplay.from_embeddings(pixels, X_test, y_test, queries=queries)

# %%
# Neighbors by the embedding.

NeighborsDisplay.from_estimator(simclr, X_test, y_test, queries=queries)

# %%
# Four digits prove nothing. This is the accuracy of a vote of the 20 nearest neighbors, on all.

print(f"pixels    {knn_accuracy(pixels, y_test):.3f}")
print(f"embedding {knn_accuracy(simclr.transform(X_test), y_test):.3f}")

# %%
# The scatter plot shows groups, and which digits lie between two of them. Two dimensions leave out
# most of an embedding: use metrics for evaluation.

EmbeddingDisplay.from_estimator(simclr, X_test, y_test, random_state=0)

plt.show()
