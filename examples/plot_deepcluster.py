"""DeepCluster on handwritten digits: whether the clusters settle, and are the digits.

    python examples/plot_deepcluster.py [--epochs 30] [--picture plot_deepcluster.png]

DeepCluster learns features and groups at once, without labels. Here it sorts the digits that ship
with scikit-learn into 20 groups, and k-means on the raw pixels does so too. The labels only judge.
The picture shows images of each group, how the groups agree with the digits and with those of the
epoch before, and how their number matters. The agreement with the epoch before leaps up at the end,
because the last clustering starts from the groups before it and not anew.
"""

import argparse

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.preprocessing import normalize

from sklearn_ssl import DeepClusterEstimator
from sklearn_ssl.inspection import ClusteringDisplay
from sklearn_ssl.views import ImageViews

N_CLUSTERS, SHOWN = 20, 16

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--picture", default="plot_deepcluster.png")
options = parser.parse_args()

images, digits = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8)

# Views that suit digits: mirrored, a digit is another one, or none; slanted, it stays the same.
views = ImageViews(flip=0.0, rotation=15.0, crop_area=(0.5, 1.0), n_views=1)
model = DeepClusterEstimator(
    n_clusters=N_CLUSTERS, views=views, max_epochs=options.epochs, random_state=0, verbose=1
)
model.fit(images)
k_means = KMeans(N_CLUSTERS, n_init=10, random_state=0).fit(images.reshape(len(images), -1))

print(f"\nAgreement of {N_CLUSTERS} clusters with the 10 digits, of {len(images)} images\n")
print(f"{'':24}{'NMI':>8}{'adjusted Rand':>16}")
for name, labels in {"DeepCluster": model.labels_, "k-means, raw pixels": k_means.labels_}.items():
    nmi = normalized_mutual_info_score(digits, labels)
    print(f"{name:24}{nmi:8.3f}{adjusted_rand_score(digits, labels):16.3f}")

try:
    import matplotlib.pyplot as plt
except ImportError:
    raise SystemExit('\nNo picture: pip install "sklearn-ssl[plot]" for matplotlib.') from None

figure = plt.figure(figsize=(13, 9), layout="constrained")
sheet, curves = figure.subfigures(1, 2, width_ratios=(8, 5))
sheet, curves = sheet.subplots(), curves.subplots(3)

embedding = normalize(model.transform(images))
rows = []
for cluster in range(len(model.cluster_centers_)):
    members = np.flatnonzero(model.labels_ == cluster)
    similarity = embedding[members] @ embedding[members].mean(axis=0)
    nearest = members[np.argsort(-similarity)[:SHOWN]]
    row = np.hstack([np.pad(images[i], 1) for i in nearest])
    row = np.pad(row, ((0, 0), (0, 10 * SHOWN - row.shape[1])))
    rows.append((np.bincount(digits[members]).argmax(), len(members), row))
rows.sort(key=lambda row: row[:2])  # clusters of the same digit side by side
sheet.imshow(np.vstack([row for _, _, row in rows]), cmap="gray")
sheet.set_title("Each row a cluster: the images nearest to its mean embedding")
sheet.set_yticks(10 * np.arange(len(rows)) + 4.5, labels=[size for _, size, _ in rows])
sheet.set(xticks=[], ylabel="images in the cluster")

model.set_params(verbose=0)
ClusteringDisplay.from_estimator(model, images, digits, n_clusters=(5, 10, 20, 50), ax=curves)
figure.savefig(options.picture, dpi=100)
print(f"\nPicture: {options.picture}")
