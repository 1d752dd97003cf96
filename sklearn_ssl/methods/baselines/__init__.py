"""What methods are compared with: networks as they are, and patch k-means."""
