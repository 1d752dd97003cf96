"""Methods that predict what was done to an image."""
