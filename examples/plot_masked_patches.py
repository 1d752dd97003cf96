"""
Can a network see an image of which a quarter is left?
======================================================

:class:`~sklearn_ssl.MAETransformer` learns by telling hidden patches from those that are seen. Here
are pieces of a photograph that were in no training, with three quarters of their patches hidden.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage.metrics import peak_signal_noise_ratio
from sklearn.datasets import load_sample_image
from sklearn.feature_extraction.image import extract_patches_2d

from sklearn_ssl import MAETransformer
from sklearn_ssl.inspection import PretextDisplay

EPOCHS = 30

photograph = load_sample_image("china.jpg")[::2, ::2]
train = extract_patches_2d(photograph[:, :220], (32, 32), max_patches=1000, random_state=0)
test = extract_patches_2d(photograph[:, 220:], (32, 32), max_patches=200, random_state=0)
test = test[test.std(axis=(1, 2, 3)) > 40]  # more than sky

# %%
# The network sees 16 of 64 patches. Colours and edges go on where they can be told; what is fine
# cannot. ``targets="pixels"`` tells colours as well; by default each patch is told less its mean,
# and with that of the patch itself anything looks right.

mae = MAETransformer(targets="pixels", max_epochs=EPOCHS, random_state=0).fit(train)
PretextDisplay.from_estimator(mae, test, n_samples=5, random_state=0)

# %%
# Hidden patches, beside the mean colour in their place.

mean = np.broadcast_to(train.mean(axis=(0, 1, 2)), test.shape).round().astype(np.uint8)
print(f"told by the network: {mae.score_pretext(test):.1f} decibels")
print(f"the mean colour: {peak_signal_noise_ratio(test, mean):.1f} decibels")

plt.show()
