"""
Can a network reconstruct an image from a quarter of it?
========================================================

:class:`~sklearn_ssl.MAETransformer` learns by reconstructing masked patches from the visible ones.
Here it reconstructs pieces of a photograph that were not in training, with three quarters masked.
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
test = test[test.std(axis=(1, 2, 3)) > 40]  # without uniform sky

# %%
# The network sees 16 of 64 patches. Colors and edges can be predicted, fine details cannot. With
# ``norm_pix_loss=False`` the network predicts colors as well; by default patches are normalized,
# and shown with the mean of the masked patch itself, which makes any prediction look right.

mae = MAETransformer(norm_pix_loss=False, max_epochs=EPOCHS, random_state=0).fit(train)
PretextDisplay.from_estimator(mae, test, n_samples=5, random_state=0)

# %%
# Masked patches, in comparison to the mean color.

mean = np.broadcast_to(train.mean(axis=(0, 1, 2)), test.shape).round().astype(np.uint8)
print(f"reconstructed by the network: {mae.score_pretext(test):.1f} decibels")
print(f"the mean color: {peak_signal_noise_ratio(test, mean):.1f} decibels")

plt.show()
