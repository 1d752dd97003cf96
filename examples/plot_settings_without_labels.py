"""
How do I select hyperparameters without labels?
===============================================

:func:`~sklearn_ssl.metrics.rankme_scorer` is the effective rank of an embedding, and
:func:`~sklearn_ssl.metrics.alignment_uniformity_scorer` is high if views of an image are close to
each other and images are spread out. A search with them needs no labels. Here labels are only used
to check whether the scores select good hyperparameters.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl.metrics import alignment_uniformity_scorer, knn_accuracy, rankme_scorer
from sklearn_ssl.views import ImageViews

EPOCHS = 8

images, digits = load_digits().images[:1000], load_digits().target[:1000]
views = ImageViews(hflip=0.0, rotation=15.0, scale=(0.5, 1.0))
simclr = SimCLRTransformer(views=views, max_epochs=EPOCHS, random_state=0)


def neighbors(estimator, X, y):
    """Return the accuracy of nearest neighbors, which needs labels."""
    return knn_accuracy(estimator.transform(X), y)


scoring = {
    "RankMe": rankme_scorer,
    "alignment and uniformity": alignment_uniformity_scorer,
    "neighbors": neighbors,
}
grid = {"temperature": [0.05, 0.1, 0.2, 0.5, 1.0, 3.0]}
search = GridSearchCV(simclr, grid, scoring=scoring, refit="RankMe", cv=2).fit(images, digits)
print(f"RankMe selects temperature={search.best_params_['temperature']}\n")

# %%
# Each point is a temperature. A useful score increases with the accuracy: here it identifies poor
# temperatures, but does not rank the good ones.

found = search.cv_results_
print(f"{'temperature':>12} {'RankMe':>8} {'alignment and uniformity':>26} {'neighbors':>12}")
for row in zip(grid["temperature"], *(found[f"mean_test_{s}"] for s in scoring), strict=True):
    print("{:12} {:8.1f} {:26.3f} {:12.3f}".format(*row))

figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for panel, score in zip(panels, scoring, strict=False):
    x, y = found[f"mean_test_{score}"], found["mean_test_neighbors"]
    panel.scatter(x, y)
    for temperature, *place in zip(grid["temperature"], x, y, strict=True):
        panel.annotate(f" {temperature}", place)
    panel.set_xlabel(f"{score}, without labels")
    panel.margins(0.15)
    panel.locator_params(axis="x", nbins=5)
panels[0].set_ylabel("accuracy of neighbors")

plt.show()
