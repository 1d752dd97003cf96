"""
Can a network put the tiles of an image back in place?
=====================================================

:class:`~sklearn_ssl.JigsawTransformer` learns by solving puzzles, and
:class:`~sklearn_ssl.RelativePatchTransformer` by telling where a patch lies, seen from another one.
The puzzles can be looked at: here of images that were in no training.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits, load_sample_image
from sklearn.feature_extraction.image import extract_patches_2d

from sklearn_ssl import JigsawTransformer, RelativePatchTransformer
from sklearn_ssl.inspection import PretextDisplay

EPOCHS = 15

# %%
# Handwritten digits, cut into four tiles, which can lie in 24 orders.

digits = load_digits().images[:, :, :, None]
train, test = digits[:1400], digits[1400:]
jigsaw = JigsawTransformer(max_epochs=EPOCHS, random_state=0).fit(train)
PretextDisplay.from_estimator(jigsaw, test, n_samples=5, random_state=0)
print(f"digits: {jigsaw.score_pretext(test):.2f} of the puzzles solved, by chance {1 / 24:.2f}")

# %%
# Pieces of a photograph. Some look the same everywhere, and have no solution.

photograph = load_sample_image("china.jpg")
train = extract_patches_2d(photograph[:, :400], (40, 40), max_patches=1000, random_state=0)
test = extract_patches_2d(photograph[:, 400:], (40, 40), max_patches=200, random_state=0)
jigsaw = JigsawTransformer(max_epochs=EPOCHS, random_state=0).fit(train)
PretextDisplay.from_estimator(jigsaw, test, n_samples=5, random_state=0)
print(f"photograph: {jigsaw.score_pretext(test):.2f} of the puzzles solved")

# %%
# Where a patch lies, seen from the one in the middle: the accuracy of each place.

relative = RelativePatchTransformer(max_epochs=EPOCHS, random_state=0).fit(train)
right = relative.predict_pretext(test) == range(8)
print(f"photograph: {right.mean():.2f} of the places told, by chance {1 / 8:.2f}")

plt.show()
