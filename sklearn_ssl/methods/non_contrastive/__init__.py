"""Joint embedding without negatives."""
