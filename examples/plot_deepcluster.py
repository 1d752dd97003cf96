"""
Do the clusters converge, and are they the digits?
==================================================

:class:`~sklearn_ssl.DeepClusterEstimator` learns features and clusters, without labels. Here it
finds 20 clusters of scikit-learn's digits. The baseline is k-means on raw pixels. Labels are only
used for evaluation.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.preprocessing import normalize

from sklearn_ssl import DeepClusterEstimator
from sklearn_ssl.inspection import ClusteringDisplay
from sklearn_ssl.views import ImageViews

EPOCHS, N_CLUSTERS, SHOWN = 15, 20, 16

images, digits = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8)

# Views that suit digits: they may be rotated a little, but not flipped.
views = ImageViews(hflip=0.0, rotation=15.0, scale=(0.5, 1.0), n_views=1)
model = DeepClusterEstimator(
    n_clusters=N_CLUSTERS, views=views, max_epochs=EPOCHS, random_state=0
).fit(images)
k_means = KMeans(N_CLUSTERS, n_init=10, random_state=0).fit(images.reshape(len(images), -1))

print(f"Agreement of {N_CLUSTERS} clusters with the 10 digits, {len(images)} images\n")
print(f"{'':24}{'NMI':>8}{'adjusted Rand':>16}")
for name, labels in {"DeepCluster": model.labels_, "k-means, raw pixels": k_means.labels_}.items():
    nmi = normalized_mutual_info_score(digits, labels)
    print(f"{name:24}{nmi:8.3f}{adjusted_rand_score(digits, labels):16.3f}")

# %%
# Each row is a cluster, with the images nearest to its mean embedding and the number of its images.

embedding = normalize(model.transform(images))
rows = []
for cluster in range(len(model.cluster_centers_)):
    members = np.flatnonzero(model.labels_ == cluster)
    similarity = embedding[members] @ embedding[members].mean(axis=0)
    nearest = members[np.argsort(-similarity)[:SHOWN]]
    row = np.hstack([np.pad(images[i], 1) for i in nearest])
    row = np.pad(row, ((0, 0), (0, 10 * SHOWN - row.shape[1])))
    rows.append((np.bincount(digits[members]).argmax(), len(members), row))
rows.sort(key=lambda row: row[:2])  # by the most frequent digit

figure, sheet = plt.subplots(figsize=(6.4, 8), layout="constrained")
sheet.imshow(np.vstack([row for _, _, row in rows]), cmap="gray")
sheet.set_yticks(10 * np.arange(len(rows)) + 4.5, labels=[size for _, size, _ in rows])
sheet.set(xticks=[], ylabel="images in the cluster")

# %%
# Agreement of the clusters with the digits and with those of the previous epoch, and the influence
# of their number. The agreement with the previous epoch is higher at the end, because the final
# clustering is initialized with the previous clusters.

ClusteringDisplay.from_estimator(model, images, digits, n_clusters=(5, 10, 20, 50))

plt.show()
