"""Show what networks make of photographs, having learned from others without labels.

    python examples/pretext_tasks.py FOLDER [--minutes 3] [--methods NAME...]

FOLDER has a subfolder for each class of photographs, as those of Imagenette. Each method that makes
images learns for some minutes from nine tenths of the files, at 64 pixels, and is shown some of the
others: NAME.png has what it saw, what it made of that, and the photograph. Printed is how well it
does on all of these, as its `score_pretext` tells.
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
    """Train each method, print its score and save its picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--cache", default="pretext_cache", help="folder of decoded images")
    options = parser.parse_args()

    paths, _ = image_paths(options.folder)
    held = paths[::10]
    others = [path for i, path in enumerate(paths) if i % 10]
    for name in options.methods:
        method = getattr(sklearn_ssl, name)(
            max_time=60 * options.minutes,
            input=sklearn_ssl.Images(size=64, cache=options.cache, n_jobs=-1),
            random_state=0,
        )
        method.fit(others)
        print(f"{name:26} {method.n_iter_} epochs, {method.score_pretext(held):.3f}")
        display = PretextDisplay.from_estimator(method, held, n_samples=8, random_state=0)
        display.figure_.savefig(f"{name}.png", dpi=110)
        plt.close(display.figure_)


if __name__ == "__main__":
    main()
