"""Persistence: saved estimators, caches of fits, fingerprints."""
