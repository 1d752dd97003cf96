"""One file a method: its objective, then its estimator."""
