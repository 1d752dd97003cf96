"""Evaluation of embeddings: probes, fine-tuning, comparison with baselines, splits."""
