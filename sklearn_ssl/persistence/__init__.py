"""Fits and estimators in files: caches of fits, saved estimators, fingerprints."""
