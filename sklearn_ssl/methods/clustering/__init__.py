"""Methods that learn from clusters of their own features."""
