"""What an embedding is good for: probes, fine-tuning, comparisons, splits."""
