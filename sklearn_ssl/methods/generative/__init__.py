"""Methods that restore what was removed from a sample."""
