"""Reconstruct, colorize and upscale held-out photographs with networks trained without labels.

    python examples/pretext_tasks.py FOLDER [--minutes 3] [--methods NAME...]

FOLDER has a subfolder for each class of photographs, as Imagenette. Each method that generates
images is trained for some minutes on nine tenths of the files, at 64 pixels. NAME.png shows inputs,
outputs and images for some of the other files, and the `score_pretext` of all of them is printed.
"""

import argparse

from matplotlib import pyplot as plt

import sklearn_ssl
from sklearn_ssl import image_paths
from sklearn_ssl.inspection import PretextDisplay

METHODS = [
    "ColorizationTransformer",
    "InpaintingTransformer",
    "SuperResolutionTransformer",
    "MAETransformer",
    "SimMIMTransformer",
    "JigsawTransformer",
    "RelativePatchTransformer",
]


def main():
    """Train each method, print its score and save its figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--cache", default="pretext_cache", help="folder of decoded images")
    options = parser.parse_args()

    paths, _ = image_paths(options.folder)
    held_out = paths[::10]
    train = [path for i, path in enumerate(paths) if i % 10]
    for name in options.methods:
        method = getattr(sklearn_ssl, name)(
            max_time=60 * options.minutes,
            input=sklearn_ssl.Images(size=64, cache=options.cache, n_jobs=-1),
            random_state=0,
        )
        method.fit(train)
        print(f"{name:26} {method.n_iter_} epochs, {method.score_pretext(held_out):.3f}")
        display = PretextDisplay.from_estimator(method, held_out, n_samples=8, random_state=0)
        display.figure_.savefig(f"{name}.png", dpi=110)
        plt.close(display.figure_)


if __name__ == "__main__":
    main()
