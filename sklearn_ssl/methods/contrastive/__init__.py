"""Methods that compare samples with others."""
