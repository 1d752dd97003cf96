"""What embeddings of texts are good for, beside TF-IDF, its SVD and no training.

    python benchmarks/text.py TEXTS [--minutes 5] [--methods SimCLRTransformer BERTTransformer]
        [--name text]

TEXTS is a CSV file with the columns text and section, which is the class; without it, that of the
environment variable SKLEARN_SSL_TEXTS. 70 % of the texts are for training, without labels.

Each method trains with default parameters and `max_time`, SimCLR in batches of 256. Then linear
probes are trained with 1, 10 and all labels per class, and judged on the other texts: logistic
regressions on features that are centred and divided by one number, their mean deviation, with C=1,
with all labels with the best of 0.01, 0.1 and 1 on a fifth that is held out. Those of TF-IDF and of
its SVD are on unscaled features, with C=10, which is better for them.
Numbers for few labels are means over draws of the labels, the same for all.
"""

import argparse
import os
import time

import numpy as np
import pandas as pd
from common import few_of_each, write
from quality import linear_probe
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from sklearn_ssl import EncoderTransformer
from sklearn_ssl.discovery import all_methods

SETTINGS = {"SimCLRTransformer": {"batch_size": 256}}
DRAWS = {1: 10, 10: 5, "all": 1}


def accuracies(features, y, test, y_test, scaled=True):
    """Return mean and standard deviation of the accuracy for each number of labels."""
    found = {}
    for n_labels, n_draws in DRAWS.items():
        scores = []
        for seed in range(n_draws):
            drawn = slice(None) if n_labels == "all" else few_of_each(y, n_labels, seed)
            few, of_few = features[drawn], y[drawn]
            if scaled:
                scores.append(linear_probe(few, of_few, test, y_test, grid=(0.01, 0.1, 1.0)))
            else:
                probe = LogisticRegression(C=10, max_iter=1000).fit(few, of_few)
                scores.append(probe.score(test, y_test))
        found[str(n_labels)] = [float(np.mean(scores)), float(np.std(scores))]
    return found


def main():
    """Train, judge, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("texts", nargs="?", default=os.environ.get("SKLEARN_SSL_TEXTS"))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--methods", nargs="*", default=list(all_methods("text")))
    parser.add_argument("--name", default="text")
    args = parser.parse_args()
    if args.texts is None:
        parser.error("give TEXTS, or set SKLEARN_SSL_TEXTS")
    frame = pd.read_csv(args.texts)
    X, test, y, y_test = train_test_split(
        *(frame.text.tolist(), frame.section.astype("category").cat.codes.to_numpy()),
        train_size=0.7,
        stratify=frame.section,
        random_state=0,
    )
    results = {}

    def judge(name, features, of_test, scaled=True, **more):
        results[name] = accuracies(features, y, of_test, y_test, scaled) | more
        print(name, results[name], flush=True)

    tfidf = TfidfVectorizer(sublinear_tf=True)
    words, of_test = tfidf.fit_transform(X), tfidf.transform(test)
    judge("TF-IDF", words, of_test, scaled=False)
    svd = TruncatedSVD(256, random_state=0).fit(words)
    judge("TF-IDF, SVD 256", svd.transform(words), svd.transform(of_test), scaled=False)
    encoder = EncoderTransformer(random_state=0).fit(X)
    judge("untrained", encoder.transform(X), encoder.transform(test))
    for name in args.methods:
        method = all_methods("text")[name]
        start = time.perf_counter()
        settings = SETTINGS.get(name, {})
        model = method(max_time=60 * args.minutes, random_state=0, **settings).fit(X)
        minutes = (time.perf_counter() - start) / 60
        steps = int(sum(row["n_steps"] for row in model.history_))
        more = {"minutes": minutes, "epochs": model.n_iter_, "steps": steps}
        judge(name, model.transform(X), model.transform(test), **more)
    write(args.name, {"minutes": args.minutes, "texts": len(frame)}, results)


if __name__ == "__main__":
    main()
