"""
Did learning without labels help?
=================================

Not always. :func:`~sklearn_ssl.compare` evaluates a method and baselines without training in the
same folds and with the same classifier: here on handwritten digits, and on tabular data.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer, load_digits

from sklearn_ssl import LinearProbe, PatchKMeansTransformer, SimCLRTransformer, compare
from sklearn_ssl.views import ImageViews

EPOCHS = 10

settings = {"cv": 3, "n_labels": [10], "probe": LinearProbe(C=0.1), "random_state": 0}

# %%
# Images of digits, with k-means of patches as a classical baseline.

digits = load_digits()
views = ImageViews(hflip=0.0, rotation=15.0, scale=(0.5, 1.0))
estimators = {
    "SimCLR": SimCLRTransformer(views=views, max_epochs=EPOCHS, random_state=0),
    "k-means of patches": PatchKMeansTransformer(n_centroids=200, patch_size=4, random_state=0),
}
comparison = compare(estimators, digits.images, digits.target, **settings)
print(comparison)
comparison.plot().ax_.set_title("Digits, ten labels per class")

# %%
# Tabular data: 30 features of each tumor.

table = load_breast_cancer()
estimators = {"SimCLR": SimCLRTransformer(max_epochs=EPOCHS, random_state=0)}
comparison = compare(estimators, table.data, table.target, **settings)
print(comparison)
comparison.plot().ax_.set_title("Breast cancer, ten labels per class")

# %%
# Differences to the best baseline that are marked with ~ are within noise. On the digits, SimCLR is
# better than the baselines, and so are patches, which take seconds. On tabular data, use the raw
# features.

plt.show()
